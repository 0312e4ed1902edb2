// How much of a queue's memory may be backed: the broker grants it, see
// daemon/broker/memory_grants.h.
//
// The file behind a queue is sized once and for the worst case; real memory comes in slot segments
// (16 KiB) and extents (64 KiB) when somebody needs one. Two words of the header say how many:
//   segments_granted  segments [0, granted) may be claimed, and one more by an END alone, so that a
//                     stream can be ended however short memory is. Never goes back: control words
//                     are not punched
//   extents_granted   extents [0, granted) may be claimed
// Both are written by the broker, one thread at a time, and read by whoever claims. A claim that
// finds all of them in use ends with kMemoryExhausted; then the caller asks for more and tries
// again.
//
// An extents_granted that goes down is not enough: somebody may have read it before and claim
// later, however much later. So what is taken back is claimed by the broker for good, WITHHELD.
//   G1  An extent at or above the word is WITHHELD, or never was below it, or [crash] below what
//       the catalog says.
//   raise   the catalog; WITHHELD -> EMPTY from low to high; the word. Dead in between: the catalog
//           says more than the word, and the next broker raises again. Until then a late claimer
//           may find an EMPTY one above the word: the catalog counts it.
//   lower   the word; EMPTY -> WITHHELD from high to low, until one is in use: then the word stands
//           above that one; the memory goes back to the machine; the catalog. Dead in between: as
//           above, the catalog says more, and the next broker raises again what it says.
// Who claims is never stopped by either: it finds one extent less, or more.
#pragma once

#include <cstdint>

#include "proto/shm/queue_layout.h"

namespace heddle::shm {

struct QueueGrant {
  uint32_t extents = 0;
  uint32_t segments = 0;  // of slots
  friend bool operator==(const QueueGrant&, const QueueGrant&) = default;
};
inline constexpr QueueGrant kGrantAll{0xffffffff, 0xffffffff};

/// What a new queue gets: enough for a few hundred small messages and some large ones.
QueueGrant queue_first_grant(const QueueLimits& limits);
/// All that these limits can need.
QueueGrant queue_largest_grant(const QueueLimits& limits);
/// Bytes of real memory that the queue takes at most under this grant. `extents_ever`: the most
/// extents that it was granted at any time, whose control words stay.
uint64_t queue_granted_bytes(const QueueLimits& limits, const QueueGrant& grant,
                             uint32_t extents_ever);

}  // namespace heddle::shm
