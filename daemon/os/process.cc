#include "daemon/os/process.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "daemon/os/files.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace heddle::os {
namespace {

Exit exit_of(const siginfo_t& info) {
  return {info.si_code != CLD_EXITED, info.si_status};
}

// The number may have been given to another process between connect() and pidfd_open(). A peer
// that is still connected and has the credentials of the socket is accepted.
Fd pidfd_by_number(int socket, const Peer& peer) {
  Fd pidfd = open_pidfd(peer.pid);
  if (!pidfd) return Fd();
  pollfd hangup{socket, POLLRDHUP, 0};
  ::poll(&hangup, 1, 0);
  ProcessFacts facts;
  const bool same = process_facts(peer.pid, &facts) && facts.uid == peer.uid;
  if (hangup.revents & (POLLHUP | POLLRDHUP | POLLERR) || !same || pidfd_exited(pidfd.get())) {
    return Fd();
  }
  return pidfd;
}

}  // namespace

Fd open_pidfd(pid_t pid) { return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool pidfd_exited(int pidfd) {
  pollfd entry{pidfd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

bool pidfd_signal(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

pid_t pidfd_pid(int pidfd) {
  std::string text;
  if (!read_file("/proc/self/fdinfo/" + std::to_string(pidfd), 4096, &text)) return -1;
  const std::size_t at = text.find("\nPid:");
  return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + 5);
}

bool socket_peer(int socket, Peer* out) {
  ucred credentials;
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return false;
  out->pid = credentials.pid;
  out->uid = credentials.uid;
  out->gid = credentials.gid;
  out->pidfd.reset();
  if (out->pid <= 0) return true;
  int pidfd = -1;
  length = sizeof pidfd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0) {
    out->pidfd.reset(pidfd);
  } else if (errno == ENOPROTOOPT) {
    out->pidfd = pidfd_by_number(socket, *out);
  }
  if (!out->pidfd) out->pidfd_error = errno;
  return true;
}

std::string exit_text(const Exit& exit) {
  if (!exit.signaled) return "exit status " + std::to_string(exit.status);
  const char* name = ::strsignal(exit.status);
  return "signal " + std::to_string(exit.status) + " (" + (name ? name : "unknown") + ")";
}

bool wait_pidfd(int pidfd, Exit* out) {
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info,
               WEXITED | WNOHANG) != 0 ||
      info.si_pid == 0) {
    return false;
  }
  *out = exit_of(info);
  return true;
}

pid_t reap_any(Exit* out) {
  siginfo_t info{};
  if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0) return -1;
  if (info.si_pid != 0) *out = exit_of(info);
  return info.si_pid;
}

bool process_facts(pid_t pid, ProcessFacts* out) {
  const std::string directory = "/proc/" + std::to_string(pid);
  struct stat status;
  if (::stat(directory.c_str(), &status) != 0) return false;
  out->uid = status.st_uid;
  if (!read_file(directory + "/comm", 64, &out->comm)) return false;
  if (!out->comm.empty() && out->comm.back() == '\n') out->comm.pop_back();
  if (!read_file(directory + "/cmdline", 4096, &out->cmdline)) return false;
  while (!out->cmdline.empty() && out->cmdline.back() == 0) out->cmdline.pop_back();
  for (char& c : out->cmdline) {
    if (c == 0) c = ' ';
  }
  return true;
}

std::string short_command(const ProcessFacts& facts) {
  constexpr std::size_t kShown = 200;
  std::string text = facts.cmdline.empty() ? facts.comm : facts.cmdline.substr(0, kShown);
  if (facts.cmdline.size() > kShown) text += "...";
  // It goes into JSON, protobuf strings and terminals.
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = ' ';
    if (byte > 0x7f) c = '?';
  }
  return text;
}

std::string own_executable() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : std::string();
}

}  // namespace heddle::os
