// The slot word: the one truth about a queue slot.
//
//   63            28 27      20 19         4 3     0
//   +---------------+----------+------------+-------+
//   | lap 36        | count 8  | owner 16   | state |
//   +---------------+----------+------------+-------+
//
// lap    sequence number of the segment at the time of the last transition into a live state; a
//        consumed slot carries lap + 1, so zeroed memory (lap 0) is claimable at every sequence
//        number >= 1.
// count  failed deliveries so far (saturates at 255); for END the cause (EndCause).
// owner  who may move the slot on, or who moved it last (FREE: a hint for the reaper only).
//
// 2^36 laps of a segment last 30 hours at one lap per microsecond and per segment; a thawed
// client's CAS therefore cannot meet its expected word again.
#pragma once

#include <cstdint>

namespace heddle::shm {

enum class SlotState : uint8_t {
  kFree = 0,       // claimable at sequence s if lap <= s; lap == s + 1 means consumed at s
  // a producer fills it; anyone may turn it into kTomb when something stands behind
  kWriting = 1,
  kReady = 2,      // a message
  kLeased = 3,     // a message in the hands of owner
  kReturned = 4,   // a message that came back; it is in the returned bitmap
  kRevoked = 5,    // the message is gone, its live holder may still read the body
  kTomb = 6,       // a claim taken away from a producer that may still scribble in this slot
  kEnd = 7,        // end of stream: no message follows
  kBatch = 8,      // reserved: member of an atomic put_many, resolved through its first slot
  kPending = 9,    // reserved: put by a transaction
  kLeasedTxn = 10,  // reserved: taken by a transaction
  kBuried = 11,    // a message that exhausted max_deliveries
};

enum class EndCause : uint8_t { kClean = 0, kProducerDied = 1 };

inline constexpr uint64_t kLapMax = (uint64_t{1} << 36) - 1;
inline constexpr unsigned kCountMax = 255;

struct SlotWord {
  uint64_t lap;
  uint8_t count;
  uint16_t owner;
  SlotState state;

  static constexpr SlotWord decode(uint64_t w) {
    return {w >> 28, static_cast<uint8_t>(w >> 20), static_cast<uint16_t>(w >> 4),
            static_cast<SlotState>(w & 15)};
  }
  constexpr uint64_t encode() const {
    return (lap << 28) | (uint64_t{count} << 20) | (uint64_t{owner} << 4) |
           static_cast<uint64_t>(state);
  }
};

constexpr uint64_t slot_word(uint64_t lap, SlotState state, uint16_t owner = 0, uint8_t count = 0) {
  return SlotWord{lap, count, owner, state}.encode();
}

/// A pinned slot keeps its body over laps: producers bump it to their own lap and step over it.
constexpr bool is_pinned(SlotState s) {
  switch (s) {
    case SlotState::kLeased:
    case SlotState::kReturned:
    case SlotState::kRevoked:
    case SlotState::kTomb:
    case SlotState::kLeasedTxn:
    case SlotState::kBuried:
      return true;
    default:
      return false;
  }
}

/// A position in the stream: position = sequence * kSlotsPerSegment + index, found in segment
/// `segment`.
struct Place {
  uint64_t position;
  uint32_t segment;

  static constexpr Place decode(uint64_t w) {
    return {w >> 21, static_cast<uint32_t>(w & ((1u << 21) - 1))};
  }
  constexpr uint64_t encode() const { return (position << 21) | segment; }
};

inline constexpr uint32_t kSegmentNone = (1u << 21) - 1;

/// Segment word: sequence 40 | owner 16 | state 8.
enum class SegmentState : uint8_t {
  kUnbacked = 0,  // never used; no memory behind it
  kFree = 1,      // has memory, belongs to nobody
  kClaimed = 2,   // owner prepares it for `sequence`
  kLinked = 3,    // part of the chain at `sequence`
  kPassed = 4,    // every consumer position of `sequence` has been passed: may be claimed again
};

struct SegmentWord {
  uint64_t sequence;
  uint16_t owner;
  SegmentState state;

  static constexpr SegmentWord decode(uint64_t w) {
    return {w >> 24, static_cast<uint16_t>(w >> 8), static_cast<SegmentState>(w & 255)};
  }
  constexpr uint64_t encode() const {
    return (sequence << 24) | (uint64_t{owner} << 8) | static_cast<uint64_t>(state);
  }
};

}  // namespace heddle::shm
