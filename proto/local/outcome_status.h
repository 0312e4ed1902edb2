// The one place where an outcome of the memory protocol becomes a Status with name, limit and
// actual value. Broker and client library use it, so both planes say the same sentence.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/shm/queue.h"

namespace heddle::local {

constexpr Reason reason_of(shm::Outcome outcome) {
  switch (outcome) {
    case shm::Outcome::kOk: return Reason::kOk;
    case shm::Outcome::kEmpty: return Reason::kEmpty;
    case shm::Outcome::kFull: return Reason::kFull;
    case shm::Outcome::kTimedOut: return Reason::kTimedOut;
    case shm::Outcome::kClosed: return Reason::kClosed;
    case shm::Outcome::kEndOfStream: return Reason::kEndOfStream;
    case shm::Outcome::kProducerDied: return Reason::kProducerDied;
    case shm::Outcome::kLeaseLost: return Reason::kLeaseLost;
    case shm::Outcome::kTooLarge: return Reason::kTooLarge;
    case shm::Outcome::kMemoryExhausted: return Reason::kMemoryExhausted;
    case shm::Outcome::kTooManyLeases: return Reason::kTooManyLeases;
    case shm::Outcome::kTooManyThreads: return Reason::kTooManyThreads;
    case shm::Outcome::kInterrupted: return Reason::kInterrupted;
    case shm::Outcome::kCorrupt: return Reason::kCorrupt;
    case shm::Outcome::kPeerDied: return Reason::kPeerDied;
    case shm::Outcome::kBrokenPipe: return Reason::kBrokenPipe;
    case shm::Outcome::kNotFound: return Reason::kNotFound;
    case shm::Outcome::kExists: return Reason::kExists;
    case shm::Outcome::kMismatch: return Reason::kMismatch;
    case shm::Outcome::kOutOfRange: return Reason::kOutOfRange;
    case shm::Outcome::kTorn: break;  // of blocks and lists alone, whose callers get it as a value
  }
  return Reason::kInternal;
}

// What the message needs beside the outcome. counts may be null: then no actual fill is named.
struct OutcomeFacts {
  std::string_view queue;                   // its name
  shm::QueueLimits limits;                  // in force
  const shm::QueueCounts* counts = nullptr;
  uint64_t body_bytes = 0;  // of the message that was put
};

Status outcome_status(shm::Outcome outcome, const OutcomeFacts& facts);

}  // namespace heddle::local
