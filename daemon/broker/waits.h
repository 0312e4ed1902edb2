// Who waits for what, over all local and remote callers: for people, and for the deadlock detector.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
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
  uint64_t room = 0;  // at a pipe, as JournalLine::waiting_room
};

// Which objects the threads of remote sessions wait for. Threads: any; its mutex is a leaf.
class RemoteWaiters {
 public:
  void began(uint32_t holder, uint64_t object_id);
  void ended(uint32_t holder, uint64_t object_id);
  std::vector<uint64_t> of(uint32_t holder) const;
  // Who has begun since the last call; some may be through.
  std::vector<uint32_t> take_fresh();

 private:
  mutable std::mutex mutex_;
  std::unordered_multimap<uint32_t, uint64_t> objects_;  // by holder
  std::vector<uint32_t> fresh_;
};

std::vector<Wait> local_waits(const SessionTable& sessions);
// Of one session, or of one line of its page.
std::vector<Wait> local_waits(const SessionRef& session);
std::vector<Wait> local_waits(const SessionRef& session, uint32_t line);
// Of sessions. `queues`: those that somebody may join.
std::vector<Wait> remote_waits(const LockTable& locks,
                               const std::vector<std::shared_ptr<objects::Queue>>& queues,
                               const SessionTable& sessions);
// Of that holder. `lock` or `queue`: what it may wait for.
std::vector<Wait> remote_waits(uint32_t holder, objects::Lock* lock, objects::Queue* queue,
                               const SessionTable& sessions);

}  // namespace heddle::broker
