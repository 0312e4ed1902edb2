// What a message carries instead of descriptors: the number by which the broker has them, and how
// many they are. 0 is none.
#pragma once

#include <cstdint>

namespace heddle::local {

inline constexpr uint64_t kLentCounts = 32;  // more than there may be

constexpr uint64_t lent_ticket(uint64_t number, uint64_t count) {
  return number * kLentCounts + count;
}
constexpr uint64_t lent_number(uint64_t ticket) { return ticket / kLentCounts; }
constexpr uint64_t lent_count(uint64_t ticket) { return ticket % kLentCounts; }

}  // namespace heddle::local
