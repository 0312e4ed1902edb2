// The old way into the background: the caller returns to the shell only when the daemon serves.
#ifndef HEDDLE_DAEMON_SUPERVISOR_DAEMONIZE_H_
#define HEDDLE_DAEMON_SUPERVISOR_DAEMONIZE_H_

#include <string>

#include "proto/local/fd.h"

namespace heddle::supervisor {

// Tells the process that a person started how the start went. Without daemonize() it does nothing.
class StartReport {
 public:
  // Forks twice: the returning process is in a session of its own, not its leader, in /, with
  // umask 022 and stdin from /dev/null; stdout and stderr stay until detach_output(). The original
  // process never returns: it waits for the report and exits 0, or prints the reason and exits with
  // the status reported (1 when the daemon dies without a word). false: `why`.
  bool daemonize(std::string* why);

  void succeeded();
  void failed(int status, const std::string& reason);

 private:
  local::Fd pipe_;
};

// Points stdout and stderr at `path` (appended to), or at /dev/null when it is empty.
bool detach_output(const std::string& path);

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_DAEMONIZE_H_
