#include "client/src/shm_channel/session.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_generation.h"

namespace heddle::detail {

using local::AttachType;

namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr int kRetryMs = 10;
// How long one look() may wait for a restarted broker to say WELCOME.
constexpr std::int64_t kLookNs = 50 * kMs;

std::span<const std::byte> text_of(const local::Packet& packet, std::size_t at,
                                   std::uint32_t bytes) {
  auto body = packet.body();
  if (body.size() < at) return {};
  return body.subspan(at, std::min<std::size_t>(bytes, body.size() - at));
}

Status refusal(const local::Packet& packet) {
  local::Failed failed{};
  if (!packet.read(&failed) || failed.reason == 0 || failed.reason >= kReasonCount) {
    return Status(Reason::kInternal, "the broker sent a refusal that cannot be read");
  }
  const auto text = text_of(packet, sizeof failed, failed.text_bytes);
  failed.object[sizeof failed.object - 1] = '\0';
  Status status(static_cast<Reason>(failed.reason),
                std::string(reinterpret_cast<const char*>(text.data()), text.size()));
  if (failed.object[0] != '\0') status = std::move(status).with_object(failed.object);
  if (failed.limit != 0 || failed.actual != 0) {
    status = std::move(status).with_limit(static_cast<std::uint64_t>(failed.limit),
                                          static_cast<std::uint64_t>(failed.actual));
  }
  return status;
}

// Waits for the socket; false at the deadline.
bool wait_readable(int socket, std::int64_t deadline_ns) {
  for (;;) {
    const std::int64_t left = deadline_ns - monotonic_ns();
    pollfd poll{.fd = socket, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, left <= 0 ? 0 : static_cast<int>(left / kMs + 1));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) {
      if (left <= 0 || ready < 0) return false;
    }
  }
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Session::Session(Where where) : where_(std::move(where)), process_(process_generation()) {}

Result<std::shared_ptr<Session>> Session::open(const Where& where) {
  std::shared_ptr<Session> session(new Session(where));
  std::lock_guard lock(session->mutex_);
  session->asked_ms_ = where.timeout.count();
  const std::int64_t deadline_ns = monotonic_ns() + where.timeout.count() * kMs;
  for (;;) {
    Status status = session->connect(deadline_ns);
    if (status.ok()) return session;
    // A broker that died between accepting and WELCOME has a successor; the listener outlives both.
    if (!status.is(Reason::kBrokerAway) || session->turned_away_) return status;
    if (monotonic_ns() >= deadline_ns) return status;
    ::poll(nullptr, 0, kRetryMs);
  }
}

Session::~Session() {
  if (page_) {
    page_->closed.store(true);
    leave_closed_sessions();
  }
  // A child inherits the socket, not the session.
  if (ended()) return;
  if (page_) {
    static_cast<shm::SessionHeader*>(page_->mapping.base())->closed.store(1);
  }
  if (!socket_) return;
  if (send(AttachType::kBye, ++sequence_, {}, {}).ok()) {
    // Waiting for the answer would make closing depend on the broker; BYE is read in any case.
    ::shutdown(socket_.get(), SHUT_WR);
  }
}

Status Session::away() const {
  const std::string within = " within " + std::to_string(asked_ms_) + " ms";
  const std::string what = hang_ups_ == 0 ? "the broker did not answer" + within
                                          : "the broker hung up " + std::to_string(hang_ups_) +
                                                " times before it answered" + within;
  return Status(Reason::kBrokerAway, what + "; what is open goes on working");
}

Status Session::hung_up() {
  ++hang_ups_;
  return away();
}

Status Session::connect(std::int64_t deadline_ns) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (where_.socket.size() >= sizeof address.sun_path) {
    return Status(Reason::kInvalidArgument,
                  "the path of the attach socket is too long: " + where_.socket)
        .with_limit(sizeof address.sun_path - 1, where_.socket.size());
  }
  std::memcpy(address.sun_path, where_.socket.c_str(), where_.socket.size());
  local::Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Status::from_errno(errno, "socket");
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
         0) {
    const int error = errno;
    // EAGAIN: the listener's backlog is full; it is alive.
    if (error == EAGAIN && monotonic_ns() < deadline_ns) {
      ::poll(nullptr, 0, 5);
    } else if (error == EAGAIN) {
      return away();
    } else if (error != EINTR) {
      if (error == EACCES || error == EPERM) {
        return Status(Reason::kDenied, "no permission to connect to " + where_.socket);
      }
      return Status(Reason::kDaemonUnreachable, std::string(std::strerror(error)));
    }
  }
  socket_ = std::move(socket);
  Status status = greet(deadline_ns);
  if (!status.ok()) socket_.reset();
  return status;
}

