// The command line of heddled.
#ifndef HEDDLE_DAEMON_CONFIG_COMMAND_LINE_H_
#define HEDDLE_DAEMON_CONFIG_COMMAND_LINE_H_

#include <string>
#include <utility>
#include <vector>

#include <heddle/result.h>

#include "daemon/config/option_table.h"

namespace heddle::config {

struct CommandLine {
  enum class Action { kRun, kHelp, kVersion, kCheckConfig, kPrintConfig };
  Action action = Action::kRun;
  bool daemonize = false;
  std::string config_file;  // "": search
  std::vector<std::pair<const OptionRow*, std::string>> options;  // in order; the last one wins
};

// Accepts --flag VALUE and --flag=VALUE for every row of the table. A failure names the flag, and
// the nearest one when it is unknown.
Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_COMMAND_LINE_H_
