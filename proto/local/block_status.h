// The same for blocks. kTorn is a value: what was read is there, and part of it is what a writer
// left that died.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string_view>

#include "proto/shm/block.h"

namespace heddle::local {

constexpr bool is_block_value(shm::Outcome outcome) {
  return outcome == shm::Outcome::kOk || outcome == shm::Outcome::kTorn;
}

struct BlockFacts {
  std::string_view name;
  const shm::Block* block = nullptr;
  uint64_t at = 0, bytes = 0;  // the range that was asked for
  uint64_t if_version = 0;     // likewise
};

/// OK for a value.
Status block_status(shm::Outcome outcome, const BlockFacts& facts);
Status block_gone(std::string_view name);

}  // namespace heddle::local
