// Descriptors that go with messages: lent to the broker, taken from it by number. A ticket is that
// number and how many they are.
#include <algorithm>
#include <cstring>
#include <utility>

#include "client/src/shm_channel/fd_bundle.h"
#include "client/src/shm_channel/shm_pipe.h"
#include "proto/local/lent_ticket.h"

namespace heddle::detail {

using local::AttachType;

namespace {

static_assert(local::kBundleFdsMax < local::kLentCounts);

Status lend(Session& session, const PipeAttachment& at, PipeSide side, std::span<const int> fds,
            std::uint64_t* ticket) {
  auto bundle = make_bundle(fds);
  if (!bundle) return std::move(bundle).status();
  const local::Lend ask{.object_id = at.object_id,
                        .request = session.next_lend_number(),
                        .side = static_cast<std::uint8_t>(side),
                        .reserved = {}};
  const int fd = bundle->get();
  local::Packet answer;
  Status status = session.request(AttachType::kLend, local::bytes_of(ask), {}, AttachType::kLent,
                                  &answer, -1, {&fd, 1});
  if (!status.ok()) return status;
  local::Lent lent{};
  if (!answer.read(&lent) || lent.number == 0) {
    return Status(Reason::kInternal, "the broker took descriptors without a number for them");
  }
  *ticket = local::lent_ticket(lent.number, fds.size());
  return {};
}

local::TakeLent take_lent(const PipeAttachment& at, PipeSide side, std::uint64_t ticket,
                          bool forget) {
  return {.object_id = at.object_id,
          .number = local::lent_number(ticket),
          .side = static_cast<std::uint8_t>(side),
          .forget = forget,
          .reserved = {}};
}

}  // namespace

Status ShmPipe::send_with(const Body& body, std::span<const int> fds, std::int64_t deadline_ns,
                          std::size_t* sent) {
  *sent = 0;
  if (fds.empty()) return send(body, deadline_ns, sent);
  const std::string object = "pipe " + name_;
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  if (at->options.mode != shm::PipeMode::kMessage) {
    return Status(Reason::kUnsupported, "a stream of bytes carries no descriptors")
        .with_object(object);
  }
  if (fds.size() > local::kBundleFdsMax) {
    return Status(Reason::kInvalidArgument, "more descriptors than go with one message")
        .with_limit(local::kBundleFdsMax, fds.size())
        .with_object(object);
  }
  if (!at->pipe.can_send()) return explain(shm::Outcome::kClosed, *at);
  if (body.length > at->options.max_msg_bytes) {
    return explain(shm::Outcome::kTooLarge, *at, body.length);
  }
  std::uint64_t ticket = 0;
  status = lend(*at->session, *at, side_, fds, &ticket);
  if (!status.ok()) return std::move(status).with_object(object);
  std::vector<std::byte> bytes(shm::kFrameTicketBytes + body.length);
  std::memcpy(bytes.data(), &ticket, sizeof ticket);
  if (body.length != 0) std::memcpy(bytes.data() + sizeof ticket, body.data, body.length);
  status = send_part(
      *at, {bytes.data(), bytes.size(), static_cast<std::uint8_t>(body.kind), shm::kFrameAttached},
      deadline_ns, sent);
  *sent = status.ok() ? body.length : 0;
  if (!status.ok()) {
    const local::TakeLent ask = take_lent(*at, side_, ticket, true);
    local::Packet answer;
    (void)at->session->request(AttachType::kTakeLent, local::bytes_of(ask), {},
                               AttachType::kDone, &answer);
  }
  return status;
}

/// OK when nothing more is to come of them: they are here, lost, or unwanted.
Status ShmPipe::take(PipeAttachment& at, std::uint64_t ticket, Carried* carried) {
  if (carried == nullptr) {
    forget(at, ticket);
    return {};
  }
  *carried = {};
  const local::TakeLent ask = take_lent(at, side_, ticket, false);
  local::Packet answer;
  Status status = at.session->request(AttachType::kTakeLent, local::bytes_of(ask), {},
                                      AttachType::kGiven, &answer);
  if (status.is(Reason::kBrokerAway) || status.is(Reason::kDaemonUnreachable)) {
    return std::move(status).with_object("pipe " + name_);
  }
  if (status.ok()) {
    if (const local::Fd bundle = answer.take_fd(0)) carried->fds = open_bundle(bundle);
    forget(at, ticket);  // it is empty
  }
  const std::size_t sent = local::lent_count(ticket);
  carried->lost = sent - std::min(sent, carried->fds.size());
  return {};
}

Status ShmPipe::take_kept(PipeAttachment& at, std::span<std::byte> to, std::size_t* length,
                          BodyKind* kind, Carried* carried) {
  *length = kept_->bytes.size();
  *kind = kept_->kind;
  if (to.size() < *length) return no_room(to.size(), *length);
  Status status = take(at, kept_->ticket, carried);
  if (!status.ok()) return status;
  if (*length != 0) std::memcpy(to.data(), kept_->bytes.data(), *length);
  kept_.reset();
  return {};
}

void ShmPipe::forget(PipeAttachment& at, std::uint64_t ticket) {
  forgotten_.push_back(ticket);
  std::erase_if(forgotten_, [&](std::uint64_t one) {
    const local::TakeLent ask = take_lent(at, side_, one, true);
    return at.session->post(AttachType::kTakeLent, local::bytes_of(ask));
  });
}

}  // namespace heddle::detail
