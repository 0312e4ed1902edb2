// Where one lock lies in this process's memory, and the way to it that costs no virtual call: one
// compare of a thread-local entry gives the calling thread's identity in lock words.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_PLACE_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_PLACE_H_

#include <atomic>
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
  // Where the generation stands; 0 there in a child that has not asked yet.
  const std::atomic<std::uint64_t>* generation_now;
  shm::LockKind kind;
  bool quick;  // A mutex, rlock or a condition's lock, and not a strict one: take_at_once().
  mutable shm::Lock lock;
  std::shared_ptr<LockHome> home;
  std::shared_ptr<LockMemory> memory;
  std::uint64_t object_id;
  std::string name;  // Full.
};

// The calling thread's entry for the place's session, or null: take the slow way.
[[gnu::always_inline]] inline const LockHandsEntry* cached_lock_entry(const LockPlace& place) {
  const LockHandsEntry& entry = t_lock_hands[place.key % kLockHandsCached];
  // An entry that a child finds has its parent's key, like the place.
  const bool here = entry.key == place.key &&
                    place.generation_now->load(std::memory_order_relaxed) == place.generation;
  return here ? &entry : nullptr;
}
inline LockHands* cached_lock_hands(const LockPlace& place) {
  const LockHandsEntry* entry = cached_lock_entry(place);
  return entry != nullptr ? entry->hands : nullptr;
}

// A free lock is taken, one that nobody waits for is let go, without a virtual call. False: nothing
// was done, ask the channel. After so many grants it is asked anyhow, and looks whether the session
// still is one.
[[gnu::always_inline]] inline bool take_at_once(const LockChannel& channel, std::uint64_t* token) {
  const LockPlace* place = channel.place();
  if (place == nullptr || !place->quick) [[unlikely]]
    return false;
  const LockHandsEntry* entry = cached_lock_entry(*place);
  if (entry == nullptr) [[unlikely]]
    return false;
  if (!shm::take_free(place->lock, static_cast<std::uint32_t>(entry->holder), token)) {
    return false;
  }
  ++entry->hands->held;
  if (*token % kUsesPerLook == 0) [[unlikely]]
    entry->hands->uses = kUsesPerLook - 1;
  return true;
}

[[gnu::always_inline]] inline bool give_at_once(const LockChannel& channel) {
  const LockPlace* place = channel.place();
  if (place == nullptr || !place->quick) [[unlikely]]
    return false;
  const LockHandsEntry* entry = cached_lock_entry(*place);
  if (entry == nullptr) [[unlikely]]
    return false;
  // Time for a look: the channel's own release() has it.
  if (entry->hands->uses == kUsesPerLook - 1) [[unlikely]]
    return false;
  if (!shm::give_free(place->lock, static_cast<std::uint32_t>(entry->holder))) [[unlikely]] {
    return false;
  }
  --entry->hands->held;
  return true;
}

// The same for what a semaphore or a reader needs: no wait, one call of shm::Lock. A reader does
// not try where somebody sleeps or owns the word.
inline bool acquire_kin_at_once(const LockChannel& channel, std::uint32_t n, Grant* grant) {
  const LockPlace* place = channel.place();
  if (place == nullptr) [[unlikely]]
    return false;
  LockHands* hands = cached_lock_hands(*place);
  if (hands == nullptr || ++hands->uses % kUsesPerLook == 0) [[unlikely]]
    return false;
  shm::Grant got;
  shm::LockOutcome outcome = shm::LockOutcome::kTimedOut;
  if (place->kind == shm::LockKind::kRw) {
    if ((place->lock.line().word.load(std::memory_order_relaxed) & shm::kLowMask) != 0) {
      return false;
    }
    outcome = place->lock.acquire_rw(hands->actor, shm::LockMode::kShared, shm::kLockTry, &got);
  } else if (n == 1 && place->kind == shm::LockKind::kSemaphore &&
             shm::take_permit(place->lock, hands->actor.holder(), &got.token)) [[likely]] {
    outcome = shm::LockOutcome::kOk;
  } else if (place->kind == shm::LockKind::kSemaphore || place->kind == shm::LockKind::kCounting) {
    if (n == 0) return false;
    outcome = place->lock.acquire_permits(hands->actor, n, shm::kLockTry, &got);
  }
  if (outcome != shm::LockOutcome::kOk) return false;
  ++hands->held;
  grant->token = got.token;
  if (got.abandoned) [[unlikely]] {
    grant->abandoned = true;
    grant->previous_session = shm::owner_in(got.dead_holder);
    grant->previous_thread = shm::thread_in(got.dead_holder);
  }
  return true;
}

inline bool release_kin_at_once(const LockChannel& channel, std::uint32_t n) {
  const LockPlace* place = channel.place();
  if (place == nullptr) [[unlikely]]
    return false;
  LockHands* hands = cached_lock_hands(*place);
  if (hands == nullptr) [[unlikely]]
    return false;
  shm::LockOutcome outcome = shm::LockOutcome::kNotHeld;
  bool owed = false;
  if (place->kind == shm::LockKind::kRw) {
    outcome = place->lock.release_rw(hands->actor, shm::LockMode::kShared);
  } else if (n == 1 && place->kind == shm::LockKind::kSemaphore &&
             shm::give_permit(place->lock, hands->actor.holder(), &owed)) [[likely]] {
    if (owed) place->lock.wake_for_permit(hands->actor);
    outcome = shm::LockOutcome::kOk;
  } else if (n != 0 && (place->kind == shm::LockKind::kSemaphore ||
                        place->kind == shm::LockKind::kCounting)) {
    outcome = place->lock.release_permits(hands->actor, n);
  }
  if (outcome != shm::LockOutcome::kOk) [[unlikely]]
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
