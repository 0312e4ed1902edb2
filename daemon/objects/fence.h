// What a fenced write shows: it was sent by the holder of a lock, and has to be refused once
// somebody else holds it. Stale is a token
//   - below the newest one that the written object was ever shown for that lock (remembered over
//     restarts of the broker, and over the lock's deletion), or
//   - below the newest one that the lock has granted, if the lock is one of this daemon.
// Check and publication are one turn under the object's mutex, in the broker, where all fenced
// writes of the object meet: whatever was published after a newer token was shown carries no older
// one. A lock that is granted between a check and its publication finds that write before all of
// its own.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <memory>
#include <string>

#include "daemon/objects/lock.h"

namespace heddle::objects {

struct Fence {
  std::string lock;  // full name; empty: the write is not fenced
  uint64_t token = 0;
  std::shared_ptr<Lock> known = nullptr;  // if this daemon has it and the caller may see it

  explicit operator bool() const { return !lock.empty(); }
};

class Host;
// STALE_FENCE, or INVALID_ARGUMENT for a token that was not granted yet. With the mutex of the
// object's fenced writes held, until the write is published. `label`: "queue jobs".
Status pass_fence(Host& host, const std::string& label, uint64_t object_id, const Fence& fence);

}  // namespace heddle::objects
