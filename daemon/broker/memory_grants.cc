#include "daemon/broker/memory_grants.h"

#include <algorithm>
#include <string>
#include <utility>

#include "daemon/broker/loop.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

constexpr int64_t kSqueezeEveryNs = 10'000'000;
constexpr uint32_t kLoweredAtOnce = 1024;  // extents; others wait for their grants meanwhile

class QueueGrantee final : public Grantee {
 public:
  explicit QueueGrantee(const shm::Queue& ring) : ring_(ring), limits_(ring.limits()) {}
  shm::QueueGrant first() const override { return shm::queue_first_grant(limits_); }
  shm::QueueGrant most() const override { return shm::queue_largest_grant(limits_); }
  uint64_t bytes(const ObjectGrant& grant) const override {
    return shm::queue_granted_bytes(limits_, {grant.extents, grant.segments}, grant.extents_ever);
  }
  shm::QueueGrant granted() const override { return ring_.granted(); }
  void raise(const shm::QueueGrant& to) override { ring_.raise_grant(to); }
  uint32_t lower(uint32_t extents) override { return ring_.lower_grant(extents); }
  uint32_t extents_in_use() const override { return ring_.extents_in_use(); }

 private:
  shm::Queue ring_;
  const shm::QueueLimits limits_;
};

Status refused(Reason reason, const char* limit, const char* whose, uint64_t bytes, uint64_t max,
               uint64_t used) {
  return Status(reason, std::string(limit) + " is reached: " + whose +
                            " may have no more memory, and this needs " + std::to_string(bytes) +
                            " bytes; take messages out, delete objects, or have " + limit +
                            " raised")
      .with_limit(max, used);
}

uint32_t doubled(uint32_t now, uint32_t at_least, uint32_t most) {
  if (at_least <= now) return now;
  return std::min(most, std::max(at_least, now < most / 2 ? now * 2 : most));
}

}  // namespace

void MemoryLedger::set_limits(uint64_t memory_max, uint64_t memory_per_uid_max) {
  std::lock_guard lock(mutex_);
  memory_max_ = memory_max;
  memory_per_uid_max_ = memory_per_uid_max;
}

Status MemoryLedger::add(uid_t uid, uint64_t bytes, Reason over_uid_max) {
  std::lock_guard lock(mutex_);
  const auto fits = [bytes](uint64_t max, uint64_t used) {
    return max == 0 || (used <= max && bytes <= max - used);
  };
  uint64_t& mine = by_uid_[uid];
  if (uid != 0 && !fits(memory_per_uid_max_, mine)) {
    return refused(over_uid_max, "memory_per_uid_max", "the objects of one user", bytes,
                   memory_per_uid_max_, mine);
  }
  if (!fits(memory_max_, used_)) {
    return refused(Reason::kMemoryExhausted, "memory_max", "the objects of this daemon", bytes,
                   memory_max_, used_);
  }
  mine += bytes;
  used_ += bytes;
  return Status();
}

void MemoryLedger::add_anyway(uid_t uid, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  by_uid_[uid] += bytes;
  used_ += bytes;
}

void MemoryLedger::remove(uid_t uid, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  const auto mine = by_uid_.find(uid);
  if (mine != by_uid_.end() && (mine->second -= std::min(bytes, mine->second)) == 0) {
    by_uid_.erase(mine);
  }
  used_ -= std::min(bytes, used_);
}

uint64_t MemoryLedger::used() const {
  std::lock_guard lock(mutex_);
  return used_;
}

uint64_t MemoryLedger::used_by(uid_t uid) const {
  std::lock_guard lock(mutex_);
  const auto mine = by_uid_.find(uid);
  return mine == by_uid_.end() ? 0 : mine->second;
}

MemoryCharge& MemoryCharge::operator=(MemoryCharge&& other) noexcept {
  if (this == &other) return *this;
  set(0);
  ledger_ = std::move(other.ledger_);
  uid_ = other.uid_;
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

Status MemoryCharge::grow_to(uint64_t bytes) {
  if (bytes <= bytes_) return Status();
  Status status = ledger_->add(uid_, bytes - bytes_, Reason::kMemoryExhausted);
  if (status.ok()) bytes_ = bytes;
  return status;
}

void MemoryCharge::set(uint64_t bytes) {
  if (bytes > bytes_) ledger_->add_anyway(uid_, bytes - bytes_);
  if (bytes < bytes_) ledger_->remove(uid_, bytes_ - bytes);
  bytes_ = bytes;
}

Result<MemoryCharge> MemoryGrants::take(uid_t uid, uint64_t bytes) {
  Status status = ledger_->add(uid, bytes, Reason::kQuota);
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    if (squeeze()) status = ledger_->add(uid, bytes, Reason::kQuota);
  }
  if (!status.ok()) return status;
  return MemoryCharge(ledger_, uid, bytes);
}

MemoryCharge MemoryGrants::found(uid_t uid, uint64_t bytes) {
  ledger_->add_anyway(uid, bytes);
  return MemoryCharge(ledger_, uid, bytes);
}

MemoryGrants::Granted& MemoryGrants::enter(uint64_t object_id, uint32_t slot,
                                           std::shared_ptr<Segment> segment,
                                           std::unique_ptr<Grantee> grantee, MemoryCharge charge) {
  Granted& object = objects_[object_id];
  object.slot = slot;
  object.segment = std::move(segment);
  object.grantee = std::move(grantee);
  object.granted = catalog_->grant_of(slot);
  object.charge = std::move(charge);
  return object;
}

void MemoryGrants::add(uint64_t object_id, uint32_t slot, std::shared_ptr<Segment> segment,
                       std::unique_ptr<Grantee> grantee, MemoryCharge charge) {
  std::lock_guard lock(mutex_);
  if (grantee) {
    enter(object_id, slot, std::move(segment), std::move(grantee), std::move(charge));
  }
}

