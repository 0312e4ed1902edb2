#include "daemon/broker/family_table.h"

#include <heddle/name.h>

#include <algorithm>
#include <cstring>

#include "daemon/broker/kept_status.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

Protection protection_of(const ObjectEntry& entry) {
  return {entry.uid, entry.gid, entry.member.head.mode};
}

std::string label_of(const Family& family, std::string_view name) {
  return std::string(family.noun()) + " " + std::string(name);
}

Status missing(const Family& family, std::string_view name) {
  const std::string noun = family.noun();
  return Status(Reason::kNotFound, "there is no such " + noun + "; `heddle " + noun + " create " +
                                       std::string(name) + "` makes one")
      .with_object(label_of(family, name));
}

Status no_such_kind(ObjectKind kind) {
  return Status(Reason::kUnsupported, "this daemon has no objects of that kind")
      .with_limit(static_cast<uint64_t>(ObjectKind::kList), static_cast<uint64_t>(kind));
}

bool goes_with(const ObjectEntry& entry, Lifetime lifetime) {
  return entry.member.head.lifetime == static_cast<uint8_t>(lifetime);
}

}  // namespace

const Family* FamilyTable::family_of(uint8_t kind) {
  switch (static_cast<ObjectKind>(kind)) {
    case ObjectKind::kDict:
      return &dict_family();
    case ObjectKind::kList:
      return &list_family();
    case ObjectKind::kBlock:
      return &block_family();
    default:
      return nullptr;
  }
}

void FamilyTable::adopt(Catalog& catalog, uint32_t slot, ObjectState state,
                        const ObjectEntry& entry,
                        const std::function<local::Fd(uint64_t id)>& take) {
  std::lock_guard lock(mutex_);
  const Family* family = family_of(entry.kind);
  if (family == nullptr || state == ObjectState::kDeleting || !check_object_name(entry.name).ok() ||
      names_.contains({entry.kind, entry.name})) {
    catalog.remove_object(slot);
    return;
  }
  catalog.reserve_object_id(entry.object_id);
  auto object = std::make_shared<Object>();
  object->id = entry.object_id;
  object->slot = slot;
  object->entry = entry;
  object->name = entry.name;
  object->family = family;
  if (goes_with(entry, Lifetime::kAttached)) {
    object->held_until_ns = around_.host.now_ns() + around_.hold_ns();
  }
  names_[{entry.kind, object->name}] = object;
  objects_[object->id] = object;
  count_owned(entry.uid, 1);
  const auto put_aside = [&](const Status& why) {
    os::log(os::LogLevel::kError, "%s is out of service: %s", object->label().c_str(),
            why.to_string().c_str());
    if (object->segment) {
      object->charge = around_.memory.found(entry.uid, object->segment->real_bytes());
    }
    catalog.set_object_state(slot, ObjectState::kQuarantined);
  };
  auto memory = Segment::adopt(take(object->id), entry.bytes);
  if (!memory.ok()) return put_aside(memory.status());
  object->segment = *memory;
  if (state == ObjectState::kQuarantined) return put_aside(Reason::kCorrupt);
  if (family->plan(entry.member).bytes != entry.bytes) {
    return put_aside(Status(Reason::kCorrupt, "its size does not follow from its options"));
  }
  auto member = family->adopt(around_.host, object->name, object->id, *memory, entry.member);
  if (!member.ok()) return put_aside(member.status());
  object->member = *member;
  if (auto grantee = family->grantee(**memory)) {
    around_.memory.adopt(object->id, slot, entry.uid, *memory, std::move(grantee));
  } else {
    object->charge = around_.memory.found(entry.uid, entry.bytes);
  }
}

FamilyTable::ObjectRef FamilyTable::at(ObjectKind kind, const std::string& name) const {
  const auto found = names_.find({static_cast<uint8_t>(kind), name});
  return found == names_.end() ? nullptr : found->second;
}

Result<FamilyTable::ObjectRef> FamilyTable::visible(const Caller& caller, ObjectKind kind,
                                                    std::string_view name, uint8_t rights) const {
  const Family* family = family_of(static_cast<uint8_t>(kind));
  if (family == nullptr) return no_such_kind(kind);
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  const ObjectRef object = at(kind, *full);
  if (!object) return missing(*family, *full);
  const uint8_t have = rights_of(caller, protection_of(object->entry));
  if ((have & local::kRightRead) == 0) return missing(*family, *full);
  if ((have & rights) == rights) return object;
  const std::string owner = "uid " + std::to_string(object->entry.uid);
  return Status(Reason::kDenied, (rights & local::kRightOwner) != 0
                                     ? "only the owner (" + owner + ") or root may do that"
                                     : "you may read it, but not write; the owner is " + owner)
      .with_object(object->label());
}

