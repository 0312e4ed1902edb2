// The one description of every option.
#ifndef HEDDLE_DAEMON_CONFIG_OPTION_TABLE_H_
#define HEDDLE_DAEMON_CONFIG_OPTION_TABLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <heddle/status.h>

#include "daemon/config/options.h"

namespace heddle::config {

enum class Unit : std::uint8_t { kNone, kBytes, kMilliseconds };

using Field = std::variant<std::string Options::*, std::uint64_t Options::*,
                           std::vector<std::string> Options::*>;

struct OptionRow {
  std::string_view name;  // the key; the flag is --name with hyphens
  Field field;
  Unit unit = Unit::kNone;
  std::uint64_t min = 0;
  std::uint64_t max = 0;
  std::string_view choices;  // "a|b|c": no other text is accepted
  bool reloadable = false;   // SIGHUP applies it; otherwise the next start does
  std::string_view default_text;  // when the default is worked out at start
  std::string_view help;
};

std::span<const OptionRow> option_table();
const OptionRow* find_option(std::string_view name);  // null: no such key

// The key that was probably meant, for an error message. Empty: none is like it.
std::string_view nearest_option(std::string_view unknown);

std::string flag_of(const OptionRow& row);       // "--drain-ms"
std::string expectation_of(const OptionRow& row);  // "a number of milliseconds, 0 to 3600000, ..."
std::string value_text(const OptionRow& row, const Options& options);  // as JSON

// Sets one option from a flag's text: numbers take K M G KiB MiB GiB (bytes) or ms s m h
// (times); lists are separated by commas. A failure names the key, the value and the range.
Status set_from_text(const OptionRow& row, std::string_view text, Options* options);
Status set_number(const OptionRow& row, std::uint64_t value, Options* options);

// What no single row can check: addresses, the group, limits that exceed each other.
Status validate(const Options& options);

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_OPTION_TABLE_H_
