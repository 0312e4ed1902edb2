// Who asks: the credentials that the kernel gave for a connection, never what the peer claims.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace heddle::objects {

inline constexpr uint16_t kNoOwner = 0;

struct Caller {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;  // supplementary
  pid_t pid = 0;              // for people only
  // What ran there when it connected, for people; null where that is not known.
  std::shared_ptr<const std::string> command;
  // The session that the call belongs to; 0 = without a session. Set by open_session and its kin,
  // or by the attach server, never from the wire without that check.
  uint16_t owner = kNoOwner;
  uint64_t session_id = 0;
};

}  // namespace heddle::objects
