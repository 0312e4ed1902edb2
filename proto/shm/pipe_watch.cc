// Looking on behalf of a receiver that waits elsewhere, for instance in an event loop.
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

}  // namespace heddle::shm
