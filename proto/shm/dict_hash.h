// The hash of a dict's keys: 128 bits with the dict's own seed, of which the upper half is nearly
// always enough. Buckets are cut by its leading bits, so walks are in the order of the hash.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>

#include "proto/shm/dict_layout.h"

namespace heddle::shm {

class DictHash {
 public:
  DictHash(const void* key, uint32_t bytes, uint64_t seed, uint64_t mask)
      : high_(XXH3_64bits_withSeed(key, bytes, seed) & mask),
        key_(key),
        bytes_(bytes),
        seed_(seed) {}

  /// Of a key whose upper half is known.
  DictHash(uint64_t high, const void* key, uint32_t bytes, uint64_t seed)
      : high_(high), key_(key), bytes_(bytes), seed_(seed) {}

  /// Of a position between keys.
  DictHash(uint64_t high, uint64_t low) : high_(high), key_(nullptr), bytes_(kNoKey), seed_(low) {}

  uint64_t high() const { return high_; }
  uint64_t low() const {
    return bytes_ == kNoKey ? seed_ : XXH3_64bits_withSeed(key_, bytes_, seed_ ^ kOtherSeed);
  }
  uint64_t tag() const { return high_ >> 33; }
  /// Heap number of its bucket on a level of the directory.
  uint64_t node(uint32_t level) const { return (uint64_t{1} << level) + (high_ >> (64 - level)); }
  /// Which half of a bucket of this level.
  unsigned half(uint32_t level) const { return high_ >> (63 - level) & 1; }
  /// Which bucket of an array behind `depth` bits.
  unsigned slot(uint32_t depth) const {
    if (depth + kDictSlotBits <= 64) {
      return high_ >> (64 - kDictSlotBits - depth) & (kDictSlots - 1);
    }
    const unsigned __int128 all = static_cast<unsigned __int128>(high_) << 64 | low();
    return static_cast<unsigned>(all >> (128 - kDictSlotBits - depth)) & (kDictSlots - 1);
  }

 private:
  static constexpr uint64_t kOtherSeed = 0x9e3779b97f4a7c15;
  static constexpr uint32_t kNoKey = UINT32_MAX;
  uint64_t high_;
  const void* key_;
  uint32_t bytes_;
  uint64_t seed_;  // without a key: the lower half
};
/// Beyond that all bits are used up.
inline constexpr uint32_t kDictDepthMax = 128 - kDictSlotBits;

}  // namespace heddle::shm
