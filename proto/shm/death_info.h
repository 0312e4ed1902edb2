// What is known of a process that died, as it is told to those who were waiting for it.
#pragma once

#include <cstdint>

namespace heddle::shm {

struct DeathInfo {
  uint32_t pid = 0;
  uint32_t status = 0;  // wait status if known
};

}  // namespace heddle::shm
