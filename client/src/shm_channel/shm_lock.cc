#include "client/src/shm_channel/shm_lock.h"

#include <mutex>
#include <utility>

#include "client/src/channel.h"
#include "client/src/shm_channel/shm_channel.h"
#include "proto/local/lock_status.h"

namespace heddle::detail {

using shm::LockOutcome;

static_assert(shm::kLockTry == kTry && shm::kLockForever == kNever);
static_assert(static_cast<int>(shm::LockMode::kUpdate) == static_cast<int>(LockMode::kUpdate) &&
              static_cast<int>(shm::LockMode::kShared) == static_cast<int>(LockMode::kShared));

namespace {

shm::LockMode mode_of(LockMode mode) { return static_cast<shm::LockMode>(mode); }

Grant grant_of(const shm::Grant& from) {
  return {.token = from.token,
          .abandoned = from.abandoned,
          .previous_session = shm::owner_in(from.dead_holder),
          .previous_thread = shm::thread_in(from.dead_holder),
          .previous_pid = 0};
}

}  // namespace

std::string label_of(SyncKind kind, const std::string& name) {
  static constexpr const char* kNouns[] = {"lock ", "semaphore ", "condition ", "event ",
                                           "barrier "};
  return kNouns[static_cast<std::size_t>(kind)] + name;
}

ShmLock::ShmLock(std::shared_ptr<ShmChannel> channel, SyncKind kind,
                 std::unique_ptr<LockPlace> place)
    : channel_(std::move(channel)), kind_(kind), name_(place->name) {
  place_.store(place.get(), std::memory_order_release);
  places_.push_back(std::move(place));
}

ShmLock::~ShmLock() {
  const LockPlace& place = *places_.back();
  if (place.generation != process_generation() || place.home->session->ended()) return;
  const local::Close close{.object_id = place.object_id};
  place.home->session->post(local::AttachType::kClose, local::bytes_of(close));
}

ShmLock::Reach ShmLock::reach() {
  Reach reach;
  if (const LockPlace* place = this->place()) [[likely]] {
    reach.place = place;
    reach.hands = cached_lock_hands(*place);
    if (reach.hands != nullptr && ++reach.hands->uses % kUsesPerLook != 0) [[likely]]
      return reach;
  }
  reach.hands = nullptr;
  reach.status = reach_slow(&reach);
  return reach;
}

Status ShmLock::reach_slow(Reach* reach) {
  std::lock_guard lock(mutex_);
  const LockPlace* place = places_.back().get();
  if (place->generation == process_generation()) {
    // A lost session is said once; the call after that attaches anew.
    if (!place->home->session->ended() || !std::exchange(loss_told_, true)) {
      Status status = place->home->session->look();
      if (!status.ok()) {
        place_.store(nullptr);
        return std::move(status).with_object(label_of(kind_, name_));
      }
    }
  }
  if (place->home->session->ended()) {
    auto fresh = channel_->attach_lock(name_, {.kind = kind_, .presence = Presence::kMust});
    if (!fresh) return fresh.status();
    place = fresh->get();
    places_.push_back(std::move(*fresh));
    loss_told_ = false;
  }
  place_.store(place, std::memory_order_release);
  reach->place = place;
  Status status = make_lock_hands(*place->home, &reach->hands);
  return status.ok() ? status : std::move(status).with_object(label_of(kind_, name_));
}

ShmLock::Reach ShmLock::reach_held() {
  Reach reach;
  if (const LockPlace* place = this->place()) [[likely]] {
    reach.place = place;
    reach.hands = cached_lock_hands(*place);
    const bool look = reach.hands != nullptr && ++reach.hands->uses % kUsesPerLook == 0;
    if (reach.hands != nullptr && !look) [[likely]] {
      return reach;
    }
  }
  std::lock_guard lock(mutex_);
  reach.place = places_.back().get();
  // What was lost with the session is told by the words; the next acquire attaches anew.
  if (reach.hands != nullptr && !reach.place->home->session->look().ok()) place_.store(nullptr);
  if (!reach.place->home->session->ended()) {
    reach.status = make_lock_hands(*reach.place->home, &reach.hands);
  } else {
    reach.status = Status(Reason::kLeaseLost,
                          "this process does not hold it: it was acquired before a fork, or in a "
                          "session that has ended");
  }
  if (!reach.status.ok()) {
    reach.status = std::move(reach.status).with_object(label_of(kind_, name_));
  }
  return reach;
}

Status ShmLock::need(SyncKind kind, const char* what) const {
  if (kind_ == kind) [[likely]]
    return {};
  return Status(Reason::kInvalidArgument, std::string(what) + " is not for this kind of object")
      .with_object(label_of(kind_, name_));
}

Status ShmLock::explain(LockOutcome outcome, const Reach& reach, std::int64_t deadline_ns,
                        std::uint32_t asked) {
  if (outcome == LockOutcome::kTimedOut && deadline_ns == kTry) return Reason::kEmpty;
  if (outcome == LockOutcome::kInterrupted && reach.hands->look_failed) {
    Status status = reach.place->home->session->look();
    place_.store(nullptr);  // The next operation attaches anew.
    if (status.ok()) {
      status = Status(Reason::kDaemonUnreachable, "the daemon was gone while this waited");
    }
    return std::move(status).with_object(label_of(kind_, name_));
  }
  if (outcome == LockOutcome::kDeadlock) {
    std::string circle = channel_->own_deadlock();
    if (!circle.empty()) {
      return Status(Reason::kDeadlockDetected, std::move(circle))
          .with_object(label_of(kind_, name_));
    }
  }
  const shm::LockLine& line = reach.place->lock.line();
  const bool counting = reach.place->kind == shm::LockKind::kCounting;
  return local::lock_status(outcome, {.name = name_,
                                      .kind = reach.place->kind,
                                      .limit = counting ? line.count_max.load() : line.limit.load(),
                                      .actual = asked});
}

Status ShmLock::explain_wait(LockOutcome outcome, const Reach& reach, std::int64_t deadline_ns) {
  // Waiting for something to happen has no other word for "not yet" than the clock's.
  return explain(outcome, reach, deadline_ns == kTry ? kTry + 1 : deadline_ns);
}

Status ShmLock::acquire(const LockAsk& ask, Grant* grant) {
  Reach reach = this->reach();
  if (reach.hands == nullptr) [[unlikely]]
    return std::move(reach.status);
  std::atomic<std::int32_t>& priority = reach.actor().journal->waiting_priority;
  if (priority.load(std::memory_order_relaxed) != ask.priority) [[unlikely]] {
    priority.store(ask.priority, std::memory_order_relaxed);
  }
  shm::Grant got;
  LockOutcome outcome;
  if (kind_ == SyncKind::kSemaphore) {
    if (ask.n == 0) {
      return Status(Reason::kInvalidArgument, "at least one permit must be asked for")
          .with_object(label_of(kind_, name_));
    }
    outcome = reach.lock().acquire_permits(reach.actor(), ask.n, ask.deadline_ns, &got);
  } else if (kind_ == SyncKind::kLock || kind_ == SyncKind::kCondition) {
    if (ask.mode != LockMode::kExclusive && reach.place->kind != shm::LockKind::kRw) {
      return Status(Reason::kInvalidArgument, "shared and update modes need a lock of kind rw")
          .with_object(label_of(kind_, name_));
    }
    outcome =
        acquire_in_place(*reach.place, reach.actor(), mode_of(ask.mode), ask.deadline_ns, &got);
  } else {
    return need(SyncKind::kLock, "acquire");
  }
  if (outcome != LockOutcome::kOk) return explain(outcome, reach, ask.deadline_ns, ask.n);
  ++reach.hands->held;
  *grant = grant_of(got);
  return {};
}

Status ShmLock::release(LockMode mode, std::uint32_t n) {
  Reach reach = reach_held();
  if (reach.hands == nullptr) [[unlikely]]
    return std::move(reach.status);
  LockOutcome outcome;
  if (kind_ == SyncKind::kSemaphore) {
    outcome = n == 0 ? LockOutcome::kOk : reach.lock().release_permits(reach.actor(), n);
  } else if (kind_ == SyncKind::kLock || kind_ == SyncKind::kCondition) {
    const bool known = mode == LockMode::kExclusive || reach.place->kind == shm::LockKind::kRw;
    outcome = known ? release_in_place(*reach.place, reach.actor(), mode_of(mode))
                    : LockOutcome::kNotHeld;
  } else {
    return need(SyncKind::kLock, "release");
  }
  if (outcome != LockOutcome::kOk) return explain(outcome, reach, 0, n);
  --reach.hands->held;
  return {};
}

Status ShmLock::release_any(bool same_process) {
  Reach reach = same_process ? reach_held() : this->reach();
  if (reach.hands == nullptr) return std::move(reach.status);
  if (reach.place->kind != shm::LockKind::kMutex) {
    return Status(Reason::kInvalidArgument, "only a mutex may be released for somebody else")
        .with_object(label_of(kind_, name_));
  }
  shm::Lock lock = reach.lock();
  for (;;) {
    const std::uint32_t holder = shm::holder_in(lock.line().word.load(std::memory_order_acquire));
    const bool ours = shm::owner_in(holder) == reach.actor().owner;
    if (holder == 0 || (same_process && !ours)) {
      return explain(lock.gone() ? LockOutcome::kGone : LockOutcome::kNotHeld, reach);
    }
    const LockOutcome outcome = lock.release(reach.actor(), holder);
    if (outcome == LockOutcome::kOk) return {};
    // Another one has it by now, or it is gone.
    if (outcome != LockOutcome::kNotHeld) return explain(outcome, reach);
  }
}

Status ShmLock::convert(LockMode from, LockMode to, std::int64_t deadline_ns, Grant* grant) {
  Reach reach = reach_held();
  if (reach.hands == nullptr) return std::move(reach.status);
  if (reach.place->kind != shm::LockKind::kRw) {
    return Status(Reason::kInvalidArgument, "only a lock of kind rw can change its mode")
        .with_object(label_of(kind_, name_));
  }
  shm::Grant got;
  const LockOutcome outcome =
      reach.lock().convert(reach.actor(), mode_of(from), mode_of(to), deadline_ns, &got);
  if (outcome != LockOutcome::kOk) {
    return explain(outcome, reach, from == LockMode::kShared ? kTry : deadline_ns);
  }
  *grant = grant_of(got);
  return {};
}

}  // namespace heddle::detail
