#include "daemon/objects/lock.h"

#include <algorithm>
#include <utility>

#include "proto/local/lock_status.h"

namespace heddle::objects {

using shm::LockOutcome;

// Fields change under the lock's mutex until `finished`.
struct LockWaiter {
  Caller caller;
  LockAsk ask;
  int64_t deadline_ns = 0;
  int64_t began_ns = 0;
  uint64_t serial = 0;
  bool finished = false;
  bool standing = false;                 // a cell of the condition or barrier is taken
  bool notified = false;                 // of a condition: only the lock is missing
  LockOutcome ended = LockOutcome::kOk;  // how the wait for the condition ended
  uint32_t sets_before = 0;
  shm::Standing stand;
  std::list<LockWait>::iterator at;
  LockReply reply;
  LockDone done;
  // A wait with another lock, which is taken again by a wait of its own.
  bool retaking = false, cancelled = false;
  LockWait retake;
};

namespace {

bool is_rw(const shm::Lock& lock) { return lock.kind() == shm::LockKind::kRw; }

}  // namespace

Lock::Lock(Host& host, std::string name, uint64_t object_id, shm::Lock view,
           std::shared_ptr<void> mapping)
    : host_(host),
      name_(std::move(name)),
      object_id_(object_id),
      mapping_(std::move(mapping)),
      view_(view) {
  const uint64_t word = view_.line().word.load();
  const bool entered =
      view_.kind() == shm::LockKind::kMutex || view_.kind() == shm::LockKind::kRlock;
  if (entered && shm::holder_in(word) != 0) inherited_word_ = word;
}

shm::LockActor Lock::actor(const Caller& caller, uint16_t thread) {
  shm::LockActor a;
  a.owner = caller.owner;
  a.thread = thread;
  a.remote = true;
  uint16_t own_thread = 0;
  a.journal = host_.own_journal(&own_thread);
  return a;
}

Status Lock::status_of(LockOutcome outcome, uint32_t asked) {
  local::LockFacts facts{.name = name_, .kind = view_.kind()};
  const bool counting = view_.kind() == shm::LockKind::kCounting;
  facts.limit = counting ? view_.line().count_max.load() : view_.line().limit.load();
  facts.actual = asked;
  OwnerInfo who;  // `facts` looks into it
  if (outcome == LockOutcome::kTimedOut || outcome == LockOutcome::kNotHeld) {
    shm::LockStanding standing[4];
    const size_t n = view_.standing(standing, 4);
    for (size_t i = 0; i < n && i < 4; ++i) {
      if (standing[i].waits) continue;
      who = host_.describe_owner(shm::owner_in(standing[i].holder));
      if (!who.known) continue;
      facts.holder_pid = who.pid;
      facts.holder = who.command;
      break;
    }
  }
  return local::lock_status(outcome, facts);
}

LockOutcome Lock::attempt_wait(LockWaiter& wait, shm::LockActor& a, bool late) {
  Lock* const guard = wait.ask.guard ? wait.ask.guard.get() : this;
  if (!wait.standing) {
    const LockOutcome begun = view_.begin_wait(a, guard->view_, &wait.stand);
    if (begun != LockOutcome::kOk) return begun;
    wait.standing = true;
  }
  if (!wait.notified) {
    LockOutcome outcome = view_.look_wait(wait.stand);
    if (outcome == LockOutcome::kTimedOut && late && !view_.stop_wait(wait.stand)) {
      outcome = LockOutcome::kOk;
    } else if (outcome == LockOutcome::kTimedOut && !late) {
      return LockOutcome::kTimedOut;
    }
    wait.ended = outcome;
    wait.notified = true;
    if (wait.serial != 0) tell_wait(wait, false), tell_wait(wait, true);  // for another thing now
    // From here on the deadline is over: the lock is taken again, however long that takes.
    wait.deadline_ns = shm::kLockForever;
  }
  if (guard != this) {
    wait.retaking = true;
    wait.finished = true;
    return wait.ended;
  }
  const LockOutcome again = view_.acquire(a, shm::kLockTry, &wait.reply.grant);
  if (again == LockOutcome::kTimedOut) return again;
  if (again == LockOutcome::kOk) {
    view_.restore_depth(wait.stand.depth);
    view_.end_wait(wait.stand);
  } else {
    view_.pass_wait(a, wait.stand);
  }
  wait.standing = false;
  wait.finished = true;  // whatever the outcome, also a time-out
  return again == LockOutcome::kOk ? wait.ended : again;
}

/// kTimedOut: not yet, unless wait.finished says that it is the answer.
LockOutcome Lock::attempt(LockWaiter& wait) {
  shm::LockActor a = actor(wait.caller, wait.ask.thread);
  a.slept = wait.serial != 0;
  shm::Grant* grant = &wait.reply.grant;
  const int64_t now = host_.now_ns();
  switch (wait.ask.op) {
    case LockOp::kAcquire:
      if (is_counted(wait.ask.mode)) return take_some(wait.ask, a, grant);
      if (view_.kind() == shm::LockKind::kRlock) return enter(wait.ask, a, grant);
      if (!is_rw(view_)) return view_.acquire(a, shm::kLockTry, grant);
      if (wait.ask.mode == shm::LockMode::kExclusive && wait.deadline_ns != 0) {
        return view_.look_write(a, grant);
      }
      return view_.acquire_rw(a, wait.ask.mode, shm::kLockTry, grant);
    case LockOp::kConvert:
      return view_.convert(a, wait.ask.from, wait.ask.mode, shm::kLockTry, grant);
    case LockOp::kWait:
      return attempt_wait(wait, a, now >= wait.deadline_ns);
    case LockOp::kWaitEvent:
      if (wait.serial == 0) wait.sets_before = view_.sets();
      if (view_.sets() != wait.sets_before) return LockOutcome::kOk;
      return view_.wait_event(a, shm::kLockTry);
    case LockOp::kArrive: {
      if (!wait.standing) {
        const LockOutcome begun = view_.begin_arrive(a, wait.ask.action, &wait.stand);
        if (begun != LockOutcome::kOk) return begun;
        wait.standing = true;
        wait.reply.index = wait.stand.index;
      }
      const LockOutcome looked = view_.look_arrive(a, wait.stand);
      if (looked != LockOutcome::kTimedOut) wait.standing = false;
      return looked;
    }
  }
  return LockOutcome::kCorrupt;
}

/// What a wait that ends without success leaves behind.
void Lock::give_up(LockWaiter& wait) {
  shm::LockActor a = actor(wait.caller, wait.ask.thread);
  if (wait.ask.op == LockOp::kAcquire && is_rw(view_)) view_.give_up_write(a);
  if (!wait.standing) return;
  if (wait.ask.op == LockOp::kArrive) {
    view_.break_barrier(false);
    (void)view_.look_arrive(a, wait.stand);
  } else if (wait.ask.op == LockOp::kWait) {
    // Notified all the same: that goes to the next one.
    if (view_.stop_wait(wait.stand)) {
      view_.end_wait(wait.stand);
    } else {
      view_.pass_wait(a, wait.stand);
    }
  }
  wait.standing = false;
}

void Lock::finish(const LockWait& wait, Status status, std::vector<LockWait>* finished) {
  wait->finished = true;
  wait->reply.status = std::move(status);
  if (wait->reply.grant.abandoned) {
    wait->reply.previous = host_.describe_owner(shm::owner_in(wait->reply.grant.dead_holder));
  }
  if (wait->serial != 0) {
    waits_.erase(wait->at);
    tell_wait(*wait, false);
    if (waiting_.fetch_sub(1) == 1) {
      view_.arm(false);
      host_.set_lock_waiting(object_id_, false);
    }
  }
  finished->push_back(wait);
}

void Lock::tell_wait(const LockWaiter& wait, bool begins) {
  if (wait.caller.owner == kNoOwner) return;
  const uint32_t holder = shm::holder_of(wait.caller.owner, wait.ask.thread);
  begins ? host_.wait_began(holder, object_id_) : host_.wait_ended(holder, object_id_);
}

void Lock::run(std::vector<LockWait>& finished) {
  for (const LockWait& wait : finished) {
    if (std::exchange(wait->retaking, false)) {
      take_guard_again(wait);
      continue;
    }
    if (const LockDone done = std::exchange(wait->done, nullptr)) done(std::move(wait->reply));
  }
}

LockWait Lock::start(const Caller& caller, const LockAsk& ask, int64_t deadline_ns, LockDone done) {
  auto wait = std::make_shared<LockWaiter>();
  wait->caller = caller;
  wait->ask = ask;
  wait->deadline_ns = deadline_ns;
  wait->began_ns = host_.now_ns();
  wait->done = std::move(done);
  std::vector<LockWait> finished;
  bool late = false;  // the session is gone; nobody would give this back
  {
    std::lock_guard lock(mutex_);
    Status refused = ended_ ? status_of(LockOutcome::kGone) : refusal(caller, ask);
    // Two that go up from shared would wait for each other. A condition's lock is taken again.
    const bool from_shared = ask.op == LockOp::kConvert && ask.from == shm::LockMode::kShared;
    const bool once = from_shared || (deadline_ns == 0 && ask.op != LockOp::kWait);
    if (!refused.ok()) {
      finish(wait, std::move(refused), &finished);
    } else if (ask.request != 0 && take_inherited(caller, ask, &wait->reply.grant)) {
      finish(wait, Status(), &finished);
    } else {
      LockOutcome outcome = attempt(*wait);
      if (outcome == LockOutcome::kTimedOut && !wait->finished && !once) {
        wait->serial = ++serial_;
        wait->at = waits_.insert(waits_.end(), wait);
        if (waiting_.fetch_add(1) == 0) host_.set_lock_waiting(object_id_, true);
        tell_wait(*wait, true);
        view_.enlist(false);
        serve(&finished);  // once more, now that a release would tell
      } else {
        wait->reply.lead = outcome == LockOutcome::kLead;
        if (outcome == LockOutcome::kTimedOut) give_up(*wait);
        finish(wait, outcome == LockOutcome::kLead ? Status() : status_of(outcome, ask.n),
               &finished);
      }
      late = caller.session_id != 0 && host_.session_ended(caller.session_id);
      if (late && !wait->finished) {
        give_up(*wait);
        finish(wait, {}, &finished);
      }
    }
  }
  if (late) disown(*wait);
  run(finished);
  if (ask.guard) ask.guard->changed();  // it may have been let go of
  return wait;
}

/// Of a call that came in while its session ended, and may have acquired after the reaper was here.
void Lock::disown(LockWaiter& wait) {
  if (wait.ask.op == LockOp::kAcquire && wait.reply.status.ok()) {
    (void)release(wait.caller, wait.ask.mode, wait.ask.n, wait.ask.thread);
  }
  wait.reply = {};
  wait.reply.status = Status(Reason::kSessionLost, "the session that asked has ended");
}

Status Lock::needs_session(const Caller& caller, uint16_t thread) const {
  if (caller.owner == kNoOwner) {
    return Status(Reason::kInvalidArgument,
                  "what is held needs a session that holds it; open one (SessionService/Open) and "
                  "send its token with the call")
        .with_object(name_);
  }
  if (thread >= shm::kThreadsMax) {
    return Status(Reason::kInvalidArgument, "thread is a number below 1024")
        .with_object(name_)
        .with_limit(shm::kThreadsMax - 1, thread);
  }
  return Status();
}

Status Lock::refusal(const Caller& caller, const LockAsk& ask) const {
  if (ask.op != LockOp::kWaitEvent) {
    if (Status bad = needs_session(caller, ask.thread); !bad.ok()) return bad;
  }
  using shm::LockKind;
  const LockKind kind = view_.kind();
  const bool permits = kind == LockKind::kSemaphore || kind == LockKind::kCounting;
  const bool word = kind == LockKind::kMutex || kind == LockKind::kRlock || kind == LockKind::kRw ||
                    kind == LockKind::kCondition;
  const char* why = nullptr;
  switch (ask.op) {
    case LockOp::kAcquire:
      if (!permits && !word)
        why = "there is nothing to acquire; wait for it";
      else if (permits && ask.n == 0)
        why = "at least one permit must be asked for";
      else if (ask.mode != shm::LockMode::kExclusive && kind != LockKind::kRw)
        why = "shared and update modes need a lock of kind rw";
      break;
    case LockOp::kConvert:
      if (kind != LockKind::kRw) why = "only a lock of kind rw can change its mode";
      break;
    case LockOp::kWait: {
      const LockKind guard = ask.guard ? ask.guard->view_.kind() : LockKind::kCondition;
      const bool plain =
          guard == LockKind::kMutex || guard == LockKind::kRlock || guard == LockKind::kCondition;
      if (kind != LockKind::kCondition)
        why = "notifications come from conditions only";
      else if (!plain)
        why = "wait needs a mutex or rlock, held by the caller";
      break;
    }
    case LockOp::kWaitEvent:
      if (kind != LockKind::kEvent) why = "it is not an event";
      break;
    case LockOp::kArrive:
      if (kind != LockKind::kBarrier) why = "it is not a barrier";
      break;
  }
  return why == nullptr ? Status() : Status(Reason::kInvalidArgument, why).with_object(name_);
}

/// The second half of a condition's wait with another lock: a wait for that lock, without end.
void Lock::take_guard_again(const LockWait& wait) {
  const LockAsk ask{.thread = wait->ask.thread, .priority = wait->ask.priority};
  const auto taken = [self = shared_from_this(), wait](LockReply again) {
    shm::LockActor a = self->actor(wait->caller, wait->ask.thread);
    if (again.status.ok()) {
      wait->ask.guard->view_.restore_depth(wait->stand.depth);
      self->view_.end_wait(wait->stand);
    } else {
      self->view_.pass_wait(a, wait->stand);
      self->changed();
      wait->reply.status = std::move(again.status);
    }
    wait->reply.grant = again.grant;
    wait->reply.previous = std::move(again.previous);
    if (const LockDone done = std::exchange(wait->done, nullptr)) done(std::move(wait->reply));
  };
  const LockWait retake = wait->ask.guard->start(wait->caller, ask, shm::kLockForever, taken);
  bool cancelled;
  {
    std::lock_guard lock(mutex_);
    wait->retake = retake;
    cancelled = wait->cancelled;
  }
  if (cancelled) wait->ask.guard->cancel(retake);
}

void Lock::serve(std::vector<LockWait>* finished) {
  int64_t next = INT64_MAX;
  bool starving = false;
  const int64_t now = host_.now_ns();
  for (auto it = waits_.begin(); it != waits_.end();) {
    const LockWait wait = *it++;
    const LockOutcome outcome = attempt(*wait);
    if (outcome != LockOutcome::kTimedOut || wait->finished) {
      wait->reply.lead = outcome == LockOutcome::kLead;
      finish(wait, wait->reply.lead ? Status() : status_of(outcome, wait->ask.n), finished);
      continue;
    }
    if (now >= wait->deadline_ns) {
      give_up(*wait);
      finish(wait, status_of(LockOutcome::kTimedOut), finished);
      continue;
    }
    next = std::min(next, wait->deadline_ns);
    starving = starving || now - wait->began_ns > shm::kStarvingNs;
  }
  if (!waits_.empty()) view_.enlist(starving);
  schedule(next);
}

void Lock::schedule(int64_t when_ns) {
  if (when_ns >= scheduled_ns_ || when_ns == shm::kLockForever) return;
  scheduled_ns_ = when_ns;
  host_.at(when_ns, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->poll();
  });
}

