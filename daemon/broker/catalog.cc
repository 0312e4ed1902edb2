#include "daemon/broker/catalog.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace heddle::broker {
namespace {

struct Offsets {
  uint64_t objects, sessions, requests, locks, fences, end;
};

Offsets offsets_of(const CatalogSizes& sizes) {
  Offsets at{};
  at.objects = sizeof(CatalogHeader);
  at.sessions = at.objects + uint64_t{sizes.objects_max} * sizeof(ObjectRecord);
  at.requests = at.sessions + uint64_t{sizes.sessions_max} * sizeof(SessionRecord);
  at.locks = at.requests + (uint64_t{sizes.requests_max} + kChangesMax) * sizeof(RequestRecord);
  at.fences = at.locks + uint64_t{sizes.locks_max} * sizeof(LockRecord);
  at.end = at.fences + uint64_t{sizes.fences_max} * sizeof(FenceRecord);
  at.end = (at.end + 4095) & ~uint64_t{4095};
  return at;
}

}  // namespace

uint64_t Catalog::bytes(const CatalogSizes& sizes) { return offsets_of(sizes).end; }

void Catalog::format(void* base, const CatalogSizes& sizes) {
  auto* header = static_cast<CatalogHeader*>(base);
  header->version = kCatalogVersion;
  header->objects_max = sizes.objects_max;
  header->sessions_max = sizes.sessions_max;
  header->requests_max = sizes.requests_max;
  header->locks_max = sizes.locks_max;
  header->fences_max = sizes.fences_max;
  header->bytes = bytes(sizes);
  header->next_object_id.store(1);
  header->token_high_water.store(0);
  std::atomic_ref<uint64_t>(header->magic).store(kCatalogMagic, std::memory_order_release);
}

Result<std::unique_ptr<Catalog>> Catalog::attach(void* base, uint64_t bytes) {
  const auto* header = static_cast<const CatalogHeader*>(base);
  if (bytes < sizeof(CatalogHeader) || header->magic != kCatalogMagic) {
    return Status(Reason::kCorrupt, "the catalog has no valid first line");
  }
  if (header->version != kCatalogVersion) {
    return Status(Reason::kVersionMismatch,
                  "the catalog was written by another version; stop the daemon and start it anew")
        .with_limit(kCatalogVersion, header->version);
  }
  const CatalogSizes sizes{header->objects_max, header->sessions_max, header->requests_max,
                           header->locks_max, header->fences_max};
  const bool sane = sizes.objects_max <= 1u << 24 && sizes.sessions_max == 65'536 &&
                    sizes.requests_max > 0 && sizes.requests_max <= 1u << 24 &&
                    sizes.locks_max <= 1u << 24 && sizes.fences_max <= 1u << 24;
  if (!sane || Catalog::bytes(sizes) != bytes || header->bytes != bytes) {
    return Status(Reason::kCorrupt, "the catalog's sizes do not fit its memory")
        .with_limit(bytes, header->bytes);
  }
  return std::unique_ptr<Catalog>(new Catalog(base));
}

Catalog::Catalog(void* base) : header_(static_cast<CatalogHeader*>(base)) {
  const Offsets at = offsets_of({header_->objects_max, header_->sessions_max, header_->requests_max,
                                 header_->locks_max, header_->fences_max});
  auto* bytes = static_cast<char*>(base);
  objects_ = reinterpret_cast<ObjectRecord*>(bytes + at.objects);
  sessions_ = reinterpret_cast<SessionRecord*>(bytes + at.sessions);
  requests_ = reinterpret_cast<RequestRecord*>(bytes + at.requests);
  locks_ = reinterpret_cast<LockRecord*>(bytes + at.locks);
  fences_ = reinterpret_cast<FenceRecord*>(bytes + at.fences);
  repair_objects();
  index_requests();
  inherited_changes_ = header_->next_change.load();
  index_locks();
  index_fences();
}

// Reading a page that was never written costs memory in a memfd, so the walk stops where no record
// was ever used: slots are given out lowest first, and `next_object_id` bounds their number.
void Catalog::repair_objects() {
  std::unordered_map<uint64_t, uint32_t> newest;
  const uint64_t ever = header_->next_object_id.load();
  const auto used = static_cast<uint32_t>(std::min<uint64_t>(header_->objects_max, 2 * ever + 64));
  for (uint32_t slot = 0; slot < used; ++slot) {
    ObjectRecord& record = objects_[slot];
    const uint64_t word = record.commit.load(std::memory_order_acquire);
    if (word == 0) continue;
    const auto [it, fresh] = newest.emplace(record.entry.object_id, slot);
    if (fresh) continue;
    uint32_t older = slot;
    if (commit_number(word) > commit_number(objects_[it->second].commit.load())) {
      std::swap(it->second, older);
    }
    objects_[older].commit.store(0, std::memory_order_release);
  }
  for (uint32_t slot = header_->objects_max; slot-- > 0;) {
    if (slot >= used || objects_[slot].commit.load() == 0) free_objects_.push_back(slot);
  }
}

uint64_t Catalog::begin_incarnation() { return header_->incarnation.fetch_add(1) + 1; }

uint64_t Catalog::new_object_id() { return header_->next_object_id.fetch_add(1); }

void Catalog::reserve_object_id(uint64_t id) {
  std::lock_guard lock(mutex_);
  if (header_->next_object_id.load() <= id) header_->next_object_id.store(id + 1);
}

void Catalog::store_grant(uint32_t slot, const ObjectGrant& grant) {
  ObjectRecord& record = objects_[slot];
  record.extents.store(grant.extents | uint64_t{grant.extents_ever} << 32,
                       std::memory_order_release);
  record.segments.store(grant.segments, std::memory_order_release);
}

