#include "daemon/supervisor/broker_process.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "daemon/os/files.h"
#include "daemon/os/process.h"
#include "proto/local/keeper.h"

namespace heddle::supervisor {
namespace {

constexpr int kChildKeeperFd = 3;

// Our environment with the keeper variable; `keeper` must outlive the result.
std::vector<char*> child_environment(std::string* keeper) {
  const std::string prefix = std::string(local::kKeeperFdVariable) + "=";
  *keeper = prefix + std::to_string(kChildKeeperFd);
  std::vector<char*> environment;
  for (char** entry = environ; *entry; ++entry) {
    if (std::strncmp(*entry, prefix.c_str(), prefix.size()) != 0) environment.push_back(*entry);
  }
  environment.push_back(keeper->data());
  environment.push_back(nullptr);
  return environment;
}

int spawn(const std::string& path, int keeper_fd, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // Also clears close-on-exec when the number is 3 already.
  ::posix_spawn_file_actions_adddup2(&actions, keeper_fd, kChildKeeperFd);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
  std::string keeper, program = path;
  char* arguments[] = {program.data(), nullptr};
  std::vector<char*> environment = child_environment(&keeper);
  const int error =
      ::posix_spawn(pid, path.c_str(), &actions, &attributes, arguments, environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

bool find_broker(std::string* path, std::string* why) {
  if (const char* given = ::getenv("HEDDLE_BROKER"); given && *given) {
    *path = given;
  } else {
    const std::string bin = os::parent_directory(os::own_executable());
    *path = os::parent_directory(bin) + "/libexec/heddle/heddle-broker";
  }
  if (::access(path->c_str(), X_OK) == 0) return true;
  *why = *path + ": cannot run the broker: " + os::errno_text(errno);
  return false;
}

bool BrokerProcess::start(const std::string& path, std::string* why) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    *why = "cannot make the keeper socket: " + os::errno_text(errno);
    return false;
  }
  link_.reset(ends[0]);
  const Fd child_end(ends[1]);
  pid_t pid;
  if (const int error = spawn(path, child_end.get(), &pid); error != 0) {
    *why = path + ": cannot start it: " + os::errno_text(error);
    link_.reset();
    return false;
  }
  pid_ = pid;
  pidfd_ = os::open_pidfd(pid);  // still ours to reap: the number cannot have moved on
  return true;
}

bool BrokerProcess::signal(int number) const {
  if (pid_ == 0) return false;
  return pidfd_ ? os::pidfd_signal(pidfd_.get(), number) : ::kill(pid_, number) == 0;
}

}  // namespace heddle::supervisor