void Lock::poll() {
  std::vector<LockWait> finished;
  {
    std::lock_guard lock(mutex_);
    scheduled_ns_ = INT64_MAX;
    serve(&finished);
  }
  run(finished);
}

void Lock::changed() {
  if (has_waiting()) poll();
}

void Lock::cancel(const LockWait& wait) {
  std::vector<LockWait> finished;
  LockWait retake;
  {
    std::lock_guard lock(mutex_);
    wait->cancelled = true;
    retake = wait->retake;
  }
  if (retake) return wait->ask.guard->cancel(retake);
  {
    std::lock_guard lock(mutex_);
    if (wait->finished || wait->serial == 0) return;
    give_up(*wait);
    finish(wait, Status(Reason::kInterrupted, "the caller went away").with_object(name_),
           &finished);
  }
  run(finished);
  changed();
}

bool Lock::refuse(uint64_t serial, const std::string& why) {
  std::vector<LockWait> finished;
  {
    std::lock_guard lock(mutex_);
    for (const LockWait& wait : waits_) {
      if (wait->serial != serial) continue;
      give_up(*wait);
      finish(LockWait(wait), Status(Reason::kDeadlockDetected, why).with_object(name_), &finished);
      break;
    }
  }
  run(finished);
  return !finished.empty();
}

