// What a person sees: lists, descriptions, sessions, totals.
#include <algorithm>

#include "daemon/broker/core.h"
#include "daemon/broker/rights.h"

namespace heddle::broker {
namespace {

constexpr uint32_t kPageDefault = 100;
constexpr uint32_t kPageMax = 1000;

uint32_t page_of(uint32_t asked) {
  return asked == 0 ? kPageDefault : std::min(asked, kPageMax);
}

}  // namespace

ObjectInfo Core::info_of(const Caller& caller, const Object& object) const {
  ObjectInfo info;
  info.kind = static_cast<ObjectKind>(object.entry.kind);
  info.object_id = object.id;
  info.name = object.name;
  info.uid = object.entry.uid;
  info.gid = object.entry.gid;
  info.rights = rights_of(caller, {object.entry.uid, object.entry.gid, object.entry.options.mode});
  info.options = object.entry.options;
  info.quarantined = object.damaged();
  if (object.queue && !info.quarantined) info.counts = object.queue->counts();
  if (object.queue) info.waiting = object.queue->waiting_callers();
  if (object.segment) info.memory_bytes = object.segment->real_bytes();
  info.attached = object.attached;
  return info;
}

Result<ObjectPage> Core::list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                              uint32_t page_size, std::string_view page_token) {
  const size_t size = page_of(page_size);
  std::string start(prefix);
  if (start.starts_with("~/")) start = "uid-" + std::to_string(caller.uid) + start.substr(1);
  ObjectPage page;
  std::lock_guard lock(registry_);
  // The token is the last name of the page before; what was deleted since shifts nothing.
  auto it = page_token.empty() ? names_.lower_bound(start) : names_.upper_bound(page_token);
  for (; it != names_.end() && it->first.starts_with(start); ++it) {
    const Object& object = *it->second;
    const Protection protection{object.entry.uid, object.entry.gid, object.entry.options.mode};
    if (object.entry.kind != static_cast<uint8_t>(kind)) continue;
    if ((rights_of(caller, protection) & local::kRightRead) == 0) continue;
    if (page.objects.size() == size) {
      page.next_page_token = page.objects.back().name;
      break;
    }
    page.objects.push_back(info_of(caller, object));
  }
  return page;
}

Result<ObjectInfo> Core::describe(const Caller& caller, ObjectKind, std::string_view name) {
  std::lock_guard lock(registry_);
  const Result<ObjectRef> object = allowed_locked(caller, name, local::kRightRead);
  if (!object.ok()) return object.status();
  return info_of(caller, **object);
}

Result<SessionPage> Core::sessions(const Caller& caller, uint32_t page_size,
                                   std::string_view page_token) {
  uint64_t after = 0;
  for (const char digit : page_token) {
    if (digit < '0' || digit > '9' || page_token.size() > 19) {
      return Status(Reason::kInvalidArgument, "the page token is not one of a list of sessions");
    }
    after = after * 10 + static_cast<uint64_t>(digit - '0');
  }
  const size_t size = page_of(page_size);
  const int64_t now = now_ns();
  SessionPage page;
  for (const SessionRef& session : sessions_.all()) {
    const bool internal =
        session->kind == SessionKind::kBroker || session->kind == SessionKind::kSessionless;
    const bool visible = caller.uid == 0 || caller.uid == self_->uid || caller.uid == session->uid;
    if (internal || !visible || session->id <= after || session->ending.load()) continue;
    if (page.sessions.size() == size) {
      page.next_page_token = std::to_string(page.sessions.back().session_id);
      break;
    }
    SessionInfo info;
    info.session_id = session->id;
    info.owner = session->owner;
    info.generation = session->generation;
    info.remote = session->remote();
    info.pid = session->pid;
    info.uid = session->uid;
    info.name = session->name;
    info.command = session->command;
    info.age_ms = (now - session->opened_ns) / 1'000'000;
    const int64_t ends = session->lease_ends_ns.load();
    if (info.remote && ends != INT64_MAX) info.lease_left_ms = (ends - now) / 1'000'000;
    {
      std::lock_guard lock(registry_);
      info.attached = static_cast<uint32_t>(session->attached.size());
    }
    page.sessions.push_back(std::move(info));
  }
  return page;
}

Stats Core::stats() {
  Stats stats;
  stats.sessions_local = sessions_.count(SessionKind::kLocal);
  stats.sessions_remote = sessions_.count(SessionKind::kRemote);
  stats.memory_bytes = memory_.used();
  stats.memory_bytes_max = memory_max_.load();
  stats.sessions_reaped = reaped_.load();
  stats.incarnation = incarnation_;
  stats.uptime_ms = (now_ns() - started_ns_) / 1'000'000;
  const uint64_t families = families_.count();
  std::lock_guard lock(registry_);
  stats.objects = objects_.size() + families;
  for (const auto& [id, object] : objects_) {
    stats.quarantined += object->damaged();
    if (object->queue) stats.waiting_callers += object->queue->waiting_callers();
  }
  return stats;
}

objects::OwnerInfo Core::describe_owner(uint16_t owner) const {
  objects::OwnerInfo info;
  const SessionRef session = sessions_.by_owner(owner);
  if (!session) return info;
  info.known = true;
  info.remote = session->kind != SessionKind::kLocal;
  info.session_id = session->id;
  info.pid = session->pid;
  info.uid = session->uid;
  info.command = session->command.empty() ? session->name : session->command;
  return info;
}

bool Core::session_ended(uint64_t session_id) const {
  const SessionRef session = sessions_.find(session_id);
  return !session || session->ending.load();
}

std::vector<objects::LockParty> Core::local_waiters(const LockRef& ref) {
  std::vector<objects::LockParty> waiters;
  for (const Wait& wait : local_waits()) {
    if (wait.object != static_cast<uint32_t>(ref.object_id)) continue;
    objects::LockParty& party = waiters.emplace_back();
    party.number = shm::owner_in(wait.holder);
    party.thread = shm::thread_in(wait.holder);
    party.owner = describe_owner(party.number);
    party.waits = true;
    party.age_ms = wait.age_ms;
    if (wait.what <= shm::WaitFor::kUpdate) party.mode = static_cast<shm::LockMode>(wait.what);
  }
  return waiters;
}

}  // namespace heddle::broker
