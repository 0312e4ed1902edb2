// The listening sockets: made here, taken from socket activation, or taken back after a restart.
#ifndef HEDDLE_DAEMON_SUPERVISOR_LISTENERS_H_
#define HEDDLE_DAEMON_SUPERVISOR_LISTENERS_H_

#include <string>
#include <vector>

#include <heddle/status.h>

#include "daemon/config/options.h"
#include "daemon/os/notify.h"
#include "proto/local/keeper.h"

namespace heddle::supervisor {

struct Listener {
  local::ListenerKind kind = local::ListenerKind::kGrpc;
  std::string address;  // a path, or "127.0.0.1:7420" with the port that was really taken
  local::Fd fd;
  bool from_manager = false;  // activation or an earlier life: its path is not ours to unlink
};

// Makes whatever is not in `passed` (from which it takes what fits; the rest is closed by the
// caller). A socket file left in the runtime directory is removed: the caller holds the pid file's
// lock, so nobody serves it. The unix sockets get mode 0666, or 0660 and the group
// `connect_group`. A failure names the address.
Status open_listeners(const config::Options& options, std::vector<os::PassedFd>* passed,
                      std::vector<Listener>* out);

// Parks the sockets with the manager, so that clients that connect during a restart wait.
void park_listeners(os::Notifier* notifier, const std::vector<Listener>& listeners);

void unlink_listeners(const std::vector<Listener>& listeners);

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_LISTENERS_H_
