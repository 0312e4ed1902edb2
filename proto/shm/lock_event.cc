// Events: one bit in `head`, a sequence that grows with every set, SLEEPERS.
//
// set    one CAS: the bit, the next sequence; then wake all if SLEEPERS. The bit stays until the
//        wake is done, so rescan() finds {set, SLEEPERS} of a setter that died in between.
// clear  first does what a setter that was stopped still owes: wakes all, then takes SLEEPERS away.
//        Only then the bit goes, so no state without it owes a wake.
// wait   set, or another sequence than at the start, which counts as set: set and cleared
//        meanwhile.
#include <climits>

#include "proto/shm/cpu_pause.h"
#include "proto/shm/lock.h"
#include "proto/shm/lock_mutant.h"
#include "proto/shm/wait_note.h"

namespace heddle::shm {
namespace {

uint64_t event_seq(uint64_t head) { return head & kLowMask & ~(kEventSet | kHeadSleepers); }

uint64_t with_next_seq(uint64_t head) {
  return (head & ~kLowMask) | ((head + kEventSeqOne) & kLowMask);
}

}  // namespace

bool Lock::is_set() const { return (line_->head.load() & kEventSet) != 0; }

uint32_t Lock::sets() const { return static_cast<uint32_t>(event_seq(line_->head.load())); }

LockOutcome Lock::wait_event(LockActor& a, int64_t deadline_ns) {
  WaitNote note(a, WaitFor::kEvent, static_cast<uint32_t>(line_->object_id.load()));
  const uint64_t first = line_->head.load();
  const uint64_t began = event_seq(first);
  for (;;) {
    uint64_t head = line_->head.load();
    if (gone()) return LockOutcome::kGone;
    if ((head & kEventSet) != 0 || event_seq(head) != began) return LockOutcome::kOk;
    if (deadline_ns == kLockTry) return LockOutcome::kTimedOut;
    const int64_t now_ns = monotonic_ns();
    if (now_ns >= deadline_ns) return LockOutcome::kTimedOut;
    if (note.cancelled()) return LockOutcome::kDeadlock;
    if (!note.published()) {
      note.publish();
      continue;
    }
    note.tell(now_ns);
    const uint64_t want = head | kHeadSleepers;
    if (want != head && !line_->head.compare_exchange_strong(head, want)) continue;
    note_sleeper();
    const int result = futex_wait_until(low_half(line_->head), static_cast<uint32_t>(want),
                                        note.wake_at(now_ns, deadline_ns), kWakeWriters);
    if (note.interrupted(result)) return LockOutcome::kInterrupted;
  }
}

void Lock::set_event(LockActor& a) {
  uint64_t head = line_->head.load();
  uint64_t stored;
  do {
    if (gone() || ((head & kEventSet) != 0 && (head & kHeadSleepers) == 0)) return;
    stored = with_next_seq(head) | kEventSet;
  } while (!line_->head.compare_exchange_weak(head, stored));
  ring(a);
  if ((stored & kHeadSleepers) == 0) return;
  futex_wake(low_half(line_->head), INT_MAX);
  line_->head.compare_exchange_strong(stored, stored & ~kHeadSleepers);
}

void Lock::clear_event() {
  uint64_t head = line_->head.load();
  while ((head & kEventSet) != 0 && !gone()) {
    const bool owes = (head & kHeadSleepers) != 0 && !mutated(LockMutant::kEventClearsFirst);
    const uint64_t bit = owes ? kHeadSleepers : kEventSet;
    if (bit == kHeadSleepers) futex_wake(low_half(line_->head), INT_MAX);
    if (line_->head.compare_exchange_weak(head, head & ~bit)) head &= ~bit;
  }
}

}  // namespace heddle::shm
