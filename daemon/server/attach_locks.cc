#include "daemon/server/attach_locks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "daemon/os/log.h"
#include "daemon/server/attach_calls.h"

namespace heddle::server {
namespace {

using broker::LockRef;
using local::ObjectKind;
using nlohmann::json;

constexpr ObjectKind kKinds[] = {ObjectKind::kLock, ObjectKind::kSemaphore, ObjectKind::kCondition,
                                 ObjectKind::kEvent, ObjectKind::kBarrier};

/// As text that fits one packet: rows go from the end of the longest of `lists`, and "left_off"
/// says how many did.
std::string fitting(json out, std::initializer_list<const char*> lists, size_t bytes_max) {
  std::string text = text_of(out);
  uint64_t left_off = 0;
  while (text.size() > bytes_max) {
    json* longest = nullptr;
    for (const char* list : lists) {
      if (longest == nullptr || out[list].size() > longest->size()) longest = &out[list];
    }
    if (longest->empty()) break;
    const size_t keep = longest->size() * bytes_max / text.size() * 9 / 10;
    left_off += longest->size() - keep;
    longest->erase(longest->begin() + static_cast<ptrdiff_t>(keep), longest->end());
    out["left_off"] = left_off;
    text = text_of(out);
  }
  return text;
}

const char* mode_name(shm::LockMode mode) {
  static constexpr const char* kNames[] = {"exclusive", "shared", "update"};
  return kNames[static_cast<size_t>(mode) % 3];
}

json party_json(const objects::LockParty& party) {
  json out = {{"session", party.owner.session_id},
              {"owner", party.number},
              {"thread", party.thread},
              {"pid", party.owner.pid},
              {"uid", party.owner.uid},
              {"command", party.owner.command},
              {"plane", party.owner.remote ? "grpc" : "shm"},
              {"mode", mode_name(party.mode)}};
  if (party.age_ms >= 0) out["age_ms"] = party.age_ms;
  return out;
}

json lock_json(const LockRef& ref) {
  static constexpr const char* kLifetime[] = {"kept", "attached", "session"};
  static constexpr const char* kPolicy[] = {"flag", "silent", "poison"};
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", ref.options.mode & 0777u);
  const auto lock_kind = static_cast<shm::LockKind>(ref.options.lock_kind);
  return {{"kind", broker::noun_of(ref.kind)},
          {"lock_kind", broker::lock_kind_name(lock_kind)},
          {"name", ref.name},
          {"id", ref.object_id},
          {"uid", ref.uid},
          {"gid", ref.gid},
          {"mode", mode},
          {"lifetime", kLifetime[ref.options.lifetime % 3]},
          {"policy", kPolicy[ref.options.policy % 3]},
          {"fair", ref.options.fair != 0 ? "strict" : "barging"},
          {"count", ref.options.count},
          {"count_max", ref.options.count_max},
          {"lock_delay_ms", ref.options.lock_delay_ms},
          {"attached", ref.attached}};
}

json inspect_json(broker::Core& core, const LockRef& ref) {
  json out = lock_json(ref);
  const objects::LockInfo info = ref.lock->inspect();
  out["token"] = info.token;
  out["poisoned"] = info.poisoned;
  out["abandoned"] = info.abandoned;
  const auto kind = static_cast<shm::LockKind>(ref.options.lock_kind);
  if (kind == shm::LockKind::kSemaphore || kind == shm::LockKind::kCounting) {
    out["free"] = info.free;
  }
  if (kind == shm::LockKind::kEvent) out["set"] = info.set;
  if (kind == shm::LockKind::kBarrier) {
    out["arrived"] = info.arrived;
    out["broken"] = info.broken;
  }
  out["holders"] = json::array();
  out["waiters"] = json::array();
  for (const objects::LockParty& party : info.parties) {
    // Local ones that stand in a cell have published what they wait for: told below, with an age.
    if (party.waits && !party.owner.remote) continue;
    out[party.waits ? "waiters" : "holders"].push_back(party_json(party));
  }
  for (const auto& party : core.local_waiters(ref)) out["waiters"].push_back(party_json(party));
  return out;
}

json deadlock_json(const broker::DeadlockReport& report) {
  json circle = json::array();
  for (const broker::DeadlockMember& m : report.circle) {
    circle.push_back({{"name", m.lock},
                      {"kind", m.kind},
                      {"mode", m.mode},
                      {"session", m.session_id},
                      {"pid", m.pid},
                      {"uid", m.uid},
                      {"command", m.command},
                      {"thread", m.thread},
                      {"plane", m.remote ? "grpc" : "shm"},
                      {"age_ms", m.age_ms},
                      {"priority", m.priority},
                      {"victim", m.victim}});
  }
  return {{"number", report.number},
          {"found_unix_ms", report.found_unix_ms},
          {"text", report.text()},
          {"circle", std::move(circle)}};
}

bool may_see(const objects::Caller& caller, uid_t uid) {
  return caller.uid == 0 || caller.uid == uid || caller.uid == ::geteuid();
}

/// The newest first, those before number `before` (0: all).
json deadlocks_json(broker::Core& core, const objects::Caller& caller, uint64_t before) {
  json out = {{"deadlocks", json::array()}};
  const std::vector<broker::DeadlockReport> reports = core.deadlocks().reports();
  for (auto report = reports.rbegin(); report != reports.rend(); ++report) {
    if (before != 0 && report->number >= before) continue;
    const bool visible = std::any_of(report->circle.begin(), report->circle.end(),
                                     [&](const auto& m) { return may_see(caller, m.uid); });
    if (visible) out["deadlocks"].push_back(deadlock_json(*report));
  }
  return out;
}

json orders_json(broker::Core& core) {
  json out = {{"orders", json::array()}};
  for (const broker::OrderReport& order : core.deadlocks().order_reports()) {
    out["orders"].push_back({{"first", order.first},
                             {"second", order.second},
                             {"command", order.command},
                             {"other_command", order.other_command},
                             {"found_unix_ms", order.found_unix_ms}});
  }
  return out;
}

json holder_json(broker::Core& core, uint32_t holder) {
  const objects::OwnerInfo owner = core.describe_owner(shm::owner_in(holder));
  return {{"session", owner.session_id},
          {"pid", owner.pid},
          {"uid", owner.uid},
          {"command", owner.command},
          {"thread", shm::thread_in(holder)}};
}

json graph_json(broker::Core& core, const objects::Caller& caller) {
  json out = {{"edges", json::array()}};
  for (const auto& [wait, holders] : core.deadlocks().graph()) {
    if (!wait.session || !may_see(caller, wait.session->uid)) continue;
    const auto lock = core.lock_by_object(wait.object);
    const auto queue = lock ? nullptr : core.queue_by_object(wait.object);
    const auto pipe = lock || queue ? nullptr : core.pipe_by_object(wait.object);
    if (!lock && !queue && !pipe) continue;
    json edge = {{"waiter", holder_json(core, wait.holder)},
                 {"name", lock    ? lock->name()
                          : queue ? queue->name()
                                  : pipe->name()},
                 {"kind", lock    ? broker::lock_kind_name(lock->view().kind())
                          : queue ? "queue"
                                  : "pipe"},
                 {"age_ms", wait.age_ms},
                 {"holders", json::array()}};
    for (const uint32_t holder : holders) edge["holders"].push_back(holder_json(core, holder));
    out["edges"].push_back(std::move(edge));
  }
  return out;
}

json listed_json(const LockRef& ref) {
  json one = lock_json(ref);
  const auto parties = ref.lock->inspect().parties;
  one["holders"] = std::count_if(parties.begin(), parties.end(),
                                 [](const objects::LockParty& party) { return !party.waits; });
  return one;
}

// As many as are asked for, or as fit.
Result<std::string> list(broker::Core& core, const objects::Caller& caller, ObjectKind kind,
                         const json& asked, size_t bytes_max) {
  constexpr size_t kFrameBytes = 64;
  const size_t page = std::clamp<size_t>(asked.value("page_size", 100u), 1, 1000);
  const std::string prefix = asked.value("prefix", ""), after = asked.value("page_token", "");
  const std::vector<LockRef> refs = core.list_locks(caller, kind, prefix, after, page);
  json objects = json::array();
  size_t bytes = kFrameBytes;
  for (const LockRef& ref : refs) {
    json one = listed_json(ref);
    bytes += text_of(one).size() + 1;
    if (bytes + ref.name.size() > bytes_max && !objects.empty()) break;
    objects.push_back(std::move(one));
  }
  const size_t n = objects.size();
  const bool more = n < refs.size() || (n != 0 && n == page);
  return text_of({{"objects", std::move(objects)},
                  {"next_page_token", more ? refs[n - 1].name : std::string()}});
}

Result<ObjectKind> kind_of(const std::string& noun) {
  for (const ObjectKind kind : kKinds) {
    if (noun == broker::noun_of(kind)) return kind;
  }
  return Status(Reason::kInvalidArgument,
                "kind is one of lock, sem, condition, event, barrier; not '" + noun + "'");
}

}  // namespace

Result<std::string> answer_lock_call(broker::Core& core, const objects::Caller& caller,
                                     std::string_view text, size_t bytes_max) {
  const auto flat = [](int depth, json::parse_event_t, json&) { return depth < 3; };
  const json asked = json::parse(text.empty() ? "{}" : text, flat, false);
  if (!asked.is_object()) {
    return Status(Reason::kInvalidArgument, "the arguments are not a JSON object");
  }
  try {
    const std::string what = asked.value("do", "");
    if (what == "deadlocks") {
      return fitting(deadlocks_json(core, caller, asked.value("before", uint64_t{0})),
                     {"deadlocks"}, bytes_max);
    }
    if (what == "orders") return fitting(orders_json(core), {"orders"}, bytes_max);
    if (what == "graph") return fitting(graph_json(core, caller), {"edges"}, bytes_max);
    const Result<ObjectKind> kind = kind_of(asked.value("kind", "lock"));
    if (!kind.ok()) return kind.status();
    if (what == "list") return list(core, caller, *kind, asked, bytes_max);
    objects::Caller looker = caller;
    looker.session_id = 0;  // looking is not using
    const bool look = what == "inspect";
    if (!look && what != "force_release" && what != "repair") {
      return Status(Reason::kUnsupported, "there is no such call: '" + what + "'");
    }
    const auto ref = core.find_lock(looker, *kind, asked.value("name", ""),
                                    look ? broker::Need::kRead : broker::Need::kOwner);
    if (!ref.ok()) return ref.status();
    const auto inspected = [&] {
      return fitting(inspect_json(core, *ref), {"waiters", "holders"}, bytes_max);
    };
    if (look) return inspected();
    os::log(os::LogLevel::kNotice, "%s of %s %s by uid %u, pid %d", what.c_str(),
            broker::noun_of(*kind), ref->name.c_str(), caller.uid, static_cast<int>(caller.pid));
    Status status = what == "repair" ? ref->lock->repair()
                                     : ref->lock->force_release(
                                           static_cast<uint16_t>(asked.value("session", 0u)),
                                           asked.value("thread", -1));
    if (!status.ok()) return status;
    return inspected();
  } catch (const json::exception& error) {
    return Status(Reason::kInvalidArgument,
                  std::string("an argument is of the wrong type: ") + error.what());
  }
}

}  // namespace heddle::server
