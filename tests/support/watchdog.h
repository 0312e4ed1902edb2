// Ends the process when a test hangs. Every test has one of 30 s (see test_main.cc); there is
// no other time limit: no test asserts how long something may take.
#ifndef HEDDLE_TESTS_SUPPORT_WATCHDOG_H_
#define HEDDLE_TESTS_SUPPORT_WATCHDOG_H_

#include <string>

namespace heddle::test {

// Arms the process's one alarm; a Watchdog made inside another one takes over until it goes,
// then the outer one starts anew. Children made by fork have none. Not thread-safe.
class Watchdog {
 public:
  Watchdog(std::string what, unsigned seconds = 30);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void arm();

  std::string message_;
  unsigned seconds_;
  Watchdog* outer_;
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_SUPPORT_WATCHDOG_H_
