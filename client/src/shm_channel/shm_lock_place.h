// Where one lock lies in this process's memory, and the way to it that costs no virtual call: one
// compare of a thread-local entry gives the calling thread's identity in lock words.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_PLACE_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_PLACE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "client/src/lock_channel.h"
#include "client/src/shm_channel/process_generation.h"
#include "client/src/shm_channel/shm_lock_home.h"
#include "proto/shm/lock_quick.h"

namespace heddle::detail {

// Immutable once it can be seen; replaced as a whole after a fork or a lost session.
struct LockPlace {
  std::uint64_t key;         // Of the home.
  std::uint64_t generation;  // Of the process.
  shm::LockKind kind;
  bool quick;  // A mutex, rlock or a condition's lock, and not a strict one: take_at_once().
  shm::Lock lock;
  std::shared_ptr<LockHome> home;
  std::shared_ptr<LockMemory> memory;
  std::uint64_t object_id;
  std::string name;  // Full.
};

// The calling thread's hands in the place's session, or null: take the slow way.
inline LockHands* cached_lock_hands(const LockPlace& place) {
  const LockHandsEntry& entry = t_lock_hands[place.key % kLockHandsCached];
  if (entry.key == place.key && entry.generation == process_generation()) [[likely]] {
    return entry.hands;
  }
  return nullptr;
}

// A free lock is taken, one that nobody waits for is let go, without a virtual call. False: nothing
// was done, ask the channel; now and then it is asked anyhow, and looks whether the session still
// is one.
[[gnu::always_inline]] inline bool take_at_once(const LockChannel& channel, std::uint64_t* token) {
  const LockPlace* place = channel.place();
  if (place == nullptr || !place->quick) [[unlikely]]
    return false;
  LockHands* hands = cached_lock_hands(*place);
  if (hands == nullptr || ++hands->uses % kUsesPerLook == 0) [[unlikely]]
    return false;
  if (!shm::take_free(place->lock, hands->holder, token)) [[unlikely]]
    return false;
  ++hands->held;
  return true;
}

[[gnu::always_inline]] inline bool give_at_once(const LockChannel& channel) {
  const LockPlace* place = channel.place();
  if (place == nullptr || !place->quick) [[unlikely]]
    return false;
  LockHands* hands = cached_lock_hands(*place);
  if (hands == nullptr || !shm::give_free(place->lock, hands->holder)) [[unlikely]]
    return false;
  --hands->held;
  return true;
}

// One call of shm::Lock for whatever `mode` the kind allows; kCorrupt stands for a mode that it
// does not have.
inline shm::LockOutcome acquire_in_place(const LockPlace& place, shm::LockActor& actor,
                                         shm::LockMode mode, std::int64_t deadline_ns,
                                         shm::Grant* grant) {
  shm::Lock lock = place.lock;
  if (place.kind == shm::LockKind::kRw) return lock.acquire_rw(actor, mode, deadline_ns, grant);
  return lock.acquire(actor, deadline_ns, grant);
}

inline shm::LockOutcome release_in_place(const LockPlace& place, shm::LockActor& actor,
                                         shm::LockMode mode) {
  shm::Lock lock = place.lock;
  if (place.kind == shm::LockKind::kRw) return lock.release_rw(actor, mode);
  return lock.release(actor);
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_PLACE_H_
