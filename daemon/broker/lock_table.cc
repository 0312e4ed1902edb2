#include "daemon/broker/lock_table.h"

#include <heddle/name.h>

#include <cstring>

#include "daemon/broker/kept_status.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

constexpr uint32_t kLinesPerSegment = 8192;
constexpr uint32_t kBlocksPerSegment = 16'384;

std::string label_of(ObjectKind kind, std::string_view name) {
  return std::string(noun_of(kind)) + " " + std::string(name);
}

Status not_found(ObjectKind kind, std::string_view name) {
  const std::string noun = noun_of(kind);
  const char* count = kind == ObjectKind::kSemaphore ? " -n COUNT"
                      : kind == ObjectKind::kBarrier ? " -n PARTIES"
                                                     : "";
  return Status(Reason::kNotFound, "there is no such " + noun + "; `heddle " + noun + " create " +
                                       std::string(name) + count + "` makes one")
      .with_object(label_of(kind, name));
}

bool created_by_use(ObjectKind kind, const LockOptions& options) {
  if (kind != ObjectKind::kSemaphore && kind != ObjectKind::kBarrier) return true;
  return (options.given & local::kGivenCount) != 0;
}

shm::LockOptions shm_options(const LockOptions& options) {
  return {.kind = static_cast<shm::LockKind>(options.lock_kind),
          .policy = static_cast<shm::DeathPolicy>(options.policy),
          .fair = static_cast<shm::Fairness>(options.fair),
          .count = options.count,
          .count_max = options.count_max};
}

Protection protection_of(const LockEntry& entry) {
  return {entry.uid, entry.gid, entry.options.mode};
}

}  // namespace

bool LockTable::alive(uint16_t owner) const {
  {
    std::lock_guard lock(waiting_mutex_);
    if (kept_alive_.contains(owner)) return true;
  }
  const SessionRef session = sessions_.by_owner(owner);
  return session && !session->ending.load();
}

LockRef LockTable::ref_to(const Caller& caller, const ObjectRef& object, bool created) const {
  LockRef ref;
  ref.lock = object->lock;
  ref.segment = object->memory->segment;
  ref.object_id = object->entry.object_id;
  ref.kind = static_cast<ObjectKind>(object->entry.kind);
  ref.name = object->name;
  ref.rights = rights_of(caller, protection_of(object->entry));
  ref.created = created;
  ref.options = object->entry.options;
  ref.uid = object->entry.uid;
  ref.gid = object->entry.gid;
  ref.attached = object->attached;
  return ref;
}

/// `opens`: an OPEN that a CLOSE may take back; else a use that makes it known to the session.
void LockTable::note_use(const Caller& caller, const ObjectRef& object, bool opens) {
  if (caller.session_id == 0) return;
  touched_[caller.session_id].insert(object->memory->id);
  const auto [use, fresh] = uses_[caller.session_id].try_emplace(object->entry.object_id, 1);
  if (fresh)
    ++object->attached;
  else if (opens)
    ++use->second;
}

Result<LockRef> LockTable::open(const Caller& caller, ObjectKind kind, std::string_view name,
                                const LockOptions& options, std::string_view group, OpenFlags flags,
                                uint32_t per_uid_max) {
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  std::lock_guard lock(mutex_);
  const auto at = names_.find({static_cast<uint8_t>(kind), *full});
  if (at == names_.end()) {
    if (!flags.create || !created_by_use(kind, options)) return not_found(kind, *full);
    gid_t gid = caller.gid;
    if (options.given & local::kGivenGroup) {
      const Result<gid_t> named = group_for(caller, group);
      if (!named.ok()) return named.status();
      gid = *named;
    }
    auto made = create(caller, kind, *full, options, gid, per_uid_max);
    if (!made.ok()) return Status(made.status()).with_object(label_of(kind, *full));
    note_use(caller, *made, true);
    return ref_to(caller, *made, true);
  }
  const ObjectRef object = at->second;
  const uint8_t rights = rights_of(caller, protection_of(object->entry));
  if ((rights & local::kRightRead) == 0) {
    if (!flags.create) return not_found(kind, *full);
    return Status(Reason::kDenied, "the name is in use by somebody else; choose another one")
        .with_object(label_of(kind, *full));
  }
  if (flags.create && flags.exclusive) {
    return Status(Reason::kExistsOtherOptions, "it exists already, and was asked to be new")
        .with_object(label_of(kind, *full));
  }
  Status same = check_same_lock(object->entry.options, options, label_of(kind, *full));
  if (!same.ok()) return same;
  note_use(caller, object, true);
  return ref_to(caller, object, false);
}

