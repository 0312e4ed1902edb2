#include "daemon/server/accept_loop.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/os/log.h"
#include "daemon/os/process.h"

namespace heddle::server {
namespace {

constexpr int kLookMs = 100;
constexpr int kSweepMs = 1'000;
constexpr uid_t kNobody = 65534;
constexpr uint64_t kBell = UINT64_MAX;

objects::Caller nobody() {
  objects::Caller caller;
  caller.uid = kNobody;
  caller.gid = kNobody;
  return caller;
}

// The kernel's word, taken when the peer connected.
bool credentials_of(int socket, objects::Caller* out) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return false;
  out->uid = credentials.uid;
  out->gid = credentials.gid;
  out->pid = credentials.pid;
  os::ProcessFacts facts;
  if (out->pid > 0 && os::process_facts(out->pid, &facts)) {
    out->command = std::make_shared<const std::string>(os::short_command(facts));
  }
  out->groups.resize(64);
  for (int attempt = 0; attempt < 2; ++attempt) {
    length = static_cast<socklen_t>(out->groups.size() * sizeof(gid_t));
    const int result = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, out->groups.data(), &length);
    out->groups.resize(length / sizeof(gid_t));
    if (result == 0) return true;
    if (errno != ERANGE) break;
  }
  out->groups.clear();  // fewer rights, never more
  return true;
}

// An HTTP/2 GOAWAY (ENHANCE_YOUR_CALM) with `why`, so that a client can tell what happened.
void say_goodbye(int socket, std::string_view why) {
  std::string frames("\0\0\0\x04\0\0\0\0\0", 9);  // an empty SETTINGS first
  const auto length = static_cast<uint32_t>(8 + why.size());
  frames += {static_cast<char>(length >> 16), static_cast<char>(length >> 8),
             static_cast<char>(length), '\x07', '\0', '\0', '\0', '\0', '\0'};
  frames += std::string("\0\0\0\0\0\0\0\x0b", 8);
  frames += why;
  (void)!send(socket, frames.data(), frames.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

AcceptLoop::AcceptLoop(std::vector<GrpcListener> listeners, Connections& connections,
                       std::function<void(int)> serve)
    : listeners_(std::move(listeners)),
      connections_(connections),
      serve_(std::move(serve)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  open_spare();
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kBell}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event);
  for (size_t i = 0; i < listeners_.size(); ++i) {
    const int fd = listeners_[i].fd.get();
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    event.data.u64 = i;
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  thread_ = std::thread([this] { run(); });
}

void AcceptLoop::stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  const uint64_t one = 1;
  (void)!write(bell_.get(), &one, sizeof one);
  thread_.join();
  listeners_.clear();
}

void AcceptLoop::open_spare() {
  if (spare_.get() < 0) spare_ = local::Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void AcceptLoop::run() {
  using Clock = std::chrono::steady_clock;
  auto next_sweep = Clock::now();
  while (!stopping_) {
    epoll_event events[8];
    const int count = epoll_wait(epoll_.get(), events, 8, connections_.count() ? kLookMs : -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 != kBell) accept_from(listeners_[events[i].data.u64]);
    }
    connections_.cut_crowded();
    if (const auto now = Clock::now(); now >= next_sweep) {
      next_sweep = now + std::chrono::milliseconds(kSweepMs);
      connections_.sweep();
      open_spare();
    }
  }
}

void AcceptLoop::accept_from(const GrpcListener& listener) {
  const int socket = accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket < 0) {
    if (errno == EMFILE || errno == ENFILE) refuse_for_want_of_descriptors(listener);
    return;
  }
  objects::Caller caller = nobody();
  if (!listener.tcp && !credentials_of(socket, &caller)) {
    close(socket);
    return;
  }
  const Result<int> number = connections_.adopt(socket, caller);
  if (number.ok()) {
    serve_(*number);
  } else {
    say_goodbye(socket, "heddle: " + number.status().to_string());
    os::log(os::LogLevel::kWarning, "grpc: refused a connection: %s",
            number.status().to_string().c_str());
  }
  close(socket);
}

// Without this the listener stays readable and nobody is told anything.
void AcceptLoop::refuse_for_want_of_descriptors(const GrpcListener& listener) {
  connections_.sweep();
  spare_ = {};
  const int socket = accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket >= 0) {
    say_goodbye(socket, "heddle: the broker is out of file descriptors [MEMORY_EXHAUSTED]");
    close(socket);
  }
  open_spare();
  std::this_thread::sleep_for(std::chrono::milliseconds(spare_.get() < 0 ? 10 : 1));
}

}  // namespace heddle::server
