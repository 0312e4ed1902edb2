// A lock, semaphore, condition, event or barrier for remote callers: the waiting that needs
// somebody who is always there, over the same words that local clients use.
//
// Threads: every method may be called from any thread. None blocks for longer than a short lock;
// waiting is by callback, which runs exactly once, inside the call that started it or later on
// another thread, never with a lock held. Rights are checked before.
//
// A remote holder is the session's owner number and a `thread` of the caller's choice (0 to 1023),
// so what it holds is repaired by the same reaper when the session ends.
#pragma once

#include <heddle/result.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/objects/caller.h"
#include "daemon/objects/host.h"
#include "proto/shm/lock.h"

namespace heddle::objects {

enum class LockOp : uint8_t { kAcquire, kConvert, kWait, kWaitEvent, kArrive };

class Lock;

// Names a request of a session over restarts of the broker: never 0. `op`: one letter for each
// operation.
uint64_t request_number(const Caller& caller, char op, std::string_view id);

struct LockAsk {
  LockOp op = LockOp::kAcquire;
  shm::LockMode mode = shm::LockMode::kExclusive;  // kConvert: the new one
  shm::LockMode from = shm::LockMode::kExclusive;  // kConvert
  uint32_t n = 1;                                  // permits
  uint16_t thread = 0;                             // below shm::kThreadsMax
  int32_t priority = 0;                            // of the waiter; the lowest is sacrificed
  bool action = false;                             // kArrive
  std::shared_ptr<Lock> guard = nullptr;           // kWait: in place of the condition's own lock
  uint64_t request = 0;                            // kAcquire: request_number(); 0: none
};

struct LockReply {
  // TIMED_OUT, DEADLOCK_DETECTED, BROKEN_BARRIER, ... ; OK is a grant.
  Status status;
  shm::Grant grant;
  OwnerInfo previous;           // with grant.abandoned
  uint32_t index = 0;           // kArrive
  bool lead = false;            // kArrive: run the action, then finish_action()
  std::vector<LockReply> many;  // of LockMany: one for each wish
};

struct LockParty {
  OwnerInfo owner;
  uint16_t number = 0;  // owner number
  uint16_t thread = 0;
  shm::LockMode mode = shm::LockMode::kExclusive;
  bool waits = false;
  int64_t age_ms = -1;  // -1: not known
};

struct LockInfo {
  shm::LockKind kind = shm::LockKind::kNone;
  uint64_t token = 0;
  uint32_t free = 0;   // permits
  uint32_t limit = 0;  // permits, parties
  uint32_t arrived = 0;
  bool set = false;     // event
  bool broken = false;  // barrier
  bool poisoned = false;
  bool abandoned = false;  // the next owner will be told of a death
  uint32_t remote_waiting = 0;
  std::vector<LockParty> parties;  // holders first; waiters that stand in cells or wait remotely
};

struct LockWaiter;
using LockWait = std::shared_ptr<LockWaiter>;
using LockDone = std::function<void(LockReply)>;

class Lock : public std::enable_shared_from_this<Lock> {
 public:
  Lock(Host& host, std::string name, uint64_t object_id, shm::Lock view,
       std::shared_ptr<void> mapping);

  // deadline: CLOCK_MONOTONIC ns; 0 = do not wait, shm::kLockForever. Needs a session, events
  // apart. INVALID_ARGUMENT for what the kind cannot do.
  LockWait start(const Caller& caller, const LockAsk& ask, int64_t deadline_ns, LockDone done);
  // The callback runs with CANCELLED, unless it already did. A barrier that was arrived at breaks.
  void cancel(const LockWait& wait);

  // LEASE_LOST: not held. A counting semaphore may be raised without a session.
  Status release(const Caller& caller, shm::LockMode mode, uint32_t n, uint16_t thread,
                 uint64_t request = 0);
  // A mutex, on behalf of whoever holds it now; with `own_session` only if that is a thread of the
  // caller's session. INVALID_ARGUMENT for other kinds.
  Status release_any(const Caller& caller, bool own_session = false);
  // Whether that thread of the caller has what `ask` acquired with `token`, as far as the words
  // tell: of permits they know only that its session has some.
  bool holds(const Caller& caller, const LockAsk& ask, uint64_t token);
  // At the start of a broker: whether a change that the one before had begun was made. What was
  // made of it in part is finished or taken back.
  bool decide(const HoldChange& change);
  Result<uint32_t> notify(const Caller& caller, uint32_t n, bool all);
  Status set_event(bool on);
  Status finish_action(const Caller& caller, uint16_t thread);
  Status break_barrier(bool keep);
  Status reset_barrier();
  Status join_barrier(const Caller& caller, uint16_t thread, bool join);
  // From one owner, or (0) from whoever holds it; from one thread of it, or (-1) from all.
  Status force_release(uint16_t owner, int thread = -1);
  Status repair();

