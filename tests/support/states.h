// The distinct states of shared memory on the way through an operation, for the step tests.
#pragma once

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <cstdint>
#include <functional>
#include <unordered_set>
#include <vector>

#include "tests/support/stepper.h"

namespace heddle::test {

/// Continues a hash that tells states apart. It is taken after every instruction, so its speed is
/// that of the step tests.
inline uint64_t mix(uint64_t hash, const void* from, uint64_t bytes) {
  return XXH3_64bits_withSeed(from, bytes, hash);
}

/// Steps `body` once. Images of its distinct states, the first included: all, or if there are more
/// than 2 * `most` of them, at least `most`, at equal distances. *points and *states count what was
/// looked at.
template <class Stage>
std::vector<typename Stage::Image> states_of(Stage& stage, const std::function<int()>& body,
                                             uint64_t* points, uint64_t* states,
                                             size_t most = SIZE_MAX / 2) {
  std::vector<typename Stage::Image> images;
  std::unordered_set<uint64_t> seen;
  size_t every = 1, n = 0;
  SteppedChild child(body);
  do {
    ++*points;
    if (!seen.insert(stage.hash()).second || n++ % every != 0) continue;
    images.push_back(stage.save());
    if (images.size() <= 2 * most) continue;
    for (size_t i = 1; 2 * i < images.size(); ++i) images[i] = std::move(images[2 * i]);
    images.resize((images.size() + 1) / 2);
    every *= 2;
  } while (child.step());
  *states += seen.size();
  return images;
}

}  // namespace heddle::test
