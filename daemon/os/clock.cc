#include "daemon/os/clock.h"

#include <time.h>

#include <cstdio>

namespace heddle::os {
namespace {

std::int64_t read_ns(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

std::int64_t monotonic_ns() { return read_ns(CLOCK_MONOTONIC); }
std::int64_t monotonic_ms() { return monotonic_ns() / 1'000'000; }
std::int64_t monotonic_coarse_ns() { return read_ns(CLOCK_MONOTONIC_COARSE); }
std::int64_t wall_ms() { return read_ns(CLOCK_REALTIME) / 1'000'000; }

std::string utc_text(std::int64_t wall_ms) {
  const time_t seconds = static_cast<time_t>(wall_ms / 1000);
  tm parts;
  ::gmtime_r(&seconds, &parts);
  char date[32];
  const std::size_t n = ::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[48];
  std::snprintf(text, sizeof text, "%.*s.%03dZ", static_cast<int>(n), date,
                static_cast<int>(wall_ms % 1000));
  return text;
}

}  // namespace heddle::os
