// The pid file: its lock says that a daemon runs here, its text says which.
#ifndef HEDDLE_DAEMON_OS_PIDFILE_H_
#define HEDDLE_DAEMON_OS_PIDFILE_H_

#include <sys/types.h>

#include <string>

#include "proto/local/fd.h"

namespace heddle::os {

using local::Fd;

// Holds an OFD lock for as long as it lives. The lock belongs to the open file, so it passes
// through fork() and dies with the last process that has it, however that dies: nothing stale can
// be left behind. The file itself stays.
class PidFile {
 public:
  enum class Outcome { kHeld, kTaken, kFailed };

  // kTaken: `holder` is the pid in the file; one that is not there yet, or is of a process that
  // has ended, is waited for up to 100 ms, and is 0 after that. kFailed: `why`.
  Outcome acquire(const std::string& path, pid_t* holder, std::string* why);
  bool write(pid_t pid, std::string* why);  // once it is held, and after the last fork
  void clear();                             // empties the file; call at a clean end

 private:
  std::string path_;
  Fd fd_;
};

// Whether any process holds a PidFile at `path`. False as well when it cannot be opened.
bool pid_file_locked(const std::string& path);

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_PIDFILE_H_
