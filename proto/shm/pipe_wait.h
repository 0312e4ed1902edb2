// Waiting at a pipe: for a turn or for the ring, whichever is in the way. Included by the .cc files
// that wait.
#pragma once

#include "proto/shm/pipe.h"
#include "proto/shm/wake.h"

namespace heddle::shm {

/// attempt(&wait_at) returns `not_now` and says which word will be stepped when it is worth another
/// try; that word may be another one each time.
template <class Attempt>
Outcome Pipe::until(PipeActor& a, std::atomic<uint32_t>& blocked_ms, int64_t deadline_ns,
                    Outcome not_now, Attempt attempt) {
  WakeWord* at = nullptr;
  Outcome outcome = attempt(&at);
  if (outcome != not_now) {
    ++a.burst;
    return outcome;
  }
  if (deadline_ns == kTry) return outcome;
  blocked_ms.store(coarse_ms() | 1, std::memory_order_relaxed);
  for (WakeWord* now_at = at; outcome == not_now; at = now_at) {
    outcome = wait_on(a, *at, deadline_ns, [&](bool* done) {
      const Outcome one = attempt(&now_at);
      *done = one != not_now || now_at != at;
      return one;
    });
  }
  blocked_ms.store(0, std::memory_order_relaxed);
  return outcome;
}

}  // namespace heddle::shm
