// Fenced puts: the broker checks the token and puts in one turn, see PutFenced in
// proto/local/attach.h. Nothing of this is on the way of an unfenced put.
#include <algorithm>
#include <cstring>

#include "client/src/shm_channel/shm_queue.h"

namespace heddle::detail {

namespace {

constexpr std::size_t kPartBytes = 60'000;
// The socket serves one request at a time: others of this process get their turn in between.
constexpr std::int64_t kTurnNs = 20'000'000;
constexpr std::int64_t kLongTurnNs = 500'000'000;  // of a body that takes many packets

Status no_room(const char* what) {
  return Status(Reason::kInvalidName, std::string("the name of the ") + what + " is too long")
      .with_limit(local::kAttachNameBytes - 1, local::kAttachNameBytes);
}

// All parts of the body, until the broker has done the put.
Status send_put(Session& session, local::PutFenced& head, const Body& body, std::uint64_t* id) {
  const auto* bytes = static_cast<const std::byte*>(body.data);
  head.offset = 0;
  for (;;) {
    const std::size_t part = std::min<std::size_t>(kPartBytes, body.length - head.offset);
    local::Packet answer;
    Status status =
        session.request(local::AttachType::kPutFenced, local::bytes_of(head),
                        {bytes + head.offset, part}, local::AttachType::kPutDone, &answer);
    if (!status.ok()) return status;
    local::PutDone done{};
    if (!answer.read(&done) || done.bytes_there > body.length) {
      return Status(Reason::kInternal, "the broker's answer to a put cannot be read");
    }
    if (done.id != 0) {
      *id = done.id;
      return {};
    }
    // Less than was sent: the broker was restarted in between.
    head.offset = done.bytes_there;
  }
}

}  // namespace

Result<std::uint64_t> ShmQueue::put_fenced(const Body& body, const Fence& fence,
                                           std::int64_t deadline_ns) {
  Status status;
  std::uint64_t id = 0;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  local::PutFenced head{};
  if (name_.size() >= sizeof head.name) return no_room("queue");
  if (fence.lock.size() >= sizeof head.lock) return no_room("lock");
  Session& session = *hands->at->session;
  head.object_id = hands->at->object_id;
  head.number = session.next_put_number();
  head.token = fence.token;
  head.body_bytes = body.length;
  head.kind = static_cast<std::uint8_t>(body.kind);
  std::memcpy(head.name, name_.data(), name_.size());
  std::memcpy(head.lock, fence.lock.data(), fence.lock.size());
  const std::int64_t turn_ns = body.length <= kPartBytes ? kTurnNs : kLongTurnNs;
  for (;;) {
    const std::int64_t left_ns =
        deadline_ns == kTry ? 0 : std::max<std::int64_t>(deadline_ns - monotonic_ns(), 0);
    if (left_ns == 0 && status.is(Reason::kTimedOut)) return status;
    head.wait_ns = std::min(left_ns, turn_ns);
    status = send_put(session, head, body, &id);
    if (status.ok()) return id;
    if (!status.is(Reason::kTimedOut) || left_ns <= turn_ns) return status;
  }
}

}  // namespace heddle::detail
