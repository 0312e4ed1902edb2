// Options as JSON: the configuration file, and what the supervisor tells the broker.
#ifndef HEDDLE_DAEMON_CONFIG_OPTIONS_JSON_H_
#define HEDDLE_DAEMON_CONFIG_OPTIONS_JSON_H_

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include <heddle/status.h>

#include "daemon/config/options.h"

namespace heddle::config {

// Sets the options that `text` names (a JSON object; // and /* */ comments allowed); the others
// stay. A failure reads "SOURCE:LINE: what is wrong" and may leave a part set: parse into a copy.
// `lines_of_keys`, if given: where each key stands.
Status options_from_json(std::string_view text, const std::string& source, Options* options,
                         std::map<std::string, std::size_t>* lines_of_keys = nullptr);

// Every option, one a line; options_from_json() reads it back.
std::string options_to_json(const Options& options);

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_OPTIONS_JSON_H_
