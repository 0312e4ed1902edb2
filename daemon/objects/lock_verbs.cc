// What does not wait: releases, the verbs of conditions, events and barriers, and what can be seen.
#include <algorithm>
#include <utility>

#include "daemon/objects/lock.h"

namespace heddle::objects {

using shm::LockOutcome;

Status Lock::release(const Caller& caller, shm::LockMode mode, uint32_t n, uint16_t thread,
                     uint64_t request) {
  const bool anybody = view_.kind() == shm::LockKind::kCounting;
  if (Status bad = anybody ? Status() : needs_session(caller, thread); !bad.ok()) return bad;
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  LockOutcome outcome;
  switch (view_.kind()) {
    case shm::LockKind::kRw:
    case shm::LockKind::kSemaphore:
    case shm::LockKind::kCounting:
      outcome = give_some(request, mode, n, a);
      break;
    case shm::LockKind::kRlock:
      outcome = mode == shm::LockMode::kExclusive ? leave(request, a) : LockOutcome::kNotHeld;
      break;
    case shm::LockKind::kMutex:
    case shm::LockKind::kCondition:
      outcome = mode == shm::LockMode::kExclusive ? view_.release(a) : LockOutcome::kNotHeld;
      break;
    default:
      return Status(Reason::kInvalidArgument, "there is nothing to release").with_object(name_);
  }
  changed();
  return status_of(outcome, n);
}

Status Lock::release_any(const Caller& caller, bool own_session) {
  // Of other kinds the word says too little: entries, permits and shared holds lie elsewhere.
  if (view_.kind() != shm::LockKind::kMutex) {
    return Status(Reason::kInvalidArgument, "only a mutex may be released for somebody else")
        .with_object(name_);
  }
  if (own_session) {
    if (Status bad = needs_session(caller, 0); !bad.ok()) return bad;
  }
  shm::LockActor a = actor(caller, 0);
  LockOutcome outcome;
  do {
    const uint32_t holder = shm::holder_in(view_.line().word.load());
    if (holder == 0 || (own_session && shm::owner_in(holder) != caller.owner)) {
      return status_of(view_.gone() ? LockOutcome::kGone : LockOutcome::kNotHeld);
    }
    outcome = view_.release(a, holder);
  } while (outcome == LockOutcome::kNotHeld);  // somebody else has it by now
  changed();
  return status_of(outcome);
}

std::vector<shm::LockStanding> Lock::standing() const {
  std::vector<shm::LockStanding> found(64);
  for (;;) {
    const size_t n = view_.standing(found.data(), found.size());
    const bool all = n <= found.size();
    found.resize(all ? n : n + 64);
    if (all) return found;
  }
}

bool Lock::holds(const Caller& caller, const LockAsk& ask, uint64_t token) {
  if (view_.gone()) return false;
  if (view_.kind() == shm::LockKind::kCounting) return true;
  if (view_.kind() != shm::LockKind::kSemaphore && ask.mode == shm::LockMode::kExclusive &&
      view_.token() != token) {
    return false;
  }
  const bool permits = view_.kind() == shm::LockKind::kSemaphore;
  for (const shm::LockStanding& one : standing()) {
    if (one.waits || shm::owner_in(one.holder) != caller.owner || caller.owner == 0) continue;
    if (permits) return true;
    if (shm::thread_in(one.holder) == ask.thread && one.mode == ask.mode) return true;
  }
  return false;
}

Result<uint32_t> Lock::notify(const Caller& caller, uint32_t n, bool all) {
  if (view_.gone()) return status_of(LockOutcome::kGone);
  shm::LockActor a = actor(caller, 0);
  const uint32_t told = all ? view_.notify_all(a) : view_.notify(a, n);
  changed();
  return told;
}

Status Lock::set_event(bool on) {
  if (view_.gone()) return status_of(LockOutcome::kGone);
  shm::LockActor a = actor({}, 0);
  if (on)
    view_.set_event(a);
  else
    view_.clear_event();
  changed();
  return Status();
}

Status Lock::finish_action(const Caller& caller, uint16_t thread) {
  if (Status bad = needs_session(caller, thread); !bad.ok()) return bad;
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  const LockOutcome outcome = view_.finish_action(a);
  changed();
  return status_of(outcome);
}

Status Lock::break_barrier(bool keep) {
  if (view_.gone()) return status_of(LockOutcome::kGone);
  view_.break_barrier(keep);
  changed();
  return Status();
}

Status Lock::reset_barrier() {
  if (view_.gone()) return status_of(LockOutcome::kGone);
  view_.reset_barrier();
  changed();
  return Status();
}

Status Lock::join_barrier(const Caller& caller, uint16_t thread, bool join) {
  if (Status bad = needs_session(caller, thread); !bad.ok()) return bad;
  shm::LockActor a = actor(caller, thread % shm::kThreadsMax);
  return status_of(join ? view_.join(a) : view_.leave(a));
}

Status Lock::force_release(uint16_t owner, int thread) {
  LockOutcome outcome = LockOutcome::kNotHeld;
  std::unique_lock lock(mutex_);  // a change that is noted counts what is held
  if (owner == 0) {
    outcome = view_.force_release(0);
  } else if (thread >= 0) {
    outcome = view_.force_release(shm::holder_of(owner, static_cast<uint16_t>(thread)));
  } else {
    for (const shm::LockStanding& one : standing()) {
      if (one.waits || shm::owner_in(one.holder) != owner) continue;
      const LockOutcome taken = view_.force_release(one.holder);
      if (taken != LockOutcome::kNotHeld) outcome = taken;
    }
  }
  lock.unlock();
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
  const std::vector<shm::LockStanding> standing = this->standing();
  const int64_t now_ms = host_.now_ns() / 1'000'000;
  const uint64_t seen = view_.line().seen.load();
  for (size_t i = 0; i < standing.size(); ++i) {
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
