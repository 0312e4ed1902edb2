// A command that runs while this process holds something, as flock(1) does it.
#ifndef HEDDLE_CLIENT_CLI_LOCK_RUNNER_H_
#define HEDDLE_CLIENT_CLI_LOCK_RUNNER_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "client/cli/invocation.h"

namespace heddle::cli {

struct Errand {
  // "NAME=value"; replaces what the environment has under these names.
  std::vector<std::string> environment = {};
  // In a process group of its own, so that all of it can be ended.
  bool own_group = false;
  // Looked at twenty times a second; when it says no, the command is ended (TERM, KILL after 5 s).
  // Empty: nobody looks.
  std::function<bool()> still_wanted = {};
};

struct ErrandEnd {
  int status = 0;  // Of the command: 0-255, 128 + n for signal n; or 126, 127.
  bool ran = false;
  bool stopped = false;  // still_wanted said no.
};

// Runs run.command and waits for its end; says on stderr why it cannot be run. Signals that are
// sent to this process (HUP, INT, QUIT, TERM, USR1, USR2, CONT) go on to the command; those from
// the terminal reach it anyway unless it has a group of its own. The command dies when this process
// does. Call it from the only thread.
ErrandEnd run_errand(const Invocation& run, const Errand& errand);

// Fails with words if there is no command after "--".
Status need_command(const Invocation& run, const std::string& usage);
// " -- COMMAND [ARGUMENT...]" in the usage line of its help.
void show_command(CLI::App& verb);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_LOCK_RUNNER_H_
