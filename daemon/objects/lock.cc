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
      view_(view) {}

shm::LockActor Lock::actor(const Caller& caller, uint16_t thread) {
  shm::LockActor a;
  a.owner = caller.owner;
  a.thread = thread;
  uint16_t own_thread = 0;
  a.journal = host_.own_journal(&own_thread);
  return a;
}

Status Lock::status_of(LockOutcome outcome, uint32_t asked) {
  local::LockFacts facts{.name = name_, .kind = view_.kind()};
  const bool counting = view_.kind() == shm::LockKind::kCounting;
  facts.limit = counting ? view_.line().count_max.load() : view_.line().limit.load();
  facts.actual = asked;
  if (outcome == LockOutcome::kTimedOut || outcome == LockOutcome::kNotHeld) {
    shm::LockStanding standing[4];
    const size_t n = view_.standing(standing, 4);
    for (size_t i = 0; i < n && i < 4; ++i) {
      if (standing[i].waits) continue;
      const OwnerInfo who = host_.describe_owner(shm::owner_in(standing[i].holder));
      if (!who.known) continue;
      facts.holder_pid = who.pid;
      facts.holder = who.command;
      break;
    }
  }
  return local::lock_status(outcome, facts);
}

LockOutcome Lock::attempt_wait(LockWaiter& wait, shm::LockActor& a, bool late) {
  if (!wait.standing) {
    const LockOutcome begun = view_.begin_wait(a, view_, &wait.stand);
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
    // From here on the deadline is over: the lock is taken again, however long that takes.
    wait.deadline_ns = shm::kLockForever;
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
  const bool late = wait.deadline_ns != 0 && now >= wait.deadline_ns;
  switch (wait.ask.op) {
    case LockOp::kAcquire:
      if (view_.kind() == shm::LockKind::kSemaphore || view_.kind() == shm::LockKind::kCounting) {
        return view_.acquire_permits(a, wait.ask.n, shm::kLockTry, grant);
      }
      if (!is_rw(view_)) return view_.acquire(a, shm::kLockTry, grant);
      if (wait.ask.mode == shm::LockMode::kExclusive && wait.deadline_ns != 0) {
        return view_.look_write(a, grant);
      }
      return view_.acquire_rw(a, wait.ask.mode, shm::kLockTry, grant);
    case LockOp::kConvert:
      return view_.convert(a, wait.ask.from, wait.ask.mode, shm::kLockTry, grant);
    case LockOp::kWait:
      return attempt_wait(wait, a, late);
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
    if (waiting_.fetch_sub(1) == 1) {
      view_.arm(false);
      host_.set_waiting(object_id_, false);
    }
  }
  finished->push_back(wait);
}

void Lock::run(std::vector<LockWait>& finished) {
  for (const LockWait& wait : finished) {
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
  {
    std::lock_guard lock(mutex_);
    const bool needs_session = ask.op != LockOp::kWaitEvent;
    if (ended_) {
      finish(wait, status_of(LockOutcome::kGone), &finished);
    } else if (needs_session && caller.owner == kNoOwner) {
      finish(wait,
             Status(Reason::kInvalidArgument,
                    "what is held needs a session that holds it; open one (SessionService/Open) "
                    "and send its token with the call")
                 .with_object(name_),
             &finished);
    } else if (ask.thread >= shm::kThreadsMax) {
      finish(wait,
             Status(Reason::kInvalidArgument, "thread is a number below 1024")
                 .with_limit(shm::kThreadsMax - 1, ask.thread),
             &finished);
    } else {
      LockOutcome outcome = attempt(*wait);
      if (outcome == LockOutcome::kTimedOut && !wait->finished && deadline_ns != 0) {
        wait->serial = ++serial_;
        wait->at = waits_.insert(waits_.end(), wait);
        if (waiting_.fetch_add(1) == 0) host_.set_waiting(object_id_, true);
        host_.wait_began();
        view_.enlist(false);
        serve(&finished);  // once more, now that a release would tell
      } else {
        wait->reply.lead = outcome == LockOutcome::kLead;
        if (outcome == LockOutcome::kTimedOut) give_up(*wait);
        finish(wait, outcome == LockOutcome::kLead ? Status() : status_of(outcome, ask.n),
               &finished);
      }
    }
  }
  run(finished);
  return wait;
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

Status Lock::release(const Caller& caller, shm::LockMode mode, uint32_t n, uint16_t thread) {
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  LockOutcome outcome;
  switch (view_.kind()) {
    case shm::LockKind::kRw:
      outcome = view_.release_rw(a, mode);
      break;
    case shm::LockKind::kSemaphore:
    case shm::LockKind::kCounting:
      outcome = view_.release_permits(a, n);
      break;
    default:
      outcome = view_.release(a);
  }
  changed();
  return status_of(outcome, n);
}

Status Lock::release_any(const Caller& caller) {
  shm::LockActor a = actor(caller, 0);
  const uint32_t holder = shm::holder_in(view_.line().word.load());
  const LockOutcome outcome = holder == 0 ? LockOutcome::kNotHeld : view_.release(a, holder);
  changed();
  return status_of(outcome);
}

Result<uint32_t> Lock::notify(const Caller& caller, uint32_t n, bool all) {
  shm::LockActor a = actor(caller, 0);
  const uint32_t told = all ? view_.notify_all(a) : view_.notify(a, n);
  changed();
  return told;
}

Status Lock::set_event(bool on) {
  shm::LockActor a = actor({}, 0);
  if (on)
    view_.set_event(a);
  else
    view_.clear_event();
  changed();
  return Status();
}

Status Lock::finish_action(const Caller& caller, uint16_t thread) {
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  const LockOutcome outcome = view_.finish_action(a);
  changed();
  return status_of(outcome);
}

Status Lock::break_barrier(bool keep) {
  view_.break_barrier(keep);
  changed();
  return Status();
}

Status Lock::reset_barrier() {
  view_.reset_barrier();
  changed();
  return Status();
}

Status Lock::join_barrier(const Caller& caller, uint16_t thread, bool join) {
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  return status_of(join ? view_.join(a) : view_.leave(a));
}

Status Lock::force_release(uint16_t owner, uint16_t thread) {
  const uint32_t holder = owner == 0 ? 0 : shm::holder_of(owner, thread);
  const LockOutcome outcome = view_.force_release(holder);
  changed();
  return status_of(outcome);
}

Status Lock::repair() {
  if (!view_.repair()) {
    return Status(Reason::kInvalidArgument, "it is not poisoned; there is nothing to repair")
        .with_object(name_);
  }
  changed();
  return Status();
}

std::vector<Lock::RemoteWait> Lock::remote_waits() {
  std::vector<RemoteWait> out;
  std::lock_guard lock(mutex_);
  for (const LockWait& wait : waits_) {
    out.push_back({shm::holder_of(wait->caller.owner, wait->ask.thread), wait->ask.op,
                   wait->ask.mode, wait->began_ns, wait->ask.priority, wait->serial});
  }
  return out;
}

LockInfo Lock::inspect() {
  LockInfo info;
  const uint64_t word = view_.line().word.load();
  info.kind = view_.kind();
  info.token = view_.token();
  info.limit = view_.line().limit.load();
  info.poisoned = (word & shm::kPoisoned) != 0;
  info.abandoned = shm::holder_in(word) == 0 && (word & shm::kAbandoned) != 0;
  if (info.kind == shm::LockKind::kSemaphore || info.kind == shm::LockKind::kCounting) {
    info.free = view_.permits_free();
  }
  if (info.kind == shm::LockKind::kEvent) info.set = view_.is_set();
  if (info.kind == shm::LockKind::kBarrier) {
    info.arrived = view_.arrived();
    info.broken = view_.broken();
  }
  info.remote_waiting = waiting_.load();
  std::vector<shm::LockStanding> standing(256);
  const size_t n = std::min(view_.standing(standing.data(), standing.size()), standing.size());
  const int64_t now_ms = host_.now_ns() / 1'000'000;
  const uint64_t seen = view_.line().seen.load();
  for (size_t i = 0; i < n; ++i) {
    LockParty party;
    party.number = shm::owner_in(standing[i].holder);
    party.thread = shm::thread_in(standing[i].holder);
    party.owner = host_.describe_owner(party.number);
    party.mode = standing[i].mode;
    party.waits = standing[i].waits;
    const bool owner = !party.waits && standing[i].holder == shm::holder_in(word);
    if (owner && shm::token_low(seen) == shm::token_low(word)) {
      party.age_ms = static_cast<uint32_t>(now_ms) - static_cast<uint32_t>(seen);
    }
    info.parties.push_back(party);
  }
  for (const RemoteWait& wait : remote_waits()) {
    if (wait.op == LockOp::kArrive || wait.op == LockOp::kWait) continue;  // stand in cells
    LockParty party;
    party.number = shm::owner_in(wait.holder);
    party.thread = shm::thread_in(wait.holder);
    party.owner = host_.describe_owner(party.number);
    party.mode = wait.mode;
    party.waits = true;
    party.age_ms = now_ms - wait.since_ns / 1'000'000;
    info.parties.push_back(party);
  }
  return info;
}

}  // namespace heddle::objects
