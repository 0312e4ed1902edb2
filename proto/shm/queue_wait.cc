#include "proto/shm/queue.h"
#include "proto/shm/wait_note.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

/// The dirty bit comes first: a ringer that dies in between leaves the bit for the scan.
void tell_broker(Actor& a, QueueHeader& header, uint32_t dirty_bit) {
  if ((header.dirty.fetch_or(dirty_bit) & dirty_bit) == 0) ring_doorbell(a.doorbell_fd);
}

}  // namespace

void Queue::wake_somebody(Actor& a, WakeWord& line, uint32_t seen, uint32_t dirty_bit) {
  if (seen & kWakeSleepers) wake_one(line);
  if (seen & kWakeArmed) tell_broker(a, header(), dirty_bit);
}

void Queue::wake_all(Actor& a, WakeWord& line, uint32_t dirty_bit) {
  wake_all_on(line);
  if (line.word.load() & kWakeArmed) tell_broker(a, header(), dirty_bit);
}

void Queue::wake_everyone(Actor& a) {
  wake_all(a, header().ready, kDirtyReady);
  wake_all(a, header().room, kDirtyRoom);
  wake_all(a, header().idle, kDirtyIdle);
}

Outcome Queue::join(Actor& a, int64_t deadline_ns) {
  return wait_on(a, header().idle, deadline_ns, [this, &a](bool* done) {
    *done = unfinished() == 0;
    if (*done) return Outcome::kOk;
    *done = (a.journal->waiting_on.load(std::memory_order_acquire) & kWaitCancelled) != 0;
    return *done ? Outcome::kInterrupted : Outcome::kTimedOut;
  });
}

void Queue::wake_joiners(Actor& a) { wake_all(a, header().idle, kDirtyIdle); }

void Queue::arm(uint32_t bits) {
  const auto set = [](WakeWord& line, bool on) {
    if (on)
      line.word.fetch_or(kWakeArmed);
    else
      line.word.fetch_and(~kWakeArmed);
  };
  set(header().ready, bits & kDirtyReady);
  set(header().room, bits & kDirtyRoom);
  set(header().idle, bits & kDirtyIdle);
}

bool Queue::has_sleepers() const {
  const auto sleeps = [](const WakeWord& line) { return (line.word.load() & kWakeSleepers) != 0; };
  return sleeps(header().ready) || sleeps(header().room) || sleeps(header().idle);
}

}  // namespace heddle::shm
