// The one place where an outcome of a lock becomes a Status with name, limit and what to do. Broker
// and client library use it, so both planes say the same sentence.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string_view>

#include "proto/shm/lock.h"

namespace heddle::local {

// What the message needs beside the outcome.
struct LockFacts {
  std::string_view name;
  shm::LockKind kind = shm::LockKind::kMutex;
  uint64_t limit = 0;           // permits, parties, the bound of a count
  uint64_t actual = 0;          // what was asked for
  std::string_view holder = {};  // command of somebody who holds it; empty = not known
  int64_t holder_pid = 0;
};

// "lock", "semaphore", ... as the shell calls them.
std::string_view noun_of(shm::LockKind kind);
Reason reason_of(shm::LockOutcome outcome);
Status lock_status(shm::LockOutcome outcome, const LockFacts& facts);

}  // namespace heddle::local