void MemoryGrants::adopt(uint64_t object_id, uint32_t slot, uid_t uid,
                         std::shared_ptr<Segment> segment, std::unique_ptr<Grantee> grantee) {
  if (!grantee) return;
  std::lock_guard lock(mutex_);
  Granted& object = enter(object_id, slot, std::move(segment), std::move(grantee),
                          MemoryCharge(ledger_, uid, 0));
  count_what_was_taken(object_id, object);
  object.used_before = object.granted.extents;
  // What an earlier broker had written down and not finished.
  object.grantee->raise({object.granted.extents, object.granted.segments});
}

void MemoryGrants::remove(uint64_t object_id) {
  std::lock_guard lock(mutex_);
  objects_.erase(object_id);
}

std::unique_ptr<Grantee> queue_grantee(const Segment& segment) {
  shm::Queue ring;
  if (shm::Queue::attach(segment.base(), segment.bytes(), segment.fd(), &ring) !=
      shm::Outcome::kOk) {
    return nullptr;
  }
  return std::make_unique<QueueGrantee>(ring);
}

// Ours is never less than the header's (M2), unless a client has written there.
void MemoryGrants::count_what_was_taken(uint64_t object_id, Granted& object) {
  const shm::QueueGrant header = object.grantee->granted();
  if (header.extents > object.granted.extents || header.segments > object.granted.segments) {
    if (!std::exchange(object.accused, true)) {
      os::log(os::LogLevel::kWarning,
              "the memory of object %llu says that %u extents and %u slot segments were granted, "
              "not %u and %u: a client has written that; they are counted",
              static_cast<unsigned long long>(object_id), header.extents, header.segments,
              object.granted.extents, object.granted.segments);
    }
    object.granted.extents = std::max(object.granted.extents, header.extents);
    object.granted.segments = std::max(object.granted.segments, header.segments);
    object.granted.extents_ever = std::max(object.granted.extents_ever, object.granted.extents);
    catalog_->set_grant(object.slot, object.granted);
  }
  const uint64_t granted = object.grantee->bytes(object.granted);
  object.charge.set(std::max(granted, object.segment->real_bytes()));
}

Status MemoryGrants::charge_for(Granted& object, const ObjectGrant& wanted) {
  return object.charge.grow_to(object.grantee->bytes(wanted));
}

Result<shm::QueueGrant> MemoryGrants::grow(uint64_t object_id, const shm::QueueGrant& at_least,
                                           bool anyway) {
  std::lock_guard lock(mutex_);
  const auto at = objects_.find(object_id);
  if (at == objects_.end()) return Status(Reason::kClosed, "it was deleted");
  Granted& object = at->second;
  const auto with = [&object](uint32_t extents, uint32_t segments) {
    const uint32_t ever = std::max(extents, object.granted.extents_ever);
    return ObjectGrant{extents, ever, segments};
  };
  const ObjectGrant& now = object.granted;
  const shm::QueueGrant most = object.grantee->most();
  const uint32_t extents = std::clamp(at_least.extents, now.extents, most.extents);
  const uint32_t segments = std::clamp(at_least.segments, now.segments, most.segments);
  const ObjectGrant enough = with(extents, segments);
  ObjectGrant wanted = with(doubled(now.extents, extents, most.extents),
                            doubled(now.segments, segments, most.segments));
  if (!charge_for(object, wanted).ok()) {
    wanted = enough;
    Status status = charge_for(object, wanted);
    if (!status.ok() && squeeze()) status = charge_for(object, wanted);
    if (!status.ok() && !anyway) return status;
    if (!status.ok()) object.charge.set(object.grantee->bytes(wanted));
  }
  if (wanted.extents != now.extents || wanted.segments != now.segments) {
    object.granted = wanted;
    catalog_->set_grant(object.slot, wanted);
  }
  object.grantee->raise({wanted.extents, wanted.segments});
  return shm::QueueGrant{wanted.extents, wanted.segments};
}

void MemoryGrants::lower(Granted& object, uint32_t extents) {
  const uint32_t least = object.grantee->first().extents;
  const uint32_t now = object.granted.extents;
  const uint32_t to = std::max({extents, least, now > kLoweredAtOnce ? now - kLoweredAtOnce : 0});
  if (to >= now) return;
  const uint32_t lowered = object.grantee->lower(to);
  if (lowered >= now) return;
  object.granted.extents = lowered;
  catalog_->set_grant(object.slot, object.granted);
  object.charge.set(std::max(object.grantee->bytes(object.granted), object.segment->real_bytes()));
}

// Somebody is about to be refused what others have and do not use. Not at every such put: it is a
// look at all extents.
bool MemoryGrants::squeeze() {
  const int64_t now_ns = monotonic_ns();
  if (now_ns < next_squeeze_ns_) return false;
  const uint64_t before = ledger_->used();
  for (auto& [id, object] : objects_) lower(object, object.grantee->extents_in_use());
  next_squeeze_ns_ = monotonic_ns() + kSqueezeEveryNs;
  return ledger_->used() < before;
}

void MemoryGrants::measure() {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, object] : objects_) ids.push_back(id);
  }
  for (const uint64_t id : ids) {
    std::lock_guard lock(mutex_);
    const auto at = objects_.find(id);
    if (at == objects_.end()) continue;
    Granted& object = at->second;
    const uint32_t used = object.grantee->extents_in_use();
    lower(object, std::max(used, std::exchange(object.used_before, used)));
    count_what_was_taken(id, object);
  }
}

}  // namespace heddle::broker