Result<MemberRef> FamilyTable::ref_to(const Caller& caller, const ObjectRef& object,
                                      bool created) const {
  if (object->damaged()) {
    return Status(Reason::kCorrupt, "its memory failed a check; it is out of service: delete it")
        .with_object(object->label());
  }
  MemberRef ref;
  ref.member = object->member;
  ref.segment = object->segment;
  ref.object_id = object->id;
  ref.kind = object->family->kind();
  ref.name = object->name;
  ref.rights = rights_of(caller, protection_of(object->entry));
  ref.created = created;
  ref.options = object->entry.member;
  return ref;
}

void FamilyTable::note_use(const Caller& caller, Object& object) {
  if (caller.session_id != 0) {
    object.attached.try_emplace(caller.session_id, 1);
  } else if (goes_with(object.entry, Lifetime::kAttached)) {
    object.held_until_ns = around_.host.now_ns() + around_.hold_ns();
  }
}

Result<MemberRef> FamilyTable::find(const Caller& caller, ObjectKind kind, std::string_view name,
                                    Need need) {
  std::lock_guard lock(mutex_);
  const auto object = visible(caller, kind, name, static_cast<uint8_t>(need));
  if (!object.ok()) return object.status();
  note_use(caller, **object);
  return ref_to(caller, *object, false);
}

Result<MemberRef> FamilyTable::open(Catalog& catalog, const Caller& caller, ObjectKind kind,
                                    std::string_view name, const MemberOptions& options,
                                    std::string_view group, OpenFlags flags) {
  const Family* family = family_of(static_cast<uint8_t>(kind));
  if (family == nullptr) return no_such_kind(kind);
  std::lock_guard lock(mutex_);
  bool created = false;
  const auto object = reach(catalog, caller, *family, name, options, group, flags, &created);
  if (!object.ok()) return object.status();
  if (flags.counted) {
    ++(*object)->attached[caller.session_id];
  } else {
    note_use(caller, **object);
  }
  auto ref = ref_to(caller, *object, created);
  if (!ref.ok() && flags.counted) (*object)->attached.erase(caller.session_id);
  return ref;
}

Result<FamilyTable::ObjectRef> FamilyTable::reach(Catalog& catalog, const Caller& caller,
                                                  const Family& family, std::string_view name,
                                                  const MemberOptions& asked,
                                                  std::string_view group, OpenFlags flags,
                                                  bool* created) {
  MemberOptions options = asked;
  std::string full;
  if (flags.anonymous && flags.create) {
    if ((options.head.given & local::kGivenLifetime) == 0) {
      options.head.given |= local::kGivenLifetime;
      options.head.lifetime = static_cast<uint8_t>(Lifetime::kAttached);
    }
    full = "anon/" + std::to_string(catalog.new_object_id());
  } else {
    const Result<std::string> expanded = expand_object_name(name, caller.uid);
    if (!expanded.ok()) return expanded.status();
    full = *expanded;
  }
  const ObjectRef object = at(family.kind(), full);
  const auto named = [&](Status status) {
    return std::move(status).with_object(label_of(family, full));
  };
  if (!object) {
    if (!flags.create) return missing(family, full);
    auto made = create(catalog, caller, family, full, options, group);
    if (!made.ok()) return named(made.status());
    *created = true;
    return made;
  }
  if ((rights_of(caller, protection_of(object->entry)) & local::kRightRead) == 0) {
    if (!flags.create) return missing(family, full);
    return named({Reason::kDenied, "the name is in use by somebody else; choose another one"});
  }
  if (flags.create && flags.exclusive) {
    return named({Reason::kExistsOtherOptions, "it exists already, and was asked to be new"});
  }
  if (Status other = family.check_same(object->entry.member, options); !other.ok()) {
    return named(std::move(other));
  }
  if ((options.head.given & local::kGivenGroup) != 0) {
    const Result<gid_t> gid = group_for(caller, group);
    if (!gid.ok()) return gid.status();
    if (*gid != object->entry.gid) return named(differs("group", object->entry.gid, *gid));
  }
  return object;
}

