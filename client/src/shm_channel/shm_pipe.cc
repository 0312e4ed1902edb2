#include "client/src/shm_channel/shm_pipe.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_generation.h"
#include "client/src/shm_channel/shm_lock_home.h"
#include "proto/local/pipe_status.h"
#include "proto/shm/pipe_map.h"

namespace heddle::detail {

using shm::Outcome;

static_assert(shm::kTry == kTry && shm::kForever == kNever);

PipeAttachment::PipeAttachment() : generation(process_generation()) {}

PipeAttachment::~PipeAttachment() {
  if (generation != process_generation()) return;  // nothing is mapped here
  if (base != nullptr && !session->ended()) {
    shm::PipeActor actor;
    actor.owner = session->owner();
    actor.doorbell_fd = session->doorbell();
    pipe.leave(actor);
    const local::Close close{.object_id = object_id};
    session->post(local::AttachType::kClose, local::bytes_of(close));
  }
  shm::unmap_pipe(base, options);
}

ShmPipe::ShmPipe(std::shared_ptr<ShmChannel> channel, std::shared_ptr<PipeAttachment> attachment)
    : channel_(std::move(channel)),
      name_(attachment->name),
      side_(static_cast<PipeSide>(attachment->pipe.side())),
      attachment_(std::move(attachment)) {
  take_actors();
}

ShmPipe::~ShmPipe() {
  ready_.reset();
  if (attachment_->generation != process_generation()) return;
  let_go();
  if (inbox_.filled != 0) attachment_->pipe.drop_partial(receiver_, &inbox_);
}

void ShmPipe::take_actors() {
  for (shm::PipeActor* actor : {&sender_, &receiver_}) {
    *actor = {};
    actor->owner = attachment_->session->owner();
    actor->doorbell_fd = attachment_->session->doorbell();
    actor->patience_ns = kLookEveryNs;
    actor->holding = [](void* session) { return holding_hands(*static_cast<Session*>(session)); };
    actor->holding_context = attachment_->session.get();
  }
  inbox_ = {};
  view_ticket_ = 0;
  kept_.reset();
  forgotten_.clear();
  ready_.reset();
}

PipeAttachment* ShmPipe::here(Status* status) {
  if (attachment_->generation == process_generation()) [[likely]] {
    if (!attachment_->session->ended()) [[likely]]
      return attachment_.get();
    *status =
        Status(Reason::kSessionLost, "the broker has ended this session, and its ends with it")
            .with_object("pipe " + name_);
    return nullptr;
  }
  std::lock_guard lock(mutex_);
  if (attachment_->generation == process_generation()) return attachment_.get();
  auto again = channel_->attach_pipe(name_, {.create = false}, local::PipeRole::kAgain, side_,
                                     attachment_->object_id);
  if (!again) {
    *status = again.status();
    return nullptr;
  }
  attachment_ = std::move(*again);
  take_actors();
  return attachment_.get();
}

template <class Attempt>
Outcome ShmPipe::wait(PipeAttachment& at, std::int64_t deadline_ns, Status* status,
                      Attempt attempt) {
  for (;;) {
    const Outcome outcome = attempt(deadline_ns);
    if (outcome == Outcome::kInterrupted) [[unlikely]]
      *status = called_off();
    if (outcome != Outcome::kTimedOut) [[likely]]
      return outcome;
    if (deadline_ns != kNever && monotonic_ns() >= deadline_ns) return outcome;
    *status = at.session->look();
    if (!status->ok()) return outcome;
  }
}

// The wait was part of a circle and gave way; nothing was sent or received.
Status ShmPipe::called_off() const {
  std::string circle = channel_->own_deadlock();
  return Status(Reason::kDeadlockDetected,
                circle.empty() ? "the wait was part of a circle of waits" : std::move(circle))
      .with_object("pipe " + name_);
}

Status ShmPipe::no_room(std::size_t room, std::size_t needed) const {
  return Status(Reason::kTooLarge, "the message needs more room than was given; it stays")
      .with_limit(room, needed)
      .with_object("pipe " + name_);
}

Status ShmPipe::explain(Outcome outcome, const PipeAttachment& at, std::uint64_t bytes,
                        bool sends) const {
  return local::pipe_status(outcome, at.pipe, name_, bytes, sends);
}

PipeOptions ShmPipe::options() const {
  const PipeAttachment& at = *attachment_;
  PipeOptions options;
  options.mode = static_cast<PipeMode>(at.options.mode);
  options.duplex = at.options.duplex != 0;
  options.capacity = at.options.capacity;
  options.max_msg_bytes = at.options.max_msg_bytes;
  options.resumable = at.options.resumable != 0;
  options.lifetime = at.lifetime;
  options.access = at.access;
  return options;
}

Status ShmPipe::send(const Body& body, std::int64_t deadline_ns, std::size_t* sent) {
  if (usable() && attachment_->pipe.send_now(
                      sender_, {body.data, body.length, static_cast<std::uint8_t>(body.kind)})) {
    *sent = body.length;
    return {};
  }
  *sent = 0;
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  return send_part(*at, {body.data, body.length, static_cast<std::uint8_t>(body.kind)}, deadline_ns,
                   sent);
}

Status ShmPipe::send_part(PipeAttachment& at, const shm::PipePart& whole, std::int64_t deadline_ns,
                          std::size_t* sent) {
  Status status;
  Outcome outcome;
  do {
    const shm::PipePart part{static_cast<const std::byte*>(whole.data) + *sent,
                             whole.length - *sent, whole.kind, whole.flags};
    std::uint64_t now = 0;
    outcome = wait(at, deadline_ns, &status, [&](std::int64_t until) {
      const Outcome one = at.pipe.send(sender_, part, until, &now);
      // A stream that got further is not sent again from its beginning.
      return one == Outcome::kTimedOut && now > 0 ? Outcome::kFull : one;
    });
    *sent += now;
  } while (outcome == Outcome::kFull && deadline_ns != kTry && monotonic_ns() < deadline_ns);
  if (outcome == Outcome::kFull && deadline_ns != kTry) outcome = Outcome::kTimedOut;
  if (outcome == Outcome::kOk || !status.ok()) return status;
  return explain(outcome, at, whole.length, true);
}

Status ShmPipe::send_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                          std::size_t* done) {
  *done = 0;
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  if (at->options.mode == shm::PipeMode::kBytes)
    return send_streams(*at, bodies, deadline_ns, done);
  constexpr std::size_t kStep = 64;
  shm::PipePart parts[kStep];
  while (*done < bodies.size()) {
    const auto step = bodies.subspan(*done, std::min(kStep, bodies.size() - *done));
    for (std::size_t i = 0; i < step.size(); ++i) {
      parts[i] = {step[i].data, step[i].length, static_cast<std::uint8_t>(step[i].kind)};
    }
    std::size_t in = 0;
    const Outcome outcome = wait(*at, deadline_ns, &status, [&](std::int64_t until) {
      std::size_t now = 0;
      const Outcome one = at->pipe.send_many(sender_, parts + in, step.size() - in, until, &now);
      in += now;
      return one;
    });
    *done += in;
    if (!status.ok()) return status;
    if (outcome != Outcome::kOk) {
      return explain(outcome, *at, in < step.size() ? step[in].length : 0, true);
    }
  }
  return status;
}