Result<LockRef> LockTable::find(const Caller& caller, ObjectKind kind, std::string_view name,
                                Need need) {
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  std::lock_guard lock(mutex_);
  const auto at = names_.find({static_cast<uint8_t>(kind), *full});
  if (at == names_.end()) return not_found(kind, *full);
  const uint8_t have = rights_of(caller, protection_of(at->second->entry));
  if ((have & local::kRightRead) == 0) return not_found(kind, *full);
  if ((have & static_cast<uint8_t>(need)) == 0) {
    return Status(Reason::kDenied, need == Need::kOwner
                                       ? "only the owner (uid " +
                                             std::to_string(at->second->entry.uid) +
                                             ") or root may do that"
                                       : "you may look, but not use it; the owner is uid " +
                                             std::to_string(at->second->entry.uid))
        .with_object(label_of(kind, *full));
  }
  if (need == Need::kWrite) note_use(caller, at->second, false);
  return ref_to(caller, at->second, false);
}

Result<std::shared_ptr<LockTable::Memory>> LockTable::make_memory(const Protection& protection) {
  auto memory = std::make_shared<Memory>();
  memory->id = catalog_->new_object_id();
  memory->protection = protection;
  const uint64_t bytes = shm::lock_segment_bytes(kLinesPerSegment, kBlocksPerSegment);
  auto charge = memory_.take(protection.uid, bytes);
  if (!charge.ok()) return charge.status();
  memory->charge = *std::move(charge);
  auto segment = Segment::create("locks", bytes, sizeof(shm::LockSegmentHeader));
  if (!segment.ok()) return segment.status();
  memory->segment = *segment;
  shm::LockSegment::format((*segment)->base(), kLinesPerSegment, kBlocksPerSegment, memory->id);
  if (shm::LockSegment::attach((*segment)->base(), bytes, (*segment)->fd(), &memory->locks) !=
      shm::LockOutcome::kOk) {
    return Status(Reason::kInternal, "a fresh lock segment does not pass its own check");
  }
  const auto kept = keeper_.keep(local::KeptKind::kMemory, memory->id, (*segment)->fd(), "locks");
  if (!kept.ok()) return kept_status(kept);
  memories_[memory->id] = memory;
  return memory;
}

Result<LockTable::ObjectRef> LockTable::create_in(const std::shared_ptr<Memory>& memory,
                                                  const Caller& caller, ObjectKind kind,
                                                  const std::string& name,
                                                  const LockOptions& options) {
  auto object = std::make_shared<Object>();
  LockEntry& entry = object->entry;
  entry.object_id = catalog_->new_object_id();
  uint32_t line = 0;
  const shm::LockOutcome outcome = memory->locks.create(shm_options(options), entry.object_id,
                                                        catalog_->token_high_water(), &line);
  if (outcome == shm::LockOutcome::kTooMany) return Status(Reason::kFull, "the segment is full");
  if (outcome != shm::LockOutcome::kOk) {
    return Status(Reason::kMemoryExhausted, "no memory can be reserved for another lock");
  }
  entry.creator_session = caller.session_id;
  entry.options = options;
  entry.options.given = 0;
  entry.options.line = line;
  entry.options.generation = memory->locks.line(line).generation.load();
  entry.options.segment_id = memory->id;
  entry.uid = memory->protection.uid;
  entry.gid = memory->protection.gid;
  entry.kind = static_cast<uint8_t>(kind);
  std::memcpy(entry.name, name.data(), name.size());
  const Result<uint32_t> slot = catalog_->add_lock(entry);
  if (!slot.ok()) {
    (void)memory->locks.destroy(line);
    return slot.status();
  }
  object->slot = *slot;
  object->name = name;
  object->memory = memory;
  object->lock = std::make_shared<objects::Lock>(
      host_, name, entry.object_id, shm::Lock(&memory->locks, line, entry.options.generation),
      memory);
  ++memory->used;
  ++per_uid_[entry.uid];
  names_[{entry.kind, name}] = object;
  objects_[entry.object_id] = object;
  by_low_id_[static_cast<uint32_t>(entry.object_id)] = object;
  return object;
}

Result<LockTable::ObjectRef> LockTable::create(const Caller& caller, ObjectKind kind,
                                               const std::string& name, const LockOptions& asked,
                                               gid_t gid, uint32_t per_uid_max) {
  if (is_reserved_object_name(name)) {
    return Status(Reason::kInvalidName, "names under sys/ belong to the daemon");
  }
  const Result<LockOptions> options = complete_lock(kind, asked);
  if (!options.ok()) return options.status();
  if (options->lifetime == static_cast<uint8_t>(Lifetime::kSession) && caller.session_id == 0) {
    return Status(Reason::kInvalidArgument,
                  "lifetime session needs a session that it can go with; open one");
  }
  const auto mine = per_uid_.find(caller.uid);
  if (caller.uid != 0 && mine != per_uid_.end() && mine->second >= per_uid_max) {
    return Status(Reason::kQuota, "you own as many locks as one user may; delete some")
        .with_limit(per_uid_max, mine->second);
  }
  const Protection protection{caller.uid, gid, options->mode};
  for (const auto& [id, memory] : memories_) {
    const Protection& p = memory->protection;
    if (p.uid != caller.uid || p.gid != gid || p.mode != options->mode) continue;
    if (memory->used >= kLinesPerSegment) continue;
    auto made = create_in(memory, caller, kind, name, *options);
    if (made.ok() || !made.status().is(Reason::kFull)) return made;
  }
  const auto memory = make_memory(protection);
  if (!memory.ok()) return memory.status();
  return create_in(*memory, caller, kind, name, *options);
}

