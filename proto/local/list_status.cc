#include "proto/local/list_status.h"

#include <string>

#include "proto/local/outcome_status.h"

namespace heddle::local {
namespace {

Status list_too_large(const shm::ListLimits& limits, const ListFacts& facts) {
  if (facts.bytes > limits.max_value_bytes) {
    return Status(Reason::kTooLarge, "the value is larger than max_value_bytes")
        .with_limit(limits.max_value_bytes, facts.bytes);
  }
  return Status(Reason::kTooLarge, "the value is larger than max_bytes, so it never fits")
      .with_limit(limits.max_bytes, facts.bytes);
}

Status list_full(const shm::ListLimits& limits, const shm::ListInfo& now) {
  if (now.length >= limits.max_len) {
    return Status(Reason::kFull, "it has max_len elements; take some out")
        .with_limit(limits.max_len, now.length);
  }
  return Status(Reason::kFull, "its values would have more than max_bytes; take some out")
      .with_limit(limits.max_bytes, now.bytes);
}

Status list_described(shm::Outcome outcome, const ListFacts& facts) {
  const shm::ListLimits limits = facts.list->limits();
  shm::ListInfo now;
  (void)facts.list->info(&now);
  switch (outcome) {
    case shm::Outcome::kTooLarge:
      return list_too_large(limits, facts);
    case shm::Outcome::kFull:
      return list_full(limits, now);
    case shm::Outcome::kEmpty:
      return Status(Reason::kEmpty, "it has no elements");
    case shm::Outcome::kOutOfRange:
      return Status(Reason::kOutOfRange, "it has no element " + std::to_string(facts.index) +
                                             ", but " + std::to_string(now.length) +
                                             " of them; -1 is the last one")
          .with_limit(now.length, static_cast<uint64_t>(facts.index));
    case shm::Outcome::kMismatch:
      return Status(Reason::kMismatch, "somebody has changed it: it has revision " +
                                           std::to_string(now.revision) + "; read it again")
          .with_limit(facts.if_revision, now.revision);
    case shm::Outcome::kMemoryExhausted:
      return Status(Reason::kMemoryExhausted,
                    "neither the machine nor its share of the budget has memory left for it; "
                    "take elements out, or have memory_max raised")
          .with_limit(limits.max_bytes, now.bytes);
    case shm::Outcome::kTooManyThreads:
      return Status(Reason::kTooManyThreads, "too many threads use this list at once")
          .with_limit(shm::kDictRowsMax, shm::kDictRowsMax + 1);
    case shm::Outcome::kCorrupt:
      return Status(Reason::kCorrupt, "its memory failed a check; it is out of service: delete it");
    default:
      return Status(reason_of(outcome));
  }
}

}  // namespace

Status list_status(shm::Outcome outcome, const ListFacts& facts) {
  if (outcome == shm::Outcome::kOk) return Status();
  return list_described(outcome, facts).with_object("list " + std::string(facts.name));
}

Status list_gone(std::string_view name) {
  return Status(Reason::kClosed, "the list was deleted").with_object("list " + std::string(name));
}

}  // namespace heddle::local
