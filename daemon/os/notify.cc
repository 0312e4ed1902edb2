#include "daemon/os/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "daemon/os/clock.h"

namespace heddle::os {
namespace {

std::string take_variable(const char* name) {
  const char* value = ::getenv(name);
  std::string text = value ? value : "";
  ::unsetenv(name);
  return text;
}

std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

constexpr int kFirstPassedFd = 3;

}  // namespace

Notifier Notifier::from_environment() {
  Notifier notifier;
  std::string address = take_variable("NOTIFY_SOCKET");
  const std::string usec = take_variable("WATCHDOG_USEC");
  const std::string pid = take_variable("WATCHDOG_PID");
  if (address.size() < 2 || address.size() >= sizeof(sockaddr_un::sun_path)) return notifier;
  if (address[0] != '/' && address[0] != '@') return notifier;
  if (address[0] == '@') address[0] = 0;
  notifier.address_ = std::move(address);
  notifier.socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const timeval wait{kSendMsMax / 1000, 0};
  ::setsockopt(notifier.socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (pid.empty() || ::atol(pid.c_str()) == ::getpid()) {
    notifier.watchdog_ms_ = ::strtoll(usec.c_str(), nullptr, 10) / 1000;
  }
  return notifier;
}

bool Notifier::send(std::string_view text, int fd) {
  if (!socket_) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, address_.data(), address_.size());
  iovec vec{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)];
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  }
  ssize_t n;
  do {
    n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | (stuck_ ? MSG_DONTWAIT : 0));
  } while (n < 0 && errno == EINTR);
  stuck_ = n < 0 && errno == EAGAIN;
  return n >= 0;
}

bool Notifier::ready(std::string_view status) {
  return send("READY=1\nSTATUS=" + one_line(status));
}

bool Notifier::status(std::string_view text) { return send("STATUS=" + one_line(text)); }

bool Notifier::reloading() {
  return send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(monotonic_ns() / 1000));
}

bool Notifier::stopping(std::string_view status) {
  return send("STOPPING=1\nSTATUS=" + one_line(status));
}

bool Notifier::watchdog() { return send("WATCHDOG=1"); }

bool Notifier::store(std::string_view name, int fd) {
  return send("FDSTORE=1\nFDPOLL=0\nFDNAME=" + one_line(name), fd);
}

bool Notifier::unstore(std::string_view name) {
  return send("FDSTOREREMOVE=1\nFDNAME=" + one_line(name));
}

std::vector<PassedFd> take_passed_fds() {
  const std::string pid = take_variable("LISTEN_PID");
  const std::string count_text = take_variable("LISTEN_FDS");
  std::string names = take_variable("LISTEN_FDNAMES");
  std::vector<PassedFd> passed;
  const long count = ::atol(count_text.c_str());
  if (pid.empty() || ::atol(pid.c_str()) != ::getpid() || count <= 0 || count > 1 << 20) {
    return passed;
  }
  std::size_t at = 0;
  for (int fd = kFirstPassedFd; fd < kFirstPassedFd + count; ++fd) {
    const std::size_t end = std::min(names.find(':', at), names.size());
    std::string name = at < names.size() ? names.substr(at, end - at) : "";
    at = end + 1;
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) passed.push_back({std::move(name), Fd(fd)});
  }
  return passed;
}

}  // namespace heddle::os
