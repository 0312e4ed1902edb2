// Looking on behalf of others: of a receiver that waits elsewhere, for instance in an event loop,
// and of the broker, whether one who says that it waits does.
#include "proto/shm/pipe_wait.h"

namespace heddle::shm {

Outcome Pipe::watch(PipeActor& a, const std::atomic<bool>& in_message,
                    const std::atomic<bool>& stop, int64_t deadline_ns) {
  if (!can_receive()) return Outcome::kClosed;
  std::atomic<uint32_t> blocked_ms{0};  // what waits is no call, and would seem to wait anew
  const Outcome outcome =
      until(a, blocked_ms, deadline_ns, Outcome::kEmpty, [&](WakeWord** wait_at) {
        if (stop.load()) return Outcome::kInterrupted;
        a.holds_receive = in_message.load();
        uint64_t raw, length;
        FrameHeader f;
        return look(a, &raw, &length, &f, wait_at);
      });
  // The wake, at whichever word it came, was for somebody who takes what is there.
  if (outcome == Outcome::kOk && deadline_ns != kTry) {
    for (WakeWord* line : {&in().ready, &in().receive_turn}) pass_wake_on(*line);
  }
  return outcome;
}

void Pipe::nudge_watchers() {
  for (WakeWord* line : {&in().ready, &in().receive_turn}) wake_all_on(*line);
}

/// Both words at two moments the same = nothing was sent or received in between, for positions only
/// rise and a word is BUSY while a frame is written.
PipeObstacle Pipe::obstacle(bool sends, uint64_t room, uint16_t owner) const {
  const PipeDirection& d = sends ? out() : in();
  const uint64_t send = d.send.load(), receive = d.receive.load();
  const TurnWord s = TurnWord::decode(send), r = TurnWord::decode(receive);
  PipeObstacle found;
  found.seen = send * 0x9e3779b97f4a7c15 ^ receive;
  if (s.has(kTurnShut) || s.has(kTurnOther) || r.has(kTurnShut) || r.has(kTurnOther)) return found;
  const TurnWord turn = sends ? s : r;
  const bool has_turn = (room & kWaitHasTurn) != 0 && turn.owner == owner;
  if (turn.has(kTurnBusy) && !has_turn) {
    found.waits = true;
    found.turn_of = turn.owner;
    return found;
  }
  const uint64_t used = distance(r.position, s.position);
  if (sends) {
    const uint64_t needed = room & ~kWaitHasTurn;
    found.waits = used <= options_.capacity && used + needed > options_.capacity;
  } else if (message_mode()) {
    found.waits = used == 0 && frame(other_side(side_), r.position).load() == 0;
  } else {
    found.waits = used == 0;
  }
  return found;
}

}  // namespace heddle::shm
