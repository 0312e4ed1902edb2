// Memory layout of one connection of a pipe: two ends, a ring of bytes in each direction (structs
// only; the algorithms are in pipe.h).
//
//   offset in the memfd   what                     mapped
//   0                     PipeHeader (4 KiB)       once
//   4 KiB                 ring of direction 0      twice in a row, so that whatever starts in it is
//   4 KiB + capacity      ring of direction 1      contiguous (pipe_map.h)
//
// End a is the one that connected, end b the one that was there. Direction 0 leads from a to b,
// direction 1 (duplex pipes only) from b to a. All of it is reserved by the broker before anybody
// else maps it.
//
// Messages lie in the ring as frames, 8-byte aligned: a FrameHeader, then the body. The header is
// the commit word: 0 = nothing here yet. Raw bytes lie there without headers; what is there ends at
// the position in the sender's word.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/segment_header.h"
#include "proto/shm/wake_word.h"

namespace heddle::shm {

inline constexpr uint32_t kPipeVersion = 2;
inline constexpr uint64_t kPipeHeaderBytes = 4096;
inline constexpr uint64_t kPipeCapacityMin = 4096;
inline constexpr uint64_t kPipeCapacityMax = uint64_t{1} << 30;
inline constexpr uint64_t kPipeMessageBytesMax = uint64_t{1} << 30;
inline constexpr uint32_t kEndUsersMax = 60;

enum class PipeMode : uint8_t { kMessage = 0, kBytes = 1 };
enum class PipeSide : uint8_t { kA = 0, kB = 1 };
constexpr PipeSide other_side(PipeSide side) {
  return side == PipeSide::kA ? PipeSide::kB : PipeSide::kA;
}

struct PipeOptions {
  uint64_t capacity = 64 * 1024;       // bytes of each ring; a power of two, whole pages
  uint64_t max_msg_bytes = 16u << 20;  // messages may be larger than the ring
  PipeMode mode = PipeMode::kMessage;
  uint8_t duplex = 1;
  uint8_t resumable = 0;  // an end whose users died waits for another instead of ending
  uint8_t reserved[5] = {};
  friend bool operator==(const PipeOptions&, const PipeOptions&) = default;
};
static_assert(sizeof(PipeOptions) == 24);

/// The word of whoever sends or receives at one end of a direction.
///
///   63          20 19        4 3        0
///   +-------------+-----------+----------+
///   | position 44 | owner 16  | flags 4  |
///   +-------------+-----------+----------+
///
/// position  bytes sent (received) so far, modulo 2^44: 16 TiB. The word is the whole truth about
///           its side, so a CAS that meets its expected word again after 16 TiB does the right
///           thing.
/// owner     who has it, with BUSY; otherwise who had it last, for people.
struct TurnWord {
  uint64_t position;
  uint16_t owner;
  uint8_t flags;

  static constexpr TurnWord decode(uint64_t w) {
    return {w >> 20, static_cast<uint16_t>(w >> 4), static_cast<uint8_t>(w & 15)};
  }
  constexpr uint64_t encode() const {
    return (position << 20) | (uint64_t{owner} << 4) | (flags & 15);
  }
  constexpr bool has(uint8_t flag) const { return (flags & flag) != 0; }
};
inline constexpr uint64_t kPipePositionMask = (uint64_t{1} << 44) - 1;
/// How far `to` is ahead of `from`.
constexpr uint64_t distance(uint64_t from, uint64_t to) { return (to - from) & kPipePositionMask; }
constexpr uint64_t advanced(uint64_t position, uint64_t bytes) {
  return (position + bytes) & kPipePositionMask;
}

enum TurnFlags : uint8_t {
  kTurnBusy = 1,  // owner is in the middle of something
  kTurnShut = 2,  // sender: nothing more will come; receiver: nobody is there to receive
  kTurnDied = 4,  // with SHUT: because its users were killed
  // The word of the other side is SHUT. Said here as well, so that neither side has to look at the
  // other's line in a stream.
  kTurnOther = 8,
};

/// Frame header: length 32 | kind 8 | flags 8. Never 0.
struct FrameHeader {
  uint32_t length;  // bytes of body in this frame
  uint8_t kind;     // MessageKind
  uint8_t flags;    // FrameFlags

