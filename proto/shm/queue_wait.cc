#include "proto/shm/queue_wait.h"

#include "proto/shm/wait_note.h"

#include <sched.h>

#include <climits>

namespace heddle::shm {

bool many_cpus() {
  static const bool many = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1 ||
           sysconf(_SC_NPROCESSORS_ONLN) > 1;
  }();
  return many;
}

void pass_wake_on(WakeWord& line) {
  if (line.word.load() & kWakeSleepers) futex_wake(&line.word, 1);
}

namespace {

/// Tells the broker. The dirty bit comes first: a ringer that dies in between leaves the bit for
/// the scan.
void ring_doorbell(Actor& a, QueueHeader& header, uint32_t dirty_bit) {
  if (header.dirty.fetch_or(dirty_bit) & dirty_bit) return;
  if (a.doorbell_fd < 0) return;
  const char bell = 1;
  // Non-blocking: a full pipe means that the broker has enough to read.
  while (write(a.doorbell_fd, &bell, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace

void Queue::wake_somebody(Actor& a, WakeWord& line, uint32_t seen, uint32_t dirty_bit) {
  if (seen & kWakeSleepers) {
    uint32_t stepped = line.word.fetch_add(kWakeStep) + kWakeStep;
    if (futex_wake(&line.word, 1) == 0 && (stepped & kWakeSleepers) != 0 &&
        line.word.compare_exchange_strong(stepped, stepped & ~kWakeSleepers)) {
      // One may have gone to sleep on this very sequence between the wake and the CAS; any later
      // one sees that the bit is gone.
      futex_wake(&line.word, INT_MAX);
    }
  }
  if (seen & kWakeArmed) ring_doorbell(a, header(), dirty_bit);
}

void Queue::wake_all(Actor& a, WakeWord& line, uint32_t dirty_bit) {
  line.word.fetch_add(kWakeStep);
  futex_wake(&line.word, INT_MAX);
  if (line.word.load() & kWakeArmed) ring_doorbell(a, header(), dirty_bit);
}

void Queue::wake_everyone(Actor& a) {
  wake_all(a, header().ready, kDirtyReady);
  wake_all(a, header().room, kDirtyRoom);
  wake_all(a, header().idle, kDirtyIdle);
}

Outcome Queue::join(Actor& a, int64_t deadline_ns) {
  return wait(a, header().idle, deadline_ns, [this, &a](bool* done) {
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
