// Names, rights and quotas: opening, making and deleting objects.
#include <heddle/name.h>

#include <algorithm>
#include <cstring>

#include "daemon/broker/core.h"
#include "daemon/broker/kept_status.h"
#include "daemon/broker/queue_options.h"
#include "daemon/broker/rights.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

std::string queue_label(std::string_view name) { return "queue " + std::string(name); }

Protection protection_of(const ObjectEntry& entry) {
  return {entry.uid, entry.gid, entry.options.mode};
}

Status not_found(std::string_view name) {
  return Status(Reason::kNotFound,
                "there is no such queue; `heddle queue create " + std::string(name) + "` makes one")
      .with_object(queue_label(name));
}

}  // namespace

Result<std::string> Core::full_name(const Caller& caller, std::string_view name) const {
  return expand_object_name(name, caller.uid);
}

ObjectRef Core::find_locked(std::string_view name) const {
  const auto at = names_.find(name);
  return at == names_.end() ? nullptr : at->second;
}

Result<ObjectRef> Core::allowed_locked(const Caller& caller, std::string_view name,
                                       uint8_t rights) const {
  const Result<std::string> full = full_name(caller, name);
  if (!full.ok()) return full.status();
  const ObjectRef object = find_locked(*full);
  if (!object) return not_found(*full);
  const uint8_t have = rights_of(caller, protection_of(object->entry));
  if ((have & local::kRightRead) == 0) return not_found(*full);
  if ((have & rights) == rights) return object;
  const bool owner_only = (rights & local::kRightOwner) != 0;
  return Status(Reason::kDenied, owner_only
                                     ? "only the owner (uid " + std::to_string(object->entry.uid) +
                                           ") or root may do that"
                                     : "you may look, but neither put nor take; the owner is uid " +
                                           std::to_string(object->entry.uid))
      .with_object(queue_label(*full));
}

Result<ObjectRef> Core::object_for(const Caller& caller, std::string_view name, uint8_t rights) {
  std::lock_guard lock(registry_);
  return allowed_locked(caller, name, rights);
}

Result<QueueRef> Core::ref_to(const Caller& caller, const ObjectRef& object, bool created) const {
  if (object->damaged()) {
    return Status(Reason::kCorrupt,
                  "the queue's memory failed a check; it is out of service: delete it")
        .with_object(queue_label(object->name));
  }
  QueueRef ref;
  ref.queue = object->queue;
  ref.object_id = object->id;
  ref.name = object->name;
  ref.rights = rights_of(caller, protection_of(object->entry));
  ref.created = created;
  ref.options = object->entry.options;
  return ref;
}

bool Core::abandoned_locked(const Object& object) const {
  return object.entry.options.lifetime == static_cast<uint8_t>(Lifetime::kAttached) &&
         object.attached == 0 && inherited_.load() == 0 && object.held_until_ns <= now_ns() &&
         !(object.queue && object.queue->has_waiting());
}

void Core::hold_locked(Object& object) {
  if (object.entry.options.lifetime != static_cast<uint8_t>(Lifetime::kAttached)) return;
  object.held_until_ns = now_ns() + handle_hold_ns_.load();
}

void Core::note_use_locked(const Caller& caller, const ObjectRef& object) {
  if (caller.owner == objects::kNoOwner) return hold_locked(*object);
  const SessionRef session = sessions_.by_owner(caller.owner);
  if (!session || session->ending.load()) return;
  if (session->attached.try_emplace(object->id, 1).second) ++object->attached;
}

Result<QueueRef> Core::find_queue(const Caller& caller, std::string_view name, Need need) {
  std::lock_guard lock(registry_);
  const Result<ObjectRef> object = allowed_locked(caller, name, static_cast<uint8_t>(need));
  if (!object.ok()) return object.status();
  note_use_locked(caller, *object);
  return ref_to(caller, *object, false);
}

Result<std::string> Core::share_queue(const Caller& caller, std::string_view name) {
  std::lock_guard lock(registry_);
  const Result<ObjectRef> object = allowed_locked(caller, name, local::kRightRead);
  if (!object.ok()) return object.status();
  hold_locked(**object);
  return (*object)->name;
}

Result<QueueRef> Core::open_queue(const Caller& caller, std::string_view name,
                                  const QueueOptions& options, std::string_view group,
                                  OpenFlags flags) {
  std::lock_guard lock(registry_);
  bool created = false;
  const Result<ObjectRef> object = open_locked(caller, name, options, group, flags, &created);
  if (!object.ok()) return object.status();
  note_use_locked(caller, *object);
  return ref_to(caller, *object, created);
}

