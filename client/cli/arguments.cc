#include "client/cli/arguments.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace heddle::cli {

namespace {

constexpr std::pair<const char*, unsigned> kStates[] = {
    {"ready", kReady}, {"leased", kLeased}, {"returned", kReturned}, {"buried", kBuried}};

// The unsigned decimal number at the start of `text`, and what follows it.
bool split_number(const std::string& text, double* number, std::string* unit) {
  const std::size_t end = text.find_first_not_of("0123456789.");
  const std::string digits = text.substr(0, end);
  char* stop = nullptr;
  *number = std::strtod(digits.c_str(), &stop);
  *unit = end == std::string::npos ? "" : text.substr(end);
  return !digits.empty() && digits != "." && *stop == 0;
}

}  // namespace

std::optional<std::chrono::nanoseconds> parse_duration(const std::string& text) {
  double number = 0;
  std::string unit;
  if (!split_number(text, &number, &unit)) return {};
  double ns = 0;
  if (unit == "ms") {
    ns = number * 1e6;
  } else if (unit.empty() || unit == "s") {
    ns = number * 1e9;
  } else if (unit == "m") {
    ns = number * 60e9;
  } else if (unit == "h") {
    ns = number * 3600e9;
  } else {
    return {};
  }
  if (ns > 9e18) return {};
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::ceil(ns)));
}

std::optional<std::uint64_t> parse_size(const std::string& text) {
  double number = 0;
  std::string unit;
  if (!split_number(text, &number, &unit)) return {};
  if (unit.size() > 1 && (unit.substr(1) == "B" || unit.substr(1) == "iB")) unit.resize(1);
  double factor = 1;
  if (unit == "K" || unit == "k") {
    factor = 1024.0;
  } else if (unit == "M") {
    factor = 1024.0 * 1024;
  } else if (unit == "G") {
    factor = 1024.0 * 1024 * 1024;
  } else if (!unit.empty() && unit != "B") {
    return {};
  }
  const double bytes = number * factor;
  if (bytes > 9e15 || bytes != std::floor(bytes)) return {};
  return static_cast<std::uint64_t>(bytes);
}

std::chrono::nanoseconds Timeout::value() const { return given ? *given : kForever; }

void add_common_options(CLI::App& app, Invocation& run) {
  app.set_help_flag("-h,--help", "Show this help");
  const std::string group = "Everywhere";
  app.get_help_ptr()->group(group);
  app.add_flag("--json", run.json, "JSON on stdout, and for errors on stderr")->group(group);
  app.add_flag("-q,--quiet", run.quiet, "No remarks and no progress; failures are still told")
      ->group(group);
  app.add_option("--runtime-dir", run.runtime_dir, "Directory of the daemon's sockets")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--address", run.address, "gRPC address, host:port or unix:/path")
      ->type_name("ADDRESS")
      ->group(group);
  add_choice(app, "--plane", run.plane, {"auto", "shm", "grpc"}, "How to reach the daemon")
      ->group(group);
}

CLI::App* add_verb(CLI::App& noun, const std::string& name, const std::string& summary,
                   const std::string& examples) {
  CLI::App* verb = noun.add_subcommand(name, summary);
  std::string footer = "Examples:\n";
  std::string indent = "  ";
  std::size_t start = 0;
  while (start < examples.size()) {
    const std::size_t end = std::min(examples.find('\n', start), examples.size());
    if (end == start) indent.clear();
    footer += indent + examples.substr(start, end - start) + "\n";
    start = end + 1;
  }
  footer.pop_back();
  verb->footer(footer);
  verb->group("Verbs");
  return verb;
}

CLI::Option* add_name(CLI::App& verb, std::string& name, const std::string& what) {
  return verb.add_option("NAME", name, what)->required()->type_name("");
}

void add_timeout(CLI::App& verb, Timeout& timeout, const std::string& what) {
  verb.add_option_function<std::string>(
          "-t,--timeout",
          [&timeout](const std::string& text) {
            timeout.given = parse_duration(text);
            timeout.text = text;
            if (!timeout.given) {
              throw CLI::ValidationError(
                  "--timeout", "'" + text + "' is not a duration; write 500ms, 5s, 2m or 1h");
            }
          },
          what)
      ->type_name("DURATION");
}

void add_duration(CLI::App& verb, const std::string& flag,
                  std::optional<std::chrono::milliseconds>& value, const std::string& what) {
  verb.add_option_function<std::string>(
          flag,
          [&value, flag](const std::string& text) {
            const auto duration = parse_duration(text);
            if (!duration || duration->count() == 0) {
              throw CLI::ValidationError(
                  flag, "'" + text + "' is not a duration above 0; write 500ms, 5s, 2m or 1h");
            }
            value = std::chrono::ceil<std::chrono::milliseconds>(*duration);
          },
          what)
      ->type_name("DURATION");
}

void add_size(CLI::App& verb, const std::string& flag, std::optional<std::uint64_t>& value,
              const std::string& what) {
  verb.add_option_function<std::string>(
          flag,
          [&value, flag](const std::string& text) {
            value = parse_size(text);
            if (!value) {
              throw CLI::ValidationError(
                  flag, "'" + text + "' is not a size; write 65536, 64K, 16M or 1G");
            }
          },
          what)
      ->type_name("SIZE");
}

void add_count(CLI::App& verb, const std::string& flags, std::optional<std::uint64_t>& value,
               std::uint64_t least, std::uint64_t most, const std::string& what,
               const std::string& type) {
  const std::string flag = flags.substr(flags.rfind(',') + 1);
  verb.add_option_function<std::string>(
          flags,
          [&value, flag, least, most](const std::string& text) {
            std::uint64_t number = 0;
            const auto [end, error] =
                std::from_chars(text.data(), text.data() + text.size(), number);
            const bool whole = error == std::errc() && end == text.data() + text.size();
            if (!whole || number < least || number > most) {
              const std::string upper =
                  most == UINT64_MAX ? " or more" : " to " + std::to_string(most);
              throw CLI::ValidationError(
                  flag, "'" + text + "' is not a number of " + std::to_string(least) + upper);
            }
            value = number;
          },
          what)
      ->type_name(type);
}

CLI::Option* add_choice(CLI::App& verb, const std::string& flag, std::string& word,
                        const std::vector<std::string>& words, const std::string& what) {
  std::string list;
  for (const std::string& each : words) list += (list.empty() ? "" : "|") + each;
  return verb
      .add_option_function<std::string>(
          flag,
          [&word, words, list, flag](const std::string& text) {
            if (std::find(words.begin(), words.end(), text) == words.end()) {
              throw CLI::ValidationError(flag, "'" + text + "' is not one of " + list);
            }
            word = text;
          },
          what)
      ->type_name(list);
}

void add_states(CLI::App& verb, unsigned& states, const std::string& what) {
  verb.add_option_function<std::vector<std::string>>(
          "--state",
          [&states](const std::vector<std::string>& words) {
            states = 0;
            for (const std::string& word : words) {
              unsigned found = word == "all" ? unsigned{kAllStates} : 0;
              for (const auto& [name, bit] : kStates) found |= word == name ? bit : 0;
              if (found == 0) {
                throw CLI::ValidationError(
                    "--state",
                    "'" + word + "' is not a state; write ready, leased, returned, buried or all");
              }
              states |= found;
            }
          },
          what)
      ->type_name("ready|leased|returned|buried|all")
      ->delimiter(',')
      ->expected(1)
      ->take_all();
}

const char* state_name(unsigned state) {
  for (const auto& [name, bit] : kStates) {
    if (state == bit) return name;
  }
  return "unknown";
}

}  // namespace heddle::cli
