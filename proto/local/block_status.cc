#include "proto/local/block_status.h"

#include <string>

#include "proto/local/outcome_status.h"

namespace heddle::local {
namespace {

Status block_busy(const shm::BlockInfo& now) {
  if (!now.writing) return Status(Reason::kTimedOut, "it was written all the time; try again");
  return Status(Reason::kTimedOut, "session number " + std::to_string(now.owner) + ", thread " +
                                       std::to_string(now.thread) +
                                       " is writing; if it is stopped, the owner may end its "
                                       "write: heddle block force");
}

Status block_described(shm::Outcome outcome, const BlockFacts& facts) {
  const shm::BlockInfo now = facts.block->info();
  switch (outcome) {
    case shm::Outcome::kOutOfRange:
      return Status(Reason::kOutOfRange, "bytes " + std::to_string(facts.at) + " to " +
                                             std::to_string(facts.at + facts.bytes) +
                                             " are not all in it")
          .with_limit(facts.block->size(), facts.at + facts.bytes);
    case shm::Outcome::kMismatch:
      return Status(Reason::kMismatch, "somebody has written it: it has version " +
                                           std::to_string(now.version) + "; read it again")
          .with_limit(facts.if_version, now.version);
    case shm::Outcome::kTimedOut:
      return block_busy(now);
    case shm::Outcome::kLeaseLost:
      return Status(Reason::kLeaseLost,
                    "somebody has ended this write while it was under way; what it wrote is torn");
    default:
      return Status(reason_of(outcome));
  }
}

}  // namespace

Status block_status(shm::Outcome outcome, const BlockFacts& facts) {
  if (is_block_value(outcome)) return Status();
  return block_described(outcome, facts).with_object("block " + std::string(facts.name));
}

Status block_gone(std::string_view name) {
  return Status(Reason::kClosed, "the block was deleted").with_object("block " + std::string(name));
}

}  // namespace heddle::local
