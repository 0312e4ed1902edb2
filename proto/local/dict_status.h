// The same for dicts: what is no ordinary outcome becomes a Status with name, limit and actual
// value. Conditions that did not hold (kNotFound, kExists, kMismatch) are values, not failures.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string_view>

#include "proto/shm/dict.h"

namespace heddle::local {

constexpr bool is_dict_value(shm::Outcome outcome) {
  return outcome == shm::Outcome::kOk || outcome == shm::Outcome::kNotFound ||
         outcome == shm::Outcome::kExists || outcome == shm::Outcome::kMismatch;
}

struct DictFacts {
  std::string_view name;
  const shm::Dict* dict = nullptr;
  uint64_t key_bytes = 0, value_bytes = 0;  // of what was written
  uint64_t revision = 0;                    // that was asked for
};

/// OK for a value.
Status dict_status(shm::Outcome outcome, const DictFacts& facts);
Status dict_gone(std::string_view name);

}  // namespace heddle::local
