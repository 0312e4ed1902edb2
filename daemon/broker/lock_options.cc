// Options of locks as asked, as in force, and how they differ.
#include "daemon/broker/lock_table.h"

namespace heddle::broker {

using shm::LockKind;

namespace {

constexpr uint32_t kPermitsMax = 32'768;
constexpr uint32_t kCountMax = 0x7fffffff;
constexpr uint32_t kLockDelayMsMax = 3'600'000;

Status bad(const char* field, uint64_t limit, uint64_t actual, const std::string& why) {
  return Status(Reason::kInvalidArgument, std::string(field) + ": " + why)
      .with_limit(limit, actual);
}

LockKind usual_kind(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kSemaphore:
      return LockKind::kSemaphore;
    case ObjectKind::kCondition:
      return LockKind::kCondition;
    case ObjectKind::kEvent:
      return LockKind::kEvent;
    case ObjectKind::kBarrier:
      return LockKind::kBarrier;
    default:
      return LockKind::kMutex;
  }
}

bool belongs(ObjectKind kind, LockKind lock) {
  if (kind == ObjectKind::kLock) {
    return lock == LockKind::kMutex || lock == LockKind::kRlock || lock == LockKind::kRw;
  }
  if (kind == ObjectKind::kSemaphore && lock == LockKind::kCounting) return true;
  return lock == usual_kind(kind);
}

}  // namespace

const char* lock_kind_name(shm::LockKind kind) {
  static constexpr const char* kNames[] = {"none",     "mutex",     "rlock", "rw",     "semaphore",
                                           "counting", "condition", "event", "barrier"};
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

const char* noun_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kDict:
      return "dict";
    case ObjectKind::kList:
      return "list";
    case ObjectKind::kBlock:
      return "block";
    case ObjectKind::kPipe:
      return "pipe";
    case ObjectKind::kQueue:
      return "queue";
    case ObjectKind::kLock:
      return "lock";
    case ObjectKind::kSemaphore:
      return "sem";
    case ObjectKind::kCondition:
      return "condition";
    case ObjectKind::kEvent:
      return "event";
    case ObjectKind::kBarrier:
      return "barrier";
  }
  return "object";
}

Result<LockOptions> complete_lock(ObjectKind kind, const LockOptions& asked) {
  LockOptions out = asked;
  const auto given = [&asked](uint32_t bit) { return (asked.given & bit) != 0; };
  if (!given(local::kGivenLockKind)) out.lock_kind = static_cast<uint8_t>(usual_kind(kind));
  if (!belongs(kind, static_cast<LockKind>(out.lock_kind))) {
    return Status(Reason::kInvalidArgument,
                  std::string(noun_of(kind)) + " cannot be of kind " +
                      lock_kind_name(static_cast<LockKind>(out.lock_kind)));
  }
  if (!given(local::kGivenPolicy)) out.policy = 0;
  if (out.policy > static_cast<uint8_t>(shm::DeathPolicy::kPoison)) {
    return bad("policy", static_cast<uint64_t>(shm::DeathPolicy::kPoison), out.policy,
               "there is no such policy");
  }
  if (!given(local::kGivenFair)) out.fair = 0;
  if (out.fair > static_cast<uint8_t>(shm::Fairness::kStrict)) {
    return bad("fair", 1, out.fair, "there is no such fairness");
  }
  if (!given(local::kGivenLockDelay)) out.lock_delay_ms = 15'000;
  if (out.lock_delay_ms > kLockDelayMsMax) {
    return bad("lock_delay_ms", kLockDelayMsMax, out.lock_delay_ms, "at most an hour");
  }
  if (!given(local::kGivenCount)) out.count = 0;
  if (!given(local::kGivenCountMax)) out.count_max = 0;
  const auto lock = static_cast<LockKind>(out.lock_kind);
  const bool cells = lock == LockKind::kSemaphore || lock == LockKind::kBarrier;
  if (cells && (out.count == 0 || out.count > kPermitsMax)) {
    return bad("count", kPermitsMax, out.count, "from 1 to 32,768");
  }
  if (lock == LockKind::kCounting && (out.count > kCountMax || out.count_max > kCountMax)) {
    return bad("count", kCountMax, std::max(out.count, out.count_max), "at most 2^31 - 1");
  }
  if (out.count_max != 0 && out.count > out.count_max) {
    return bad("count", out.count_max, out.count, "the first count is beyond its own bound");
  }
  if (!given(local::kGivenMode)) out.mode = 0600;
  if ((out.mode & ~0666u) != 0) return bad("mode", 0666, out.mode, "bits beyond 0666");
  if (!given(local::kGivenLifetime)) out.lifetime = 0;
  if (out.lifetime > static_cast<uint8_t>(Lifetime::kSession)) {
    return bad("lifetime", 2, out.lifetime, "there is no such lifetime");
  }
  return out;
}

Status check_same_lock(const LockOptions& in_force, const LockOptions& asked,
                       const std::string& label) {
  struct Field {
    uint32_t bit;
    const char* name;
    uint64_t have, want;
  };
  const Field fields[] = {
      {local::kGivenLockKind, "kind", in_force.lock_kind, asked.lock_kind},
      {local::kGivenPolicy, "policy", in_force.policy, asked.policy},
      {local::kGivenFair, "fair", in_force.fair, asked.fair},
      {local::kGivenCount, "count", in_force.count, asked.count},
      {local::kGivenCountMax, "count_max", in_force.count_max, asked.count_max},
      {local::kGivenLockDelay, "lock_delay_ms", in_force.lock_delay_ms, asked.lock_delay_ms},
      {local::kGivenMode, "mode", in_force.mode, asked.mode},
      {local::kGivenLifetime, "lifetime", in_force.lifetime, asked.lifetime},
  };
  for (const Field& field : fields) {
    if ((asked.given & field.bit) == 0 || field.have == field.want) continue;
    std::string text = std::string(field.name) + " is ";
    const bool kind = field.bit == local::kGivenLockKind;
    text += kind ? lock_kind_name(static_cast<LockKind>(in_force.lock_kind))
                 : std::to_string(field.have);
    text += ", asked was ";
    text +=
        kind ? lock_kind_name(static_cast<LockKind>(asked.lock_kind)) : std::to_string(field.want);
    return Status(Reason::kExistsOtherOptions, text)
        .with_object(label)
        .with_limit(field.have, field.want);
  }
  return Status();
}

}  // namespace heddle::broker
