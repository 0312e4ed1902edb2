// The futex system call on words in shared memory.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace heddle::shm {

/// Sleeps while *word == expected, at most timeout_ns. Returns 0, EAGAIN, ETIMEDOUT or EINTR.
inline int futex_wait(std::atomic<uint32_t>* word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  const long result = syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
  return result == 0 ? 0 : errno;
}

/// Sleeps while *word == expected, until deadline_ns (CLOCK_MONOTONIC), for wakes that share a bit
/// with `bits`. Returns 0, EAGAIN, ETIMEDOUT or EINTR.
inline int futex_wait_until(std::atomic<uint32_t>* word, uint32_t expected, int64_t deadline_ns,
                            uint32_t bits) {
  const timespec deadline{deadline_ns / 1'000'000'000, deadline_ns % 1'000'000'000};
  const long result =
      syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &deadline, nullptr, bits);
  return result == 0 ? 0 : errno;
}

/// Wakes up to `count` sleepers that share a bit with `bits`; returns how many.
inline int futex_wake_bits(std::atomic<uint32_t>* word, int count, uint32_t bits) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, nullptr, nullptr, bits);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

/// Wakes up to `count` sleepers; returns how many.
inline int futex_wake(std::atomic<uint32_t>* word, int count) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  return woken < 0 ? 0 : static_cast<int>(woken);
}

inline int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// Millisecond stamps that cost 6 ns; 4 ms steps.
inline uint32_t coarse_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint32_t>(int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000);
}

}  // namespace heddle::shm
