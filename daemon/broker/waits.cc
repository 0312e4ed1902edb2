#include "daemon/broker/waits.h"

#include "proto/shm/futex.h"

namespace heddle::broker {
namespace {

shm::WaitFor what_of(const objects::Lock::RemoteWait& wait, objects::Lock& lock) {
  switch (wait.op) {
    case objects::LockOp::kWait:
      return wait.notified ? shm::WaitFor::kExclusive : shm::WaitFor::kCondition;
    case objects::LockOp::kWaitEvent:
      return shm::WaitFor::kEvent;
    case objects::LockOp::kArrive:
      return shm::WaitFor::kBarrier;
    default:
      break;
  }
  const shm::LockKind kind = lock.view().kind();
  if (kind == shm::LockKind::kSemaphore || kind == shm::LockKind::kCounting) {
    return shm::WaitFor::kPermits;
  }
  return static_cast<shm::WaitFor>(wait.mode);
}

}  // namespace

std::vector<Wait> local_waits(const SessionTable& sessions) {
  std::vector<Wait> out;
  const uint32_t now_ms = shm::coarse_ms();
  for (const SessionRef& session : sessions.all()) {
    if (session->kind != SessionKind::kLocal || session->ending.load()) continue;
    const uint32_t lines = session->lines_used();
    for (uint32_t i = 0; i < lines; ++i) {
      const shm::JournalLine* line = session->journal(i);
      const uint64_t word = line->waiting_on.load(std::memory_order_acquire);
      const shm::WaitWord wait = shm::WaitWord::decode(word);
      if (word == 0 || wait.cancelled) continue;
      Wait one;
      one.holder = shm::holder_of(session->owner, static_cast<uint16_t>(i));
      one.object = wait.object;
      one.what = wait.what;
      one.age_ms = now_ms - line->waiting_since_ms.load(std::memory_order_relaxed);
      one.priority = line->waiting_priority.load(std::memory_order_relaxed);
      one.word = word;
      one.session = session;
      one.line = i;
      out.push_back(std::move(one));
    }
  }
  return out;
}

std::vector<Wait> remote_waits(const LockTable& locks,
                               const std::vector<std::shared_ptr<objects::Queue>>& queues,
                               const SessionTable& sessions) {
  std::vector<Wait> out;
  const int64_t now_ns = shm::monotonic_ns();
  const auto add = [&](const auto& wait, uint64_t object_id, shm::WaitFor what) {
    Wait one;
    one.holder = wait.holder;
    one.object = static_cast<uint32_t>(object_id);
    one.what = what;
    one.age_ms = (now_ns - wait.since_ns) / 1'000'000;
    one.priority = wait.priority;
    one.word = wait.serial;
    one.remote = true;
    one.session = sessions.by_owner(shm::owner_in(wait.holder));
    out.push_back(std::move(one));
  };
  for (const auto& lock : locks.waiting()) {
    for (const auto& wait : lock->remote_waits())
      add(wait, lock->object_id(), what_of(wait, *lock));
  }
  for (const auto& queue : queues) {
    for (const auto& join : queue->remote_joins()) {
      add(join, queue->object_id(), shm::WaitFor::kJoin);
    }
  }
  return out;
}

}  // namespace heddle::broker
