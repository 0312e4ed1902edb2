#include "daemon/server/attach_server.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "daemon/os/log.h"
#include "daemon/os/process.h"

namespace heddle::server {
namespace {

constexpr int kAcceptsAtOnce = 64;
constexpr int64_t kGreetingNs = 30'000'000'000;  // until HELLO must have come

std::vector<gid_t> groups_of(int socket) {
  std::vector<gid_t> groups(64);
  while (true) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    if (errno != ERANGE) return {};
    groups.resize(bytes / sizeof(gid_t));
  }
}

Status no_descriptors() {
  return Status(Reason::kMemoryExhausted,
                "the broker is out of file descriptors; delete what is "
                "not needed, or raise its limit (LimitNOFILE)");
}

}  // namespace

AttachServer::AttachServer(broker::Loop& loop, broker::Core& core, local::Fd listener,
                           uint32_t connections_per_uid_max)
    : loop_(loop),
      core_(core),
      listener_(std::move(listener)),
      spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      connections_per_uid_max_(connections_per_uid_max) {
  ::fcntl(listener_.get(), F_SETFL, ::fcntl(listener_.get(), F_GETFL) | O_NONBLOCK);
  loop_.watch(listener_.get(), EPOLLIN, [this](uint32_t) { accept_some(); });
  core_.on_object_event([this](uint64_t session_id, uint64_t object_id, local::EventType event) {
    tell(session_id, object_id, event);
  });
}

AttachServer::~AttachServer() {
  alive_.reset();
  core_.on_object_event(nullptr);
  loop_.unwatch(listener_.get());
  for (const auto& [fd, connection] : connections_) loop_.unwatch(fd);
}

void AttachServer::accept_some() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    local::Fd socket(
        ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      admit(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE) {
      return refuse_for_lack_of_descriptors();
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

// Without this the waiting connection would keep the listener readable, and the loop spinning.
void AttachServer::refuse_for_lack_of_descriptors() {
  os::log(os::LogLevel::kWarning, "out of file descriptors: a client was turned away");
  spare_.reset();
  refuse(local::Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)),
         no_descriptors());
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void AttachServer::refuse(local::Fd socket, const Status& why) {
  if (!socket) return;
  AttachConnection connection(*this, std::move(socket), objects::Caller(), local::Fd());
  connection.send_failed(why, 0);
  connection.mark_closed();
}

void AttachServer::admit(local::Fd socket) {
  os::Peer peer;
  if (!os::socket_peer(socket.get(), &peer)) return;
  objects::Caller caller;
  caller.uid = peer.uid;
  caller.gid = peer.gid;
  caller.pid = peer.pid;
  caller.groups = groups_of(socket.get());
  const bool outside = peer.pid == 0;
  if (!outside && !peer.pidfd) {
    const bool scarce = peer.pidfd_error == EMFILE || peer.pidfd_error == ENFILE;
    if (scarce) refuse(std::move(socket), no_descriptors());
    return;  // else it is gone already
  }
  Status refusal;
  const auto mine = per_uid_.find(caller.uid);
  const uint32_t open = mine == per_uid_.end() ? 0 : mine->second;
  if (outside) {
    refusal = Status(Reason::kUnsupported,
                     "this process is outside the daemon's PID namespace, where its death cannot "
                     "be seen; use gRPC (HEDDLE_PLANE=grpc)");
  } else if (open >= connections_per_uid_max_) {
    refusal = Status(Reason::kQuota, "you have as many connections as one user may")
                  .with_limit(connections_per_uid_max_, open);
  }
  if (!refusal.ok()) return refuse(std::move(socket), refusal);
  const int fd = socket.get();
  auto connection =
      std::make_shared<AttachConnection>(*this, std::move(socket), caller, std::move(peer.pidfd));
  if (!loop_.watch(fd, EPOLLIN, [weak = std::weak_ptr(connection)](uint32_t events) {
        if (const auto self = weak.lock()) self->on_ready(events);
      })) {
    return;
  }
  ++per_uid_[caller.uid];
  connections_[fd] = connection;
  loop_.at(broker::monotonic_ns() + kGreetingNs,
           [this, alive = std::weak_ptr(alive_), weak = std::weak_ptr(connection)] {
             const auto self = weak.lock();
             if (alive.expired() || !self || self->closed() || self->greeted()) return;
             close(*self);
           });
}

void AttachServer::bind(AttachConnection& connection) {
  const auto [it, fresh] = by_session_.emplace(connection.session()->id, &connection);
  if (fresh) return;
  AttachConnection* older = std::exchange(it->second, &connection);
  older->release_session();
  close(*older);
}

void AttachServer::close(AttachConnection& connection) {
  const auto at = connections_.find(connection.fd());
  if (at == connections_.end()) return;
  const std::shared_ptr<AttachConnection> keep = at->second;
  connections_.erase(at);
  keep->mark_closed();
  loop_.unwatch(keep->fd());
  const auto mine = per_uid_.find(keep->caller().uid);
  if (mine != per_uid_.end() && --mine->second == 0) per_uid_.erase(mine);
  if (keep->session()) {
    by_session_.erase(keep->session()->id);
    core_.hung_up(keep->session());
  }
  ::shutdown(keep->fd(), SHUT_RDWR);
}

void AttachServer::tell(uint64_t session_id, uint64_t object_id, local::EventType event) {
  const auto at = by_session_.find(session_id);
  if (at != by_session_.end()) at->second->send_event(event, object_id, 0);
}

void AttachServer::drain(int64_t until_stop_ms) {
  loop_.unwatch(listener_.get());
  std::vector<std::shared_ptr<AttachConnection>> all;
  for (const auto& [fd, connection] : connections_) all.push_back(connection);
  for (const auto& connection : all) {
    if (connection->greeted()) {
      connection->send_event(local::EventType::kDraining, 0, until_stop_ms);
    }
  }
}

}  // namespace heddle::server
