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

uint64_t bytes_of(const shm::QueueLimits& limits, const ObjectGrant& grant) {
  return shm::queue_granted_bytes(limits, {grant.extents, grant.segments}, grant.extents_ever);
}

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

bool MemoryGrants::map(Queue* queue, uint32_t slot, std::shared_ptr<Segment> segment,
                       const shm::QueueLimits& limits) {
  queue->slot = slot;
  queue->segment = std::move(segment);
  queue->limits = limits;
  queue->most = shm::queue_largest_grant(limits);
  queue->granted = catalog_->grant_of(slot);
  return shm::Queue::attach(queue->segment->base(), queue->segment->bytes(), queue->segment->fd(),
                            &queue->ring) == shm::Outcome::kOk;
}

void MemoryGrants::add_queue(uint64_t object_id, uint32_t slot, std::shared_ptr<Segment> segment,
                             const shm::QueueLimits& limits, MemoryCharge charge) {
  std::lock_guard lock(mutex_);
  Queue& queue = queues_[object_id];
  queue.charge = std::move(charge);
  if (!map(&queue, slot, std::move(segment), limits)) queues_.erase(object_id);
}

void MemoryGrants::adopt_queue(uint64_t object_id, uint32_t slot, uid_t uid,
                               std::shared_ptr<Segment> segment, const shm::QueueLimits& limits) {
  std::lock_guard lock(mutex_);
  Queue& queue = queues_[object_id];
  queue.charge = MemoryCharge(ledger_, uid, 0);
  if (!map(&queue, slot, std::move(segment), limits)) {
    queues_.erase(object_id);
    return;
  }
  count_what_was_taken(object_id, queue);
  queue.used_before = queue.granted.extents;
  // What an earlier broker had written down and not finished.
  queue.ring.raise_grant({queue.granted.extents, queue.granted.segments});
}

void MemoryGrants::remove_queue(uint64_t object_id) {
  std::lock_guard lock(mutex_);
  queues_.erase(object_id);
}

// Ours is never less than the header's (M2), unless a client has written there.
void MemoryGrants::count_what_was_taken(uint64_t object_id, Queue& queue) {
  const shm::QueueGrant header = queue.ring.granted();
  if (header.extents > queue.granted.extents || header.segments > queue.granted.segments) {
    if (!std::exchange(queue.accused, true)) {
      os::log(os::LogLevel::kWarning,
              "the memory of object %llu says that %u extents and %u slot segments were granted, "
              "not %u and %u: a client has written that; they are counted",
              static_cast<unsigned long long>(object_id), header.extents, header.segments,
              queue.granted.extents, queue.granted.segments);
    }
    queue.granted.extents = std::max(queue.granted.extents, header.extents);
    queue.granted.segments = std::max(queue.granted.segments, header.segments);
    queue.granted.extents_ever = std::max(queue.granted.extents_ever, queue.granted.extents);
    catalog_->set_grant(queue.slot, queue.granted);
  }
  const uint64_t granted = bytes_of(queue.limits, queue.granted);
  queue.charge.set(std::max(granted, queue.segment->real_bytes()));
}

Status MemoryGrants::charge_for(Queue& queue, const ObjectGrant& wanted) {
  return queue.charge.grow_to(bytes_of(queue.limits, wanted));
}

Result<shm::QueueGrant> MemoryGrants::grow(uint64_t object_id, const shm::QueueGrant& at_least,
                                           bool anyway) {
  std::lock_guard lock(mutex_);
  const auto at = queues_.find(object_id);
  if (at == queues_.end()) return Status(Reason::kClosed, "the queue was deleted");
  Queue& queue = at->second;
  const auto with = [&queue](uint32_t extents, uint32_t segments) {
    const uint32_t ever = std::max(extents, queue.granted.extents_ever);
    return ObjectGrant{extents, ever, segments};
  };
  const ObjectGrant& now = queue.granted;
  const uint32_t extents = std::clamp(at_least.extents, now.extents, queue.most.extents);
  const uint32_t segments = std::clamp(at_least.segments, now.segments, queue.most.segments);
  const ObjectGrant enough = with(extents, segments);
  ObjectGrant wanted = with(doubled(now.extents, extents, queue.most.extents),
                            doubled(now.segments, segments, queue.most.segments));
  if (!charge_for(queue, wanted).ok()) {
    wanted = enough;
    Status status = charge_for(queue, wanted);
    if (!status.ok() && squeeze()) status = charge_for(queue, wanted);
    if (!status.ok() && !anyway) return status;
    if (!status.ok()) queue.charge.set(bytes_of(queue.limits, wanted));
  }
  if (wanted.extents != now.extents || wanted.segments != now.segments) {
    queue.granted = wanted;
    catalog_->set_grant(queue.slot, wanted);
  }
  queue.ring.raise_grant({wanted.extents, wanted.segments});
  return shm::QueueGrant{wanted.extents, wanted.segments};
}

void MemoryGrants::lower(Queue& queue, uint32_t extents) {
  const uint32_t least = std::min(shm::queue_first_grant(queue.limits).extents, queue.most.extents);
  const uint32_t now = queue.granted.extents;
  const uint32_t to = std::max({extents, least, now > kLoweredAtOnce ? now - kLoweredAtOnce : 0});
  if (to >= now) return;
  const uint32_t lowered = queue.ring.lower_grant(to);
  if (lowered >= now) return;
  queue.granted.extents = lowered;
  catalog_->set_grant(queue.slot, queue.granted);
  queue.charge.set(std::max(bytes_of(queue.limits, queue.granted), queue.segment->real_bytes()));
}

// Somebody is about to be refused what others have and do not use. Not at every such put: it is a
// look at all extents.
bool MemoryGrants::squeeze() {
  const int64_t now_ns = monotonic_ns();
  if (now_ns < next_squeeze_ns_) return false;
  const uint64_t before = ledger_->used();
  for (auto& [id, queue] : queues_) lower(queue, queue.ring.extents_in_use());
  next_squeeze_ns_ = monotonic_ns() + kSqueezeEveryNs;
  return ledger_->used() < before;
}

void MemoryGrants::measure() {
  std::vector<uint64_t> ids;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, queue] : queues_) ids.push_back(id);
  }
  for (const uint64_t id : ids) {
    std::lock_guard lock(mutex_);
    const auto at = queues_.find(id);
    if (at == queues_.end()) continue;
    Queue& queue = at->second;
    const uint32_t used = queue.ring.extents_in_use();
    lower(queue, std::max(used, std::exchange(queue.used_before, used)));
    count_what_was_taken(id, queue);
  }
}

}  // namespace heddle::broker
