// One run of the command: what every verb is given, and the ways in which a verb ends.
#ifndef HEDDLE_CLIENT_CLI_INVOCATION_H_
#define HEDDLE_CLIENT_CLI_INVOCATION_H_

#include <heddle/client.h>
#include <heddle/options.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::cli {

using Json = nlohmann::ordered_json;

// Exit statuses that no reason has.
inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitPartial = 3;
inline constexpr int kExitTimedOut = 5;
inline constexpr int kExitNotAcquired = 124;
inline constexpr int kExitNotRun = 125;
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFoundToRun = 127;

struct Invocation {
  bool json = false;
  bool quiet = false;
  std::string runtime_dir;
  std::string address;
  std::string plane = "auto";
  // What stands after "--", for the verbs that run a command.
  std::vector<std::string> command;
  bool has_command = false;
  // The exit status is the command's: failures of our own end with 125, not acquired in time 124.
  bool passes_status = false;
  // Set by the verb that was chosen; gives the exit status.
  std::function<int()> action;

  // As the options, the environment and the places where a daemon usually is say.
  Result<Client> connect(bool sessionless = false) const;
  // Connects and opens a queue.
  Result<Queue> open(const std::string& name, bool sessionless = false) const;

  // Says on stderr how it ended and gives the exit status for it. `more` joins the JSON document.
  // Outcomes are remarks, which --quiet leaves out; failures are always told.
  int fail(const Status& status, const Json& more = Json::object()) const;
  // The same with words that fit the verb better.
  int fail(const Status& status, const std::string& message,
           const Json& more = Json::object()) const;
  // One document on stdout.
  void print(const Json& document) const;
  // A line for people on stderr; not with --quiet or --json.
  void remark(const std::string& line) const;
};

// "queue jobs: no room: max_len (limit 2, actual 2)".
std::string words_of(const Status& status);
// The document that --json gives for a failure.
Json error_json(const Status& status, const std::string& message);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_INVOCATION_H_
