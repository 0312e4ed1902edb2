// The public handles of pipes: timeouts become deadlines, room grows until a message fits, the rest
// is passed to the channel.
#include <heddle/pipe.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/pipe_channel.h"

namespace heddle {
namespace {

constexpr std::size_t kFirstRoom = 4096;
constexpr std::size_t kStreamRoom = 64 * 1024;

Status no_pipe_here() {
  return Status(Reason::kInvalidArgument,
                "this handle has no pipe; get one from Client::pipe_end, connect_pipe or accept");
}

// What stands in the way of sending.
Status may_send(const std::shared_ptr<detail::PipeChannel>& pipe) {
  if (!pipe) return no_pipe_here();
  if (!pipe->room_open) return {};
  return Status(Reason::kInvalidArgument,
                "a PipeRoom of this handle is open: commit it or give it up first, or send by "
                "another handle (share())")
      .with_object("pipe " + pipe->name());
}

Status may_receive(const std::shared_ptr<detail::PipeChannel>& pipe) {
  if (!pipe) return no_pipe_here();
  if (!pipe->view_open) return {};
  return Status(Reason::kInvalidArgument,
                "a PipeView of this handle is open: consume it or give it up first, or receive by "
                "another handle (share())")
      .with_object("pipe " + pipe->name());
}

// receive(&length) until the message has room.
template <typename Receive>
Status receive_whole(PipeMessage& message, Receive receive) {
  for (;;) {
    std::size_t length = 0;
    Status status = receive(&length);
    if (status.is(Reason::kTooLarge) && length > message.bytes.size()) {
      message.bytes.resize(length);  // it has kept its place
      continue;
    }
    if (status.ok()) message.bytes.resize(length);
    return status;
  }
}

const std::string& nameless() {
  static const std::string kNone;
  return kNone;
}

}  // namespace

PipeRoom& PipeRoom::operator=(PipeRoom&& other) noexcept {
  std::swap(pipe_, other.pipe_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PipeRoom::~PipeRoom() {
  if (!pipe_) return;
  pipe_->abandon();
  pipe_->room_open = false;
}

Status PipeRoom::commit(std::size_t length, BodyKind kind) {
  if (!pipe_) return Status(Reason::kInvalidArgument, "there is no room to commit");
  if (length > bytes_.size()) {
    return Status(Reason::kTooLarge, "more than was reserved").with_limit(bytes_.size(), length);
  }
  const auto pipe = std::exchange(pipe_, nullptr);
  pipe->room_open = false;
  return pipe->commit(bytes_, length, kind);
}

PipeView& PipeView::operator=(PipeView&& other) noexcept {
  std::swap(pipe_, other.pipe_);
  std::swap(bytes_, other.bytes_);
  std::swap(kind_, other.kind_);
  return *this;
}

PipeView::~PipeView() {
  if (!pipe_) return;
  pipe_->unview();
  pipe_->view_open = false;
}

Status PipeView::consume(std::size_t length) {
  if (!pipe_) return Status(Reason::kInvalidArgument, "there is nothing to consume");
  const auto pipe = std::exchange(pipe_, nullptr);
  pipe->view_open = false;
  return pipe->consume(bytes_, std::min(length, bytes_.size()));
}

const std::string& PipeEnd::name() const { return pipe_ ? pipe_->name() : nameless(); }
PipeSide PipeEnd::side() const { return pipe_ ? pipe_->side() : PipeSide::kA; }
PipeOptions PipeEnd::options() const { return pipe_ ? pipe_->options() : PipeOptions(); }

Result<std::size_t> PipeEnd::send(const Body& body, std::chrono::nanoseconds timeout) {
  if (!pipe_ || pipe_->room_open) [[unlikely]]
    return may_send(pipe_);
  std::size_t sent = 0;
  Status status = pipe_->send(body, detail::deadline_after(timeout), &sent);
  if (!status.ok() && sent == 0) return status;
  return sent;
}

Result<std::size_t> PipeEnd::send_with(const Body& body, std::span<const int> fds,
                                       std::chrono::nanoseconds timeout) {
  if (Status status = may_send(pipe_); !status.ok()) return status;
  std::size_t sent = 0;
  Status status = pipe_->send_with(body, fds, detail::deadline_after(timeout), &sent);
  if (!status.ok()) return status;
  return sent;
}

PutManyResult PipeEnd::send_many(std::span<const Body> bodies, std::chrono::nanoseconds timeout) {
  PutManyResult result;
  result.status = may_send(pipe_);
  if (!result.status.ok()) return result;
  result.status = pipe_->send_many(bodies, detail::deadline_after(timeout), &result.done);
  return result;
}

Status PipeEnd::hold(std::chrono::nanoseconds timeout) {
  Status status = may_send(pipe_);
  return status.ok() ? pipe_->hold(detail::deadline_after(timeout)) : status;
}

void PipeEnd::let_go() {
  if (pipe_) pipe_->let_go();
}

Result<PipeRoom> PipeEnd::reserve(std::size_t bytes, std::chrono::nanoseconds timeout) {
  if (Status status = may_send(pipe_); !status.ok()) return status;
  std::span<std::byte> room;
  Status status = pipe_->reserve(bytes, detail::deadline_after(timeout), &room);
  if (!status.ok()) return status;
  return detail::PipeAccess::room(pipe_, room);
}

Result<PipeMessage> PipeEnd::receive(std::chrono::nanoseconds timeout, std::size_t bytes_max) {
  if (Status status = may_receive(pipe_); !status.ok()) return status;
  const std::int64_t deadline_ns = detail::deadline_after(timeout);
  const bool stream = pipe_->options().mode == PipeMode::kBytes;
  PipeMessage message;
  message.bytes.resize(stream ? (bytes_max != 0 ? bytes_max : kStreamRoom) : kFirstRoom);
  Status status = receive_whole(message, [&](std::size_t* length) {
    return pipe_->receive(message.bytes, deadline_ns, length, &message.kind);
  });
  if (!status.ok()) return status;
  return message;
}

Result<PipeParcel> PipeEnd::receive_with(std::chrono::nanoseconds timeout) {
  if (Status status = may_receive(pipe_); !status.ok()) return status;
  const std::int64_t deadline_ns = detail::deadline_after(timeout);
  const bool stream = pipe_->options().mode == PipeMode::kBytes;
  PipeParcel parcel;
  detail::PipeChannel::Carried carried;
  parcel.bytes.resize(stream ? kStreamRoom : kFirstRoom);
  Status status = receive_whole(parcel, [&](std::size_t* length) {
    return pipe_->receive_with(parcel.bytes, deadline_ns, length, &parcel.kind, &carried);
  });
  if (!status.ok()) return status;
  parcel.fds = std::move(carried.fds);
  parcel.fds_lost = carried.lost;
  return parcel;
}

Result<std::size_t> PipeEnd::receive_into(std::span<std::byte> to, std::chrono::nanoseconds timeout,
                                          BodyKind* kind) {
  if (!pipe_ || pipe_->view_open) [[unlikely]]
    return may_receive(pipe_);
  std::size_t length = 0;
  BodyKind unused;
  Status status = pipe_->receive(to, detail::deadline_after(timeout), &length,
                                 kind != nullptr ? kind : &unused);
  if (!status.ok()) return status;
  return length;
}

Result<PipeView> PipeEnd::view(std::chrono::nanoseconds timeout) {
  if (Status status = may_receive(pipe_); !status.ok()) return status;
  std::span<const std::byte> bytes;
  BodyKind kind = BodyKind::kData;
  Status status = pipe_->view(detail::deadline_after(timeout), &bytes, &kind);
  if (!status.ok()) return status;
  return detail::PipeAccess::view(pipe_, bytes, kind);
}

Status PipeEnd::poll(std::chrono::nanoseconds timeout) {
  return pipe_ ? pipe_->poll(detail::deadline_after(timeout)) : no_pipe_here();
}

Result<int> PipeEnd::ready_fd() {
  if (!pipe_) return no_pipe_here();
  return pipe_->ready_fd();
}

Result<std::vector<PipeUser>> PipeEnd::peer() const {
  if (!pipe_) return no_pipe_here();
  return pipe_->peer();
}

Status PipeEnd::shutdown_write() { return pipe_ ? pipe_->shutdown_write() : no_pipe_here(); }

Result<PipeEnd> PipeEnd::share() const {
  if (!pipe_) return no_pipe_here();
  auto other = pipe_->share();
  if (!other) return std::move(other).status();
  return detail::PipeAccess::end(std::move(*other));
}

const std::string& PipeListener::name() const { return hall_ ? hall_->name() : nameless(); }

Result<PipeEnd> PipeListener::accept(std::chrono::nanoseconds timeout) {
  if (!hall_) return no_pipe_here();
  auto pipe = hall_->accept(detail::deadline_after(timeout));
  if (!pipe) return std::move(pipe).status();
  return detail::PipeAccess::end(std::move(*pipe));
}

}  // namespace heddle
