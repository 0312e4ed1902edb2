// What the suites about locks share: objects named after the running test, and other hands.
#ifndef HEDDLE_TESTS_CONFORMANCE_LOCK_SUITE_H_
#define HEDDLE_TESTS_CONFORMANCE_LOCK_SUITE_H_

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "tests/conformance/planes.h"

namespace heddle::test {

template <typename T>
class LockSuite : public ConformanceTest<T> {
 protected:
  static std::string name(const char* suffix = "") { return LockSuite::queue_name() + suffix; }
  Lock lock(const LockOptions& options = {}) {
    return this->client().lock(name(), options).value();
  }

  // Runs `body` in another thread, to its end.
  template <typename Body>
  static auto elsewhere(Body body) {
    decltype(body()) result{};
    std::thread([&] { result = body(); }).join();
    return result;
  }
  // Starts `body` in a child process, which ends with 0 if it gives true.
  static pid_t start(const std::function<bool()>& body) {
    const pid_t child = fork();
    if (child == 0) _exit(body() ? 0 : 1);
    return child;
  }
  static int ended(pid_t child) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }
  static int in_child(const std::function<bool()>& body) { return ended(start(body)); }
  // Polls for up to 5 s.
  static bool soon(const std::function<bool()>& true_soon) {
    for (int i = 0; i < 500; ++i) {
      if (true_soon()) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_CONFORMANCE_LOCK_SUITE_H_