Result<ObjectRef> Core::open_locked(const Caller& caller, std::string_view name,
                                    const QueueOptions& asked, std::string_view group,
                                    OpenFlags flags, bool* created) {
  QueueOptions options = asked;
  std::string full;
  if (flags.anonymous && flags.create) {
    if ((options.given & local::kGivenLifetime) == 0) {
      options.given |= local::kGivenLifetime;
      options.lifetime = static_cast<uint8_t>(Lifetime::kAttached);
    }
    full = "anon/" + std::to_string(catalog_->new_object_id());
  } else {
    const Result<std::string> expanded = full_name(caller, name);
    if (!expanded.ok()) return expanded.status();
    full = *expanded;
  }
  const ObjectRef object = find_locked(full);
  if (!object) {
    if (!flags.create) return not_found(full);
    *created = true;
    return create_locked(caller, full, options, group);
  }
  const uint8_t rights = rights_of(caller, protection_of(object->entry));
  if ((rights & local::kRightRead) == 0) {
    if (!flags.create) return not_found(full);
    return Status(Reason::kDenied, "the name is in use by somebody else; choose another one")
        .with_object(queue_label(full));
  }
  if (flags.create && flags.exclusive) {
    return Status(Reason::kExistsOtherOptions, "it exists already, and was asked to be new")
        .with_object(queue_label(full));
  }
  gid_t gid = object->entry.gid;
  if (options.given & local::kGivenGroup) {
    const Result<gid_t> asked = group_for(caller, group);
    if (!asked.ok()) return asked.status();
    gid = *asked;
  }
  Status same = check_same(object->entry.options, options, object->entry.gid, gid, full);
  if (!same.ok()) return same;
  return object;
}

Status Core::may_create_locked(const Caller& caller, std::optional<uint32_t> owned) const {
  if (draining()) {
    return Status(Reason::kBrokerAway, "the daemon is about to stop; nothing new is made");
  }
  const auto mine = objects_per_uid_.find(caller.uid);
  const uint32_t count = owned.value_or(0) + (mine == objects_per_uid_.end() ? 0 : mine->second);
  if (owned && caller.uid != 0 && count >= options_.objects_per_uid_max) {
    return Status(Reason::kQuota, "you own as many objects as one user may; delete some")
        .with_limit(options_.objects_per_uid_max, count);
  }
  return Status();
}

Status Core::may_create(const Caller& caller, std::optional<uint32_t> owned) const {
  std::lock_guard lock(registry_);
  return may_create_locked(caller, owned);
}

Result<PipeRef> Core::open_pipe(const Caller& caller, std::string_view name,
                                const PipeOptions& options, std::string_view group,
                                OpenFlags flags) {
  if (draining() && flags.create) flags.create = false;
  auto opened = pipes_.open(*catalog_, caller, name, options, group, flags);
  pipes_.serve();
  return opened;
}

void Core::watch_pipe(std::string_view full_name, bool arrivals, std::weak_ptr<void> who,
                      std::function<void()> changed) {
  pipes_.watch(full_name, arrivals, std::move(who), std::move(changed));
  pipes_.serve();
}

Status Core::delete_pipe(const Caller& caller, std::string_view name) {
  Status status = pipes_.remove(*catalog_, caller, name);
  pipes_.serve();
  return status;
}

Result<shm::PipeEndInfo> Core::pipe_peer(const Caller& caller, uint64_t connection,
                                         shm::PipeSide side) const {
  auto info = pipes_.peer(caller, connection, side);
  if (!info.ok()) return info;
  uint32_t known = 0;
  for (uint32_t i = 0; i < info->user_count; ++i) {
    const SessionRef session = sessions_.by_owner(info->users[i]);
    // What a session from before a restart has open is known from its cell alone.
    if (session && (session->inherited || pipes_.has_open(session->id, connection))) {
      info->users[known++] = info->users[i];
    }
  }
  info->user_count = known;
  return info;
}

