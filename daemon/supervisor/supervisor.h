// The supervisor proper: one loop over signals, timers and the broker's link.
#ifndef HEDDLE_DAEMON_SUPERVISOR_SUPERVISOR_H_
#define HEDDLE_DAEMON_SUPERVISOR_SUPERVISOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <heddle/status.h>

#include "daemon/config/load.h"
#include "daemon/os/loop.h"
#include "daemon/os/notify.h"
#include "daemon/os/process.h"
#include "daemon/supervisor/broker_link.h"
#include "daemon/supervisor/broker_process.h"
#include "daemon/supervisor/daemonize.h"
#include "daemon/supervisor/listeners.h"
#include "daemon/supervisor/vault.h"

namespace heddle::supervisor {

// Single-threaded. Make it after the last fork.
class Supervisor {
 public:
  Supervisor(config::CommandLine command_line, config::Loaded loaded, StartReport* report);

  // Takes over what the manager passed, opens the sockets. A failure says what to do.
  Status prepare(std::vector<os::PassedFd> passed);
  int run();  // until a signal ends it; the exit status of the process

 private:
  enum class State { kStarting, kServing, kWaiting, kStopping };

  void on_signal(int signal);
  void reap();
  void start_broker();
  void link_broker();
  void on_broker_ready();
  void on_broker_exit(const os::Exit& exit);
  void on_link_closed(const char* why);
  void restart_later(const std::string& why);
  void stop();
  void finish(int status);
  void fail_start(const std::string& why);
  void reload();
  Status reload_options();
  void reloaded();
  void check_health();
  std::string status_text() const;

  config::CommandLine command_line_;
  config::Options options_;
  std::string config_file_;
  StartReport* report_;
  os::Notifier notifier_;
  os::Loop loop_;
  Vault vault_;
  std::vector<Listener> listeners_;
  std::string broker_path_;
  BrokerProcess broker_;
  std::unique_ptr<BrokerLink> link_;

  State state_ = State::kStarting;
  bool ever_ready_ = false;
  int exit_status_ = 0;
  std::string broker_status_;
  std::uint64_t restarts_ = 0;
  std::uint64_t delay_ms_ = 0;       // before the next restart
  std::int64_t ready_since_ms_ = 0;  // 0: not ready
  std::uint64_t pings_ = 0, pongs_ = 0;  // the newest sent and answered, of this broker
  std::uint64_t health_ping_ = 0;
  std::uint64_t reload_ping_ = 0;  // follows a new configuration; 0: none is on its way
  bool silence_logged_ = false;
  os::Loop::TimerId start_timer_ = 0;
};

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_SUPERVISOR_H_
