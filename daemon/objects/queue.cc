#include "daemon/objects/queue.h"

#include <algorithm>

#include "daemon/objects/waiter.h"
#include "proto/local/outcome_status.h"

namespace heddle::objects {
namespace {

// Each takes a row of the queue's accounts, and those are for all who use it.
constexpr uint64_t kProducersPerSessionMax = 256;

}  // namespace

Queue::Queue(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping)
    : host_(host), name_(std::move(name)), object_id_(object_id), mapping_(std::move(mapping)) {}

// The row stays: it goes with the memory, or with the reaping of this broker.
Queue::~Queue() = default;

Result<std::shared_ptr<Queue>> Queue::adopt(Host& host, std::string name, uint64_t object_id,
                                            void* base, uint64_t bytes, int fd,
                                            std::shared_ptr<void> mapping) {
  std::shared_ptr<Queue> queue(new Queue(host, std::move(name), object_id, std::move(mapping)));
  const shm::Outcome outcome = shm::Queue::attach(base, bytes, fd, &queue->ring_);
  if (outcome != shm::Outcome::kOk) {
    return Status(Reason::kCorrupt, "the queue's memory does not fit what the catalog says")
        .with_object("queue " + queue->name_);
  }
  return queue;
}

bool Queue::matches(uint64_t object_id, const shm::QueueLimits& created) const {
  // Other limits may have been changed since; these never do.
  const shm::QueueLimits found = ring_.limits();
  return ring_.object_id() == object_id && found.max_msg_bytes == created.max_msg_bytes &&
         found.overflow == created.overflow && found.eos == created.eos &&
         found.on_producer_death == created.on_producer_death;
}

// One row of the queue's accounts serves the whole broker, because mutex_ lets one thread in at a
// time; the journal line is the calling thread's. The owner changes with whom a lease is for.
shm::Actor& Queue::actor(uint16_t as_owner) {
  actor_.journal = host_.own_journal(&actor_.thread);
  if (!entered_) {
    actor_.owner = host_.own_owner();
    entered_ = ring_.enter(actor_) == shm::Outcome::kOk;
  }
  actor_.owner = as_owner;
  return actor_;
}

Status Queue::status_of(shm::Outcome outcome, uint64_t body_bytes) {
  if (outcome == shm::Outcome::kOk) return Status();
  if (outcome == shm::Outcome::kCorrupt) quarantined_.store(true);
  const shm::QueueCounts counts = ring_.counts();
  return local::outcome_status(outcome, {name_, ring_.limits(), &counts, body_bytes});
}

bool Queue::dead_to(Status* why) {
  if (ended_) {
    *why = Status(Reason::kClosed, "the queue was deleted").with_object("queue " + name_);
  } else if (quarantined()) {
    *why = local::outcome_status(shm::Outcome::kCorrupt, {name_, ring_.limits(), nullptr, 0});
  } else if (actor(host_.own_owner()).row == shm::kRowNone) {
    *why = local::outcome_status(shm::Outcome::kTooManyThreads,
                                 {name_, ring_.limits(), nullptr, 0});
  }
  return !why->ok();
}

Status Queue::shutdown(bool immediate) {
  Finished finished;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (dead_to(&status)) return status;
    if (ring_.reserve_used()) {
      status = host_.grant_memory(object_id_, {0, ring_.granted().segments + 1}, false);
      if (!status.ok()) return std::move(status).with_object("queue " + name_);
    }
    status = status_of(ring_.shutdown(actor(host_.own_owner()), immediate));
    settle(&finished);
  }
  run(finished);
  return status;
}

// An END has a segment of its own in reserve. Where that is in use, because the queue was ended and
// opened again, a death gets another one, whatever the budget says: there is nobody who could be
// told, and a stream that does not end is worse than 16 KiB.
void Queue::keep_room_for_end() {
  if (!ring_.reserve_used()) return;
  (void)host_.grant_memory(object_id_, {0, ring_.granted().segments + 1}, true);
}

Status Queue::reopen() {
  Finished finished;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (dead_to(&status)) return status;
    status = status_of(ring_.reopen(actor(host_.own_owner())));
    settle(&finished);
  }
  run(finished);
  return status;
}