Result<FamilyTable::ObjectRef> FamilyTable::create(Catalog& catalog, const Caller& caller,
                                                   const Family& family, const std::string& name,
                                                   const MemberOptions& asked,
                                                   std::string_view group) {
  if (is_reserved_object_name(name)) {
    return Status(Reason::kInvalidName, "names under sys/ belong to the daemon");
  }
  const Result<MemberOptions> options = family.complete(asked);
  if (!options.ok()) return options.status();
  if (options->head.lifetime == static_cast<uint8_t>(Lifetime::kSession) &&
      caller.session_id == 0) {
    return Status(Reason::kInvalidArgument,
                  "lifetime session needs a session that it can go with; open one");
  }
  gid_t gid = caller.gid;
  if (asked.head.given & local::kGivenGroup) {
    const Result<gid_t> named = group_for(caller, group);
    if (!named.ok()) return named.status();
    gid = *named;
  }
  if (Status bad = around_.allowed(caller, owned_by(caller.uid)); !bad.ok()) return bad;
  auto object = std::make_shared<Object>();
  object->id = catalog.new_object_id();
  object->name = name;
  object->family = &family;
  ObjectEntry& entry = object->entry;
  entry.object_id = object->id;
  entry.creator_session = caller.session_id;
  entry.member = *options;
  entry.uid = caller.uid;
  entry.gid = gid;
  entry.kind = static_cast<uint8_t>(family.kind());
  std::memcpy(entry.name, name.data(), name.size());
  if (Status bad = back(catalog, object, *options); !bad.ok()) return bad;
  names_[{entry.kind, name}] = object;
  objects_[object->id] = object;
  count_owned(caller.uid, 1);
  return object;
}

// The memory: charged, laid out, with the supervisor, in the catalog, in this order.
Status FamilyTable::back(Catalog& catalog, const ObjectRef& object, const MemberOptions& options) {
  const Family& family = *object->family;
  ObjectEntry& entry = object->entry;
  const Family::Plan plan = family.plan(options);
  const ObjectGrant grant{plan.first_extents, plan.first_extents, 0};
  auto charge = around_.memory.take(entry.uid, plan.first_bytes);
  if (!charge.ok()) return charge.status();
  auto segment = Segment::create(object->name, plan.bytes, plan.reserved_bytes);
  if (!segment.ok()) return segment.status();
  object->segment = *segment;
  entry.bytes = plan.bytes;
  family.format(object->segment->base(), options, object->id);
  auto grantee = family.grantee(*object->segment);
  auto member = family.adopt(around_.host, object->name, object->id, object->segment, options);
  if (!member.ok()) return member.status();
  object->member = *member;
  const auto kept = around_.keeper.keep(local::KeptKind::kMemory, object->id, object->segment->fd(),
                                        object->name);
  if (!kept.ok()) return kept_status(kept);
  const Result<uint32_t> slot = catalog.add_object(entry, grantee ? grant : ObjectGrant{});
  if (!slot.ok()) {
    (void)around_.keeper.drop(local::KeptKind::kMemory, object->id);
    return slot.status();
  }
  object->slot = *slot;
  if (grantee) {
    around_.memory.add(object->id, *slot, object->segment, std::move(grantee), *std::move(charge));
  } else {
    object->charge = *std::move(charge);
  }
  return Status();
}

bool FamilyTable::abandoned(const Object& object) const {
  return goes_with(object.entry, Lifetime::kAttached) && object.attached.empty() &&
         !around_.inherited() && object.held_until_ns <= around_.host.now_ns() &&
         !(object.member && object.member->waiting_callers() != 0);
}

void FamilyTable::erase(Catalog& catalog, const ObjectRef& object) {
  if (objects_.erase(object->id) == 0) return;
  catalog.set_object_state(object->slot, ObjectState::kDeleting);
  names_.erase({object->entry.kind, object->name});
  count_owned(object->entry.uid, -1);
  around_.memory.remove(object->id);
}

void FamilyTable::bury(Catalog& catalog, const std::vector<ObjectRef>& doomed) {
  for (const ObjectRef& object : doomed) {
    if (object->member) object->member->end_of_object();
    (void)around_.keeper.drop(local::KeptKind::kMemory, object->id);
    catalog.remove_object(object->slot);
    catalog.remove_fences(object->id);
    std::vector<uint64_t> sessions;
    for (const auto& [session, uses] : object->attached) sessions.push_back(session);
    around_.tell(sessions, object->id, local::EventType::kDeleted);
  }
}

Status FamilyTable::remove(Catalog& catalog, const Caller& caller, ObjectKind kind,
                           std::string_view name) {
  ObjectRef doomed;
  {
    std::lock_guard lock(mutex_);
    const auto object = visible(caller, kind, name, local::kRightOwner);
    if (!object.ok()) return object.status();
    doomed = *object;
    erase(catalog, doomed);
  }
  bury(catalog, {doomed});
  return Status();
}

MemberInfo FamilyTable::info_of(const Caller& caller, const Object& object) const {
  MemberInfo info;
  info.kind = object.family->kind();
  info.object_id = object.id;
  info.name = object.name;
  info.uid = object.entry.uid;
  info.gid = object.entry.gid;
  info.rights = rights_of(caller, protection_of(object.entry));
  info.options = object.entry.member;
  info.quarantined = object.damaged();
  if (!info.quarantined) info.member = object.member;
  if (object.member) info.waiting = object.member->waiting_callers();
  if (object.segment) info.memory_bytes = object.segment->real_bytes();
  info.attached = static_cast<uint32_t>(object.attached.size());
  return info;
}

