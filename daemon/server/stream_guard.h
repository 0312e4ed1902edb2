// Finds connections with more streams open than they were told they may have.
//
// A client that never acknowledges SETTINGS escapes gRPC 1.51's own limit, and a unary call whose
// request never arrives reaches no handler that could count it; each costs some 11 KB. gRPC's
// channelz knows how many streams every connection has open.
#pragma once

#include <cstdint>
#include <vector>

namespace heddle::server {

class StreamGuard {
 public:
  // The numbers N ("fd:N") of connections with more than `streams_max` open streams. Looks only
  // when this process has grown since the last look, since it costs some 20 us per connection.
  std::vector<int> crowded(uint64_t streams_max);

 private:
  uint64_t looked_at_bytes_ = 0;
  std::vector<int64_t> ids_;  // channelz numbers of sockets
  int64_t next_id_ = 1;
};

}  // namespace heddle::server
