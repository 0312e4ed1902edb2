// sd_notify(3) without libsystemd: what the service manager is told, and its descriptor store.
#ifndef HEDDLE_DAEMON_OS_NOTIFY_H_
#define HEDDLE_DAEMON_OS_NOTIFY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/local/fd.h"

namespace heddle::os {

using local::Fd;

// Without NOTIFY_SOCKET every call does nothing and answers false. Datagrams keep their order. A
// manager that does not read (its queue holds some ten datagrams) is waited for kSendMsMax once;
// from then on calls answer false at once, until one goes through again.
class Notifier {
 public:
  static constexpr int kSendMsMax = 2'000;

  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment, so
  // that no child speaks for us.
  static Notifier from_environment();

  bool active() const { return static_cast<bool>(socket_); }
  bool ready(std::string_view status);
  bool status(std::string_view text);
  bool reloading();  // with MONOTONIC_USEC; ready() ends it
  bool stopping(std::string_view status);
  bool watchdog();
  bool store(std::string_view name, int fd);  // FDSTORE, not polled by the manager
  bool unstore(std::string_view name);        // everything stored under that name
  bool send(std::string_view text, int fd = -1);

  std::int64_t watchdog_ms() const { return watchdog_ms_; }  // 0: no watchdog wanted

 private:
  Fd socket_;
  std::string address_;  // first byte 0: abstract
  std::int64_t watchdog_ms_ = 0;
  bool stuck_ = false;
};

struct PassedFd {
  std::string name;  // "" when LISTEN_FDNAMES is absent
  Fd fd;
};
// The descriptors that the manager passed to this process (LISTEN_PID, LISTEN_FDS,
// LISTEN_FDNAMES), made close-on-exec; the variables are taken out of the environment.
std::vector<PassedFd> take_passed_fds();

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_NOTIFY_H_
