// What a test leaves behind in its own process: file descriptors, memfd mappings, children.
#ifndef HEDDLE_TESTS_SUPPORT_LEAK_CHECK_H_
#define HEDDLE_TESTS_SUPPORT_LEAK_CHECK_H_

#include <string>
#include <vector>

namespace heddle::test {

class LeakCheck {
 public:
  LeakCheck();  // remembers what is there now
  // One line for each thing that is there now and was not then; empty: clean. Waits up to 1 s
  // for what other threads are about to close.
  std::vector<std::string> leaks() const;

 private:
  std::vector<std::string> before_;
};

// For a test that starts machinery which keeps descriptors for the life of the process (gRPC):
// its leak check is skipped. `why` is printed.
void allow_leaks(const char* why);
bool take_leaks_allowed();  // true once after allow_leaks; for test_main.cc

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_SUPPORT_LEAK_CHECK_H_
