#include "client/cli/child.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

extern char** environ;

namespace heddle::cli {

namespace {

// A descriptor to read `body` from; -1 with errno.
int file_of(std::string_view body) {
  const int fd = ::memfd_create("heddle-message", MFD_CLOEXEC);
  if (fd < 0) return -1;
  while (!body.empty()) {
    const ssize_t wrote = ::write(fd, body.data(), body.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      const int error = errno;
      ::close(fd);
      errno = error;
      return -1;
    }
    body.remove_prefix(static_cast<std::size_t>(wrote));
  }
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  return pointers;
}

// -1: ours.
struct Streams {
  int in = -1, out = -1;
};

// In the child, which shares our memory until it has become the command: system calls only.
[[noreturn]] void become(char* const* command, char* const* environment, const Streams& streams,
                         bool own_group, const sigset_t& mask, pid_t parent, volatile int* error) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above; then nobody would send that signal.
  if (::getppid() != parent) ::_exit(1);
  if (own_group) ::setpgid(0, 0);
  if (streams.in >= 0) ::dup2(streams.in, STDIN_FILENO);
  if (streams.out >= 0) ::dup2(streams.out, STDOUT_FILENO);
  ::signal(SIGPIPE, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::execvpe(command[0], command, environment);
  *error = errno;
  ::_exit(127);
}

// Whether one of `settings` has the name of `entry`, "NAME=value".
bool replaced(std::string_view entry, const std::vector<std::string>& settings) {
  const std::string_view name = entry.substr(0, entry.find('=') + 1);
  for (const std::string& setting : settings) {
    if (setting.starts_with(name)) return true;
  }
  return false;
}

Spawn start(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            const Streams& streams, bool own_group, const sigset_t& mask) {
  std::vector<char*> words = pointers_to(command);
  words.push_back(nullptr);
  std::vector<char*> settings = pointers_to(environment);
  for (char** each = environ; *each != nullptr; ++each) {
    if (!replaced(*each, environment)) settings.push_back(*each);
  }
  settings.push_back(nullptr);
  const pid_t parent = ::getpid();
  volatile int error = 0;
  // Not fork: this process has threads and maps queues; vfork copies nothing and stops only us.
  const pid_t pid = ::vfork();
  if (pid == 0) {
    become(words.data(), settings.data(), streams, own_group, mask, parent, &error);
  }
  if (pid < 0) return {.error = errno};
  if (error != 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return {.error = error};
  }
  return {.pid = pid};
}

}  // namespace

Spawn spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            std::string_view body, const sigset_t& mask) {
  const int fd = file_of(body);
  if (fd < 0) return {.error = errno};
  const Spawn child = start(command, environment, {.in = fd}, true, mask);
  ::close(fd);
  return child;
}

Spawn spawn_here(const std::vector<std::string>& command,
                 const std::vector<std::string>& environment, bool own_group,
                 const sigset_t& mask) {
  return start(command, environment, {}, own_group, mask);
}

Spawn spawn_into(int stdout_fd, const std::vector<std::string>& command, const sigset_t& mask) {
  return start(command, {}, {.out = stdout_fd}, false, mask);
}

}  // namespace heddle::cli
