#include "proto/shm/wake.h"

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

void wake_one(WakeWord& line) {
  uint32_t stepped = line.word.fetch_add(kWakeStep) + kWakeStep;
  if (futex_wake(&line.word, 1) == 0 && (stepped & kWakeSleepers) != 0 &&
      line.word.compare_exchange_strong(stepped, stepped & ~kWakeSleepers)) {
    // One may have gone to sleep on this very sequence between the wake and the CAS; any later one
    // sees that the bit is gone.
    futex_wake(&line.word, INT_MAX);
  }
}

void wake_all_on(WakeWord& line) {
  line.word.fetch_add(kWakeStep);
  futex_wake(&line.word, INT_MAX);
}

void ring_doorbell(int doorbell_fd) {
  if (doorbell_fd < 0) return;
  const char bell = 1;
  while (write(doorbell_fd, &bell, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace heddle::shm
