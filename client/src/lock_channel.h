// The seam for locks, semaphores, conditions, events and barriers: one LockChannel is one opened
// object. See channel.h for deadlines and threads. A wait that ends by its deadline gives EMPTY for
// kTry, else TIMED_OUT. Methods that do not belong to the object's kind give INVALID_ARGUMENT.
#ifndef HEDDLE_CLIENT_SRC_LOCK_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_LOCK_CHANNEL_H_

#include <heddle/lock_options.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace heddle::detail {

struct LockPlace;  // shm_channel/shm_lock_place.h

// What is to be opened: the options of every kind in one.
struct LockSpec {
  SyncKind kind = SyncKind::kLock;
  std::optional<LockKind> lock_kind = {};
  std::optional<OwnerDeath> on_owner_death = {};
  std::optional<Fairness> fair = {};
  std::optional<std::chrono::milliseconds> lock_delay = {};
  std::optional<std::uint32_t> count = {};      // Permits, parties.
  std::optional<std::uint32_t> count_max = {};  // Of a counting semaphore.
  std::optional<bool> counting = {};
  std::optional<Lifetime> lifetime = {};
  std::optional<std::uint32_t> mode = {};
  std::string group = {};
  Presence presence = Presence::kAny;
};

struct LockAsk {
  LockMode mode = LockMode::kExclusive;
  std::uint32_t n = 1;  // Permits.
  std::int64_t deadline_ns = INT64_MAX;
  std::int32_t priority = 0;
  std::string_view request_id = {};
};

// What can be seen without asking who.
struct LockGlance {
  bool locked = false;
  std::uint64_t token = 0;
  std::uint32_t limit = 0;    // Permits, parties.
  std::uint32_t free = 0;     // Permits.
  std::uint32_t arrived = 0;  // At the barrier.
  bool set = false;
  bool broken = false;
};

class LockChannel;

// One of several.
struct LockWant {
  const LockChannel* lock = nullptr;
  LockMode mode = LockMode::kExclusive;
};

class HEDDLE_API LockChannel : public std::enable_shared_from_this<LockChannel> {
 public:
  virtual ~LockChannel() = default;

  virtual const std::string& name() const = 0;  // Full.
  virtual SyncKind kind() const = 0;

  // Locks, a condition's own lock, semaphores.
  virtual Status acquire(const LockAsk& ask, Grant* grant) = 0;
  // All of them or none, in one step; this is one of them. `grants` has room for all, and is filled
  // where there is something to tell. UNSUPPORTED: acquire them one by one.
  virtual Status acquire_many(std::span<const LockWant>, std::int64_t, Grant*) {
    return Reason::kUnsupported;
  }
  virtual Status release(LockMode mode, std::uint32_t n) = 0;
  // A mutex, whoever holds it. With `same_process`: only if the holder belongs to this session.
  virtual Status release_any(bool same_process) = 0;
  virtual Status convert(LockMode from, LockMode to, std::int64_t deadline_ns, Grant* grant) = 0;

  // Conditions. `lock` is another lock of the same Channel, held by the caller; null: its own.
  virtual Status wait(LockChannel* lock, std::int64_t deadline_ns) = 0;
  virtual Result<std::uint32_t> notify(std::uint32_t n, bool all) = 0;

  // Events.
  virtual Status wait_event(std::int64_t deadline_ns) = 0;
  virtual Status set_event(bool set) = 0;

  // Barriers. *lead: the caller has to run the action, then finish_action() or abort.
  virtual Status arrive(bool action, std::int64_t deadline_ns, std::uint32_t* index,
                        bool* lead) = 0;
  virtual Status finish_action() = 0;
  virtual Status abort_barrier() = 0;
  virtual Status reset_barrier() = 0;
  virtual Status join_barrier(bool join) = 0;

  virtual Result<LockGlance> glance() = 0;
  virtual Result<LockInfo> info() = 0;
  virtual Status force_release() = 0;
  virtual Status repair() = 0;

  // Where the object lies in this process's memory, for the way without a virtual call; null: none,
  // or look again through the virtual functions.
  const LockPlace* place() const { return place_.load(std::memory_order_acquire); }

 protected:
  std::atomic<const LockPlace*> place_{nullptr};
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_LOCK_CHANNEL_H_
