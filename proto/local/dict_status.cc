#include "proto/local/dict_status.h"

#include <string>

#include "proto/local/outcome_status.h"

namespace heddle::local {
namespace {

Status too_large(const shm::DictLimits& limits, const DictFacts& facts) {
  if (facts.key_bytes > limits.max_key_bytes || facts.key_bytes == 0) {
    return Status(Reason::kTooLarge, "a key has 1 to max_key_bytes bytes")
        .with_limit(limits.max_key_bytes, facts.key_bytes);
  }
  if (facts.value_bytes > limits.max_value_bytes) {
    return Status(Reason::kTooLarge, "the value is larger than max_value_bytes")
        .with_limit(limits.max_value_bytes, facts.value_bytes);
  }
  return Status(Reason::kTooLarge, "key and value are larger than max_bytes, so they never fit")
      .with_limit(limits.max_bytes, facts.key_bytes + facts.value_bytes);
}

Status full(const shm::Dict& dict) {
  const shm::DictLimits limits = dict.limits();
  const uint64_t len = dict.len();
  if (len >= limits.max_entries) {
    return Status(Reason::kFull, "it has max_entries entries; delete some, or make one that evicts")
        .with_limit(limits.max_entries, len);
  }
  return Status(Reason::kFull,
                "its keys and values have max_bytes; delete some, or make one that evicts")
      .with_limit(limits.max_bytes, dict.bytes());
}

Status described(shm::Outcome outcome, const DictFacts& facts) {
  const shm::DictLimits limits = facts.dict->limits();
  switch (outcome) {
    case shm::Outcome::kTooLarge:
      return too_large(limits, facts);
    case shm::Outcome::kFull:
      return full(*facts.dict);
    case shm::Outcome::kMemoryExhausted:
      return Status(Reason::kMemoryExhausted,
                    "neither the machine nor its share of the budget has memory left for it; "
                    "delete entries, or have memory_max raised")
          .with_limit(limits.max_bytes, facts.dict->bytes());
    case shm::Outcome::kTooManyThreads:
      return Status(Reason::kTooManyThreads, "too many threads use this dict at once")
          .with_limit(shm::kDictRowsMax, shm::kDictRowsMax + 1);
    case shm::Outcome::kOutOfRange:
      return Status(Reason::kOutOfRange,
                    "the history does not go back to that revision; start at the oldest one, or "
                    "with a snapshot")
          .with_limit(facts.dict->oldest_revision(), facts.revision);
    case shm::Outcome::kLeaseLost:
      return Status(Reason::kLeaseLost,
                    "the lease of this key has run out, or was ended; nothing was written");
    case shm::Outcome::kCorrupt:
      return Status(Reason::kCorrupt, "its memory failed a check; it is out of service: delete it");
    default:
      return Status(reason_of(outcome));
  }
}

}  // namespace

Status dict_status(shm::Outcome outcome, const DictFacts& facts) {
  if (is_dict_value(outcome)) return Status();
  return described(outcome, facts).with_object("dict " + std::string(facts.name));
}

Status dict_gone(std::string_view name) {
  return Status(Reason::kClosed, "the dict was deleted").with_object("dict " + std::string(name));
}

}  // namespace heddle::local
