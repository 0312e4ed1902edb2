#include "proto/local/lock_status.h"

#include <string>

namespace heddle::local {

using shm::LockKind;
using shm::LockOutcome;

std::string_view noun_of(LockKind kind) {
  switch (kind) {
    case LockKind::kSemaphore:
    case LockKind::kCounting: return "semaphore";
    case LockKind::kCondition: return "condition";
    case LockKind::kEvent: return "event";
    case LockKind::kBarrier: return "barrier";
    default: return "lock";
  }
}

Reason reason_of(LockOutcome outcome) {
  switch (outcome) {
    case LockOutcome::kOk:
    case LockOutcome::kLead: return Reason::kOk;
    case LockOutcome::kTimedOut: return Reason::kTimedOut;
    case LockOutcome::kInterrupted: return Reason::kInterrupted;
    case LockOutcome::kNotHeld: return Reason::kLeaseLost;
    case LockOutcome::kDeadlock: return Reason::kDeadlockDetected;
    case LockOutcome::kBroken: return Reason::kBrokenBarrier;
    case LockOutcome::kPoisoned: return Reason::kPeerDied;
    case LockOutcome::kGone: return Reason::kNotFound;
    case LockOutcome::kOverRelease: return Reason::kInvalidArgument;
    case LockOutcome::kTooMany: return Reason::kTooManyThreads;
    case LockOutcome::kCorrupt: return Reason::kCorrupt;
  }
  return Reason::kInternal;
}

namespace {

std::string text_of(LockOutcome outcome, const LockFacts& facts) {
  const std::string noun(noun_of(facts.kind)), name(facts.name);
  std::string held;
  if (facts.holder_pid != 0) {
    held = "; held by pid " + std::to_string(facts.holder_pid);
    if (!facts.holder.empty()) held += " (" + std::string(facts.holder) + ")";
  }
  switch (outcome) {
    case LockOutcome::kTimedOut: return "not had in time" + held;
    case LockOutcome::kNotHeld:
      return "the caller does not hold it: it was never acquired here, is released already, or "
             "was taken away" +
             held;
    case LockOutcome::kDeadlock: return "waiting on would never end: a circle of waits was broken";
    case LockOutcome::kBroken:
      return "the barrier is broken: a party died, timed out or aborted; reset it when all know";
    case LockOutcome::kPoisoned:
      return "its last owner died while it held it, and the policy is poison; look at what it "
             "guards, then `heddle lock repair " +
             name + "`";
    case LockOutcome::kGone: return "it was deleted";
    case LockOutcome::kOverRelease:
      return facts.kind == LockKind::kCounting ? "the release would pass the bound"
                                               : "more permits than there are";
    case LockOutcome::kTooMany:
      return "no room for another holder or waiter; end some, or use another " + noun;
    case LockOutcome::kCorrupt: return "its memory failed a check; delete it";
    default: return "";
  }
}

}  // namespace

Status lock_status(LockOutcome outcome, const LockFacts& facts) {
  const Reason reason = reason_of(outcome);
  if (reason == Reason::kOk) return Status();
  Status status = Status(reason, text_of(outcome, facts))
                      .with_object(std::string(noun_of(facts.kind)) + " " +
                                   std::string(facts.name));
  if (outcome == LockOutcome::kOverRelease) {
    status = std::move(status).with_limit(facts.limit, facts.actual);
  }
  return status;
}

}  // namespace heddle::local
