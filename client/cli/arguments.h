// What people type, as values. Wrong input throws CLI::ValidationError, which says what is right.
#ifndef HEDDLE_CLIENT_CLI_ARGUMENTS_H_
#define HEDDLE_CLIENT_CLI_ARGUMENTS_H_

#include <heddle/options.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "client/cli/invocation.h"

namespace heddle::cli {

// number + ms|s|m|h, a bare number is seconds: nullopt for anything else.
std::optional<std::chrono::nanoseconds> parse_duration(const std::string& text);
// number + K|M|G with or without iB or B, powers of 1024.
std::optional<std::uint64_t> parse_size(const std::string& text);

// A duration that was not given waits for ever.
struct Timeout {
  std::optional<std::chrono::nanoseconds> given;
  std::string text;  // as it was typed
  std::chrono::nanoseconds value() const;
};

// `summary` is one line; `examples` stand under the help, a line each; after an empty line there
// may be notes.
CLI::App* add_verb(CLI::App& noun, const std::string& name, const std::string& summary,
                   const std::string& examples);
// The options that every verb has; added last, so that a verb's own stand first in its help.
void add_common_options(CLI::App& app, Invocation& run);
CLI::Option* add_name(CLI::App& verb, std::string& name, const std::string& what = "The queue");
void add_timeout(CLI::App& verb, Timeout& timeout, const std::string& what);
void add_duration(CLI::App& verb, const std::string& flag,
                  std::optional<std::chrono::milliseconds>& value, const std::string& what);
void add_size(CLI::App& verb, const std::string& flag, std::optional<std::uint64_t>& value,
              const std::string& what);
// A whole number from `least` to `most`.
void add_count(CLI::App& verb, const std::string& flags, std::optional<std::uint64_t>& value,
               std::uint64_t least, std::uint64_t most, const std::string& what,
               const std::string& type = "N");
// One of the words; the help lists them.
CLI::Option* add_choice(CLI::App& verb, const std::string& flag, std::string& word,
                        const std::vector<std::string>& words, const std::string& what);
// States of messages, as --state WORD[,WORD...].
void add_states(CLI::App& verb, unsigned& states, const std::string& what);
const char* state_name(unsigned state);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_ARGUMENTS_H_