Status Session::greet(std::int64_t deadline_ns) {
  local::Hello hello{};
  hello.version_min = local::kAttachVersionMin;
  hello.version_max = local::kAttachVersionMax;
  hello.resume_session_id = session_id_;
  hello.resume_generation = generation_;
  std::strncpy(hello.name, where_.name.c_str(), sizeof hello.name - 1);
  const std::uint32_t sequence = ++sequence_;
  version_ = 1;
  // Who is turned away may have been told and hung up on before it said anything.
  const auto sent = transmit(AttachType::kHello, sequence, local::bytes_of(hello), {});
  if (!sent.ok() && sent.io != local::Io::kClosed) return away();
  local::Packet packet;
  Status status = receive(sequence, AttachType::kWelcome, &packet, deadline_ns);
  if (status.is(Reason::kSessionLost)) lost_.store(true);
  if (status.is(Reason::kDaemonUnreachable)) {
    turned_away_ = true;
    return Status(Reason::kBrokerAway, std::string(status.message()));
  }
  if (!status.ok()) return status;
  return accept_welcome(packet, session_id_ != 0);
}

Status Session::accept_welcome(local::Packet& packet, bool resuming) {
  local::Welcome welcome{};
  if (!packet.read(&welcome)) return Status(Reason::kInternal, "a WELCOME that cannot be read");
  version_ = welcome.version;
  if (resuming) {
    if (welcome.resumed != 0 && welcome.session_id == session_id_) return {};
    lost_.store(true);
    return Status(Reason::kSessionLost, "the broker does not know this session any more");
  }
  const auto page_fd = packet.take_fd(0);
  doorbell_ = packet.take_fd(1);
  if (!page_fd || !doorbell_) {
    return Status(Reason::kInternal, "WELCOME came without its descriptors");
  }
  auto mapping = Mapping::map(page_fd.get(), welcome.page_bytes);
  if (!mapping) return mapping.status();
  auto page = std::make_shared<SessionPage>();
  page->mapping = std::move(*mapping);
  page->thread_lines = welcome.thread_lines;
  const auto* header = static_cast<const shm::SessionHeader*>(page->mapping.base());
  if (welcome.page_bytes < shm::session_page_bytes(welcome.thread_lines) ||
      header->magic != shm::kSessionMagic || header->version != shm::kSessionVersion) {
    return Status(Reason::kVersionMismatch, "the session page has another layout than this library")
        .with_limit(shm::kSessionVersion, header->version);
  }
  page_ = std::move(page);
  owner_ = welcome.owner;
  generation_ = welcome.generation;
  session_id_ = welcome.session_id;
  return {};
}

local::IoResult Session::transmit(AttachType type, std::uint32_t sequence,
                                  std::span<const std::byte> body, std::span<const std::byte> tail,
                                  std::span<const int> fds) {
  const local::PacketHeader header{.magic = local::kAttachMagic,
                                   .version = version_,
                                   .type = static_cast<std::uint16_t>(type),
                                   .length = 0,
                                   .sequence = sequence};
  return local::send_packet(socket_.get(), header, body, tail, fds, false);
}

Status Session::send(AttachType type, std::uint32_t sequence, std::span<const std::byte> body,
                     std::span<const std::byte> tail, std::span<const int> fds) {
  const auto sent = transmit(type, sequence, body, tail, fds);
  if (sent.ok()) return {};
  if (sent.io == local::Io::kFailed && sent.error == EMSGSIZE) {
    return Status(Reason::kInvalidArgument, "the request is too long for one packet");
  }
  return sent.io == local::Io::kAgain ? away() : hung_up();
}

