#include "proto/local/pipe_status.h"

#include <string>

#include "proto/local/outcome_status.h"

namespace heddle::local {
namespace {

// Why a message could not be sent: somebody else is at it, or the ring is full.
Status held_up(Reason reason, const shm::Pipe& end) {
  const shm::PipeEndInfo info = end.info(end.side());
  if (info.sending != 0) {
    return Status(reason, "session " + std::to_string(info.sending) +
                              " is in the middle of a message at this end, or holds it");
  }
  return Status(reason, "no room: the other end has not received what was sent")
      .with_limit(end.options().capacity, info.bytes_queued);
}

Status described(shm::Outcome outcome, const shm::Pipe& end, uint64_t bytes, bool sends) {
  const Reason reason = reason_of(outcome);
  switch (outcome) {
    case shm::Outcome::kOk:
      return {};
    case shm::Outcome::kTooLarge:
      return Status(reason, "the message is larger than max_msg_bytes")
          .with_limit(end.options().max_msg_bytes, bytes);
    case shm::Outcome::kFull:
    case shm::Outcome::kTimedOut:
      return sends ? held_up(reason, end) : Status(reason);
    case shm::Outcome::kClosed:
      return Status(reason, "this end was closed, or the pipe deleted");
    case shm::Outcome::kPeerDied:
      return Status(reason, "the other end's last process (pid " +
                                std::to_string(end.peer_death().pid) +
                                ") died without closing it; all that it sent is received");
    case shm::Outcome::kBrokenPipe:
      return Status(reason, "nobody receives at the other end any more");
    case shm::Outcome::kCorrupt:
      return Status(reason, "the connection's memory contradicts itself; close it");
    default:
      return Status(reason);
  }
}

}  // namespace

Status pipe_status(shm::Outcome outcome, const shm::Pipe& end, std::string_view name,
                   uint64_t bytes, bool sends) {
  if (outcome == shm::Outcome::kOk) return {};
  return described(outcome, end, bytes, sends).with_object("pipe " + std::string(name));
}

}  // namespace heddle::local
