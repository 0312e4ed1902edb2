// What people read about the options, made from the table.
#ifndef HEDDLE_DAEMON_CONFIG_OPTION_TEXT_H_
#define HEDDLE_DAEMON_CONFIG_OPTION_TEXT_H_

#include <string>

namespace heddle::config {

std::string help_text();         // heddled --help
std::string manual_keys_roff();  // the KEYS section of heddled.json(5)
std::string example_json();      // deploy/config/heddled.json: every key with its default

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_OPTION_TEXT_H_