Status Session::receive(std::uint32_t sequence, AttachType expected, local::Packet* packet,
                        std::int64_t deadline_ns) {
  for (;;) {
    if (!wait_readable(socket_.get(), deadline_ns)) return away();
    const auto got = packet->receive(socket_.get(), local::kAttachMagic, local::kAttachVersionMin,
                                     local::kAttachVersionMax, false);
    if (got.io == local::Io::kAgain) continue;
    // Said once when the broker closed with a request unread; what it sent before stands behind it.
    if (got.io == local::Io::kClosed && got.error == ECONNRESET) continue;
    if (!got.ok()) return hung_up();
    const auto type = static_cast<AttachType>(packet->header().type);
    if (expected == AttachType::kWelcome && type == AttachType::kFailed) return refusal(*packet);
    if (type != AttachType::kEvent && packet->header().sequence == sequence) {
      if (type == expected) return {};
      if (type == AttachType::kFailed) return refusal(*packet);
      return Status(Reason::kInternal, "the broker answered with a packet of another type");
    }
    // Anything else answers a request that was given up, or is an event: those are hints, for what
    // happened to a queue stands in its own memory.
  }
}

Status Session::request(AttachType type, std::span<const std::byte> body,
                        std::span<const std::byte> tail, AttachType expected, local::Packet* answer,
                        std::int64_t timeout_ms, std::span<const int> fds) {
  std::lock_guard lock(mutex_);
  if (timeout_ms < 0) timeout_ms = where_.timeout.count();
  asked_ms_ = timeout_ms;
  hang_ups_ = 0;
  const std::int64_t deadline_ns = monotonic_ns() + timeout_ms * kMs;
  for (;;) {
    if (ended()) return Status(Reason::kSessionLost, "this session has ended");
    Status status;
    if (!socket_) status = connect(deadline_ns);
    if (status.ok()) {
      const std::uint32_t sequence = ++sequence_;
      status = send(type, sequence, body, tail, fds);
      if (status.ok()) status = receive(sequence, expected, answer, deadline_ns);
      if (!status.is(Reason::kBrokerAway)) return status;
      socket_.reset();
    } else if (!status.is(Reason::kBrokerAway) && !status.is(Reason::kDaemonUnreachable)) {
      return status;
    }
    // Repeated after a lost answer, an exclusive create or a delete may meet its own work and say
    // EXISTS_OTHER_OPTIONS or NOT_FOUND; nothing is done twice. (Connections of pipes bring the
    // number of their request.)
    if (monotonic_ns() >= deadline_ns) return status;
    ::poll(nullptr, 0, kRetryMs);
  }
}

bool Session::post(AttachType type, std::span<const std::byte> body) {
  std::unique_lock lock(mutex_, std::try_to_lock);
  return lock.owns_lock() && socket_ && send(type, ++sequence_, body, {}).ok();
}

Status Session::look() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return {};
  if (ended()) return Status(Reason::kSessionLost, "this session has ended");
  const std::int64_t now = monotonic_ns();
  while (socket_) {
    const auto got = events_.receive(socket_.get(), local::kAttachMagic, local::kAttachVersionMin,
                                     local::kAttachVersionMax, false);
    if (got.io == local::Io::kAgain) {
      unreachable_since_ns_ = 0;
      return {};
    }
    if (!got.ok()) socket_.reset();
  }
  const auto verdict = [&]() -> Status {
    if (unreachable_since_ns_ == 0) return {};
    if (now - unreachable_since_ns_ < where_.timeout.count() * kMs) return {};
    return Status(Reason::kDaemonUnreachable,
                  "heddled is gone: nobody has listened on " + where_.socket +
                      " for longer than the timeout. What was in memory went with it; start "
                      "heddled and open the queue again");
  };
  if (now < next_try_ns_) return verdict();
  Status status = connect(now + kLookNs);
  next_try_ns_ = monotonic_ns() + 200 * kMs;
  if (!status.is(Reason::kDaemonUnreachable)) {
    unreachable_since_ns_ = 0;
    return status.is(Reason::kSessionLost) ? std::move(status) : Status();
  }
  if (unreachable_since_ns_ == 0) unreachable_since_ns_ = now;
  return verdict();
}

}  // namespace heddle::detail
