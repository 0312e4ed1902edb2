// Clocks. CLOCK_MONOTONIC everywhere: a step of the wall clock moves no deadline.
#ifndef HEDDLE_DAEMON_OS_CLOCK_H_
#define HEDDLE_DAEMON_OS_CLOCK_H_

#include <cstdint>
#include <string>

namespace heddle::os {

std::int64_t monotonic_ns();         // some 25-40 ns a call
std::int64_t monotonic_ms();
std::int64_t monotonic_coarse_ns();  // some 6 ns a call, up to 4 ms late
std::int64_t wall_ms();              // since 1970, for people only
std::string utc_text(std::int64_t wall_ms);  // 2026-01-31T12:00:00.123Z

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_CLOCK_H_
