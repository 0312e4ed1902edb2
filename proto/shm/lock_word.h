// The words of a lock: who owns it, and who stands in its cells.
//
//   lock word   63          32 31   30   29   28   27   26  25     16 15      0
//              +--------------+----+----+----+----+----+----+---------+---------+
//              | token low 32 | U  | P  | A  | C  | S  | W  | thread  | owner   |
//              +--------------+----+----+----+----+----+----+---------+---------+
//   The low half is the futex on which waiters sleep. Of a semaphore: owner and thread have its
//   first permit, the marks stand in `head`.
//   W sleepers   somebody sleeps (or the broker waits for a remote caller): the release wakes
//   S starving   a sleeper has waited for more than kStarvingNs: the release hands off
//   C claimed    owner == 0: handed off, only who has slept may take it (a newcomer sleeps first)
//                owner != 0: a writer that still waits for readers; the claim may be taken away
//   A abandoned  the last owner died; told to the next one, once
//   P poisoned   the last owner died and the policy is kPoison: nobody gets it before a repair
//   U update     held for update: readers may enter, no other writer
//
//   token       one more with every exclusive grant. The word holds its low half; `base` counts
//               half wraps (full = base * 2^31 + the low 31 bits), and its lowest bit must equal
//               the top bit of the low half: whoever finds them different steps base on. 2^31
//               grants pass before that would be too late.
//
//   cell word   63       32 31    26 25     16 15      0
//              +-----------+--------+---------+---------+
//              | seq 32    | state  | thread  | owner   |
//              +-----------+--------+---------+---------+
//   seq grows with every claim, so a claim that was computed before a stop fails afterwards even
//   if the same owner number stands there again.
#pragma once

#include <cstdint>

namespace heddle::shm {

inline constexpr uint32_t kThreadsMax = 1024;  // of one session, 10 bits
inline constexpr uint64_t kHolderMask = 0x03ffffff;
inline constexpr uint64_t kSleepers = uint64_t{1} << 26;
inline constexpr uint64_t kStarving = uint64_t{1} << 27;
inline constexpr uint64_t kClaimed = uint64_t{1} << 28;
inline constexpr uint64_t kHandOff = kClaimed;  // of a word without owner
inline constexpr uint64_t kAbandoned = uint64_t{1} << 29;
inline constexpr uint64_t kPoisoned = uint64_t{1} << 30;
inline constexpr uint64_t kUpdate = uint64_t{1} << 31;
inline constexpr uint64_t kLowMask = 0xffffffff;
inline constexpr uint64_t kTokenOne = uint64_t{1} << 32;

/// Owner and thread as they stand in words; 0 = nobody, for owner 0 is never issued.
constexpr uint32_t holder_of(uint16_t owner, uint16_t thread) {
  return owner | (uint32_t{thread} % kThreadsMax << 16);
}
constexpr uint32_t holder_in(uint64_t word) { return static_cast<uint32_t>(word & kHolderMask); }
constexpr uint16_t owner_in(uint64_t word) { return static_cast<uint16_t>(word); }
constexpr uint16_t thread_in(uint64_t word) {
  return static_cast<uint16_t>(word >> 16 & (kThreadsMax - 1));
}
constexpr uint32_t token_low(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

/// The whole token of a word, given a base that was loaded after it and may be one step behind.
constexpr uint64_t full_token(uint64_t base, uint32_t low) {
  const uint64_t right = (base & 1) == low >> 31 ? base : base + 1;
  return (right << 31) | (low & 0x7fffffff);
}

enum class CellState : uint8_t {
  kEmpty = 0,
  kTry = 1,       // a reader about to enter; a writer may refuse it
  kHeld = 2,      // a reader inside, a permit out
  kRefused = 3,   // a reader that must step back
  kWaiting = 4,   // waits for a condition, or in line for a strict lock
  kNotified = 5,  // its condition came; it has not got its lock back yet
  kMember = 6,    // belongs to a barrier
  kArrived = 7,   // waits at a barrier
  kBroke = 8,     // its wait ended by the clock
};

constexpr CellState state_in(uint64_t cell) { return static_cast<CellState>(cell >> 26 & 63); }
constexpr uint32_t seq_in(uint64_t cell) { return static_cast<uint32_t>(cell >> 32); }
constexpr uint64_t cell_word(uint32_t seq, CellState state, uint32_t holder) {
  return (uint64_t{seq} << 32) | (static_cast<uint64_t>(state) << 26) | holder;
}
/// The same cell in another state.
constexpr uint64_t cell_in_state(uint64_t cell, CellState state) {
  return cell_word(seq_in(cell), state, holder_in(cell));
}
/// The same cell, given up.
constexpr uint64_t cell_emptied(uint64_t cell) {
  return cell_word(seq_in(cell), CellState::kEmpty, 0);
}

}  // namespace heddle::shm
