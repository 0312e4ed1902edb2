// Positions in the order of the hash, which every walk over a dict follows.
#pragma once

#include "proto/shm/dict.h"

namespace heddle::shm {

using DictPosition = unsigned __int128;

constexpr DictPosition position_of(const DictCursor& c) {
  return static_cast<DictPosition>(c.high) << 64 | c.low;
}
constexpr DictCursor cursor_at(DictPosition at, bool done) {
  return {static_cast<uint64_t>(at >> 64), static_cast<uint64_t>(at), done};
}
/// The first position behind the range of a bucket that `depth` bits of `at` name. 0: the end.
constexpr DictPosition behind(DictPosition at, uint32_t depth) {
  if (depth == 0) return 0;
  return ((at >> (128 - depth)) + 1) << (128 - depth);
}

}  // namespace heddle::shm