// One by one: only send_part() knows how far into a body a wait has come.
Status ShmPipe::send_streams(PipeAttachment& at, std::span<const Body> bodies,
                             std::int64_t deadline_ns, std::size_t* done) {
  for (const Body& body : bodies) {
    std::size_t sent = 0;
    Status status = send_part(at, {body.data, body.length, static_cast<std::uint8_t>(body.kind)},
                              deadline_ns, &sent);
    if (!status.ok()) return status;
    if (sent < body.length) return explain(Outcome::kFull, at, body.length, true);
    ++*done;
  }
  return {};
}

Status ShmPipe::hold(std::int64_t deadline_ns) {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  const Outcome outcome = wait(*at, deadline_ns, &status,
                               [&](std::int64_t until) { return at->pipe.hold(sender_, until); });
  return status.ok() ? explain(outcome, *at) : status;
}

void ShmPipe::let_go() noexcept {
  if (attachment_->generation == process_generation()) attachment_->pipe.let_go(sender_);
}

Status ShmPipe::reserve(std::size_t bytes, std::int64_t deadline_ns, std::span<std::byte>* room) {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  shm::PipeSpan span;
  const Outcome outcome = wait(*at, deadline_ns, &status, [&](std::int64_t until) {
    return at->pipe.reserve(sender_, bytes, until, &span);
  });
  if (!status.ok()) return status;
  if (outcome == Outcome::kTooLarge) {
    return Status(Reason::kTooLarge, "no room in one piece; send() it, or make the ring larger")
        .with_limit(at->pipe.reserve_bytes_max(), bytes)
        .with_object("pipe " + name_);
  }
  *room = {span.data, span.length};
  return explain(outcome, *at, bytes, true);
}

Status ShmPipe::commit(std::span<std::byte> room, std::size_t length, BodyKind kind) {
  if (attachment_->generation != process_generation()) {
    return Status(Reason::kSessionLost, "this room is from before a fork");
  }
  attachment_->pipe.commit(sender_, {room.data(), room.size(), static_cast<std::uint8_t>(kind)},
                           length);
  return {};
}

void ShmPipe::abandon() noexcept {
  if (attachment_->generation == process_generation()) attachment_->pipe.abandon(sender_);
}

Status ShmPipe::receive(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                        BodyKind* kind) {
  shm::Inbox in{to.data(), to.size()};
  if (usable() && inbox_.filled == 0 && !kept_ && attachment_->pipe.receive_now(receiver_, &in)) {
    *length = in.length;
    *kind = static_cast<BodyKind>(in.kind);
    return {};
  }
  return receive_with(to, deadline_ns, length, kind, nullptr);
}

