// Keys and values of dicts on their way to and from the command line.
#ifndef HEDDLE_CLIENT_CLI_DICT_WORDS_H_
#define HEDDLE_CLIENT_CLI_DICT_WORDS_H_

#include <heddle/dict.h>

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "client/cli/arguments.h"
#include "client/cli/invocation.h"

namespace heddle::cli {

// "null", "bool", "int", "double", "text", "json", "data".
const char* type_name(DictType type);
// What was typed as a value of that type. INVALID_ARGUMENT says what is wrong.
Result<DictValue> value_of(const std::string& text, const std::string& type);

// {"key" | "key_data", "type", "value" | "data" (base64) | "json_text"}: every value comes back
// exactly through value_from().
Json entry_json(const DictEntry& entry, bool with_value);
Json value_json(const DictValue& value);
Result<DictValue> value_from(const Json& row);
Result<std::string> key_from(const Json& row);
// For a person: one line, what a terminal can show.
std::string value_words(const DictValue& value);
// As `get` writes it: bytes as they are, everything else with a newline.
void write_value(const DictValue& value, bool raw);

// Conditions and expiry, as options of a verb.
struct WriteOptions {
  std::optional<std::uint64_t> if_version;
  bool if_absent = false, if_present = false, keep_ttl = false, never = false, session = false;
  std::optional<std::chrono::milliseconds> ttl;
  std::string fence;
  // INVALID_ARGUMENT: two expiries, or a fence that is none.
  Result<DictSetOptions> options() const;
};
void add_conditions(CLI::App& verb, WriteOptions& options);
void add_expiry(CLI::App& verb, WriteOptions& options);
void add_fence(CLI::App& verb, WriteOptions& options);

// Opens; NOT_FOUND names the command that makes one.
Result<Dict> open_dict(const Invocation& run, const std::string& name);
// Prints the outcome of a change, if asked to, and gives the exit status for it.
// `mismatch` is why a value or revision was not what it had to be, if that is known.
int changed_exit(const Invocation& run, const std::string& name, const std::string& key,
                 const DictChanged& changed, const Json& more = Json::object(),
                 const std::string& mismatch = "");

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_DICT_WORDS_H_