/// The catalog keeps the token before the line loses it.
void LockTable::erase(const ObjectRef& object, std::vector<ObjectRef>* doomed) {
  if (objects_.erase(object->entry.object_id) == 0) return;
  names_.erase({object->entry.kind, object->name});
  by_low_id_.erase(static_cast<uint32_t>(object->entry.object_id));
  const auto mine = per_uid_.find(object->entry.uid);
  if (mine != per_uid_.end() && --mine->second == 0) per_uid_.erase(mine);
  catalog_->raise_token_high_water(object->lock->view().token());
  catalog_->remove_lock(object->slot);
  catalog_->raise_token_high_water(object->memory->locks.destroy(object->entry.options.line));
  for (auto& [session, ids] : uses_) ids.erase(object->entry.object_id);
  const std::shared_ptr<Memory> memory = object->memory;
  if (--memory->used == 0) {
    (void)keeper_.drop(local::KeptKind::kMemory, memory->id);
    memories_.erase(memory->id);
  }
  doomed->push_back(object);
}

void LockTable::bury(const std::vector<ObjectRef>& doomed) {
  for (const ObjectRef& object : doomed) {
    object->lock->end_of_object();
    set_waiting(object->entry.object_id, false);
  }
}

Status LockTable::remove(const Caller& caller, ObjectKind kind, std::string_view name) {
  const Result<LockRef> ref = find(caller, kind, name, Need::kOwner);
  if (!ref.ok()) return ref.status();
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    const auto at = objects_.find(ref->object_id);
    if (at != objects_.end()) erase(ObjectRef(at->second), &doomed);
  }
  bury(doomed);
  return Status();
}

std::vector<LockRef> LockTable::list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                                     std::string_view after, size_t n) {
  std::vector<LockRef> out;
  std::lock_guard lock(mutex_);
  const auto key = static_cast<uint8_t>(kind);
  auto at = after.empty() ? names_.lower_bound({key, std::string(prefix)})
                          : names_.upper_bound({key, std::string(after)});
  for (; at != names_.end() && at->first.first == key && out.size() < n; ++at) {
    if (!std::string_view(at->first.second).starts_with(prefix)) break;
    const uint8_t rights = rights_of(caller, protection_of(at->second->entry));
    if ((rights & local::kRightRead) != 0) out.push_back(ref_to(caller, at->second, false));
  }
  return out;
}

size_t LockTable::count() const {
  std::lock_guard lock(mutex_);
  return objects_.size();
}

std::shared_ptr<objects::Lock> LockTable::by_object(uint32_t low) const {
  std::lock_guard lock(mutex_);
  const auto at = by_low_id_.find(low);
  return at == by_low_id_.end() ? nullptr : at->second->lock;
}

uint64_t LockTable::newest_token() const {
  uint64_t newest = 0;
  std::lock_guard lock(mutex_);
  for (const auto& [id, object] : objects_) {
    newest = std::max(newest, object->lock->view().token());
  }
  return newest;
}

void LockTable::set_waiting(uint64_t object_id, bool on) {
  std::lock_guard lock(waiting_mutex_);
  if (on)
    waiting_.insert(object_id);
  else
    waiting_.erase(object_id);
}

std::vector<std::shared_ptr<objects::Lock>> LockTable::waiting() const {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(waiting_mutex_);
    ids.assign(waiting_.begin(), waiting_.end());
  }
  std::vector<std::shared_ptr<objects::Lock>> locks;
  std::lock_guard lock(mutex_);
  for (const uint64_t id : ids) {
    const auto at = objects_.find(id);
    if (at != objects_.end()) locks.push_back(at->second->lock);
  }
  return locks;
}

bool LockTable::close(uint64_t session_id, uint64_t object_id) {
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    const auto session = uses_.find(session_id);
    const auto object = objects_.find(object_id);
    if (session == uses_.end() || object == objects_.end()) return false;
    const auto use = session->second.find(object_id);
    if (use == session->second.end()) return false;
    if (--use->second != 0) return true;
    session->second.erase(use);
    const ObjectRef ref = object->second;
    const bool attached = ref->entry.options.lifetime == static_cast<uint8_t>(Lifetime::kAttached);
    if (--ref->attached == 0 && attached) erase(ref, &doomed);
  }
  bury(doomed);
  return true;
}

}  // namespace heddle::broker
