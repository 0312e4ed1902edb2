// Who may do what: mode bits, owner, group; as for files, with r and w only.
#pragma once

#include <heddle/result.h>

#include <cstdint>
#include <string_view>

#include "daemon/objects/caller.h"
#include "proto/local/attach.h"

namespace heddle::broker {

struct Protection {
  uid_t uid = 0;
  gid_t gid = 0;
  uint32_t mode = 0600;
};

// local::kRight... bits. Owner and root have kRightOwner; root has all, the owner what the mode
// says for the owner (and may see its own object whatever the mode says).
uint8_t rights_of(const objects::Caller& caller, const Protection& protection);

// A group by name or number; the caller must be in it (root may name any).
Result<gid_t> group_for(const objects::Caller& caller, std::string_view text);

}  // namespace heddle::broker