std::vector<MemberInfo> FamilyTable::list(const Caller& caller, ObjectKind kind,
                                          std::string_view prefix, std::string_view after,
                                          size_t n) const {
  std::string start(prefix);
  if (start.starts_with("~/")) start = "uid-" + std::to_string(caller.uid) + start.substr(1);
  const auto number = static_cast<uint8_t>(kind);
  std::vector<MemberInfo> found;
  std::lock_guard lock(mutex_);
  auto it = after.empty() ? names_.lower_bound({number, start})
                          : names_.upper_bound({number, std::string(after)});
  for (; it != names_.end() && found.size() < n; ++it) {
    if (it->first.first != number || !it->first.second.starts_with(start)) break;
    MemberInfo info = info_of(caller, *it->second);
    if (info.rights & local::kRightRead) found.push_back(std::move(info));
  }
  return found;
}

Result<MemberInfo> FamilyTable::describe(const Caller& caller, ObjectKind kind,
                                         std::string_view name) const {
  std::lock_guard lock(mutex_);
  const auto object = visible(caller, kind, name, local::kRightRead);
  if (!object.ok()) return object.status();
  return info_of(caller, **object);
}

Result<std::string> FamilyTable::writable(const Caller& caller, uint64_t object_id) const {
  std::lock_guard lock(mutex_);
  const auto found = objects_.find(object_id);
  if (found == objects_.end() ||
      (rights_of(caller, protection_of(found->second->entry)) & local::kRightWrite) == 0) {
    return Status(Reason::kNotFound, "there is no such object any more, or not for you to write");
  }
  return found->second->label();
}

bool FamilyTable::close(Catalog& catalog, uint64_t session_id, uint64_t object_id) {
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    const auto found = objects_.find(object_id);
    if (found == objects_.end()) return false;
    const ObjectRef object = found->second;
    const auto use = object->attached.find(session_id);
    if (use == object->attached.end()) return false;
    if (--use->second == 0) object->attached.erase(use);
    if (abandoned(*object)) {
      erase(catalog, object);
      doomed.push_back(object);
    }
  }
  bury(catalog, doomed);
  return true;
}

void FamilyTable::reap(Catalog& catalog, const Session& session) {
  std::vector<std::shared_ptr<objects::Member>> used;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, object] : objects_) {
      // Closing it does not let go of what its threads left in it, and of a session from before a
      // restart it is not known what it had open.
      if (object->member) used.push_back(object->member);
    }
  }
  for (const auto& member : used) member->reap(session.owner, session.id);
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, object] : objects_) {
      const bool its = goes_with(object->entry, Lifetime::kSession) &&
                       object->entry.creator_session == session.id;
      if ((object->attached.erase(session.id) != 0 && abandoned(*object)) || its) {
        doomed.push_back(object);
      }
    }
    for (const ObjectRef& object : doomed) erase(catalog, object);
  }
  bury(catalog, doomed);
}

void FamilyTable::tick() {
  std::vector<std::shared_ptr<objects::Member>> members;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, object] : objects_) {
      if (!object->damaged()) members.push_back(object->member);
    }
  }
  for (const auto& member : members) member->tick();
}

void FamilyTable::slow_tick(Catalog& catalog) {
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, object] : objects_) {
      if (abandoned(*object)) doomed.push_back(object);
      if (object->member && object->member->quarantined() && !object->told_quarantined) {
        object->told_quarantined = true;
        os::log(os::LogLevel::kError,
                "%s is out of service: its memory failed a check while in use",
                object->label().c_str());
        catalog.set_object_state(object->slot, ObjectState::kQuarantined);
      }
    }
    for (const ObjectRef& object : doomed) erase(catalog, object);
  }
  bury(catalog, doomed);
}

bool FamilyTable::has(uint64_t object_id) const {
  std::lock_guard lock(mutex_);
  return objects_.contains(object_id);
}

uint32_t FamilyTable::count() const {
  std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(objects_.size());
}

uint32_t FamilyTable::owned_by(uid_t uid) const {
  std::lock_guard lock(leaf_mutex_);
  const auto mine = owned_.find(uid);
  return mine == owned_.end() ? 0 : mine->second;
}

void FamilyTable::count_owned(uid_t uid, int more) {
  std::lock_guard lock(leaf_mutex_);
  const uint32_t now = owned_[uid] + static_cast<uint32_t>(more);
  owned_[uid] = now;
  if (now == 0) owned_.erase(uid);
}

}  // namespace heddle::broker