Result<ObjectRef> Core::create_locked(const Caller& caller, const std::string& name,
                                      const QueueOptions& asked, std::string_view group) {
  if (is_reserved_object_name(name)) {
    return Status(Reason::kInvalidName, "names under sys/ belong to the daemon")
        .with_object(queue_label(name));
  }
  Result<QueueOptions> options = complete(asked, options_);
  if (!options.ok()) return Status(options.status()).with_object(queue_label(name));
  if (options->lifetime == static_cast<uint8_t>(Lifetime::kSession) && caller.session_id == 0) {
    return Status(Reason::kInvalidArgument,
                  "lifetime session needs a session that it can go with; open one")
        .with_object(queue_label(name));
  }
  gid_t gid = caller.gid;
  if (asked.given & local::kGivenGroup) {
    const Result<gid_t> named = group_for(caller, group);
    if (!named.ok()) return named.status();
    gid = *named;
  }
  const shm::QueueLimits limits = limits_of(*options);
  Status allowed = may_create_locked(
      caller, pipes_.owned_by(caller.uid) + families_.owned_by(caller.uid));
  if (!allowed.ok()) return std::move(allowed).with_object(queue_label(name));
  const shm::QueueGrant first = shm::queue_first_grant(limits);
  const ObjectGrant grant{first.extents, first.extents, first.segments};
  auto charge =
      memory_.take(caller.uid, shm::queue_granted_bytes(limits, first, grant.extents_ever));
  if (!charge.ok()) return Status(charge.status()).with_object(queue_label(name));

  auto object = std::make_shared<Object>();
  object->id = catalog_->new_object_id();
  object->name = name;
  auto segment =
      Segment::create(name, shm::queue_segment_bytes(limits), shm::queue_control_bytes(limits));
  if (!segment.ok()) return segment.status();
  object->segment = *segment;
  shm::queue_format(object->segment->base(), limits, object->id, first);
  auto queue =
      objects::Queue::adopt(*this, name, object->id, object->segment->base(),
                            object->segment->bytes(), object->segment->fd(), object->segment);
  if (!queue.ok()) return queue.status();
  object->queue = *queue;
  ObjectEntry& entry = object->entry;
  entry.object_id = object->id;
  entry.bytes = object->segment->bytes();
  entry.creator_session = caller.session_id;
  entry.options = *options;
  entry.uid = caller.uid;
  entry.gid = gid;
  entry.kind = static_cast<uint8_t>(ObjectKind::kQueue);
  std::memcpy(entry.name, name.data(), name.size());
  // The order matters: kept by the supervisor, then in the catalog, then answered.
  const auto kept = keeper_.keep(local::KeptKind::kMemory, object->id, object->segment->fd(), name);
  if (!kept.ok()) return kept_status(kept).with_object(queue_label(name));
  const Result<uint32_t> slot = catalog_->add_object(entry, grant);
  if (!slot.ok()) {
    (void)keeper_.drop(local::KeptKind::kMemory, object->id);
    return slot.status();
  }
  object->slot = *slot;
  names_[name] = object;
  objects_[object->id] = object;
  ++objects_per_uid_[caller.uid];
  memory_.add(object->id, *slot, object->segment, queue_grantee(*object->segment),
              *std::move(charge));
  return object;
}

void Core::erase_locked(const ObjectRef& object) {
  if (objects_.erase(object->id) == 0) return;
  catalog_->set_object_state(object->slot, ObjectState::kDeleting);
  names_.erase(object->name);
  const auto mine = objects_per_uid_.find(object->entry.uid);
  if (mine != objects_per_uid_.end() && --mine->second == 0) objects_per_uid_.erase(mine);
  memory_.remove(object->id);
}

// Outside the registry: ending the queue runs the callbacks of those who wait for it.
void Core::after_delete(const ObjectRef& object, local::EventType event) {
  if (object->queue) object->queue->end_of_object();
  (void)keeper_.drop(local::KeptKind::kMemory, object->id);
  catalog_->remove_object(object->slot);
  catalog_->remove_fences(object->id);
  set_waiting(object->id, false);
  loop_.post([this, alive = std::weak_ptr(alive_), id = object->id, event] {
    if (alive.expired()) return;
    for (const SessionRef& session : sessions_.all()) {
      bool had = false;
      {
        std::lock_guard lock(registry_);
        had = session->attached.erase(id) != 0;
      }
      if (had && object_event_) object_event_(session->id, id, event);
    }
  });
}

std::shared_ptr<objects::Queue> Core::queue_by_object(uint32_t low) const {
  std::lock_guard lock(registry_);
  // Numbers beyond 32 bits come after billions of objects.
  auto at = objects_.find(low);
  if (at == objects_.end()) {
    at = std::find_if(objects_.begin(), objects_.end(),
                      [low](const auto& one) { return static_cast<uint32_t>(one.first) == low; });
  }
  return at == objects_.end() || at->second->damaged() ? nullptr : at->second->queue;
}

