#include "daemon/broker/rights.h"

#include <grp.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

namespace heddle::broker {
namespace {

bool in_group(const objects::Caller& caller, gid_t gid) {
  return caller.gid == gid ||
         std::find(caller.groups.begin(), caller.groups.end(), gid) != caller.groups.end();
}

uint8_t from_bits(uint32_t rw) {
  return static_cast<uint8_t>(((rw & 4) ? local::kRightRead : 0) |
                              ((rw & 2) ? local::kRightWrite : 0));
}

bool parse_gid(std::string_view text, gid_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

uint8_t rights_of(const objects::Caller& caller, const Protection& protection) {
  if (caller.uid == 0) return local::kRightRead | local::kRightWrite | local::kRightOwner;
  if (caller.uid == protection.uid) {
    return local::kRightRead | local::kRightOwner | from_bits(protection.mode >> 6);
  }
  if (in_group(caller, protection.gid)) return from_bits(protection.mode >> 3);
  return from_bits(protection.mode);
}

Result<gid_t> group_for(const objects::Caller& caller, std::string_view text) {
  gid_t gid = 0;
  if (!parse_gid(text, &gid)) {
    std::vector<char> buffer(16 * 1024);
    group entry;
    group* found = nullptr;
    const std::string name(text);
    if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found) {
      return Status(Reason::kInvalidArgument, "there is no group '" + name + "'");
    }
    gid = found->gr_gid;
  }
  if (caller.uid != 0 && !in_group(caller, gid)) {
    return Status(Reason::kDenied,
                  "you are not in group '" + std::string(text) + "'; name one of your own");
  }
  return gid;
}

}  // namespace heddle::broker
