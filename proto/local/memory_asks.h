// Changing a dict or a list whose memory is granted bit by bit: what client library and broker do
// when there is not enough.
#pragma once

#include <cstdint>

#include "proto/shm/dict_grant.h"

namespace heddle::local {

/// Runs `operate(actor)` on a dict or list. When memory is lacking `grow(extents)` asks for so many
/// in all; only when there will be none (false) a dict's history has to make room. `bytes`: of the
/// value.
template <class Object, class Operate, class Grow>
shm::Outcome with_memory(Object& object, shm::DictActor& a, uint64_t bytes, Operate operate,
                         Grow grow) {
  constexpr uint32_t kSpare = 4, kAsksMax = 64;
  for (uint32_t asks = 0;; ++asks) {
    a.spare_history = asks < kAsksMax && shm::dict_may_grow(object.memory());
    const shm::Outcome outcome = operate(a);
    if (outcome != shm::Outcome::kMemoryExhausted || !a.spare_history) return outcome;
    const uint64_t more = shm::dict_value_extents(bytes) + kSpare;
    const uint32_t now = shm::dict_granted(object.memory());
    if (!grow(static_cast<uint32_t>(now + more))) asks = kAsksMax;
  }
}

}  // namespace heddle::local
