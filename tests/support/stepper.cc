#include "tests/support/stepper.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace heddle::test {
namespace {

void wait_for_stop(pid_t pid, int* status) {
  while (waitpid(pid, status, __WALL) < 0 && errno == EINTR) {
  }
}

/// Both on one processor while there are stepped children: each step is two switches between them,
/// and on two processors, the other one has to be woken for each.
cpu_set_t g_allowed;
int g_stepped = 0;

void stay_here() {
  if (g_stepped++ > 0 || sched_getaffinity(0, sizeof g_allowed, &g_allowed) != 0) return;
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  sched_setaffinity(0, sizeof here, &here);
}

void go_anywhere() {
  if (--g_stepped == 0) sched_setaffinity(0, sizeof g_allowed, &g_allowed);
}

/// The instruction at the program counter is a system call.
bool next_is_syscall(pid_t pid) {
#if defined(__x86_64__)
  const long offset = static_cast<long>(offsetof(user, regs.rip));
  const long pc = ptrace(PTRACE_PEEKUSER, pid, offset, nullptr);
  const long code = ptrace(PTRACE_PEEKTEXT, pid, pc, nullptr);
  return (code & 0xffff) == 0x050f;
#else
  (void)pid;
  return false;
#endif
}

}  // namespace

bool can_step(const char** why) {
  static int result = -1;
  if (result < 0) {
    SteppedChild probe([] { return 0; });
    result = probe.step();
  }
  *why = "ptrace is refused here";
  return result == 1;
}

SteppedChild::SteppedChild(const std::function<int()>& body) {
  stay_here();
  pid_ = fork();
  if (pid_ == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(126);
    raise(SIGSTOP);
    _exit(body());
  }
  int status = 0;
  wait_for_stop(pid_, &status);
  ended_ = !WIFSTOPPED(status);
  if (!ended_) ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL);
}

SteppedChild::~SteppedChild() {
  kill();
  if (!free_) go_anywhere();
}

bool SteppedChild::step() {
  if (ended_) return false;
  at_syscall_ = next_is_syscall(pid_);
  int status = 0;
  if (ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0) return false;
  wait_for_stop(pid_, &status);
  ended_ = !WIFSTOPPED(status);
  ++steps_;
  return !ended_;
}

bool SteppedChild::step_to_syscall() {
  if (ended_) return false;
  int status = 0;
  if (ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr) != 0) return false;
  wait_for_stop(pid_, &status);
  ended_ = !WIFSTOPPED(status);
  return !ended_;
}

void SteppedChild::kill() {
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  int status;
  do {
    wait_for_stop(pid_, &status);
  } while (WIFSTOPPED(status));
  ended_ = true;
}

int SteppedChild::finish(int timeout_ms) {
  int status = 0;
  if (ended_) return -1;
  sched_setaffinity(pid_, sizeof g_allowed, &g_allowed);
  go_anywhere();
  free_ = true;
  ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
  for (int waited = 0; waited < timeout_ms * 10; ++waited) {
    const pid_t done = waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      ended_ = true;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    const timespec pause{0, 100'000};
    nanosleep(&pause, nullptr);
  }
  kill();
  return -1;
}

}  // namespace heddle::test