  LockInfo inspect();
  // Everybody whom its words name.
  std::vector<shm::LockStanding> standing() const;
  // Waits in the broker: for the deadlock detector and for `who`.
  struct RemoteWait {
    uint32_t holder;
    LockOp op;
    shm::LockMode mode;
    int64_t since_ns;
    int32_t priority;
    uint64_t serial;
    bool notified;  // of a condition: only its lock is missing
  };
  std::vector<RemoteWait> remote_waits();
  bool waits(uint64_t serial);
  // Ends that very wait with DEADLOCK_DETECTED; false when it is over.
  bool refuse(uint64_t serial, const std::string& why);

  // --- for the broker ---
  void poll();  // after the bell, and when a timer says so
  // The session is gone: its waits end.
  void drop_waits_of(uint16_t owner);
  void end_of_object();
  bool has_waiting() const { return waiting_.load(std::memory_order_relaxed) != 0; }

  const std::string& name() const { return name_; }
  uint64_t object_id() const { return object_id_; }
  shm::Lock& view() { return view_; }
  // `asked`: permits, for a message about a limit.
  Status status_of(shm::LockOutcome outcome, uint32_t asked = 0);

 private:
  shm::LockActor actor(const Caller& caller, uint16_t thread);
  Status refusal(const Caller& caller, const LockAsk& ask) const;
  Status needs_session(const Caller& caller, uint16_t thread) const;
  void take_guard_again(const LockWait& wait);
  void disown(LockWaiter& wait);
  uint32_t entries_of(uint32_t holder) const;
  bool entry_was_made(uint64_t request);
  // Whether that thread has what it asks for since before this broker came, whose grant may have
  // been lost with the broker before. Of a mutex that is what it holds, once. Of a rlock its line
  // says which request was the last and how many entries there were before that. Of the others the
  // host knows.
  bool take_inherited(const Caller& caller, const LockAsk& ask, shm::Grant* grant);
  bool is_counted(shm::LockMode mode) const;
  uint32_t count_of(uint32_t holder, shm::LockMode mode) const;
  template <class Run>
  shm::LockOutcome noted(HoldChange change, Run run);
  shm::LockOutcome take_some(const LockAsk& ask, shm::LockActor& a, shm::Grant* grant);
  shm::LockOutcome give_some(uint64_t request, shm::LockMode mode, uint32_t n, shm::LockActor& a);
  shm::LockOutcome enter(const LockAsk& ask, shm::LockActor& a, shm::Grant* grant);
  shm::LockOutcome leave(uint64_t request, shm::LockActor& a);
  // All with mutex_ held.
  shm::LockOutcome attempt(LockWaiter& wait);
  shm::LockOutcome attempt_wait(LockWaiter& wait, shm::LockActor& a, bool late);
  void give_up(LockWaiter& wait);
  void finish(const LockWait& wait, Status status, std::vector<LockWait>* finished);
  // To the host; `wait` stands in waits_.
  void tell_wait(const LockWaiter& wait, bool begins);
  void serve(std::vector<LockWait>* finished);
  void schedule(int64_t when_ns);
  void run(std::vector<LockWait>& finished);
  void changed();

  Host& host_;
  const std::string name_;
  const uint64_t object_id_;
  std::shared_ptr<void> mapping_;
  shm::Lock view_;
  std::atomic<uint32_t> waiting_{0};

  std::mutex mutex_;
  bool ended_ = false;
  uint64_t serial_ = 0;
  std::list<LockWait> waits_;    // in the order of their coming
  uint64_t inherited_word_ = 0;  // of a mutex that was held when this broker came
  int64_t scheduled_ns_ = INT64_MAX;
};

}  // namespace heddle::objects
