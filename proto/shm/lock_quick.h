// The two steps that nearly every acquire and release of a mutex, an rlock or a permit consist of,
// inline: it is free, or its owner holds it once and nobody sleeps. Everything else is
// lock_mutex.cc and lock_semaphore.cc, whose protocol this is.
#pragma once

#include <cstdint>

#include "proto/shm/lock.h"

namespace heddle::shm {

/// Takes a free lock (not a strict one: those have a line). False: nothing was done.
[[gnu::always_inline]] inline bool take_free(const Lock& lock, uint32_t holder, uint64_t* token) {
  LockLine& line = lock.line();
  uint64_t word = line.word.load(std::memory_order_acquire);
  // The word first: see lock_layout.h.
  if ((word & kLowMask) != 0 || lock.gone()) [[unlikely]]
    return false;
  uint64_t base = line.base.load(std::memory_order_acquire);
  const uint64_t mine = (word + kTokenOne) | holder;
  if (!line.word.compare_exchange_strong(word, mine)) [[unlikely]]
    return false;
  const uint32_t low = token_low(mine);
  *token = full_token(base, low);
  // Behind by one: see Lock::tell_grant.
  if ((base & 1) != low >> 31) [[unlikely]]
    line.base.compare_exchange_strong(base, base + 1);
  return true;
}

/// Lets go of what `holder` took and nobody waits for. False: nothing was done.
[[gnu::always_inline]] inline bool give_free(const Lock& lock, uint32_t holder) {
  LockLine& line = lock.line();
  uint64_t word = line.word.load(std::memory_order_relaxed);
  const bool bare = (word & kLowMask) == holder;
  if (!bare || line.depth.load(std::memory_order_relaxed) != 0 || lock.gone()) [[unlikely]] {
    return false;
  }
  return line.word.compare_exchange_strong(word, word & ~kLowMask);
}

/// Takes the first permit of a semaphore while nobody starves. False: nothing was done.
[[gnu::always_inline]] inline bool take_permit(const Lock& lock, uint32_t holder, uint64_t* token) {
  if ((lock.line().head.load(std::memory_order_acquire) & kHeadHandOff) != 0) [[unlikely]]
    return false;
  return take_free(lock, holder, token);
}

/// Gives the first permit back. False: nothing was done. *owed: somebody sleeps, and the caller has
/// to call Lock::wake_for_permit().
[[gnu::always_inline]] inline bool give_permit(const Lock& lock, uint32_t holder, bool* owed) {
  LockLine& line = lock.line();
  uint64_t word = line.word.load(std::memory_order_relaxed);
  if ((word & kLowMask) != holder || lock.gone()) [[unlikely]]
    return false;
  if (!line.word.compare_exchange_strong(word, word & ~kLowMask)) [[unlikely]]
    return false;
  *owed = (line.head.load(std::memory_order_acquire) & kHeadSleepers) != 0;
  return true;
}

}  // namespace heddle::shm
