// More memory for an object, see Grow in proto/local/attach.h and proto/shm/queue_grant.h. Only
// what ends with MEMORY_EXHAUSTED comes here.
#include <algorithm>

#include "client/src/shm_channel/shm_queue.h"

namespace heddle::detail {

namespace {

// Also who does not want to wait asks: a broker that is there answers at once.
constexpr std::int64_t kTryMs = 100;
// The socket serves one request at a time: others of this process get their turn in between.
constexpr std::int64_t kTurnMs = 500;
constexpr std::uint32_t kFruitlessMax = 3;
// Others may take what was granted, but each time there is more of it.
constexpr std::uint32_t kAskedMax = 1000;
constexpr std::int64_t kMs = 1'000'000;

// The broker is on its way back, or busy: it was not heard, and the caller has time left.
bool not_heard(const Status& status) {
  return status.is(Reason::kBrokerAway) || status.is(Reason::kDaemonUnreachable);
}

}  // namespace

bool ShmQueue::more_memory(Hands& hands, std::int64_t deadline_ns, Asking* asking, Status* status) {
  const shm::QueueGrant lacking = hands.at->queue.lacking(*hands.actor);
  if (lacking == shm::QueueGrant{}) return ++asking->fruitless < kFruitlessMax;
  if (++asking->asked > kAskedMax) return false;
  const std::int64_t soon_ns = monotonic_ns() + kTryMs * kMs;
  *status = ask_memory(hands, lacking, std::max(deadline_ns, soon_ns));
  return status->ok();
}

Status ShmQueue::ask_memory(Hands& hands, const shm::QueueGrant& at_least, std::int64_t until_ns) {
  Status status = detail::ask_memory(*hands.at, "queue " + name_, at_least, until_ns);
  if (status.is(Reason::kSessionLost)) key_.store(0);  // the next operation attaches anew
  return status;
}

Status ask_memory(MappedObject& object, const std::string& label, const shm::QueueGrant& at_least,
                  std::int64_t until_ns) {
  const local::Grow ask{object.object_id, at_least.extents, at_least.segments};
  for (;;) {
    const std::int64_t left_ms = (until_ns - monotonic_ns()) / kMs;
    local::Packet answer;
    Status status = object.session->request(local::AttachType::kGrow, local::bytes_of(ask), {},
                                            local::AttachType::kGrown, &answer,
                                            std::clamp<std::int64_t>(left_ms, 1, kTurnMs));
    if (status.ok()) return status;
    if (not_heard(status) && monotonic_ns() < until_ns) {
      // Says so when there is no daemon any more, and nobody would ever answer.
      Status gone = object.session->look();
      if (gone.ok()) continue;
      status = std::move(gone);
    }
    return status.object().empty() ? std::move(status).with_object(label) : status;
  }
}

}  // namespace heddle::detail