Status ShmPipe::receive_with(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                             BodyKind* kind, Carried* carried) {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  if (kept_) return take_kept(*at, to, length, kind, carried);
  // A part that has come stays here over a timeout, whatever room the next call brings.
  const bool resumes = inbox_.filled != 0;
  shm::Inbox in = inbox_;
  if (!resumes) {
    in = {};
    in.to = to.data();
    in.capacity = to.size();
  } else if (to.size() < inbox_.length) {
    *length = inbox_.length;
    return no_room(to.size(), inbox_.length);
  } else {
    std::memcpy(to.data(), partial_.get(), in.filled);
    in.to = to.data();
    in.capacity = to.size();
  }
  const Outcome outcome = wait(*at, deadline_ns, &status, [&](std::int64_t until) {
    return at->pipe.receive(receiver_, &in, until);
  });
  found(outcome);
  inbox_ = {};
  partial_.reset();
  if (in.filled != 0) {
    // Anew: this may be another message than the one that was begun.
    partial_.reset(new std::byte[in.length]);
    std::memcpy(partial_.get(), in.to, in.filled);
    inbox_ = in;
  }
  *length = in.length;
  *kind = static_cast<BodyKind>(in.kind);
  if (outcome == Outcome::kOk && in.ticket != 0) [[unlikely]] {
    status = take(*at, in.ticket, carried);
    if (!status.ok()) kept_ = Kept{{to.begin(), to.begin() + in.length}, *kind, in.ticket};
    return status;
  }
  if (outcome == Outcome::kOk || !status.ok()) return status;
  if (outcome == Outcome::kTooLarge) return no_room(to.size(), in.length);
  return explain(outcome, *at);
}

Status ShmPipe::view(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind) {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  if (inbox_.filled != 0 || kept_) {
    return Status(Reason::kTooLarge, "a message has come in part; receive() the rest of it")
        .with_limit(0, kept_ ? kept_->bytes.size() : inbox_.length)
        .with_object("pipe " + name_);
  }
  shm::PipeSpan span;
  const Outcome outcome = wait(*at, deadline_ns, &status, [&](std::int64_t until) {
    return at->pipe.view(receiver_, until, &span);
  });
  found(outcome);
  if (!status.ok()) return status;
  view_ticket_ = span.ticket;
  *bytes = {span.data, span.length};
  *kind = static_cast<BodyKind>(span.kind);
  return explain(outcome, *at);
}

Status ShmPipe::consume(std::span<const std::byte> bytes, std::size_t length) {
  if (attachment_->generation != process_generation()) {
    return Status(Reason::kSessionLost, "this view is from before a fork");
  }
  const std::uint64_t ticket = std::exchange(view_ticket_, 0);
  const shm::PipeSpan span{const_cast<std::byte*>(bytes.data()), bytes.size(), 0, ticket};
  attachment_->pipe.consume(receiver_, span, length);
  if (ticket != 0) forget(*attachment_, ticket);
  return {};
}

void ShmPipe::unview() noexcept {
  if (attachment_->generation == process_generation()) attachment_->pipe.unview(receiver_);
}

Status ShmPipe::poll(std::int64_t deadline_ns) {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr || kept_) return status;
  const Outcome outcome = wait(*at, deadline_ns, &status,
                               [&](std::int64_t until) { return at->pipe.poll(receiver_, until); });
  found(outcome);
  return status.ok() ? explain(outcome, *at) : status;
}

Status ShmPipe::shutdown_write() {
  Status status;
  PipeAttachment* at = here(&status);
  if (at != nullptr) at->pipe.shutdown_write(sender_);
  return status;
}

Result<int> ShmPipe::ready_fd() {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  if (!at->pipe.can_receive()) return explain(Outcome::kClosed, *at);
  if (!ready_) {
    auto ready = PipeReady::start(at->pipe, *at->session, receiver_.holds_receive);
    if (!ready) return Status(std::move(ready).status()).with_object("pipe " + name_);
    ready_ = std::move(*ready);
  }
  return ready_->fd();
}

Result<std::vector<PipeUser>> ShmPipe::peer() {
  Status status;
  PipeAttachment* at = here(&status);
  if (at == nullptr) return status;
  auto users = channel_->pipe_peer(at->object_id, side_);
  const bool ended = at->pipe.ended(at->pipe.side());
  if (!users && users.status().is(Reason::kNotFound) && ended) {
    return explain(Outcome::kClosed, *at);
  }
  if (!users) return Status(users.status()).with_object("pipe " + name_);
  return users;
}

Result<std::shared_ptr<PipeChannel>> ShmPipe::share() {
  Status status;
  if (here(&status) == nullptr) return status;
  return std::shared_ptr<PipeChannel>(std::make_shared<ShmPipe>(channel_, attachment_));
}

}  // namespace heddle::detail
