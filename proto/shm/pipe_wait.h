// Waiting at a pipe: for a turn or for the ring, whichever is in the way. Included by the .cc files
// that wait.
//
// A thread that holds a lock tells what it waits for (wait_note.h). Crash and freeze story: the
// note is the thread's own line and changes nothing of the pipe, so a death before, with or after
// it leaves what a death in any sleep leaves; the line is cleared by the reaper, and until then
// names a session that the broker takes for stuck only while its process is there. Called off, the
// thread has tried once more before it looks at the note: what came is received, never given up.
#pragma once

#include <algorithm>

#include "proto/shm/pipe.h"
#include "proto/shm/wait_note.h"
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
  // Who has no end to its patience is in the middle of a message.
  LockActor* const holding =
      a.holding != nullptr && a.patience_ns != kForever ? a.holding(a.holding_context) : nullptr;
  outcome = holding == nullptr ? sleep_at(a, at, deadline_ns, not_now, attempt)
                               : sleep_told(*holding, a, at, deadline_ns, not_now, attempt);
  blocked_ms.store(0, std::memory_order_relaxed);
  return outcome;
}

template <class Attempt>
Outcome Pipe::sleep_at(PipeActor& a, WakeWord* at, int64_t deadline_ns, Outcome not_now,
                       Attempt attempt) {
  Outcome outcome = not_now;
  for (WakeWord* now_at = at; outcome == not_now; at = now_at) {
    outcome = wait_on(a, *at, deadline_ns, [&](bool* done) {
      const Outcome one = attempt(&now_at);
      *done = one != not_now || now_at != at;
      return one;
    });
  }
  return outcome;
}

/// Short waits, nearly all, tell nobody. One that is told stays one for as long as there is a
/// daemon behind it, whatever the patience.
template <class Attempt>
Outcome Pipe::sleep_told(LockActor& holding, PipeActor& a, WakeWord* at, int64_t deadline_ns,
                         Outcome not_now, Attempt attempt) {
  const int64_t patience_ns = a.patience_ns;
  a.patience_ns = std::min(patience_ns, kTellNs);
  Outcome outcome = sleep_at(a, at, deadline_ns, not_now, attempt);
  a.patience_ns = patience_ns;
  const int64_t now_ns = monotonic_ns();
  if (outcome != Outcome::kTimedOut || now_ns >= deadline_ns) return outcome;
  const bool sends = not_now == Outcome::kFull;
  const bool has_turn = sends ? a.holds_send : a.holds_receive;
  // Before the word that it belongs to: the broker reads them the other way round, and believes a
  // word only when it is still there later.
  holding.journal->waiting_room.store((has_turn ? kWaitHasTurn : 0) | (sends ? a.room_needed : 0),
                                      std::memory_order_relaxed);
  WaitNote note(holding, pipe_wait_for(sends, side_), static_cast<uint32_t>(object_id()));
  note.publish(kTellNs);
  note.tell(monotonic_ns());
  const auto attempt_told = [&](WakeWord** wait_at) {
    const Outcome one = attempt(wait_at);
    return one == not_now && note.cancelled() ? Outcome::kInterrupted : one;
  };
  for (bool goes_on = true; goes_on;) {
    outcome = attempt_told(&at);
    if (outcome != not_now) return outcome;
    outcome = sleep_at(a, at, deadline_ns, not_now, attempt_told);
    goes_on = outcome == Outcome::kTimedOut && monotonic_ns() < deadline_ns &&
              holding.look != nullptr && holding.look(holding.look_context);
  }
  return outcome;
}

}  // namespace heddle::shm
