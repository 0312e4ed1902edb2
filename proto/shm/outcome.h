// What an operation on a queue, a pipe, a dict, a list or a block can come to, and the deadlines it
// takes.
#pragma once

#include <cstdint>

namespace heddle::shm {

enum class Outcome : uint8_t {
  kOk,
  kEmpty,            // nothing there now
  kFull,             // max_len, max_entries or max_bytes reached; the ring of a pipe is full
  kTimedOut,         // the deadline passed while waiting
  kClosed,           // put after shutdown; a send after shutdown_write
  kEndOfStream,      // drained after a clean end
  kProducerDied,     // drained after a producer died without closing
  kLeaseLost,        // the message is no longer this holder's
  kTooLarge,         // body over max_msg_bytes, or over max_bytes; or over the receiver's room
  kMemoryExhausted,  // the granted memory or the system's is used up
  kTooManyLeases,    // max_leases reached
  kTooManyThreads,   // all rows are taken; all users of a pipe's end
  kInterrupted,      // a signal handler ran while waiting
  kCorrupt,          // the segment contradicts itself
  kPeerDied,         // drained after the last user of the other end was killed
  kBrokenPipe,       // nobody will receive what is sent
  kNotFound,         // no such key
  kExists,           // the key is there already
  kMismatch,         // another version, value or kind than was asked for; a bound would be passed
  kOutOfRange,       // a revision that the history no longer has; an index that is not there; too
                     // many operations at once
  kTorn,             // copied, but a writer died while he wrote part of it
};

/// Deadlines are on CLOCK_MONOTONIC in nanoseconds.
inline constexpr int64_t kTry = 0;
inline constexpr int64_t kForever = INT64_MAX;

}  // namespace heddle::shm
