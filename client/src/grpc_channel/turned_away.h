// Why a daemon hangs up on those who connect. It says so in an HTTP/2 GOAWAY, whose text gRPC 1.51
// keeps to itself.
#pragma once

#include <heddle/status.h>

#include <string>

namespace heddle::detail {

// Connects once more and reads what is said, for half a second at most. OK: nothing of that kind,
// or `target` is no "unix:PATH".
Status turned_away(const std::string& target);

}  // namespace heddle::detail
