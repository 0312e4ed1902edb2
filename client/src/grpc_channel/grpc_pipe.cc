#include "client/src/grpc_channel/grpc_pipe.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

constexpr std::size_t kRequestBytes = 256 * 1024;  // one body may pass it
constexpr std::size_t kUnansweredMax = 8;
constexpr std::size_t kFrameHeaderBytes = 16;  // what a ring needs beside a body in one piece

}  // namespace

PipeSide GrpcPipe::side() const {
  return link_->opened().side() == v1::PIPE_SIDE_B ? PipeSide::kB : PipeSide::kA;
}

// Several requests are on their way at once: what comes behind one that failed is not carried out.
Status GrpcPipe::send_run(std::span<const Body> bodies, std::int64_t deadline_ns,
                          std::size_t* messages, std::size_t* bytes) {
  const bool stream = link_->stream_mode();
  std::deque<std::uint64_t> tickets;
  Status status;
  const auto settle = [&] {
    v1::PipeServiceAttachResponse::Sent sent;
    Status one = link_->answer(tickets.front(), &sent);
    tickets.pop_front();
    *messages += sent.messages();
    *bytes += sent.bytes();
    if (status.ok()) status = std::move(one);
  };
  std::size_t next = 0, at = 0;  // at: of a stream, within the body
  bool continues = false;
  do {
    PipeRequest request;
    timeout_to(deadline_ns, &request);
    request.set_continues(std::exchange(continues, true));
    while (next < bodies.size() && request.packed().bodies().size() < kRequestBytes) {
      Body part = bodies[next];
      if (stream) {
        part.data = static_cast<const std::byte*>(static_cast<const void*>(part.data)) + at;
        part.length = std::min(part.length - at, kRequestBytes);
      }
      add_to(part, request.mutable_packed());
      at += part.length;
      if (stream && at < bodies[next].length) continue;
      ++next;
      at = 0;
    }
    std::uint64_t ticket = 0;
    Status begun = link_->begin(std::move(request), &ticket);
    if (begun.ok()) tickets.push_back(ticket);
    if (status.ok()) status = std::move(begun);
    while (!tickets.empty() && tickets.size() >= kUnansweredMax) settle();
  } while (status.ok() && next < bodies.size());
  while (!tickets.empty()) settle();
  return status;
}

Status GrpcPipe::send(const Body& body, std::int64_t deadline_ns, std::size_t* sent) {
  *sent = 0;
  if (Status status = settle_commits(0); !status.ok()) return status;
  if (Status status = link_->turn(this, deadline_ns); !status.ok()) return status;
  std::size_t messages = 0, bytes = 0;
  Status status = send_run({&body, 1}, deadline_ns, &messages, &bytes);
  *sent = link_->stream_mode() ? bytes : messages * body.length;
  // A try sends what there is room for.
  return status.is(Reason::kFull) && *sent > 0 ? Status() : status;
}

Status GrpcPipe::send_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                           std::size_t* done) {
  *done = 0;
  if (bodies.empty()) return {};
  if (Status status = settle_commits(0); !status.ok()) return status;
  if (Status status = link_->turn(this, deadline_ns); !status.ok()) return status;
  std::size_t bytes = 0;
  if (!link_->stream_mode()) return send_run(bodies, deadline_ns, done, &bytes);
  for (const Body& body : bodies) {
    std::size_t unused = 0;
    bytes = 0;
    Status status = send_run({&body, 1}, deadline_ns, &unused, &bytes);
    if (!status.ok()) return status;
    if (bytes < body.length) {  // a try took what there was room for
      return Status(Reason::kFull, "only a part of the body is in")
          .with_limit(bytes, body.length)
          .with_object("pipe " + name());
    }
    ++*done;
  }
  return {};
}

Status GrpcPipe::hold(std::int64_t deadline_ns) {
  if (Status status = link_->turn(this, deadline_ns, true); !status.ok()) return status;
  PipeRequest request;
  timeout_to(deadline_ns, &request);
  request.set_hold(true);
  Status status = link_->act(std::move(request), nullptr);
  if (!status.ok()) link_->let_go(this);
  return status;
}