Status Queue::register_producer(const Caller& caller, uint64_t key) {
  if (caller.owner == kNoOwner) {
    return Status(Reason::kInvalidArgument, "registering a producer needs a session; open one")
        .with_object("queue " + name_);
  }
  if (key > shm::kProducerKeyMax) {
    return Status(Reason::kInvalidArgument, "a producer's number is below 2^40")
        .with_object("queue " + name_)
        .with_limit(shm::kProducerKeyMax, key);
  }
  std::lock_guard lock(mutex_);
  Status status;
  if (dead_to(&status)) return status;
  if (producers_.contains({caller.owner, key})) return Status();
  const auto [first, last] = producers_of(caller.owner);
  const auto count = static_cast<uint64_t>(std::distance(first, last));
  if (count >= kProducersPerSessionMax) {
    return Status(Reason::kQuota, "the session has as many producers here as one may have")
        .with_object("queue " + name_)
        .with_limit(kProducersPerSessionMax, count);
  }
  uint32_t cell = 0;
  status = status_of(ring_.register_producer(actor(caller.owner), &cell, key));
  if (status.ok()) producers_[{caller.owner, key}] = cell;
  return status;
}

Status Queue::unregister_producer(const Caller& caller, uint64_t key) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    Status status;
    if (dead_to(&status)) return status;
    const auto it = producers_.find({caller.owner, key});
    if (it == producers_.end()) return Status();  // asked again, after a lost answer
    if (ring_.reserve_used()) {
      status = host_.grant_memory(object_id_, {0, ring_.granted().segments + 1}, false);
      if (!status.ok()) return std::move(status).with_object("queue " + name_);
    }
    ring_.unregister_producer(actor(caller.owner), it->second);
    producers_.erase(it);
    settle(&finished);
  }
  run(finished);
  return Status();
}

Result<uint64_t> Queue::purge(unsigned states) {
  Finished finished;
  uint64_t n = 0;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (dead_to(&status)) return status;
    status = status_of(ring_.purge(actor(host_.own_owner()), states, &n));
    settle(&finished);
  }
  run(finished);
  if (!status.ok()) return status;
  return n;
}

Result<uint32_t> Queue::kick(uint32_t max) {
  Finished finished;
  uint32_t n = 0;
  Status status;
  {
    std::lock_guard lock(mutex_);
    if (dead_to(&status)) return status;
    status = status_of(ring_.kick(actor(host_.own_owner()), max, &n));
    settle(&finished);
  }
  run(finished);
  if (!status.ok()) return status;
  return n;
}

shm::QueueCounts Queue::counts() {
  std::lock_guard lock(mutex_);
  return ring_.counts();
}

shm::QueueLimits Queue::limits() const {
  std::lock_guard lock(mutex_);
  return ring_.limits();
}

void Queue::set_limits(const shm::QueueLimits& limits) {
  std::lock_guard lock(mutex_);
  ring_.set_limits(limits);
}

uint64_t Queue::trim() {
  std::lock_guard lock(mutex_);
  return quarantined() ? 0 : ring_.trim(actor(host_.own_owner()));
}

void Queue::settle_totals() {
  std::lock_guard lock(mutex_);
  if (!quarantined() && ring_.settle(actor(host_.own_owner()))) unsettled_.store(false);
}

uint64_t Queue::decide_put(shm::JournalLine& line) {
  std::lock_guard lock(mutex_);
  return quarantined() ? 0 : ring_.decide_put(line);
}

void Queue::end_of_object() {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    Status why;
    if (!dead_to(&why)) (void)ring_.shutdown(actor(host_.own_owner()), true);
    ended_ = true;
    settle(&finished);
  }
  run(finished);
}

void Queue::reap(uint16_t dead_owner, shm::JournalLine* lines, size_t n,
                 const shm::DeathInfo& info, shm::JournalLine* const* origins) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    on_next_.erase(dead_owner);
    const auto [first, last] = producers_of(dead_owner);
    producers_.erase(first, last);
    for (auto it = leases_.begin(); it != leases_.end();) {
      const bool theirs = it->second.owner == dead_owner;
      if (theirs) lease_ends_.erase({it->second.ends_ns, it->first});
      it = theirs ? leases_.erase(it) : std::next(it);
    }
    if (quarantined()) return;
    unsettled_.store(true);
    keep_room_for_end();
    ring_.reap(actor(host_.own_owner()), dead_owner, lines, n, info, origins);
    settle(&finished);
  }
  run(finished);
}

}  // namespace heddle::objects
