#include "daemon/supervisor/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "daemon/os/files.h"

namespace heddle::supervisor {
namespace {

// The report is one status character and the reason: "0", or "1broker: not found".
[[noreturn]] void wait_for_report(int pipe, pid_t middle) {
  while (::waitpid(middle, nullptr, 0) < 0 && errno == EINTR) {
  }
  std::string report;
  char chunk[512];
  for (ssize_t n; (n = ::read(pipe, chunk, sizeof chunk)) != 0;) {
    if (n > 0) report.append(chunk, static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  if (report == "0") ::_exit(0);
  const char* reason = report.empty() ? "the daemon died while it started" : report.c_str() + 1;
  std::fprintf(stderr, "heddled: %s\n", reason);
  ::_exit(report.empty() ? 1 : report[0] - '0');
}

bool replace_fd(const char* path, int flags, std::initializer_list<int> targets) {
  const local::Fd fd(::open(path, flags | O_CLOEXEC | O_NOCTTY, 0640));
  if (!fd) return false;
  for (int target : targets) {
    if (::dup2(fd.get(), target) < 0) return false;
  }
  return true;
}

}  // namespace

bool StartReport::daemonize(std::string* why) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    *why = "cannot make a pipe: " + os::errno_text(errno);
    return false;
  }
  const local::Fd read_end(ends[0]);
  pipe_.reset(ends[1]);
  const pid_t middle = ::fork();
  if (middle < 0) {
    *why = "cannot fork: " + os::errno_text(errno);
    return false;
  }
  if (middle > 0) {
    pipe_.reset();
    wait_for_report(read_end.get(), middle);
  }
  ::setsid();
  const pid_t last = ::fork();  // no session leader: no terminal can become ours again
  if (last != 0) ::_exit(last < 0 ? 1 : 0);
  ::umask(022);
  if (::chdir("/") != 0 || !replace_fd("/dev/null", O_RDONLY, {STDIN_FILENO})) {
    *why = "cannot leave the terminal: " + os::errno_text(errno);
    return false;
  }
  return true;
}

void StartReport::succeeded() {
  if (pipe_ && ::write(pipe_.get(), "0", 1) == 1) pipe_.reset();
}

void StartReport::failed(int status, const std::string& reason) {
  if (!pipe_) return;
  const std::string report = std::to_string(status) + reason;
  [[maybe_unused]] const ssize_t n = ::write(pipe_.get(), report.data(), report.size());
  pipe_.reset();
}

bool detach_output(const std::string& path) {
  return replace_fd(path.empty() ? "/dev/null" : path.c_str(), O_WRONLY | O_APPEND | O_CREAT,
                    {STDOUT_FILENO, STDERR_FILENO});
}

}  // namespace heddle::supervisor
