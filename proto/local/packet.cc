#include "proto/local/packet.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace heddle::local {
namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(kPacketFdsMax * sizeof(int));

IoResult failed(int error) {
  switch (error) {
    case EAGAIN: return {Io::kAgain, error};
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN: return {Io::kClosed, error};
    default: return {Io::kFailed, error};
  }
}

}  // namespace

const char* IoResult::text() const {
  switch (io) {
    case Io::kOk: return "ok";
    case Io::kAgain: return "would block";
    case Io::kClosed: return "closed by the peer";
    case Io::kTruncated: return "packet or descriptors did not fit";
    case Io::kMalformed: return "malformed packet";
    case Io::kRefused: return "refused by the peer";
    case Io::kFailed: return "failed";
  }
  return "unknown";
}

Packet::Packet(Close close)
    : close_(close), buffer_(std::make_unique_for_overwrite<std::byte[]>(kPacketBytesMax)) {}

Packet::~Packet() { clear(); }

void Packet::clear() {
  for (std::size_t i = 0; i < fd_count_; ++i) {
    if (fds_[i] >= 0) close_(fds_[i]);
  }
  fd_count_ = 0;
  body_bytes_ = 0;
  header_ = {};
}

Fd Packet::take_fd(std::size_t index) {
  if (index >= fd_count_) return Fd();
  return Fd(std::exchange(fds_[index], -1));
}

IoResult Packet::receive(int socket, std::uint32_t magic, std::uint16_t version_min,
                         std::uint16_t version_max, bool wait) {
  clear();
  alignas(cmsghdr) char control[kControlBytes];
  iovec vec{buffer_.get(), kPacketBytesMax};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return failed(errno);

  // Take every descriptor over before any check: what is not ours by then leaks.
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      if (fd_count_ < kPacketFdsMax) {
        fds_[fd_count_++] = fd;
      } else {
        close_(fd);
      }
    }
  }
  const auto reject = [this](Io io) {
    clear();
    return IoResult{io, 0};
  };
  if (message.msg_flags & MSG_TRUNC) return reject(Io::kTruncated);
  if (got == 0) return reject(Io::kClosed);
  const std::size_t length = static_cast<std::size_t>(got);
  if (length < sizeof(PacketHeader)) return reject(Io::kMalformed);
  PacketHeader header;
  std::memcpy(&header, buffer_.get(), sizeof header);
  if (header.magic != magic || header.version < version_min || header.version > version_max ||
      header.length != length) {
    return reject(Io::kMalformed);
  }
  if (message.msg_flags & MSG_CTRUNC) {
    clear();
    header_ = header;
    return {Io::kTruncated, EMFILE};
  }
  header_ = header;
  body_bytes_ = length - sizeof header;
  return {};
}

IoResult send_packet(int socket, PacketHeader header, std::span<const std::byte> body,
                     std::span<const std::byte> tail, std::span<const int> fds, bool wait) {
  const std::size_t length = sizeof header + body.size() + tail.size();
  if (fds.size() > kPacketFdsMax || length > kPacketBytesMax) return {Io::kFailed, EMSGSIZE};
  header.length = static_cast<std::uint32_t>(length);
  iovec vec[3] = {{&header, sizeof header},
                  {const_cast<std::byte*>(body.data()), body.size()},
                  {const_cast<std::byte*>(tail.data()), tail.size()}};
  msghdr message{};
  message.msg_iov = vec;
  message.msg_iovlen = 3;
  alignas(cmsghdr) char control[kControlBytes];
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return failed(errno);
  return {};
}

}  // namespace heddle::local
