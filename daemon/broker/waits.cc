#include "daemon/broker/waits.h"

#include <algorithm>
#include <utility>

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

void add_local(const SessionRef& session, uint32_t i, uint32_t now_ms, std::vector<Wait>* out) {
  const shm::JournalLine* line = session->journal(i);
  const uint64_t word = line->waiting_on.load(std::memory_order_acquire);
  const shm::WaitWord wait = shm::WaitWord::decode(word);
  if (word == 0 || wait.cancelled) return;
  Wait& one = out->emplace_back();
  one.holder = shm::holder_of(session->owner, static_cast<uint16_t>(i));
  one.object = wait.object;
  one.what = wait.what;
  one.age_ms = now_ms - line->waiting_since_ms.load(std::memory_order_relaxed);
  one.priority = line->waiting_priority.load(std::memory_order_relaxed);
  one.word = word;
  one.session = session;
  one.line = i;
  one.room = line->waiting_room.load(std::memory_order_relaxed);
}

bool has_lines(const SessionRef& session) {
  return session && session->kind == SessionKind::kLocal && !session->ending.load() &&
         session->has_known_layout();
}

// `told`: RemoteWait or RemoteJoin.
template <class Told>
Wait remote_wait(const Told& told, uint64_t object_id, shm::WaitFor what, int64_t now_ns,
                 const SessionTable& sessions) {
  Wait one;
  one.holder = told.holder;
  one.object = static_cast<uint32_t>(object_id);
  one.what = what;
  one.age_ms = (now_ns - told.since_ns) / 1'000'000;
  one.priority = told.priority;
  one.word = told.serial;
  one.remote = true;
  one.session = sessions.by_owner(shm::owner_in(told.holder));
  return one;
}

}  // namespace

void RemoteWaiters::began(uint32_t holder, uint64_t object_id) {
  std::lock_guard lock(mutex_);
  objects_.emplace(holder, object_id);
  fresh_.push_back(holder);
}

void RemoteWaiters::ended(uint32_t holder, uint64_t object_id) {
  std::lock_guard lock(mutex_);
  const auto [first, last] = objects_.equal_range(holder);
  const auto at =
      std::find_if(first, last, [&](const auto& one) { return one.second == object_id; });
  if (at != last) objects_.erase(at);
}

std::vector<uint64_t> RemoteWaiters::of(uint32_t holder) const {
  std::vector<uint64_t> ids;
  std::lock_guard lock(mutex_);
  const auto [first, last] = objects_.equal_range(holder);
  for (auto at = first; at != last; ++at) ids.push_back(at->second);
  return ids;
}

std::vector<uint32_t> RemoteWaiters::take_fresh() {
  std::lock_guard lock(mutex_);
  return std::exchange(fresh_, {});
}

std::vector<Wait> local_waits(const SessionRef& session, uint32_t line) {
  std::vector<Wait> out;
  if (has_lines(session) && line < session->lines()) {
    add_local(session, line, shm::coarse_ms(), &out);
  }
  return out;
}

std::vector<Wait> local_waits(const SessionRef& session) {
  std::vector<Wait> out;
  if (!has_lines(session)) return out;
  const uint32_t lines = session->lines_used(), now_ms = shm::coarse_ms();
  for (uint32_t i = 0; i < lines; ++i) add_local(session, i, now_ms, &out);
  return out;
}

std::vector<Wait> local_waits(const SessionTable& sessions) {
  std::vector<Wait> out;
  const uint32_t now_ms = shm::coarse_ms();
  for (const SessionRef& session : sessions.all()) {
    const uint32_t lines = has_lines(session) ? session->lines_used() : 0;
    for (uint32_t i = 0; i < lines; ++i) add_local(session, i, now_ms, &out);
  }
  return out;
}

std::vector<Wait> remote_waits(const LockTable& locks,
                               const std::vector<std::shared_ptr<objects::Queue>>& queues,
                               const SessionTable& sessions) {
  std::vector<Wait> out;
  const int64_t now_ns = shm::monotonic_ns();
  for (const auto& lock : locks.waiting()) {
    for (const auto& wait : lock->remote_waits()) {
      out.push_back(remote_wait(wait, lock->object_id(), what_of(wait, *lock), now_ns, sessions));
    }
  }
  for (const auto& queue : queues) {
    for (const auto& join : queue->remote_joins()) {
      out.push_back(remote_wait(join, queue->object_id(), shm::WaitFor::kJoin, now_ns, sessions));
    }
  }
  return out;
}

std::vector<Wait> remote_waits(uint32_t holder, objects::Lock* lock, objects::Queue* queue,
                               const SessionTable& sessions) {
  std::vector<Wait> out;
  const int64_t now_ns = shm::monotonic_ns();
  for (const auto& wait : lock ? lock->remote_waits() : std::vector<objects::Lock::RemoteWait>()) {
    if (wait.holder != holder) continue;
    out.push_back(remote_wait(wait, lock->object_id(), what_of(wait, *lock), now_ns, sessions));
  }
  for (const auto& join :
       queue ? queue->remote_joins() : std::vector<objects::Queue::RemoteJoin>()) {
    if (join.holder != holder) continue;
    out.push_back(remote_wait(join, queue->object_id(), shm::WaitFor::kJoin, now_ns, sessions));
  }
  return out;
}

}  // namespace heddle::broker
