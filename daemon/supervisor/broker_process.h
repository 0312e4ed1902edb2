// One broker process, from spawn to exit status.
#ifndef HEDDLE_DAEMON_SUPERVISOR_BROKER_PROCESS_H_
#define HEDDLE_DAEMON_SUPERVISOR_BROKER_PROCESS_H_

#include <sys/types.h>

#include <string>

#include "proto/local/fd.h"

namespace heddle::supervisor {

using local::Fd;

// bin/../libexec/heddle/heddle-broker, seen from this executable; HEDDLE_BROKER replaces it (for
// tests). false: `why`, nothing executable there.
bool find_broker(std::string* path, std::string* why);

class BrokerProcess {
 public:
  // Starts `path` in a process group of its own (a terminal's ^C is ours to pass on), with default
  // signals, the keeper socket as descriptor 3 and HEDDLE_KEEPER_FD=3. posix_spawn: no copy of our
  // memory. false: `why`.
  bool start(const std::string& path, std::string* why);

  pid_t pid() const { return pid_; }  // 0: none runs
  bool signal(int number) const;
  Fd take_link() { return std::move(link_); }  // our end of the keeper socket
  void ended() {                                // it has been reaped
    pid_ = 0;
    pidfd_.reset();
  }

 private:
  pid_t pid_ = 0;
  Fd pidfd_;
  Fd link_;
};

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_BROKER_PROCESS_H_
