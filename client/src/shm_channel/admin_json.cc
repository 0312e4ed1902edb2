#include "client/src/shm_channel/admin_json.h"

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace heddle::detail {

namespace {

using Json = nlohmann::json;

// Discarded if the text is not an object.
Json object_of(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json(Json::value_t::discarded);
}

Status unreadable() {
  return Status(Reason::kInternal, "the broker's answer is not the JSON it promised");
}

const Json& member(const Json& json, const char* name) {
  static const Json kNone;
  if (!json.is_object()) return kNone;
  const auto found = json.find(name);
  return found != json.end() ? *found : kNone;
}

template <typename T>
T number(const Json& json, const char* name) {
  const Json& value = member(json, name);
  return value.is_number_integer() ? value.get<T>() : T{};
}

bool flag(const Json& json, const char* name) {
  const Json& value = member(json, name);
  return value.is_boolean() && value.get<bool>();
}

std::string text_of(const Json& json, const char* name) {
  const Json& value = member(json, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The value whose name the field has.
template <typename Enum, std::size_t N>
Enum choice(const Json& json, const char* name,
            const std::pair<std::string_view, Enum> (&choices)[N]) {
  const std::string text = text_of(json, name);
  for (const auto& [word, value] : choices) {
    if (word == text) return value;
  }
  return choices[0].second;
}

constexpr std::pair<std::string_view, Overflow> kOverflows[] = {
    {"block", Overflow::kBlock},
    {"reject", Overflow::kReject},
    {"drop_oldest", Overflow::kDropOldest}};
constexpr std::pair<std::string_view, Eos> kEnds[] = {{"manual", Eos::kManual},
                                                      {"last_producer", Eos::kLastProducer}};
constexpr std::pair<std::string_view, OnProducerDeath> kDeaths[] = {
    {"wait", OnProducerDeath::kWait},
    {"close", OnProducerDeath::kClose},
    {"error", OnProducerDeath::kError}};

constexpr std::pair<std::string_view, Lifetime> kLifetimes[] = {
    {"kept", Lifetime::kKept},
    {"attached", Lifetime::kAttached},
    {"session", Lifetime::kSession}};

// "0640": octal, as people write it.
std::uint32_t mode_of(const std::string& text) {
  std::uint32_t mode = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  return mode;
}

QueueOptions options_of(const Json& json) {
  QueueOptions options;
  options.max_len = number<std::uint64_t>(json, "max_len");
  options.max_bytes = number<std::uint64_t>(json, "max_bytes");
  options.max_msg_bytes = number<std::uint64_t>(json, "max_msg_bytes");
  options.max_leases = number<std::uint32_t>(json, "max_leases");
  options.max_deliveries = number<std::uint32_t>(json, "max_deliveries");
  options.overflow = choice(json, "overflow", kOverflows);
  options.eos = choice(json, "eos", kEnds);
  options.on_producer_death = choice(json, "on_producer_death", kDeaths);
  return options;
}

QueueCounts counts_of(const Json& json) {
  QueueCounts counts;
  counts.ready = number<std::uint64_t>(json, "ready");
  counts.leased = number<std::uint64_t>(json, "leased");
  counts.returned = number<std::uint64_t>(json, "returned");
  counts.buried = number<std::uint64_t>(json, "buried");
  counts.unfinished = counts.ready + counts.leased + counts.returned;
  counts.bytes = number<std::uint64_t>(json, "bytes");
  counts.puts = number<std::uint64_t>(json, "puts");
  counts.acks = number<std::uint64_t>(json, "takes");
  counts.gets = counts.acks + counts.leased;
  counts.drops = number<std::uint64_t>(json, "drops");
  counts.producers = number<std::uint32_t>(json, "producers");
  counts.closed = flag(json, "closed");
  return counts;
}

QueueInfo queue_of(const Json& json) {
  QueueInfo info;
  info.name = text_of(json, "name");
  info.object_id = number<std::uint64_t>(json, "id");
  info.options = options_of(member(json, "options"));
  info.options.mode = mode_of(text_of(json, "mode"));
  info.options.lifetime = choice(json, "lifetime", kLifetimes);
  info.options.group = text_of(json, "group");
  info.owner_uid = number<std::uint32_t>(json, "uid");
  info.owner_gid = number<std::uint32_t>(json, "gid");
  info.attached = number<std::uint32_t>(json, "attached");
  info.counts = counts_of(member(json, "counts"));
  return info;
}

SessionInfo session_of(const Json& json) {
  SessionInfo info;
  info.owner = number<std::uint16_t>(json, "owner");
  info.generation = number<std::uint32_t>(json, "generation");
  info.plane = text_of(json, "plane") == "grpc" ? Plane::kGrpc : Plane::kShm;
  info.pid = number<std::int32_t>(json, "pid");
  info.uid = number<std::uint32_t>(json, "uid");
  info.name = text_of(json, "name");
  info.command = text_of(json, "command");
  info.attached = number<std::uint32_t>(json, "attached");
  info.age = std::chrono::milliseconds(number<std::int64_t>(json, "age_ms"));
  return info;
}

}  // namespace

Result<QueueInfo> parse_queue_info(const std::string& text) {
  const Json json = object_of(text);
  if (json.is_discarded()) return unreadable();
  return queue_of(json);
}

Result<std::string> parse_name(const std::string& text) {
  const Json json = object_of(text);
  if (json.is_discarded()) return unreadable();
  return text_of(json, "name");
}

Result<std::string> parse_list(const std::string& text, std::vector<QueueInfo>* out) {
  const Json json = object_of(text);
  if (json.is_discarded()) return unreadable();
  for (const Json& row : member(json, "objects")) out->push_back(queue_of(row));
  return text_of(json, "next_page_token");
}

Result<std::string> parse_sessions(const std::string& text, std::vector<SessionInfo>* out) {
  const Json json = object_of(text);
  if (json.is_discarded()) return unreadable();
  for (const Json& row : member(json, "sessions")) out->push_back(session_of(row));
  return text_of(json, "next_page_token");
}

Result<BrokerStatus> parse_status(const std::string& text) {
  const Json json = object_of(text);
  if (json.is_discarded()) return unreadable();
  BrokerStatus status;
  status.version = text_of(json, "version");
  status.pid = number<std::int32_t>(json, "broker_pid");
  status.supervisor_pid = number<std::int32_t>(json, "supervisor_pid");
  status.incarnation = number<std::uint32_t>(json, "incarnation");
  status.uptime = std::chrono::milliseconds(number<std::int64_t>(json, "uptime_ms"));
  status.queues = number<std::uint64_t>(json, "objects");
  status.sessions = number<std::uint64_t>(json, "sessions_local") +
                    number<std::uint64_t>(json, "sessions_remote");
  status.memory_bytes = number<std::uint64_t>(json, "memory_bytes");
  status.memory_budget_bytes = number<std::uint64_t>(json, "memory_bytes_max");
  return status;
}

std::map<std::uint64_t, Holder> parse_holders(const std::string& text) {
  std::map<std::uint64_t, Holder> holders;
  const Json json = object_of(text);
  for (const Json& row : member(json, "holders")) {
    holders[number<std::uint64_t>(row, "id")] = {.pid = number<std::int32_t>(row, "pid"),
                                                 .uid = number<std::uint32_t>(row, "uid"),
                                                 .command = text_of(row, "command")};
  }
  return holders;
}

}  // namespace heddle::detail
