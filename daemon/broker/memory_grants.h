// The byte budget: who may have how much real memory, so that all together never have more than
// `memory_max`, and the objects of one user (root excepted) never more than `memory_per_uid_max`.
//
// What counts
//   pipe        its name's page and each connection: all of it is reserved when it is made
//   locks       a segment of locks, in full, when it is made
//   queue       what it may back at most under its grant (proto/shm/queue_grant.h): a small one at
//               first, more when a put needs it, less when its memory stays free. Header, rows
//               and control words are part of it; once granted they stay part of it
//   dict        likewise (proto/shm/dict_grant.h), but what was granted stays
// Session pages and the catalog do not count. Of a deleted object nothing counts, although whoever
// has it mapped still keeps what is in it.
//
// Who needs more gets twice what it has, or just enough if that is all there is. Before
// anybody is refused, all give back what they have been granted and do not use.
//
// Invariants
//   M1  the sum of what is charged <= each limit at the moment at which more is charged. A limit
//       that is lowered below what is charged lets nobody have more, and takes nothing away.
//   M2  what the catalog says of a queue >= what its header says: raised before it, lowered after
//       it. The header is not believed: one that says more than the catalog was written by a
//       client, and is then counted in full, recorded and logged; so is memory beyond any grant, by
//       measure().
//
// Crash story (queue_grant.h has that of the words)
//   more   charge; catalog; header. Dead after the catalog: the next broker charges what it says
//          and raises the header to it. Dead before: nothing happened.
//   less   header; catalog; charge. Dead after the header: the catalog still says more, which is
//          charged and granted again, and given back later if nobody uses it.
//
// Threads: any. Nothing here blocks but for short locks; see locks.h.
#pragma once

#include <heddle/result.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "daemon/broker/catalog.h"
#include "daemon/broker/segment.h"
#include "proto/shm/queue.h"

namespace heddle::broker {

// The sums. A leaf; outlives whatever is charged.
class MemoryLedger {
 public:
  // 0: no limit.
  void set_limits(uint64_t memory_max, uint64_t memory_per_uid_max);
  // MEMORY_EXHAUSTED, or over memory_per_uid_max `reason`, with the limit and what is in use.
  Status add(uid_t uid, uint64_t bytes, Reason over_uid_max);
  void add_anyway(uid_t uid, uint64_t bytes);
  void remove(uid_t uid, uint64_t bytes);
  uint64_t used() const;
  uint64_t used_by(uid_t uid) const;

 private:
  mutable std::mutex mutex_;
  uint64_t memory_max_ = 0, memory_per_uid_max_ = 0;
  uint64_t used_ = 0;
  std::unordered_map<uid_t, uint64_t> by_uid_;
};

// Bytes that count for as long as this lives.
class MemoryCharge {
 public:
  MemoryCharge() = default;
  MemoryCharge(std::shared_ptr<MemoryLedger> ledger, uid_t uid, uint64_t bytes)
      : ledger_(std::move(ledger)), uid_(uid), bytes_(bytes) {}
  MemoryCharge(MemoryCharge&& other) noexcept { *this = std::move(other); }
  MemoryCharge& operator=(MemoryCharge&& other) noexcept;
  ~MemoryCharge() { set(0); }

  uint64_t bytes() const { return bytes_; }
  // Up to `bytes` in all; MEMORY_EXHAUSTED.
  Status grow_to(uint64_t bytes);
  // What is so, allowed or not.
  void set(uint64_t bytes);

 private:
  std::shared_ptr<MemoryLedger> ledger_;
  uid_t uid_ = 0;
  uint64_t bytes_ = 0;
};

// An object that backs its memory as it is granted. Called under the mutex of MemoryGrants.
class Grantee {
 public:
  virtual ~Grantee() = default;
  virtual shm::QueueGrant first() const = 0;
  virtual shm::QueueGrant most() const = 0;
  // Of real memory, at most, under this grant.
  virtual uint64_t bytes(const ObjectGrant& grant) const = 0;
  // What its header says, which a client may have written.
  virtual shm::QueueGrant granted() const = 0;
  virtual void raise(const shm::QueueGrant& to) = 0;
  // Takes back down to `extents` what is not in use; what is granted then.
  virtual uint32_t lower(uint32_t extents) = 0;
  virtual uint32_t extents_in_use() const = 0;
};

class MemoryGrants {
 public:
  // `catalog` outlives this, or what is granted.
  void use(Catalog& catalog) { catalog_ = &catalog; }
  void set_limits(uint64_t memory_max, uint64_t memory_per_uid_max) {
    ledger_->set_limits(memory_max, memory_per_uid_max);
  }
  // For something new of that user. QUOTA over memory_per_uid_max, else MEMORY_EXHAUSTED.
  Result<MemoryCharge> take(uid_t uid, uint64_t bytes);
  // For something that is there already.
  MemoryCharge found(uid_t uid, uint64_t bytes);

  // One that was made under its first grant, which `charge` is for; its record says so.
  void add(uint64_t object_id, uint32_t slot, std::shared_ptr<Segment> segment,
           std::unique_ptr<Grantee> grantee, MemoryCharge charge);
  // At start: one of an earlier broker.
  void adopt(uint64_t object_id, uint32_t slot, uid_t uid, std::shared_ptr<Segment> segment,
             std::unique_ptr<Grantee> grantee);
  void remove(uint64_t object_id);
  // At least so much in all (0: as it is). What is granted now; MEMORY_EXHAUSTED with the limit and
  // what is in use; CLOSED when there is no such object. `anyway`: not to be refused, for the end
  // of a stream.
  Result<shm::QueueGrant> grow(uint64_t object_id, const shm::QueueGrant& at_least,
                               bool anyway = false);
  // Once a second: counts memory that nobody was granted, and takes back what has not been used
  // since the last time.
  void measure();

  uint64_t used() const { return ledger_->used(); }
  uint64_t used_by(uid_t uid) const { return ledger_->used_by(uid); }

 private:
  struct Granted {
    uint32_t slot = 0;  // in the catalog
    std::shared_ptr<Segment> segment;
    std::unique_ptr<Grantee> grantee;
    ObjectGrant granted;       // as in the catalog
    uint32_t used_before = 0;  // extents, when last measured
    MemoryCharge charge;
    bool accused = false;  // of memory that was not granted; said once
  };

  // With mutex_ held.
  Granted& enter(uint64_t object_id, uint32_t slot, std::shared_ptr<Segment> segment,
                 std::unique_ptr<Grantee> grantee, MemoryCharge charge);
  Status charge_for(Granted& object, const ObjectGrant& wanted);
  void count_what_was_taken(uint64_t object_id, Granted& object);
  void lower(Granted& object, uint32_t extents);
  bool squeeze();

  const std::shared_ptr<MemoryLedger> ledger_ = std::make_shared<MemoryLedger>();
  Catalog* catalog_ = nullptr;
  std::mutex mutex_;
  std::unordered_map<uint64_t, Granted> objects_;
  int64_t next_squeeze_ns_ = 0;
};

std::unique_ptr<Grantee> queue_grantee(const Segment& segment);  // null: not a queue

}  // namespace heddle::broker
