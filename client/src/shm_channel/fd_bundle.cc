#include "client/src/shm_channel/fd_bundle.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proto/local/attach.h"

namespace heddle::detail {

namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(local::kBundleFdsMax * sizeof(int));

Status refused(int error) {
  if (error == EBADF) {
    return Status(Reason::kInvalidArgument, "one of the descriptors is not open");
  }
  if (error == ETOOMANYREFS || error == EMFILE || error == ENFILE) {
    return Status(Reason::kQuota,
                  std::string("no further descriptors can be sent now: ") + std::strerror(error));
  }
  return Status::from_errno(error, "sending descriptors");
}

}  // namespace

Result<local::Fd> make_bundle(std::span<const int> fds) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return refused(errno);
  }
  const local::Fd in(ends[0]);
  local::Fd bundle(ends[1]);
  char byte = 1;
  iovec vec{&byte, 1};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  if (::sendmsg(in.get(), &message, MSG_NOSIGNAL) < 0) return refused(errno);
  return bundle;
}

std::vector<Descriptor> open_bundle(const local::Fd& bundle) {
  char byte;
  iovec vec{&byte, 1};
  alignas(cmsghdr) char control[kControlBytes];
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  std::vector<Descriptor> fds;
  ssize_t got;
  do {
    got = ::recvmsg(bundle.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace heddle::detail