void Lock::drop_waits_of(uint16_t owner) {
  std::vector<LockWait> finished;
  {
    std::lock_guard lock(mutex_);
    for (auto it = waits_.begin(); it != waits_.end();) {
      const LockWait wait = *it++;
      if (wait->caller.owner != owner) continue;
      finish(wait, Status(Reason::kSessionLost, "the session that waited has ended"), &finished);
    }
  }
  run(finished);
}

void Lock::end_of_object() {
  std::vector<LockWait> finished;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    while (!waits_.empty()) {
      const LockWait wait = waits_.front();
      finish(wait, status_of(LockOutcome::kGone), &finished);
    }
  }
  run(finished);
}

std::vector<Lock::RemoteWait> Lock::remote_waits() {
  std::vector<RemoteWait> out;
  std::lock_guard lock(mutex_);
  for (const LockWait& wait : waits_) {
    out.push_back({shm::holder_of(wait->caller.owner, wait->ask.thread), wait->ask.op,
                   wait->ask.mode, wait->began_ns, wait->ask.priority, wait->serial,
                   wait->notified});
  }
  return out;
}

bool Lock::waits(uint64_t serial) {
  std::lock_guard lock(mutex_);
  return std::any_of(waits_.begin(), waits_.end(),
                     [&](const LockWait& wait) { return wait->serial == serial; });
}

}  // namespace heddle::objects
