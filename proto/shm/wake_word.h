// The futex word that callers of a queue or a pipe sleep on, on a line of its own: sequence 30 |
// ARMED | SLEEPERS. The protocol stands in wake.h.
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle::shm {

struct alignas(64) WakeWord {
  std::atomic<uint32_t> word;
  uint8_t reserved[60];
};
static_assert(sizeof(WakeWord) == 64);

inline constexpr uint32_t kWakeSleepers = 1;
// set and cleared by the broker only: remote callers wait
inline constexpr uint32_t kWakeArmed = 2;
inline constexpr uint32_t kWakeStep = 4;

}  // namespace heddle::shm
