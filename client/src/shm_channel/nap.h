// Waiting for a word in memory that the caller may only read: nobody knows that it waits.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_NAP_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_NAP_H_

#include <time.h>

#include <algorithm>
#include <cstdint>

namespace heddle::detail {

// A few milliseconds, or until the deadline.
inline void nap_until(std::int64_t now_ns, std::int64_t deadline_ns) {
  constexpr std::int64_t kNapNs = 2'000'000;
  const timespec pause{.tv_sec = 0, .tv_nsec = std::min(kNapNs, deadline_ns - now_ns)};
  ::nanosleep(&pause, nullptr);
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_NAP_H_
