// What the configuration may set in the broker.
#pragma once

#include <cstdint>

namespace heddle::broker {

struct Options {
  uint32_t objects_per_uid_max = 16'384;
  uint32_t sessions_per_uid_max = 16'384;
  uint32_t connections_per_uid_max = 16'384;  // of the attach socket
  uint64_t memory_bytes_max = 0;              // of all objects; 0 = three quarters of what is free
  uint32_t thread_lines = 1'024;              // threads of one session
};

}  // namespace heddle::broker
