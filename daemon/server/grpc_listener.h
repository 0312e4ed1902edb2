// What the gRPC plane listens on and how much it takes of one peer; without gRPC.
#pragma once

#include <cstdint>

#include "proto/local/fd.h"

namespace heddle::server {

struct GrpcListener {
  local::Fd fd;      // listening, stream
  bool tcp = false;  // peers act as nobody
};

struct ConnectionLimits {
  uint32_t connections_per_uid = 4'096;
  uint32_t calls_per_connection = 1'000;  // in flight, as announced; see admitted_max()
};

}  // namespace heddle::server
