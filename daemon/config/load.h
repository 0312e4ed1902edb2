// Where the options come from, and their reload.
#ifndef HEDDLE_DAEMON_CONFIG_LOAD_H_
#define HEDDLE_DAEMON_CONFIG_LOAD_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <heddle/result.h>

#include "daemon/config/command_line.h"
#include "daemon/config/options.h"

namespace heddle::config {

struct Loaded {
  Options options;
  bool memory_max_automatic = false;
  std::string file;  // the configuration file that was read; "": there is none
  std::map<std::string, std::size_t> lines;  // of the keys in it
  std::vector<std::string> warnings;         // what may not be meant so
};

// Flags, then HEDDLE_RUNTIME_DIR and HEDDLE_STATE_DIR, then the file, then RUNTIME_DIRECTORY and
// STATE_DIRECTORY, then the defaults. The file is --config (which must exist), else the first that
// exists of $XDG_CONFIG_HOME/heddle/heddled.json (not for root) and /etc/heddle/heddled.json.
Result<Loaded> load_options(const CommandLine& command_line);

// Loads everything anew. What cannot change while the daemon runs keeps its value, and its key is
// added to `later`. On failure nothing has changed.
Result<Options> reload_options(const CommandLine& command_line, const Options& current,
                               std::vector<std::string>* later);

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_LOAD_H_
