#include "proto/local/outcome_status.h"

#include <utility>

namespace heddle::local {
namespace {

Status full(const OutcomeFacts& facts) {
  const shm::QueueLimits& limits = facts.limits;
  if (!facts.counts) return Status(Reason::kFull, "no room");
  const uint64_t len = facts.counts->size();
  if (len >= limits.max_len) {
    return Status(Reason::kFull, "max_len messages are waiting").with_limit(limits.max_len, len);
  }
  return Status(Reason::kFull, "no room for " + std::to_string(facts.body_bytes) +
                                   " more bytes within max_bytes")
      .with_limit(limits.max_bytes, facts.counts->bytes);
}

Status too_large(const OutcomeFacts& facts) {
  const uint64_t max_bytes = facts.limits.max_bytes, max_msg_bytes = facts.limits.max_msg_bytes;
  if (max_bytes < max_msg_bytes) {
    return Status(Reason::kTooLarge, "the message is larger than max_bytes, so it never fits")
        .with_limit(max_bytes, facts.body_bytes);
  }
  return Status(Reason::kTooLarge, "the message is larger than max_msg_bytes")
      .with_limit(max_msg_bytes, facts.body_bytes);
}

Status described(shm::Outcome outcome, const OutcomeFacts& facts) {
  const shm::QueueLimits& limits = facts.limits;
  switch (outcome) {
    case shm::Outcome::kFull: return full(facts);
    case shm::Outcome::kTooLarge:
      return too_large(facts);
    case shm::Outcome::kMemoryExhausted:
      return Status(Reason::kMemoryExhausted,
                    "the machine has no memory left for it, or bodies of unlike sizes fill all "
                    "that the queue can ever have; take messages out, or give it more max_bytes")
          .with_limit(limits.max_bytes, facts.counts ? facts.counts->bytes : facts.body_bytes);
    case shm::Outcome::kTooManyLeases:
      return Status(Reason::kTooManyLeases,
                    "max_leases messages are leased; ack some, or raise max_leases")
          .with_limit(limits.max_leases, facts.counts ? facts.counts->leased : limits.max_leases);
    case shm::Outcome::kTooManyThreads:
      return Status(Reason::kTooManyThreads, "too many threads use this queue at once")
          .with_limit(shm::kRowsMax, shm::kRowsMax);
    case shm::Outcome::kClosed: return Status(Reason::kClosed, "the queue was shut down");
    case shm::Outcome::kProducerDied:
      return Status(Reason::kProducerDied,
                    "a registered producer died before it finished; all it put is taken");
    case shm::Outcome::kLeaseLost:
      return Status(Reason::kLeaseLost,
                    "the lease has ended: it expired, was given up, or the message was purged");
    case shm::Outcome::kCorrupt:
      return Status(Reason::kCorrupt,
                    "the queue's memory failed a check; it is out of service: delete it");
    default: return Status(reason_of(outcome));
  }
}

}  // namespace

Status outcome_status(shm::Outcome outcome, const OutcomeFacts& facts) {
  if (outcome == shm::Outcome::kOk) return Status();
  return described(outcome, facts).with_object("queue " + std::string(facts.queue));
}

}  // namespace heddle::local
