// Why the supervisor did not keep something.
#pragma once

#include <heddle/status.h>

#include "proto/local/keeper.h"

namespace heddle::broker {

inline Status kept_status(const local::IoResult& result) {
  if (result.io == local::Io::kRefused) {
    return Status(Reason::kQuota,
                  "the daemon is out of file descriptors; delete objects, close connections, or "
                  "raise its limit (LimitNOFILE)");
  }
  // Not "away": waiting for it is of no use.
  return Status(Reason::kDaemonUnreachable,
                "the supervisor is gone, so nothing new can be made; restart the daemon");
}

}  // namespace heddle::broker
