#include "daemon/server/attach_connection.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include <algorithm>

#include "daemon/broker/fd_closer.h"
#include "daemon/server/attach_calls.h"
#include "daemon/server/attach_server.h"

namespace heddle::server {
namespace {

using local::AttachType;

constexpr int kPacketsAtOnce = 16;  // before others get a turn
constexpr size_t kPendingMax = 64;  // answers and events that a client has not read
constexpr size_t kTextBytesMax = 60'000;
constexpr uint8_t kBodyKindMax = 3;  // JSON text

static_assert(sizeof(local::AttachHeader) == sizeof(local::PacketHeader));
static_assert(offsetof(local::AttachHeader, sequence) == offsetof(local::PacketHeader, sequence));

Status malformed(const char* what) {
  return Status(Reason::kInvalidArgument, std::string("bad packet: ") + what);
}

template <size_t N>
bool terminated(const char (&text)[N]) {
  return ::memchr(text, 0, N) != nullptr;
}

template <typename T>
bool whole(const local::Packet& packet, T* out) {
  return packet.body().size() == sizeof(T) && packet.read(out);
}

bool is_lock(uint8_t kind) {
  return kind >= static_cast<uint8_t>(local::ObjectKind::kLock) &&
         kind <= static_cast<uint8_t>(local::ObjectKind::kBarrier);
}

bool is_pipe(uint8_t kind) { return kind == static_cast<uint8_t>(local::ObjectKind::kPipe); }

bool is_member(uint8_t kind) { return broker::FamilyTable::family_of(kind) != nullptr; }

void copy_text(char* to, size_t bytes, std::string_view from) {
  const size_t n = std::min(bytes - 1, from.size());
  std::memcpy(to, from.data(), n);
  to[n] = 0;
}

}  // namespace

AttachConnection::AttachConnection(AttachServer& server, local::Fd socket, objects::Caller caller,
                                   local::Fd pidfd)
    : server_(server),
      socket_(std::move(socket)),
      caller_(std::move(caller)),
      pidfd_(std::move(pidfd)) {}

void AttachConnection::cut() {
  if (!closed_) server_.close(*this);
}

void AttachConnection::on_ready(uint32_t events) {
  if (events & EPOLLOUT) flush();
  if (closed_ || !pending_.empty()) {
    if (!closed_ && (events & (EPOLLHUP | EPOLLERR))) cut();
    return;
  }
  read_some();
}

void AttachConnection::read_some() {
  local::Packet packet(broker::close_apart);
  for (int i = 0; i < kPacketsAtOnce && !closed_ && pending_.empty(); ++i) {
    const local::IoResult result =
        packet.receive(socket_.get(), local::kAttachMagic, local::kAttachVersionMin,
                       local::kAttachVersionMax, false);
    if (result.io == local::Io::kAgain) return;
    // Said once when the peer closed with answers unread; what it sent before stands behind it.
    if (result.io == local::Io::kClosed && result.error == ECONNRESET) continue;
    if (!result.ok()) return cut();
    answer(packet);
  }
}

void AttachConnection::answer(local::Packet& packet) {
  const uint32_t sequence = packet.header().sequence;
  const auto type = static_cast<AttachType>(packet.header().type);
  if (!greeted() && type != AttachType::kHello) return cut();
  Status status;
  if (packet.fd_count() != (type == AttachType::kLend ? 1 : 0)) {
    status = malformed("it carries file descriptors that it should not, or lacks one");
  } else {
    switch (type) {
      case AttachType::kHello:
        status = hello(packet, sequence);
        break;
      case AttachType::kOpen:
        status = open(packet, sequence);
        break;
      case AttachType::kClose:
        status = close_object(packet, sequence);
        break;
      case AttachType::kDelete:
        status = delete_object(packet, sequence);
        break;
      case AttachType::kCall:
        status = call(packet, sequence);
        break;
      case AttachType::kPutFenced:
        status = put_fenced(packet, sequence);
        break;
      case AttachType::kGrow:
        status = grow(packet, sequence);
        break;
      case AttachType::kLend:
        status = lend(packet, sequence);
        break;
      case AttachType::kTakeLent:
        status = take_lent(packet, sequence);
        break;
      case AttachType::kBye:
        status = bye(sequence);
        break;
      default:
        status = malformed("unknown type");
    }
  }
  if (!status.ok() && !closed_) send_failed(status, sequence);
}

Status AttachConnection::hello(const local::Packet& packet, uint32_t sequence) {
  local::Hello request;
  if (greeted()) return malformed("a second HELLO");
  if (!whole(packet, &request) || !terminated(request.name)) return malformed("HELLO");
  if (request.version_min > local::kAttachVersionMax ||
      request.version_max < local::kAttachVersionMin || request.version_min > request.version_max) {
    return Status(Reason::kVersionMismatch,
                  "client and daemon speak no common version; install the same version of both")
        .with_limit(local::kAttachVersionMax, request.version_max);
  }
  version_ = std::min(request.version_max, local::kAttachVersionMax);
  broker::Core& core = server_.core_;
  const bool resume = request.resume_session_id != 0;
  Result<broker::SessionRef> session =
      resume ? core.resume_local(caller_, request.resume_session_id, request.resume_generation)
             : core.open_local(caller_, std::move(pidfd_), request.name);
  if (!session.ok()) {
    // The pidfd may be spent, and no session may exist without one: the client connects anew.
    send_failed(session.status(), sequence);
    cut();
    return Status();
  }
  session_ = *session;
  caller_.owner = session_->owner;
  caller_.session_id = session_->id;
  server_.bind(*this);
  local::Welcome welcome{};
  welcome.version = version_;
  welcome.owner = session_->owner;
  welcome.generation = session_->generation;
  welcome.session_id = session_->id;
  welcome.page_bytes = session_->page->bytes();
  welcome.thread_lines = session_->lines();
  welcome.resumed = resume;
  welcome.incarnation = core.incarnation();
  send(AttachType::kWelcome, sequence, local::bytes_of(welcome), {},
       {session_->page->fd(), core.doorbell_write_fd()}, session_->page);
  return Status();
}

Status AttachConnection::open(const local::Packet& packet, uint32_t sequence) {
  local::Open request;
  constexpr uint8_t kFlags = local::kOpenCreate | local::kOpenExclusive | local::kOpenAnonymous;
  if (!whole(packet, &request) || !terminated(request.name) || !terminated(request.group) ||
      (request.flags & ~kFlags) != 0) {
    return malformed("OPEN");
  }
  broker::OpenFlags flags;
  flags.create = (request.flags & local::kOpenCreate) != 0;
  flags.exclusive = (request.flags & local::kOpenExclusive) != 0;
  flags.anonymous = (request.flags & local::kOpenAnonymous) != 0;
  if (is_lock(request.kind)) return open_lock(request, flags, sequence);
  if (is_pipe(request.kind)) return open_pipe(request, flags, sequence);
  if (is_member(request.kind)) return open_member(request, flags, sequence);
  if (request.kind != static_cast<uint8_t>(local::ObjectKind::kQueue)) {
    return Status(Reason::kUnsupported, "this daemon has no objects of that kind")
        .with_limit(static_cast<uint64_t>(local::ObjectKind::kQueue), request.kind);
  }
  const auto attached = server_.core_.attach_queue(session_, caller_, request.name, request.options,
                                                   request.group, flags);
  if (!attached.ok()) return attached.status();
  local::Opened opened{};
  opened.object_id = attached->ref.object_id;
  opened.bytes = attached->segment->bytes();
  opened.rights = attached->ref.rights;
  opened.created = attached->ref.created;
  opened.options = attached->ref.options;
  copy_text(opened.name, sizeof opened.name, attached->ref.name);
  send(AttachType::kOpened, sequence, local::bytes_of(opened), {}, {attached->segment->fd()},
       attached->segment);
  return Status();
}

Status AttachConnection::open_lock(const local::Open& request, broker::OpenFlags flags,
                                   uint32_t sequence) {
  const auto ref = server_.core_.open_lock(caller_, static_cast<local::ObjectKind>(request.kind),
                                           request.name, request.lock, request.group, flags);
  if (!ref.ok()) return ref.status();
  if ((ref->rights & local::kRightWrite) == 0) {
    return Status(Reason::kUnsupported,
                  "with read rights alone it is reached over gRPC (HEDDLE_PLANE=grpc)")
        .with_object(ref->name);
  }
  local::Opened opened{};
  opened.object_id = ref->object_id;
  opened.bytes = ref->segment->bytes();
  opened.rights = ref->rights;
  opened.created = ref->created;
  opened.lock = ref->options;
  copy_text(opened.name, sizeof opened.name, ref->name);
  send(AttachType::kOpened, sequence, local::bytes_of(opened), {}, {ref->segment->fd()},
       ref->segment);
  return Status();
}

Status AttachConnection::open_pipe(const local::Open& request, broker::OpenFlags flags,
                                   uint32_t sequence) {
  const auto ref =
      server_.core_.open_pipe(caller_, request.name, request.pipe, request.group, flags);
  if (!ref.ok()) return ref.status();
  local::Opened opened{};
  opened.object_id = ref->object_id;
  opened.bytes = ref->segment->bytes();
  opened.rights = ref->rights;
  opened.created = ref->created;
  opened.pipe = ref->options;
  copy_text(opened.name, sizeof opened.name, ref->name);
  send(AttachType::kOpened, sequence, local::bytes_of(opened), {}, {ref->segment->fd()},
       ref->segment);
  return Status();
}

// With r alone the descriptor can be mapped for reading, and for nothing else.
Status AttachConnection::open_member(const local::Open& request, broker::OpenFlags flags,
                                     uint32_t sequence) {
  flags.counted = true;
  const auto ref =
      server_.core_.open_member(caller_, static_cast<local::ObjectKind>(request.kind),
                                request.name, request.member, request.group, flags);
  if (!ref.ok()) return ref.status();
  local::Opened opened{};
  opened.object_id = ref->object_id;
  opened.bytes = ref->segment->bytes();
  opened.rights = ref->rights;
  opened.created = ref->created;
  opened.member = ref->options;
  copy_text(opened.name, sizeof opened.name, ref->name);
  int fd = ref->segment->fd();
  std::shared_ptr<void> keeps = ref->segment;
  if ((ref->rights & local::kRightWrite) == 0) {
    const auto reader = ref->segment->reader();
    if (!reader.ok()) return reader.status();
    fd = (*reader)->get();
    keeps = *reader;
  }
  send(AttachType::kOpened, sequence, local::bytes_of(opened), {}, {fd}, std::move(keeps));
  return Status();
}

Status AttachConnection::close_object(const local::Packet& packet, uint32_t sequence) {
  local::Close request;
  if (!whole(packet, &request)) return malformed("CLOSE");
  Status status = server_.core_.detach(session_, request.object_id);
  if (status.ok()) done(request.object_id, sequence);
  return status;
}

Status AttachConnection::delete_object(const local::Packet& packet, uint32_t sequence) {
  local::Delete request;
  if (!whole(packet, &request) || !terminated(request.name)) return malformed("DELETE");
  broker::Core& core = server_.core_;
  const auto kind = static_cast<local::ObjectKind>(request.kind);
  Status status;
  if (kind == local::ObjectKind::kQueue) {
    status = core.delete_queue(caller_, request.name);
  } else if (kind == local::ObjectKind::kPipe) {
    status = core.delete_pipe(caller_, request.name);
  } else if (is_member(request.kind)) {
    status = core.delete_member(caller_, kind, request.name);
  } else if (is_lock(request.kind)) {
    status = core.delete_lock(caller_, kind, request.name);
  } else {
    return Status(Reason::kUnsupported, "this daemon has no objects of that kind");
  }
  if (status.ok()) done(0, sequence);
  return status;
}

Status AttachConnection::call(const local::Packet& packet, uint32_t sequence) {
  local::Call request;
  if (!packet.read(&request) || packet.body().size() - sizeof request != request.text_bytes) {
    return malformed("CALL");
  }
  const auto text = packet.body().subspan(sizeof request);
  const auto answered =
      answer_call(server_.core_, caller_, static_cast<local::CallMethod>(request.method),
                  {reinterpret_cast<const char*>(text.data()), text.size()}, kTextBytesMax);
  if (!answered.ok()) return answered.status();
  const local::Return reply{request.method, static_cast<uint32_t>(answered->size())};
  send(AttachType::kReturn, sequence, local::bytes_of(reply), *answered);
  return Status();
}

Status AttachConnection::put_fenced(const local::Packet& packet, uint32_t sequence) {
  local::PutFenced head;
  if (!packet.read(&head) || !terminated(head.name) || !terminated(head.lock) ||
      head.kind > kBodyKindMax || head.offset > head.body_bytes ||
      packet.body().size() - sizeof head > head.body_bytes - head.offset) {
    return malformed("PUT_FENCED");
  }
  if (!puts_) puts_ = std::make_unique<AttachPuts>(server_.loop_, server_.core_);
  // It may wait, and this connection be gone when it has an answer.
  puts_->take(caller_, head, packet.body().subspan(sizeof head),
              [weak = weak_from_this(), sequence](Result<local::PutDone> done) {
                const auto self = weak.lock();
                if (!self || self->closed_) return;
                if (!done.ok()) return self->send_failed(done.status(), sequence);
                self->send(AttachType::kPutDone, sequence, local::bytes_of(*done));
              });
  return Status();
}

Status AttachConnection::grow(const local::Packet& packet, uint32_t sequence) {
  local::Grow request;
  if (!whole(packet, &request)) return malformed("GROW");
  const auto granted = server_.core_.grow_object(caller_, request);
  if (!granted.ok()) return granted.status();
  const local::Grow reply{request.object_id, granted->extents, granted->segments};
  send(AttachType::kGrown, sequence, local::bytes_of(reply));
  return Status();
}

Status AttachConnection::lend(local::Packet& packet, uint32_t sequence) {
  local::Lend request;
  if (!whole(packet, &request) || request.side > 1 || request.request == 0) {
    return malformed("LEND");
  }
  const auto number = server_.core_.lend_to_pipe(caller_, request, packet.take_fd(0));
  if (!number.ok()) return number.status();
  send(AttachType::kLent, sequence, local::bytes_of(local::Lent{*number}));
  return Status();
}

// It is not forgotten yet: a bundle gives what is in it only once, and the answer may get lost.
Status AttachConnection::take_lent(const local::Packet& packet, uint32_t sequence) {
  local::TakeLent request;
  if (!whole(packet, &request) || request.side > 1 || request.forget > 1) {
    return malformed("TAKE_LENT");
  }
  broker::Core& core = server_.core_;
  if (request.forget == 0) {
    const auto bundle = core.lent_to_pipe(caller_, request);
    if (!bundle.ok()) return bundle.status();
    send(AttachType::kGiven, sequence, local::bytes_of(local::Lent{request.number}), {},
         {(*bundle)->get()}, *bundle);
    return Status();
  }
  Status status = core.forget_lent(caller_, request);
  if (status.ok()) done(request.object_id, sequence);
  return status;
}

Status AttachConnection::bye(uint32_t sequence) {
  const broker::SessionRef session = session_;
  done(0, sequence);  // a client that has closed already does not read it, and has said BYE as well
  cut();
  server_.core_.end_local(session);
  return Status();
}

void AttachConnection::done(uint64_t object_id, uint32_t sequence) {
  const local::Done reply{object_id};
  send(AttachType::kDone, sequence, local::bytes_of(reply));
}

void AttachConnection::send_failed(const Status& status, uint32_t sequence) {
  local::Failed failed{};
  failed.reason = static_cast<uint16_t>(status.reason());
  failed.code = static_cast<uint16_t>(status.code());
  failed.limit = static_cast<int64_t>(status.limit());
  failed.actual = static_cast<int64_t>(status.actual());
  copy_text(failed.object, sizeof failed.object, status.object());
  const std::string_view text = status.message().substr(0, kTextBytesMax);
  failed.text_bytes = static_cast<uint32_t>(text.size());
  send(AttachType::kFailed, sequence, local::bytes_of(failed), text);
}

void AttachConnection::send_event(local::EventType event, uint64_t object_id, int64_t value) {
  const local::Event body{static_cast<uint32_t>(event), 0, object_id, value};
  send(AttachType::kEvent, 0, local::bytes_of(body));
}

void AttachConnection::send(AttachType type, uint32_t sequence, std::span<const std::byte> body,
                            std::string_view text, std::vector<int> fds,
                            std::shared_ptr<void> keeps_fds) {
  if (closed_) return;
  Outgoing out;
  out.header = {local::kAttachMagic, version_, static_cast<uint16_t>(type), 0, sequence};
  const auto tail = std::as_bytes(std::span(text.data(), text.size()));
  out.bytes.assign(body.begin(), body.end());
  out.bytes.insert(out.bytes.end(), tail.begin(), tail.end());
  out.fds = std::move(fds);
  out.keeps_fds = std::move(keeps_fds);
  if (pending_.empty() && try_send(out)) return;
  if (closed_) return;
  if (pending_.size() >= kPendingMax) return cut();
  // From now on only writing: a client that does not read gets no further answers.
  if (pending_.empty()) server_.loop_.change(socket_.get(), EPOLLOUT);
  pending_.push_back(std::move(out));
}

// True: sent, or the peer has gone, which reading will find once it has read what came before.
// False: no room now, or the connection was cut.
bool AttachConnection::try_send(const Outgoing& out) {
  const local::IoResult result =
      local::send_packet(socket_.get(), out.header, out.bytes, {}, out.fds, false);
  if (result.ok() || result.io == local::Io::kClosed) return true;
  if (result.io != local::Io::kAgain) cut();
  return false;
}

void AttachConnection::flush() {
  while (!pending_.empty()) {
    if (!try_send(pending_.front())) return;
    pending_.pop_front();
  }
  server_.loop_.change(socket_.get(), EPOLLIN);
}

}  // namespace heddle::server