void Catalog::set_grant(uint32_t slot, const ObjectGrant& grant) {
  std::lock_guard lock(mutex_);
  store_grant(slot, grant);
}

ObjectGrant Catalog::grant_of(uint32_t slot) const {
  std::lock_guard lock(mutex_);
  const uint64_t extents = objects_[slot].extents.load(std::memory_order_acquire);
  return {static_cast<uint32_t>(extents), static_cast<uint32_t>(extents >> 32),
          objects_[slot].segments.load(std::memory_order_acquire)};
}

void Catalog::fill_object(uint32_t slot, const ObjectEntry& entry, const ObjectGrant& grant,
                          uint64_t version) {
  ObjectRecord& record = objects_[slot];
  std::memcpy(&record.entry, &entry, sizeof entry);
  store_grant(slot, grant);
  record.commit.store(commit_word(version, static_cast<uint8_t>(ObjectState::kLive)),
                      std::memory_order_release);
}

Result<uint32_t> Catalog::add_object(const ObjectEntry& entry, const ObjectGrant& grant) {
  std::lock_guard lock(mutex_);
  if (free_objects_.empty()) {
    return Status(Reason::kQuota, "the daemon has no room for more objects; delete some")
        .with_limit(header_->objects_max, header_->objects_max);
  }
  const uint32_t slot = free_objects_.back();
  free_objects_.pop_back();
  fill_object(slot, entry, grant, 1);
  return slot;
}

Result<uint32_t> Catalog::update_object(uint32_t slot, const ObjectEntry& entry) {
  const ObjectGrant grant = grant_of(slot);
  std::lock_guard lock(mutex_);
  if (free_objects_.empty()) {
    return Status(Reason::kQuota, "the catalog is full; delete an object first")
        .with_limit(header_->objects_max, header_->objects_max);
  }
  const uint32_t fresh = free_objects_.back();
  free_objects_.pop_back();
  fill_object(fresh, entry, grant, commit_number(objects_[slot].commit.load()) + 1);
  objects_[slot].commit.store(0, std::memory_order_release);
  free_objects_.push_back(slot);
  return fresh;
}

void Catalog::set_object_state(uint32_t slot, ObjectState state) {
  std::lock_guard lock(mutex_);
  const uint64_t version = commit_number(objects_[slot].commit.load());
  objects_[slot].commit.store(commit_word(version, static_cast<uint8_t>(state)),
                              std::memory_order_release);
}

void Catalog::remove_object(uint32_t slot) {
  std::lock_guard lock(mutex_);
  objects_[slot].commit.store(0, std::memory_order_release);
  free_objects_.push_back(slot);
}

void Catalog::each_object(const EachObject& each) const {
  const uint64_t ever = header_->next_object_id.load();
  const auto used = static_cast<uint32_t>(std::min<uint64_t>(header_->objects_max, 2 * ever + 64));
  for (uint32_t slot = 0; slot < used; ++slot) {
    const uint64_t word = objects_[slot].commit.load(std::memory_order_acquire);
    if (word == 0) continue;
    ObjectEntry entry = objects_[slot].entry;
    entry.name[sizeof entry.name - 1] = 0;
    each(slot, static_cast<ObjectState>(commit_state(word)), entry);
  }
}

uint32_t Catalog::next_generation(uint16_t owner) {
  std::lock_guard lock(mutex_);
  if (header_->owners_used.load() <= owner) header_->owners_used.store(owner + 1u);
  const uint32_t next = sessions_[owner].generation.load() + 1;
  return next == 0 ? 1 : next;
}

void Catalog::add_session(uint16_t owner, uint32_t generation, const SessionEntry& entry) {
  std::lock_guard lock(mutex_);
  SessionRecord& record = sessions_[owner];
  record.generation.store(generation, std::memory_order_release);
  record.delay_ends_ms.store(0);
  std::memcpy(&record.entry, &entry, sizeof entry);
  record.commit.store(commit_word(generation, static_cast<uint8_t>(SessionState::kLive)),
                      std::memory_order_release);
}

void Catalog::set_session_reaping(uint16_t owner, int64_t delay_ends_ns) {
  std::lock_guard lock(mutex_);
  SessionRecord& record = sessions_[owner];
  const auto ends_ms = static_cast<uint32_t>(delay_ends_ns / 1'000'000);
  record.delay_ends_ms.store(delay_ends_ns == 0 ? 0 : ends_ms | 1);
  record.commit.store(
      commit_word(record.generation.load(), static_cast<uint8_t>(SessionState::kReaping)),
      std::memory_order_release);
}

int64_t Catalog::session_delay_left_ns(uint16_t owner, int64_t now_ns) const {
  const uint32_t ends_ms = sessions_[owner].delay_ends_ms.load();
  if (ends_ms == 0) return 0;
  const auto left_ms = static_cast<int32_t>(ends_ms - static_cast<uint32_t>(now_ns / 1'000'000));
  return std::max<int64_t>(left_ms, 0) * 1'000'000;
}

void Catalog::remove_session(uint16_t owner) {
  std::lock_guard lock(mutex_);
  sessions_[owner].commit.store(0, std::memory_order_release);
}

void Catalog::each_session(const EachSession& each) const {
  const uint64_t used = std::min<uint64_t>(header_->owners_used.load(), header_->sessions_max);
  for (uint64_t owner = 1; owner < used; ++owner) {
    const SessionRecord& record = sessions_[owner];
    const uint64_t word = record.commit.load(std::memory_order_acquire);
    if (word == 0) continue;
    SessionEntry entry = record.entry;
    entry.name[sizeof entry.name - 1] = 0;
    each(static_cast<uint16_t>(owner), static_cast<SessionState>(commit_state(word)),
         static_cast<uint32_t>(commit_number(word)), entry);
  }
}

}  // namespace heddle::broker
