// Conditions, events and barriers, and what can be seen of any kind.
#include <heddle/client.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/shm_channel/shm_channel.h"
#include "client/src/shm_channel/shm_lock.h"

namespace heddle::detail {

using shm::LockOutcome;

Status ShmLock::wait(LockChannel* lock, std::int64_t deadline_ns) {
  if (Status wrong = need(SyncKind::kCondition, "wait"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock guard = reach.lock();
  if (lock != nullptr) {
    auto* other = dynamic_cast<ShmLock*>(lock);
    const LockPlace* place = other != nullptr ? other->place() : nullptr;
    const bool plain = place != nullptr && (place->kind == shm::LockKind::kMutex ||
                                            place->kind == shm::LockKind::kRlock ||
                                            place->kind == shm::LockKind::kCondition);
    if (!plain || place->key != reach.place->key) {
      return Status(Reason::kInvalidArgument,
                    "wait needs a mutex or rlock of the same client, held by the caller")
          .with_object(label_of(kind_, name_));
    }
    guard = place->lock;
  }
  const LockOutcome outcome = reach.lock().wait(reach.actor(), guard, deadline_ns);
  return outcome == LockOutcome::kOk ? Status() : explain_wait(outcome, reach, deadline_ns);
}

Result<std::uint32_t> ShmLock::notify(std::uint32_t n, bool all) {
  if (Status wrong = need(SyncKind::kCondition, "notify"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock lock = reach.lock();
  if (lock.gone()) return explain(LockOutcome::kGone, reach);
  return all ? lock.notify_all(reach.actor()) : lock.notify(reach.actor(), n);
}

Status ShmLock::wait_event(std::int64_t deadline_ns) {
  if (Status wrong = need(SyncKind::kEvent, "wait"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  const LockOutcome outcome = reach.lock().wait_event(reach.actor(), deadline_ns);
  return outcome == LockOutcome::kOk ? Status() : explain(outcome, reach, deadline_ns);
}

Status ShmLock::set_event(bool set) {
  if (Status wrong = need(SyncKind::kEvent, "set and clear"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock lock = reach.lock();
  if (lock.gone()) return explain(LockOutcome::kGone, reach);
  if (set) {
    lock.set_event(reach.actor());
  } else {
    lock.clear_event();
  }
  return {};
}

Status ShmLock::arrive(bool action, std::int64_t deadline_ns, std::uint32_t* index, bool* lead) {
  if (Status wrong = need(SyncKind::kBarrier, "arrive"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  *lead = false;
  const LockOutcome outcome = reach.lock().arrive(reach.actor(), action, deadline_ns, index);
  *lead = outcome == LockOutcome::kLead;
  if (outcome == LockOutcome::kOk || *lead) return {};
  return explain_wait(outcome, reach, deadline_ns);
}

Status ShmLock::finish_action() {
  Reach reach = reach_held();
  if (reach.hands == nullptr) return std::move(reach.status);
  const LockOutcome outcome = reach.lock().finish_action(reach.actor());
  return outcome == LockOutcome::kOk ? Status() : explain(outcome, reach);
}

Status ShmLock::abort_barrier() {
  if (Status wrong = need(SyncKind::kBarrier, "abort"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock lock = reach.lock();
  if (lock.gone()) return explain(LockOutcome::kGone, reach);
  lock.break_barrier(true);
  return {};
}

Status ShmLock::reset_barrier() {
  if (Status wrong = need(SyncKind::kBarrier, "reset"); !wrong.ok()) return wrong;
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock lock = reach.lock();
  if (lock.gone()) return explain(LockOutcome::kGone, reach);
  lock.reset_barrier();
  return {};
}

Status ShmLock::join_barrier(bool join) {
  if (Status wrong = need(SyncKind::kBarrier, "join and leave"); !wrong.ok()) return wrong;
  Reach reach = join ? this->reach() : reach_held();
  if (reach.hands == nullptr) return std::move(reach.status);
  shm::Lock lock = reach.lock();
  const LockOutcome outcome = join ? lock.join(reach.actor()) : lock.leave(reach.actor());
  if (outcome != LockOutcome::kOk) return explain(outcome, reach);
  join ? ++reach.hands->held : --reach.hands->held;
  return {};
}

Result<LockGlance> ShmLock::glance() {
  Reach reach = this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  const shm::Lock lock = reach.lock();
  if (lock.gone()) return explain(LockOutcome::kGone, reach);
  LockGlance glance{.locked = false,
                    .token = lock.token(),
                    .limit = lock.line().limit.load(),
                    .free = 0,
                    .arrived = 0,
                    .set = false,
                    .broken = false};
  switch (reach.place->kind) {
    case shm::LockKind::kSemaphore:
    case shm::LockKind::kCounting:
      glance.free = lock.permits_free();
      glance.locked = glance.free == 0;
      if (reach.place->kind == shm::LockKind::kCounting) glance.limit = lock.line().count_max;
      break;
    case shm::LockKind::kEvent:
      glance.set = lock.is_set();
      break;
    case shm::LockKind::kBarrier:
      glance.arrived = lock.arrived();
      glance.broken = lock.broken();
      break;
    default: {
      shm::LockStanding standing[64];
      const std::size_t count = std::min(lock.standing(standing, 64), std::size_t{64});
      for (std::size_t i = 0; i < count; ++i) glance.locked = glance.locked || !standing[i].waits;
    }
  }
  return glance;
}

Result<LockInfo> ShmLock::info() { return channel_->lock_info(kind_, name_); }

Status ShmLock::force_release() { return channel_->lock_do(kind_, name_, "force_release"); }

Status ShmLock::repair() { return channel_->lock_do(kind_, name_, "repair"); }

}  // namespace heddle::detail
