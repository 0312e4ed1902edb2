// How much memory this process may hope for.
#ifndef HEDDLE_DAEMON_OS_MEMORY_H_
#define HEDDLE_DAEMON_OS_MEMORY_H_

#include <cstdint>

namespace heddle::os {

// The smaller of MemAvailable and what the tightest cgroup limit above us still leaves; memfd
// pages count against both. 0 when neither can be read.
std::uint64_t memory_available_bytes();

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_MEMORY_H_
