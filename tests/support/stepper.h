// Runs a function in a child process one machine instruction at a time (ptrace), so that a test can
// kill or stop it after any of them. What the child does to shared mappings is seen here at once.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>

namespace heddle::test {

/// False when the system forbids ptrace; `why` then says so.
bool can_step(const char** why);

class SteppedChild {
 public:
  /// Forks; the child stops before the first instruction of `body` (its result is the exit status).
  explicit SteppedChild(const std::function<int()>& body);
  /// Kills the child if it still runs.
  ~SteppedChild();
  SteppedChild(const SteppedChild&) = delete;

  /// One instruction. False when the body has ended.
  bool step();
  /// On to the next border of a system call (its entry or its return). False as above.
  bool step_to_syscall();
  /// True if the last step entered a system call.
  bool at_syscall() const { return at_syscall_; }
  void kill();
  /// Lets it run to the end; returns its exit status, or -1 if it hangs for `timeout_ms` (then it
  /// is killed).
  int finish(int timeout_ms);

  pid_t pid() const { return pid_; }
  uint64_t steps() const { return steps_; }

 private:
  pid_t pid_ = -1;
  uint64_t steps_ = 0;
  bool at_syscall_ = false;
  bool ended_ = false;
  bool free_ = false;  // it runs, or ran, where it likes
};

}  // namespace heddle::test
