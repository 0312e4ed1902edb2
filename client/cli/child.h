// A child process that dies with this process.
#ifndef HEDDLE_CLIENT_CLI_CHILD_H_
#define HEDDLE_CLIENT_CLI_CHILD_H_

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace heddle::cli {

struct Spawn {
  pid_t pid = -1;
  int error = 0;  // errno when there is no child
};

// Runs `command` (found in PATH) in a process group of its own, so that an interrupt typed at the
// terminal reaches this process and not it. stdin is a file with `body`, at its start; the
// environment is ours and `environment` ("NAME=value"). `mask` is the child's signal mask.
// The calling thread must outlive the child: the kernel kills the child when it ends.
Spawn spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            std::string_view body, const sigset_t& mask);
// The same with our own stdin. `environment` takes the place of what ours has under these names. In
// our process group unless it is to have its own.
Spawn spawn_here(const std::vector<std::string>& command,
                 const std::vector<std::string>& environment, bool own_group, const sigset_t& mask);

// The same with what it writes to stdout going to `stdout_fd`.
Spawn spawn_into(int stdout_fd, const std::vector<std::string>& command, const sigset_t& mask);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_CHILD_H_
