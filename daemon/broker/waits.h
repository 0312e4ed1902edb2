// Who waits for what, over all local and remote callers: for people, and for the deadlock detector.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/broker/lock_table.h"
#include "daemon/objects/queue.h"
#include "proto/shm/wait_note.h"

namespace heddle::broker {

struct Wait {
  uint32_t holder = 0;  // shm::holder_of
  uint32_t object = 0;  // low half of its id
  shm::WaitFor what = shm::WaitFor::kExclusive;
  int64_t age_ms = 0;
  int32_t priority = 0;
  // Which wait it is: the word of a local one, the serial of a remote one.
  uint64_t word = 0;
  bool remote = false;
  SessionRef session;
  uint32_t line = 0;  // of the session page
};

std::vector<Wait> local_waits(const SessionTable& sessions);
// Of sessions. `queues`: those that somebody may join.
std::vector<Wait> remote_waits(const LockTable& locks,
                               const std::vector<std::shared_ptr<objects::Queue>>& queues,
                               const SessionTable& sessions);

}  // namespace heddle::broker
