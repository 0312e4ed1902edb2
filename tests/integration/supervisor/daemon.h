// heddled over the fake broker, in a directory of its own; ended and checked when it goes.
#ifndef HEDDLE_TESTS_INTEGRATION_SUPERVISOR_DAEMON_H_
#define HEDDLE_TESTS_INTEGRATION_SUPERVISOR_DAEMON_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "proto/local/fd.h"
#include "tests/support/temp_dir.h"

namespace heddle::test {

struct Ended {
  int status = -1;  // exit status; 128 + n for signal n
  std::string out, err;
};

class Heddled {
 public:
  Heddled();
  ~Heddled();  // SIGTERM, then waits

  std::string dir() const { return temp_.path(); }
  std::string file(const std::string& name) const { return temp_.file(name); }
  void write_config(const std::string& json);
  std::string log() const;

  std::map<std::string, std::string> environment;  // beside our own
  std::vector<std::string> flags;
  std::vector<std::pair<std::string, int>> passed_fds;  // as LISTEN_FDS, by name

  void start();                                   // the usual flags, and waits for an answer
  pid_t launch(const std::vector<std::string>& arguments);
  Ended run(const std::vector<std::string>& arguments);  // launch and wait
  std::vector<std::string> usual() const;         // --config, --runtime-dir, --state-dir, flags
  int wait();                                     // for the daemon's exit; as Ended::status
  pid_t pid() const { return pid_; }
  void signal(int number) const;
  void forget() { pid_ = 0; }

  // Sends one command to the fake broker, trying until one answers (10 s at most).
  std::string tell(const std::string& command);
  pid_t broker_pid() { return std::stoi(tell("pid")); }

 private:
  TempDir temp_;
  pid_t pid_ = 0;
};

bool eventually(const std::function<bool()>& holds);  // within 10 s
bool contains(const std::string& text, const std::string& part);
bool process_gone(pid_t pid);                         // no such process, not even a zombie
bool process_ended(pid_t pid);                        // gone, or a zombie that nobody has reaped

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_INTEGRATION_SUPERVISOR_DAEMON_H_
