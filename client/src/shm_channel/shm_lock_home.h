// What locks of one session share in this process: the mapped segments, each once, and the
// identity of each thread that uses them.
//
// A thread's identity in lock words is its line in the session page, the same that its queues use.
// The line goes back when the thread ends, unless some lock still names it: then it stays taken, so
// that no later thread passes for the owner.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_HOME_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_HOME_H_

#include <heddle/result.h>
#include <heddle/status.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "client/src/shm_channel/mapping.h"
#include "client/src/shm_channel/process_mutex.h"
#include "client/src/shm_channel/session.h"
#include "proto/local/fd.h"
#include "proto/shm/lock.h"

namespace heddle::detail {

// A mapped segment. shm::Lock points to `segment`.
struct LockMemory {
  Mapping mapping;
  local::Fd fd;  // Kept to reserve memory of the segment.
  shm::LockSegment segment;
};

struct LockHome : std::enable_shared_from_this<LockHome> {
  explicit LockHome(std::shared_ptr<Session> of);

  const std::uint64_t key;         // Unique in this process and its children; never 0.
  const std::uint64_t generation;  // Of the process.
  const std::shared_ptr<Session> session;

  // The segment, mapped now or before. `fd` is dropped if it was. CORRUPT, VERSION_MISMATCH,
  // MEMORY_EXHAUSTED.
  Result<std::shared_ptr<LockMemory>> map(std::uint64_t segment_id, local::Fd fd,
                                          std::uint64_t bytes);
  // Whether a mapped lock is held by that thread of this session.
  bool names(std::uint32_t holder);

 private:
  ProcessMutex mutex_;
  std::map<std::uint64_t, std::weak_ptr<LockMemory>> memories_;  // Guarded by mutex_.
};

// A thread's hands on the locks of one session.
struct LockHands {
  shm::LockActor actor;
  std::uint32_t held = 0;  // Grants not released by this thread; wraps, a hint when it ends.
  std::uint32_t uses = 0;
  bool look_failed = false;  // The last wait was given up because of the connection.
};

struct alignas(32) LockHandsEntry {
  std::uint64_t key = 0;
  LockHands* hands = nullptr;
  std::uint64_t holder = 0;  // Of the hands' actor.
};

// An operation in so many looks whether the session still is one.
inline constexpr std::uint32_t kUsesPerLook = 4096;

inline constexpr std::size_t kLockHandsCached = 2;
// As t_hands (attachment.h): 64 bytes.
extern thread_local constinit LockHandsEntry t_lock_hands[kLockHandsCached]
    __attribute__((tls_model("initial-exec")));

// The slow way. TOO_MANY_THREADS when the session page has no more room.
Status make_lock_hands(LockHome& home, LockHands** out);

// The calling thread's hands on locks of that session if it holds any, as far as it knows itself;
// else null.
shm::LockActor* holding_hands(const Session& session);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_HOME_H_
