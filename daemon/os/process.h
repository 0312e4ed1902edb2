// Other processes: pidfds, waiting, credentials of a socket's peer, what a person calls them.
#ifndef HEDDLE_DAEMON_OS_PROCESS_H_
#define HEDDLE_DAEMON_OS_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <string>

#include "proto/local/fd.h"

namespace heddle::os {

using local::Fd;

Fd open_pidfd(pid_t pid);            // empty: errno (ESRCH: gone)
bool pidfd_exited(int pidfd);        // never blocks
bool pidfd_signal(int pidfd, int signal);
pid_t pidfd_pid(int pidfd);          // from /proc/self/fdinfo; -1: gone, or not of our namespace

struct Peer {
  pid_t pid = -1;  // 0: outside our PID namespace; such a peer gets no pidfd
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  Fd pidfd;
  int pidfd_error = 0;  // errno, when there is none
};
// Who connected to this unix socket, as the kernel saw it at connect(). false: errno. pidfd stays
// empty when the process is gone already, or was replaced by another one with its number.
bool socket_peer(int socket, Peer* out);

struct Exit {
  bool signaled = false;
  int status = 0;  // exit code, or the signal's number
};
std::string exit_text(const Exit& exit);  // "exit status 1", "signal 9 (Killed)"
// Reaps a child by its pidfd without waiting. false: still running, or errno.
bool wait_pidfd(int pidfd, Exit* out);
// Reaps any child that has ended; 0: none has, -1: there are no children.
pid_t reap_any(Exit* out);

struct ProcessFacts {
  std::string comm;
  std::string cmdline;  // arguments joined by spaces; 4096 bytes at most
  uid_t uid = static_cast<uid_t>(-1);
};
bool process_facts(pid_t pid, ProcessFacts* out);  // false: no such process
// What a person calls it: the command line, cut off after 200 bytes; comm where there is none.
std::string short_command(const ProcessFacts& facts);

std::string own_executable();  // readlink of /proc/self/exe; "" when it cannot be read

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_PROCESS_H_
