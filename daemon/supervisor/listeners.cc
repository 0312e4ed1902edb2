#include "daemon/supervisor/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "daemon/config/listen_address.h"

namespace heddle::supervisor {
namespace {

using local::Fd;
using local::ListenerKind;

constexpr int kBacklog = 4096;  // the kernel cuts it to net.core.somaxconn

int socket_option(int fd, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

struct UnixName {
  sockaddr_un address{};
  socklen_t length = 0;
};

Status unix_name(const std::string& path, UnixName* out) {
  constexpr std::size_t kPathMax = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() > kPathMax) {
    return Status(Reason::kInvalidArgument, path + ": too long for a unix socket; choose a "
                                                   "shorter runtime directory")
        .with_limit(kPathMax, path.size());
  }
  out->address.sun_family = AF_UNIX;
  std::memcpy(out->address.sun_path, path.c_str(), path.size() + 1);
  out->length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return Status();
}

Status open_to_clients(const std::string& path, const std::string& group) {
  gid_t gid = static_cast<gid_t>(-1);
  if (!group.empty()) {
    const struct group* entry = ::getgrnam(group.c_str());
    if (!entry) return Status(Reason::kInvalidArgument, "no group \"" + group + "\" here");
    gid = entry->gr_gid;
  }
  if ((gid != static_cast<gid_t>(-1) && ::lchown(path.c_str(), static_cast<uid_t>(-1), gid) != 0) ||
      ::chmod(path.c_str(), group.empty() ? 0666 : 0660) != 0) {
    return Status::from_errno(errno, path + ": cannot open it to clients");
  }
  return Status();
}

Status listen_unix(const std::string& path, int type, const std::string& group, Fd* out) {
  UnixName name;
  if (Status status = unix_name(path, &name); !status.ok()) return status;
  struct stat existing;
  if (::lstat(path.c_str(), &existing) == 0) {
    if (!S_ISSOCK(existing.st_mode)) {
      return Status(Reason::kInvalidArgument, path + ": is in the way and is no socket; remove it");
    }
    ::unlink(path.c_str());
  }
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t before = ::umask(0177);  // nobody connects before the rights are set
  const bool bound =
      fd && ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name.address), name.length) == 0;
  const int error = errno;
  ::umask(before);
  if (!bound) return Status::from_errno(error, path + ": cannot bind the socket");
  if (::listen(fd.get(), kBacklog) != 0) return Status::from_errno(errno, path + ": cannot listen");
  if (Status status = open_to_clients(path, group); !status.ok()) return status;
  *out = std::move(fd);
  return Status();
}

std::string tcp_text(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return "";
  const bool v6 = storage.ss_family == AF_INET6;
  const auto port = v6 ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_port
                       : reinterpret_cast<const sockaddr_in&>(storage).sin_port;
  return (v6 ? "[::1]:" : "127.0.0.1:") + std::to_string(ntohs(port));
}

Status listen_tcp(const std::string& text, Fd* out) {
  const auto parsed = config::parse_listen_address(text);
  if (!parsed.ok()) return parsed.status();
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(parsed->port);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  v6.sin6_port = htons(parsed->port);
  Fd fd(::socket(parsed->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr* address = parsed->v6 ? reinterpret_cast<const sockaddr*>(&v6)
                                       : reinterpret_cast<const sockaddr*>(&v4);
  if (!fd || ::bind(fd.get(), address, parsed->v6 ? sizeof v6 : sizeof v4) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return Status::from_errno(errno, text + ": cannot listen");
  }
  *out = std::move(fd);
  return Status();
}

// A passed listening socket of this type that is bound to `path`, which still exists.
Fd take_unix(std::vector<os::PassedFd>* passed, const std::string& path, int type) {
  for (os::PassedFd& item : *passed) {
    const int fd = item.fd.get();
    sockaddr_un name{};
    socklen_t length = sizeof name;
    if (fd < 0 || socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != type ||
        socket_option(fd, SO_ACCEPTCONN) != 1 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
      continue;
    }
    struct stat status;
    if (path == name.sun_path && ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
      ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
      return std::move(item.fd);
    }
  }
  return Fd();
}

Status open_unix(const config::Options& options, std::vector<os::PassedFd>* passed,
                 ListenerKind kind, std::vector<Listener>* out) {
  const bool grpc = kind == ListenerKind::kGrpc;
  const int type = grpc ? SOCK_STREAM : SOCK_SEQPACKET;
  Listener listener{kind, options.runtime_dir + (grpc ? "/grpc.sock" : "/local.sock"), Fd(), false};
  listener.fd = take_unix(passed, listener.address, type);
  listener.from_manager = static_cast<bool>(listener.fd);
  if (!listener.fd) {
    Status status = listen_unix(listener.address, type, options.connect_group, &listener.fd);
    if (!status.ok()) return status;
  }
  out->push_back(std::move(listener));
  return Status();
}

}  // namespace

Status open_listeners(const config::Options& options, std::vector<os::PassedFd>* passed,
                      std::vector<Listener>* out) {
  for (ListenerKind kind : {ListenerKind::kGrpc, ListenerKind::kLocal}) {
    if (Status status = open_unix(options, passed, kind, out); !status.ok()) return status;
  }
  for (const std::string& text : options.listen) {
    Listener listener{ListenerKind::kTcp, text, Fd(), false};
    if (Status status = listen_tcp(text, &listener.fd); !status.ok()) return status;
    listener.address = tcp_text(listener.fd.get());
    out->push_back(std::move(listener));
  }
  return Status();
}

void park_listeners(os::Notifier* notifier, const std::vector<Listener>& listeners) {
  for (const Listener& listener : listeners) {
    if (listener.kind == ListenerKind::kTcp || listener.from_manager) continue;
    const char* name = listener.kind == ListenerKind::kGrpc ? "grpc" : "local";
    notifier->unstore(name);  // an older one that did not fit any more
    notifier->store(name, listener.fd.get());
  }
}

void unlink_listeners(const std::vector<Listener>& listeners) {
  for (const Listener& listener : listeners) {
    if (listener.kind == ListenerKind::kTcp || listener.from_manager) continue;
    ::unlink(listener.address.c_str());
  }
}

}  // namespace heddle::supervisor
