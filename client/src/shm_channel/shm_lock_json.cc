#include "client/src/shm_channel/shm_lock_json.h"

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace heddle::detail {

namespace {

using Json = nlohmann::json;

const Json& member(const Json& json, const char* name) {
  static const Json kNone;
  if (!json.is_object()) return kNone;
  const auto found = json.find(name);
  return found != json.end() ? *found : kNone;
}

template <typename T>
T number(const Json& json, const char* name, T missing = {}) {
  const Json& value = member(json, name);
  return value.is_number_integer() ? value.get<T>() : missing;
}

bool flag(const Json& json, const char* name) {
  const Json& value = member(json, name);
  return value.is_boolean() && value.get<bool>();
}

std::string text_of(const Json& json, const char* name) {
  const Json& value = member(json, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The position of the field's text in `words`; 0 if it is none of them.
template <typename Enum, std::size_t N>
Enum choice(const Json& json, const char* name, const std::string_view (&words)[N]) {
  const std::string text = text_of(json, name);
  for (std::size_t i = 0; i < N; ++i) {
    if (words[i] == text) return static_cast<Enum>(i);
  }
  return Enum{};
}

constexpr std::string_view kKinds[] = {"lock", "sem", "condition", "event", "barrier"};
constexpr std::string_view kLockKinds[] = {"mutex", "rlock", "rw"};
constexpr std::string_view kModes[] = {"exclusive", "shared", "update"};
constexpr std::string_view kLifetimes[] = {"kept", "attached", "session"};
constexpr std::string_view kPolicies[] = {"flag", "silent", "poison"};
constexpr std::string_view kFairness[] = {"barging", "strict"};

LockParty party_of(const Json& json, bool waits) {
  LockParty party;
  party.session = number<std::uint16_t>(json, "owner");
  party.thread = number<std::uint16_t>(json, "thread");
  party.pid = number<std::int32_t>(json, "pid");
  party.uid = number<std::uint32_t>(json, "uid");
  party.command = text_of(json, "command");
  party.mode = choice<LockMode>(json, "mode", kModes);
  party.waits = waits;
  party.since = std::chrono::milliseconds(number<std::int64_t>(json, "age_ms", -1));
  return party;
}

void add_parties(const Json& list, bool waits, std::vector<LockParty>* out) {
  if (!list.is_array()) return;
  for (const Json& one : list) out->push_back(party_of(one, waits));
}

LockInfo info_of(const Json& json) {
  LockInfo info;
  info.kind = choice<SyncKind>(json, "kind", kKinds);
  info.lock_kind = choice<LockKind>(json, "lock_kind", kLockKinds);
  info.counting = text_of(json, "lock_kind") == "counting";
  info.name = text_of(json, "name");
  info.object_id = number<std::uint64_t>(json, "id");
  info.owner_uid = number<std::uint32_t>(json, "uid");
  info.owner_gid = number<std::uint32_t>(json, "gid");
  const std::string mode = text_of(json, "mode");  // "0640", as people write it
  (void)std::from_chars(mode.data(), mode.data() + mode.size(), info.mode, 8);
  info.lifetime = choice<Lifetime>(json, "lifetime", kLifetimes);
  info.on_owner_death = choice<OwnerDeath>(json, "policy", kPolicies);
  info.fair = choice<Fairness>(json, "fair", kFairness);
  info.lock_delay = std::chrono::milliseconds(number<std::int64_t>(json, "lock_delay_ms"));
  info.attached = number<std::uint32_t>(json, "attached");
  info.token = number<std::uint64_t>(json, "token");
  info.limit = number<std::uint32_t>(json, info.counting ? "count_max" : "count");
  info.free = number<std::uint32_t>(json, "free");
  info.arrived = number<std::uint32_t>(json, "arrived");
  info.set = flag(json, "set");
  info.broken = flag(json, "broken");
  info.poisoned = flag(json, "poisoned");
  info.abandoned = flag(json, "abandoned");
  add_parties(member(json, "holders"), false, &info.holders);
  add_parties(member(json, "waiters"), true, &info.waiters);
  return info;
}

Status unreadable() {
  return Status(Reason::kInternal, "the broker's answer is not the JSON it promised");
}

}  // namespace

Result<LockInfo> parse_lock_info(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return unreadable();
  return info_of(json);
}

Result<std::string> parse_lock_list(const std::string& text, std::vector<LockInfo>* out) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return unreadable();
  const Json& objects = member(json, "objects");
  if (objects.is_array()) {
    for (const Json& one : objects) out->push_back(info_of(one));
  }
  return text_of(json, "next_page_token");
}

Result<std::uint64_t> parse_deadlocks(const std::string& text,
                                      std::vector<std::string>* newest_first) {
  const Json json = Json::parse(text, nullptr, false);
  const Json& reports = member(json, "deadlocks");
  if (!reports.is_array()) return unreadable();
  std::uint64_t before = 0;
  for (const Json& report : reports) {
    newest_first->push_back(report.dump());
    before = number<std::uint64_t>(report, "number");
  }
  return number<std::uint64_t>(json, "left_off") == 0 ? 0 : before;
}

std::string deadlocks_text(const std::vector<std::string>& newest_first) {
  std::string text;
  for (auto report = newest_first.rbegin(); report != newest_first.rend(); ++report) {
    text += (text.empty() ? "" : ",") + *report;
  }
  return "{\"deadlocks\":[" + text + "]}";
}

std::string parse_own_deadlock(const std::string& text, std::int32_t pid) {
  const Json json = Json::parse(text, nullptr, false);
  const Json& reports = member(json, "deadlocks");
  if (!reports.is_array()) return {};
  std::string found;
  std::uint64_t latest = 0;
  for (const Json& report : reports) {
    const auto at = number<std::uint64_t>(report, "number");
    const Json& circle = member(report, "circle");
    if (at < latest || !circle.is_array()) continue;
    for (const Json& one : circle) {
      if (!flag(one, "victim") || number<std::int32_t>(one, "pid") != pid) continue;
      latest = at;
      found = text_of(report, "text");
    }
  }
  return found;
}

}  // namespace heddle::detail
