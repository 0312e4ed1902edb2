#include "daemon/config/option_table.h"

#include <grp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>

#include "daemon/config/listen_address.h"

namespace heddle::config {
namespace {

using O = Options;
constexpr std::uint64_t kHourMs = 3'600'000;
constexpr std::uint64_t kDayMs = 24 * kHourMs;
constexpr std::size_t kTextBytesMax = 4'096;
constexpr std::size_t kListenMax = 64;
constexpr auto kNone = Unit::kNone;
constexpr auto kBytes = Unit::kBytes;
constexpr auto kMs = Unit::kMilliseconds;

// name, field, unit, min, max, choices, reloadable, default_text, help
const std::array kTable = std::to_array<OptionRow>({
    {"runtime_dir", &O::runtime_dir, kNone, 0, 0, "", false,
     "/run/heddle for root, else $XDG_RUNTIME_DIR/heddle, else /tmp/heddle-UID",
     "Where grpc.sock, local.sock and heddled.pid live. Made when missing (0755; 0700 in /tmp)."},
    {"state_dir", &O::state_dir, kNone, 0, 0, "", false,
     "/var/lib/heddle for root, else $XDG_STATE_HOME/heddle",
     "Where what must survive a cold start is kept. Made when missing (0700)."},
    {"log_file", &O::log_file, kNone, 0, 0, "", false, "stderr; syslog with --daemonize",
     "A path to append to (opened anew by SIGHUP), \"syslog\", or \"\" for the default."},
    {"log_level", &O::log_level, kNone, 0, 0, "error|warning|notice|info|debug", true, "",
     "The least severe lines that are logged."},
    {"listen", &O::listen, kNone, 0, 0, "", false, "",
     "TCP addresses for gRPC beside the unix socket, such as \"127.0.0.1:7420\" or "
     "\"[::1]:7420\". Plaintext is served on 127.0.0.1 and ::1 only; any other address needs "
     "mutual TLS and is refused."},
    {"connect_group", &O::connect_group, kNone, 0, 0, "", false, "",
     "Only root, the daemon's user and members of this group may connect to the unix sockets. "
     "\"\" lets everybody connect; objects have rights of their own."},
    {"drain_ms", &O::drain_ms, kMs, 0, kHourMs, "", true, "",
     "How long a stop waits for calls in flight before the broker is killed."},
    {"start_ms_max", &O::start_ms_max, kMs, 100, kHourMs, "", true, "",
     "A broker that is not ready after this time is killed and started again."},
    {"broker_restart_ms_min", &O::broker_restart_ms_min, kMs, 1, kHourMs, "", true, "",
     "Wait before the second restart of a broker that keeps dying; it doubles each time. The "
     "first restart is immediate, and 10 s of health forget the past."},
    {"broker_restart_ms_max", &O::broker_restart_ms_max, kMs, 1, kHourMs, "", true, "",
     "The longest wait between two restarts of the broker."},
    {"scan_ms", &O::scan_ms, kMs, 1, 10'000, "", true, "",
     "How often the broker looks after objects that somebody waits for."},
    {"deadlock_policy", &O::deadlock_policy, kNone, 0, 0, "youngest|lowest_priority|report_only",
     true, "",
     "Which wait of a circle of waits is ended with DEADLOCK_DETECTED: the one that began last, or "
     "the one with the lowest priority (of several the youngest). With report_only none is: the "
     "circle is logged and listed by heddle lock deadlocks, and stands."},
    {"memory_max", &O::memory_max, kBytes, 0, std::uint64_t{1} << 50, "", true,
     "half of what the machine and the cgroup have left at start",
     "Byte budget of all objects together, exact: memory is granted before it is used. Beyond it "
     "calls answer MEMORY_EXHAUSTED. 0 is the default."},
    {"memory_per_uid_max", &O::memory_per_uid_max, kBytes, 0, std::uint64_t{1} << 50, "", true, "",
     "Byte budget of all objects of one user; root is exempt. Beyond it creating answers QUOTA and "
     "putting MEMORY_EXHAUSTED. 0 is no limit but memory_max."},
    {"sessions_max", &O::sessions_max, kNone, 1, 60'000, "", true, "",
     "Sessions of local and remote clients at one time."},
    {"sessions_per_uid_max", &O::sessions_per_uid_max, kNone, 1, 60'000, "", true, "",
     "Sessions of one user at one time, beyond which opening one answers QUOTA; root is exempt."},
    {"objects_per_uid_max", &O::objects_per_uid_max, kNone, 1, 10'000'000, "", true, "",
     "Objects that one user may own; root is exempt."},
    {"connections_per_uid_max", &O::connections_per_uid_max, kNone, 1, 60'000, "", true, "",
     "Connections that one user may hold open, to each of the two sockets."},
    {"streams_per_connection_max", &O::streams_per_connection_max, kNone, 1, 1'000'000, "", false,
     "", "gRPC calls in flight on one connection."},
    {"grpc_message_bytes_max", &O::grpc_message_bytes_max, kBytes, 64 * kKiB, 2 * kGiB - 1, "",
     false, "", "The largest gRPC message that is accepted. Leave room above queue_max_msg_bytes."},
    {"session_lease_ms", &O::session_lease_ms, kMs, 1'000, kDayMs, "", true, "",
     "A remote session that is silent for this long has ended. Clients renew at a third of it."},
    {"handle_hold_ms", &O::handle_hold_ms, kMs, 10, kDayMs, "", true, "",
     "A handle that was passed on, and a call without a session, count as attached for this time: "
     "a queue with lifetime attached stays at least so long."},
    {"message_lease_ms", &O::message_lease_ms, kMs, 100, kDayMs, "", true, "",
     "A message leased by a call without a session returns to its queue after this time."},
    {"queue_max_len", &O::queue_max_len, kNone, 1, kQueueLenMax, "", true, "",
     "Default limit of messages in a new queue."},
    {"queue_max_bytes", &O::queue_max_bytes, kBytes, 1, std::uint64_t{1} << 40, "", true, "",
     "Default limit of bytes in a new queue."},
    {"queue_max_msg_bytes", &O::queue_max_msg_bytes, kBytes, 1, kGiB, "", true, "",
     "Default limit of one message in a new queue. What is above grpc_message_bytes_max goes over "
     "shared memory only."},
    {"queue_max_leases", &O::queue_max_leases, kNone, 1, kQueueLenMax, "", true, "",
     "Default limit of messages of a new queue that are leased at one time."},
});

struct Suffix {
  std::string_view text;
  std::uint64_t factor;
};
constexpr Suffix kByteSuffixes[] = {
    {"", 1},       {"B", 1},          {"K", kKiB},          {"KiB", kKiB},
    {"M", kMiB},   {"MiB", kMiB},     {"G", kGiB},          {"GiB", kGiB},
    {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
constexpr Suffix kTimeSuffixes[] = {
    {"", 1}, {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", kHourMs}};
constexpr Suffix kNoSuffixes[] = {{"", 1}};

std::span<const Suffix> suffixes_of(Unit unit) {
  if (unit == Unit::kBytes) return kByteSuffixes;
  if (unit == Unit::kMilliseconds) return kTimeSuffixes;
  return kNoSuffixes;
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

Status bad_value(const OptionRow& row, const std::string& value) {
  return Status(Reason::kInvalidArgument,
                quoted(row.name) + " must be " + expectation_of(row) + "; it is " + value);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return out;
}

// A key that contains the unknown one, or the other way round, is nearer than its length says.
std::size_t distance(std::string_view unknown, std::string_view name) {
  const std::size_t edits = edit_distance(unknown, name);
  const bool part = unknown.size() >= 3 && (name.find(unknown) != std::string_view::npos ||
                                            unknown.find(name) != std::string_view::npos);
  return part ? edits / 3 : edits;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::span<const OptionRow> option_table() { return kTable; }

const OptionRow* find_option(std::string_view name) {
  const auto found = std::find_if(kTable.begin(), kTable.end(),
                                  [name](const OptionRow& row) { return row.name == name; });
  return found == kTable.end() ? nullptr : &*found;
}

std::string_view nearest_option(std::string_view unknown) {
  const std::string key = lowered(unknown);
  const auto nearest = std::min_element(kTable.begin(), kTable.end(),
                                        [&key](const OptionRow& a, const OptionRow& b) {
                                          return distance(key, a.name) < distance(key, b.name);
                                        });
  const bool near = distance(key, nearest->name) <= std::max<std::size_t>(3, key.size() / 2);
  return near ? nearest->name : std::string_view();
}

std::string flag_of(const OptionRow& row) {
  std::string flag = "--" + std::string(row.name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string expectation_of(const OptionRow& row) {
  if (std::holds_alternative<std::vector<std::string> O::*>(row.field)) return "a list of texts";
  if (!row.choices.empty()) {
    std::string list = "one of " + quoted(row.choices);
    for (std::size_t at; (at = list.find('|')) != std::string::npos;) list.replace(at, 1, "\", \"");
    return list;
  }
  if (std::holds_alternative<std::string O::*>(row.field)) return "a text";
  const std::string range = std::to_string(row.min) + " to " + std::to_string(row.max);
  switch (row.unit) {
    case Unit::kBytes:
      return "a number of bytes, " + range + ", or a text such as \"64MiB\"";
    case Unit::kMilliseconds:
      return "a number of milliseconds, " + range + ", or a text such as \"10s\"";
    case Unit::kNone:
      break;
  }
  return "a whole number, " + range;
}

std::string value_text(const OptionRow& row, const Options& options) {
  if (const auto* number = std::get_if<std::uint64_t O::*>(&row.field)) {
    return std::to_string(options.**number);
  }
  if (const auto* text = std::get_if<std::string O::*>(&row.field)) {
    return json_string(options.**text);
  }
  std::string out = "[";
  for (const std::string& item : options.*std::get<std::vector<std::string> O::*>(row.field)) {
    out += (out.size() > 1 ? ", " : "") + json_string(item);
  }
  return out + "]";
}

Status set_number(const OptionRow& row, std::uint64_t value, Options* options) {
  const auto* field = std::get_if<std::uint64_t O::*>(&row.field);
  if (!field || value < row.min || value > row.max) {
    return bad_value(row, std::to_string(value));
  }
  options->** field = value;
  return Status();
}

Status set_from_text(const OptionRow& row, std::string_view text, Options* options) {
  if (const auto* list = std::get_if<std::vector<std::string> O::*>(&row.field)) {
    auto& items = options->**list;
    items.clear();
    while (!text.empty()) {
      const std::size_t comma = std::min(text.find(','), text.size());
      if (comma > 0) items.emplace_back(text.substr(0, comma));
      text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return Status();
  }
  if (const auto* field = std::get_if<std::string O::*>(&row.field)) {
    const std::string choices = "|" + std::string(row.choices) + "|";
    if (!row.choices.empty() && choices.find("|" + std::string(text) + "|") == std::string::npos) {
      return bad_value(row, quoted(text));
    }
    if (text.find('\0') != std::string_view::npos) return bad_value(row, "a text with a zero byte");
    if (text.size() > kTextBytesMax) {
      return bad_value(row, std::to_string(text.size()) + " bytes long, 4096 at most");
    }
    options->** field = text;
    return Status();
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const auto suffixes = suffixes_of(row.unit);
  const auto found = std::find_if(suffixes.begin(), suffixes.end(),
                                  [suffix](const Suffix& s) { return s.text == suffix; });
  if (error != std::errc() || found == suffixes.end() ||
      number > std::numeric_limits<std::uint64_t>::max() / found->factor) {
    return bad_value(row, quoted(text));
  }
  return set_number(row, number * found->factor, options);
}

Status validate(const Options& options) {
  if (options.listen.size() > kListenMax) {
    return Status(Reason::kInvalidArgument, "\"listen\" has too many addresses")
        .with_limit(kListenMax, options.listen.size());
  }
  for (const std::string& address : options.listen) {
    const Result<ListenAddress> parsed = parse_listen_address(address);
    if (!parsed.ok()) return parsed.status();
  }
  if (!options.connect_group.empty() && !::getgrnam(options.connect_group.c_str())) {
    return Status(Reason::kInvalidArgument, "\"connect_group\" names the group " +
                                                quoted(options.connect_group) +
                                                ", which does not exist here");
  }
  if (options.queue_max_msg_bytes > options.queue_max_bytes) {
    return Status(Reason::kInvalidArgument,
                  "\"queue_max_msg_bytes\" (" + std::to_string(options.queue_max_msg_bytes) +
                      ") is above \"queue_max_bytes\" (" + std::to_string(options.queue_max_bytes) +
                      "): no such message could be put");
  }
  if (options.broker_restart_ms_min > options.broker_restart_ms_max) {
    return Status(Reason::kInvalidArgument,
                  "\"broker_restart_ms_min\" (" + std::to_string(options.broker_restart_ms_min) +
                      ") is above \"broker_restart_ms_max\" (" +
                      std::to_string(options.broker_restart_ms_max) + ")");
  }
  return Status();
}

}  // namespace heddle::config