Result<LockRef> Core::open_lock(const Caller& caller, ObjectKind kind, std::string_view name,
                                const LockOptions& options, std::string_view group,
                                OpenFlags flags) {
  if (draining() && flags.create) flags.create = false;
  uint32_t per_uid_max;
  {
    std::lock_guard lock(registry_);
    per_uid_max = options_.objects_per_uid_max;
  }
  return locks_.open(caller, kind, name, options, group, flags, per_uid_max);
}

Status Core::delete_queue(const Caller& caller, std::string_view name) {
  ObjectRef object;
  {
    std::lock_guard lock(registry_);
    const Result<ObjectRef> found = allowed_locked(caller, name, local::kRightOwner);
    if (!found.ok()) return found.status();
    object = *found;
    erase_locked(object);
  }
  after_delete(object, local::EventType::kDeleted);
  return Status();
}

Result<Attachment> Core::attach_queue(const SessionRef& session, const Caller& caller,
                                      std::string_view name, const QueueOptions& options,
                                      std::string_view group, OpenFlags flags) {
  std::lock_guard lock(registry_);
  bool created = false;
  const Result<ObjectRef> object = open_locked(caller, name, options, group, flags, &created);
  if (!object.ok()) return object.status();
  const Result<QueueRef> ref = ref_to(caller, *object, created);
  if (!ref.ok()) return ref.status();
  if ((ref->rights & local::kRightWrite) == 0) {
    return Status(Reason::kUnsupported,
                  "with read rights alone a queue is reached over gRPC (HEDDLE_PLANE=grpc)")
        .with_object(queue_label((*object)->name));
  }
  ++session->attached[(*object)->id];
  ++(*object)->attached;
  return Attachment{*ref, (*object)->segment};
}

void Core::detach_locked(const SessionRef& session, uint64_t object_id, bool all,
                         std::vector<ObjectRef>* doomed) {
  const auto use = session->attached.find(object_id);
  if (use == session->attached.end()) return;
  const uint32_t n = all ? use->second : 1;
  if ((use->second -= n) == 0) session->attached.erase(use);
  const auto at = objects_.find(object_id);
  if (at == objects_.end()) return;
  const ObjectRef object = at->second;
  object->attached -= std::min(object->attached, n);
  if (abandoned_locked(*object)) {
    erase_locked(object);
    doomed->push_back(object);
  }
}

Result<shm::QueueGrant> Core::grow_object(const Caller& caller, const local::Grow& ask) {
  std::string label;
  if (families_.has(ask.object_id)) {
    auto writable = families_.writable(caller, ask.object_id);
    if (!writable.ok()) return writable.status();
    label = *std::move(writable);
  } else {
    std::lock_guard lock(registry_);
    const auto at = objects_.find(ask.object_id);
    const uint8_t rights =
        at == objects_.end() ? 0 : rights_of(caller, protection_of(at->second->entry));
    if ((rights & local::kRightWrite) == 0) {
      return Status(Reason::kNotFound,
                    "there is no such queue any more, or not for you to put into");
    }
    label = queue_label(at->second->name);
  }
  auto granted = memory_.grow(ask.object_id, {ask.extents, ask.segments});
  if (!granted.ok()) return Status(granted.status()).with_object(label);
  return granted;
}

void Core::tell_object_event(const std::vector<uint64_t>& sessions, uint64_t object_id,
                             local::EventType event) {
  loop_.post([this, alive = std::weak_ptr(alive_), sessions, object_id, event] {
    if (alive.expired() || !object_event_) return;
    for (const uint64_t session : sessions) object_event_(session, object_id, event);
  });
}

Status Core::detach(const SessionRef& session, uint64_t object_id) {
  if (locks_.close(session->id, object_id)) return Status();
  if (pipes_.close(*catalog_, session->id, object_id)) return Status();
  if (families_.close(*catalog_, session->id, object_id)) return Status();
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(registry_);
    if (!session->attached.contains(object_id)) {
      return Status(Reason::kNotFound,
                    "this session has no object " + std::to_string(object_id) + " open");
    }
    detach_locked(session, object_id, false, &doomed);
  }
  for (const ObjectRef& object : doomed) after_delete(object, local::EventType::kDeleted);
  return Status();
}

}  // namespace heddle::broker