  static constexpr FrameHeader decode(uint64_t w) {
    return {static_cast<uint32_t>(w >> 32), static_cast<uint8_t>(w >> 8), static_cast<uint8_t>(w)};
  }
  constexpr uint64_t encode() const {
    return (uint64_t{length} << 32) | (uint64_t{kind} << 8) | flags;
  }
  constexpr bool has(uint8_t flag) const { return (flags & flag) != 0; }
};
enum FrameFlags : uint8_t {
  kFrameThere = 1,     // always
  kFrameFirst = 2,     // a message starts here
  kFrameLast = 4,      // and ends here; without: more frames follow
  kFrameAttached = 8,  // with FIRST: descriptors go with it, see kFrameTicketBytes
};
inline constexpr uint64_t kFrameHeaderBytes = 8;
/// In front of the body of a first frame that is not the last: bytes of the whole message.
inline constexpr uint64_t kFrameTotalBytes = 8;
/// In front of the body of an ATTACHED message, behind the total: what the broker knows its
/// descriptors by, never 0. Not counted in max_msg_bytes.
inline constexpr uint64_t kFrameTicketBytes = 8;
constexpr uint64_t frame_bytes(uint64_t length) { return kFrameHeaderBytes + (length + 7) / 8 * 8; }

/// One direction. Each line has one kind of writer; nobody's line is taken away by the other side
/// in a stream.
struct PipeDirection {
  alignas(64) std::atomic<uint64_t> send;     // TurnWord
  alignas(64) std::atomic<uint64_t> receive;  // TurnWord
  WakeWord ready;                             // something may have come
  WakeWord room;                              // something may have gone
  WakeWord send_turn;                         // the sender's word may be free
  WakeWord receive_turn;                      // the receiver's word may be free
  // For people: since when (coarse_ms, 0 = not) somebody waits.
  alignas(64) std::atomic<uint32_t> send_blocked_ms;
  alignas(64) std::atomic<uint32_t> receive_blocked_ms;
};
static_assert(sizeof(PipeDirection) == 8 * 64);

enum class EndState : uint32_t {
  kVacant = 0,  // nobody has come yet, or all died and it may be resumed
  kOpen = 1,
  kClosed = 2,
  kDied = 3,
};

/// A user of an end: owner 16 | UserState << 16. Set by the broker, taken back by the user or the
/// reaper.
enum class UserState : uint32_t {
  kNone = 0,
  kUses = 1,
  kCloses = 2,  // it is leaving; whoever sees only these ends the end
  kDies = 3,    // the reaper is at it
};
constexpr uint32_t user_word(uint16_t owner, UserState state) {
  return owner | (static_cast<uint32_t>(state) << 16);
}
constexpr uint16_t user_owner(uint32_t w) { return static_cast<uint16_t>(w); }
constexpr UserState user_state(uint32_t w) { return static_cast<UserState>((w >> 16) & 3); }

struct alignas(64) PipeEndLines {
  std::atomic<uint32_t> state;        // EndState
  std::atomic<uint32_t> died_pid;     // written by the broker before DIED is set
  std::atomic<uint32_t> died_status;  // wait status if known
  std::atomic<uint32_t> request;      // written by the broker: the OPEN by which its user came
  std::atomic<uint32_t> users[kEndUsersMax];
};
static_assert(sizeof(PipeEndLines) == 256);

struct alignas(64) PipeHeader {
  SegmentHeader segment;
  PipeOptions options;  // immutable
  alignas(64) PipeEndLines ends[2];
  PipeDirection directions[2];
  alignas(64) std::atomic<uint32_t> dirty;  // for the broker: an armed word changed
};
static_assert(sizeof(PipeHeader) <= kPipeHeaderBytes);

constexpr uint64_t pipe_directions(const PipeOptions& options) { return options.duplex ? 2 : 1; }
constexpr uint64_t pipe_segment_bytes(const PipeOptions& options) {
  return kPipeHeaderBytes + pipe_directions(options) * options.capacity;
}
constexpr uint64_t pipe_mapped_bytes(const PipeOptions& options) {
  return kPipeHeaderBytes + pipe_directions(options) * 2 * options.capacity;
}

}  // namespace heddle::shm
