// What an object needs from the broker around it. The broker implements it; tests use a plain one.
#pragma once

#include <heddle/result.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "daemon/objects/caller.h"
#include "proto/shm/pipe_layout.h"
#include "proto/shm/queue.h"

namespace heddle::objects {

// Who stands behind an owner number, for people.
struct OwnerInfo {
  bool known = false;
  bool remote = false;
  uint64_t session_id = 0;
  pid_t pid = 0;
  uid_t uid = static_cast<uid_t>(-1);
  std::string command;
};

// A change to what a remote caller holds of a lock of which one may hold several, noted before it
// is made: see lock_inherited.cc.
struct HoldChange {
  uint64_t object_id = 0;
  uint64_t request = 0;  // request_number(); 0: nobody asks again
  uint32_t holder = 0;   // shm::holder_of
  uint32_t n = 0;
  uint32_t before = 0;  // what Lock::count_of() gave
  bool release = false;
  uint8_t mode = 0;  // shm::LockMode
};

// All methods may be called from any thread, with object locks held; they take only locks that
// stand after the object's in the order of daemon/broker/locks.h.
class Host {
 public:
  virtual ~Host() = default;
  virtual int64_t now_ns() const = 0;  // CLOCK_MONOTONIC
  // Calls `run` from the broker thread at or soon after `when_ns`. Cannot be taken back: `run`
  // checks for itself whether there is anything left to do.
  virtual void at(int64_t when_ns, std::function<void()> run) = 0;
  // The broker's own actor in shared words, for the calling thread. `journal` belongs to this
  // thread alone, so an Actor built from it must not outlive the call.
  virtual uint16_t own_owner() const = 0;
  virtual shm::JournalLine* own_journal(uint16_t* thread) = 0;
  // Leases taken without a session carry this owner; they live by their deadline alone.
  virtual uint16_t sessionless_owner() const = 0;
  // The term of such a lease when the caller names none.
  virtual int64_t message_lease_ns() const = 0;
  // The next put of this thread is one of request `number`: from here on, whoever repairs this
  // broker can tell what became of it.
  virtual void recorded_put_begins(uint64_t number) = 0;
  // It ended, and published message `id` (0: nothing). Said before the thread's next operation.
  virtual void recorded_put_ended(uint64_t number, uint64_t id) = 0;
  // The newest token of `lock` (full name) that was ever shown for the object, this one included,
  // over restarts of the broker. QUOTA: too many locks are remembered.
  virtual Result<uint64_t> raise_fence(uint64_t object_id, std::string_view lock,
                                       uint64_t token) = 0;
  // Noted from here until it is settled, over the broker's death; of an object one at a time. Gives
  // its number.
  virtual uint64_t begin_change(const HoldChange&) { return 0; }
  // `done`: made, so asked again nothing is left to do.
  virtual void settle_change(uint64_t, bool) {}
  // Whether an earlier broker made it. Only once.
  virtual bool changed_before(uint64_t, uint64_t) { return false; }
  virtual OwnerInfo describe_owner(uint16_t owner) const = 0;
  // It has begun to end, or is gone: what it held is being given back, or was.
  virtual bool session_ended(uint64_t) const { return false; }
  // Lets a queue back so much of its memory in all (0: as it is). MEMORY_EXHAUSTED with the limit
  // that is reached. `anyway`: must not fail, for the end of a stream.
  virtual Status grant_memory(uint64_t, const shm::QueueGrant&, bool) {
    return Status(Reason::kMemoryExhausted, "nobody grants memory here");
  }
  // Whether remote callers wait for this object: then its doorbell is listened to.
  virtual void set_waiting(uint64_t object_id, bool waiting) = 0;
  // The same for locks.
  virtual void set_lock_waiting(uint64_t object_id, bool waiting) {
    set_waiting(object_id, waiting);
  }
  // And for connections of pipes.
  virtual void set_pipe_waiting(uint64_t object_id, bool waiting) {
    set_waiting(object_id, waiting);
  }
  // Descriptors that came with a message for a remote caller, who cannot have them. Not with object
  // locks held.
  virtual void drop_descriptors(uint64_t, shm::PipeSide, uint64_t) {}
  // A thread of a session (shm::holder_of) began to wait for an object by a call of its own, or is
  // through with that: soon it is time to look for deadlocks.
  virtual void wait_began(uint32_t, uint64_t) {}
  virtual void wait_ended(uint32_t, uint64_t) {}
};

}  // namespace heddle::objects