void GrpcPipe::let_go() noexcept {
  if (!link_->let_go(this)) return;
  PipeRequest request;
  request.set_let_go(true);
  (void)link_->act(std::move(request), nullptr);
}

Status GrpcPipe::settle_commits(std::size_t unanswered_max) {
  Status status;
  while (commits_.size() > unanswered_max) {
    Status one = link_->answer(commits_.front(), nullptr);
    commits_.erase(commits_.begin());
    if (status.ok()) status = std::move(one);
  }
  return status;
}

Status GrpcPipe::reserve(std::size_t bytes, std::int64_t deadline_ns, std::span<std::byte>* room) {
  const v1::PipeOptions& options = link_->opened().options();
  const std::size_t most =
      link_->stream_mode()
          ? options.capacity()
          : std::min<std::size_t>(options.capacity() - kFrameHeaderBytes, options.max_msg_bytes());
  if (bytes > most) {
    return Status(Reason::kTooLarge, "no room in one piece; send() it, or make the ring larger")
        .with_limit(most, bytes)
        .with_object("pipe " + name());
  }
  if (!link_->opened().options().duplex() && side() == PipeSide::kB) {
    return Status(Reason::kClosed, "this end was closed, or the pipe deleted")
        .with_object("pipe " + name());
  }
  if (Status status = link_->turn(this, deadline_ns); !status.ok()) return status;
  if (Status status = link_->room(kUnansweredMax - 1, deadline_ns); !status.ok()) return status;
  if (Status status = settle_commits(kUnansweredMax - 1); !status.ok()) return status;
  room_.resize(bytes);
  *room = {reinterpret_cast<std::byte*>(room_.data()), room_.size()};
  return {};
}

Status GrpcPipe::commit(std::span<std::byte> room, std::size_t length, BodyKind kind) {
  PipeRequest request;
  Body body(room.data(), length);
  body.kind = kind;
  add_to(body, request.mutable_packed());
  request.set_continues(!commits_.empty());
  std::uint64_t ticket = 0;
  Status status = link_->begin(std::move(request), &ticket);
  if (status.ok()) commits_.push_back(ticket);
  return status;
}

Status GrpcPipe::receive(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                         BodyKind* kind) {
  std::span<const std::byte> bytes;
  if (Status status = link_->peek(deadline_ns, &bytes, kind); !status.ok()) return status;
  *length = link_->stream_mode() ? std::min(bytes.size(), to.size()) : bytes.size();
  if (*length > to.size()) {
    link_->keep();
    return Status(Reason::kTooLarge, "the message needs more room than was given; it stays")
        .with_limit(to.size(), *length)
        .with_object("pipe " + name());
  }
  if (*length != 0) std::memcpy(to.data(), bytes.data(), *length);
  link_->take(*length);
  return {};
}

Status GrpcPipe::view(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind) {
  return link_->peek(deadline_ns, bytes, kind);
}

Status GrpcPipe::consume(std::span<const std::byte>, std::size_t length) {
  link_->take(length);
  return {};
}

Status GrpcPipe::poll(std::int64_t deadline_ns) {
  std::span<const std::byte> bytes;
  BodyKind kind;
  Status status = link_->peek(deadline_ns, &bytes, &kind);
  if (status.ok()) link_->keep();
  const bool ended = status.is(Reason::kEndOfStream) || status.is(Reason::kPeerDied);
  return ended ? Status() : status;
}

Status GrpcPipe::shutdown_write() {
  const Status before = settle_commits(0);
  PipeRequest request;
  request.set_shutdown_write(true);
  Status status = link_->act(std::move(request), nullptr);
  return before.ok() ? status : before;
}

Result<std::vector<PipeUser>> GrpcPipe::peer() {
  const auto end = link_->peer();
  if (!end) return end.status();
  std::vector<PipeUser> users;
  for (const auto& user : end->users()) users.push_back(pipe_user_from(user));
  return users;
}

Result<std::shared_ptr<PipeChannel>> GrpcPipe::share() {
  return std::shared_ptr<PipeChannel>(std::make_shared<GrpcPipe>(link_));
}

}  // namespace heddle::detail
