// Locks over time: what a new broker takes back, what the dead leave, what the scans find.
#include <algorithm>

#include "daemon/broker/lock_table.h"
#include "daemon/os/log.h"

namespace heddle::broker {

void LockTable::adopt(Catalog& catalog, const std::shared_ptr<Memory>& memory, uint32_t slot,
                      const LockEntry& entry) {
  auto object = std::make_shared<Object>();
  object->slot = slot;
  object->entry = entry;
  object->name = entry.name;
  object->memory = memory;
  const shm::Lock view(&memory->locks, entry.options.line, entry.options.generation);
  object->lock = std::make_shared<objects::Lock>(host_, object->name, entry.object_id, view,
                                                 memory);
  ++memory->used;
  ++per_uid_[entry.uid];
  names_[{entry.kind, object->name}] = object;
  objects_[entry.object_id] = object;
  by_low_id_[static_cast<uint32_t>(entry.object_id)] = object;
  catalog.reserve_object_id(entry.object_id);
  // Nobody waits in this broker yet; whoever did is trying again.
  object->lock->view().arm(false);
}

void LockTable::restore(Catalog& catalog,
                        const std::function<local::Fd(uint64_t segment_id)>& take) {
  std::lock_guard lock(mutex_);
  catalog_ = &catalog;
  std::vector<uint32_t> lost;
  catalog.each_lock([&](uint32_t slot, const LockEntry& entry) {
    std::shared_ptr<Memory>& memory = memories_[entry.options.segment_id];
    if (!memory) {
      memory = std::make_shared<Memory>();
      memory->id = entry.options.segment_id;
      memory->protection = {entry.uid, entry.gid, entry.options.mode};
      catalog.reserve_object_id(memory->id);
      auto segment = Segment::adopt(take(memory->id), 0);
      if (segment.ok() &&
          shm::LockSegment::attach((*segment)->base(), (*segment)->bytes(), (*segment)->fd(),
                                   &memory->locks) == shm::LockOutcome::kOk) {
        memory->segment = *segment;
        memory->charge = memory_.found(entry.uid, (*segment)->bytes());
      }
    }
    const uint32_t line = entry.options.line;
    if (!memory->segment || line >= memory->locks.lines_max() ||
        memory->locks.line(line).generation.load() != entry.options.generation) {
      os::log(os::LogLevel::kError, "lock %s is lost: its memory did not come back", entry.name);
      lost.push_back(slot);
      return;
    }
    adopt(catalog, memory, slot, entry);
  });
  for (const uint32_t slot : lost) catalog.remove_lock(slot);
  std::erase_if(memories_, [](const auto& one) { return !one.second->segment; });
  // Lines that a dead broker allotted and did not get to record.
  for (const auto& [id, memory] : memories_) {
    std::vector<bool> known(memory->locks.lines_max());
    for (const auto& [object_id, object] : objects_) {
      if (object->memory == memory) known[object->entry.options.line] = true;
    }
    const uint32_t used = memory->locks.header().lines_used.load();
    for (uint32_t line = 0; line < used && line < memory->locks.lines_max(); ++line) {
      if (known[line] || memory->locks.line(line).generation.load() % 2 == 0) continue;
      catalog.raise_token_high_water(memory->locks.destroy(line));
    }
  }
}

int64_t LockTable::delay_ns(const Session& session) const {
  int64_t delay = 0;
  std::lock_guard lock(mutex_);
  const auto touched = touched_.find(session.id);
  for (const auto& [id, object] : objects_) {
    const bool may = session.inherited || (touched != touched_.end() &&
                                           touched->second.contains(object->memory->id));
    if (!may) continue;
    // Permits guard nothing that a late writer could spoil; one of them lies in the word.
    if (object->lock->view().kind() == shm::LockKind::kSemaphore) continue;
    const uint64_t word = object->lock->view().line().word.load();
    if (shm::owner_in(word) != session.owner) continue;
    delay = std::max(delay, int64_t{object->entry.options.lock_delay_ms} * 1'000'000);
  }
  return delay;
}

std::vector<std::string> LockTable::held_by(const Session& session) const {
  std::vector<ObjectRef> candidates;
  {
    std::lock_guard lock(mutex_);
    const auto touched = touched_.find(session.id);
    for (const auto& [id, object] : objects_) {
      const bool may = session.inherited ||
                       (touched != touched_.end() && touched->second.contains(object->memory->id));
      if (may) candidates.push_back(object);
    }
  }
  std::vector<std::string> names;
  for (const ObjectRef& object : candidates) {
    const std::vector<shm::LockStanding> standing = object->lock->standing();
    const bool holds = std::any_of(standing.begin(), standing.end(), [&](const auto& one) {
      return !one.waits && shm::owner_in(one.holder) == session.owner;
    });
    if (!holds) continue;
    names.push_back(noun_of(static_cast<ObjectKind>(object->entry.kind)) + (" " + object->name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void LockTable::keep_alive(uint16_t owner, bool on) {
  std::lock_guard lock(waiting_mutex_);
  if (on) kept_alive_.insert(owner);
  else kept_alive_.erase(owner);
}

void LockTable::reap(const Session& session) {
  std::vector<std::shared_ptr<Memory>> memories;
  std::vector<std::shared_ptr<objects::Lock>> used;
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(mutex_);
    const auto uses = uses_.find(session.id);
    const auto touched = touched_.extract(session.id);
    if (uses != uses_.end()) {
      for (const auto& [id, n] : uses->second) {
        const auto at = objects_.find(id);
        if (at == objects_.end()) continue;
        if (at->second->lock->has_waiting()) used.push_back(at->second->lock);
      }
    }
    for (const auto& [id, memory] : memories_) {
      if (session.inherited || (!touched.empty() && touched.mapped().contains(id))) {
        memories.push_back(memory);
      }
    }
  }
  for (const auto& lock : used) lock->drop_waits_of(session.owner);
  for (const auto& memory : memories) {
    memory->locks.reap(&LockTable::is_alive, this);
  }
  {
    std::lock_guard lock(mutex_);
    std::vector<ObjectRef> going;
    const auto uses = uses_.find(session.id);
    if (uses != uses_.end()) {
      for (const auto& [id, n] : uses->second) {
        const auto at = objects_.find(id);
        if (at == objects_.end()) continue;
        const auto lifetime = static_cast<Lifetime>(at->second->entry.options.lifetime);
        if (--at->second->attached == 0 && lifetime == Lifetime::kAttached) {
          going.push_back(at->second);
        }
      }
      uses_.erase(uses);
    }
    for (const auto& [id, object] : objects_) {
      if (object->entry.options.lifetime == static_cast<uint8_t>(Lifetime::kSession) &&
          object->entry.creator_session == session.id) {
        going.push_back(object);
      }
    }
    for (const ObjectRef& object : going) erase(object, &doomed);
  }
  bury(doomed);
  serve();
}

void LockTable::reap_all() {
  std::vector<std::shared_ptr<Memory>> memories;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, memory] : memories_) memories.push_back(memory);
  }
  for (const auto& memory : memories) memory->locks.reap(&LockTable::is_alive, this);
  serve();
}

void LockTable::rescan() {
  std::vector<std::shared_ptr<Memory>> memories;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, memory] : memories_) memories.push_back(memory);
  }
  for (const auto& memory : memories) memory->locks.rescan();
  serve();
}

void LockTable::serve() {
  std::vector<std::shared_ptr<Memory>> memories;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, memory] : memories_) memories.push_back(memory);
  }
  for (const auto& memory : memories) {
    memory->locks.take_dirty([&](uint32_t line) {
      const auto low = static_cast<uint32_t>(memory->locks.line(line).object_id.load());
      const auto lock = by_object(low);
      if (lock && lock->view().index() == line && lock->has_waiting()) lock->poll();
    });
  }
}

}  // namespace heddle::broker
