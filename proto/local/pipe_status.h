// The same for pipes: an outcome of one end becomes a Status with name, limit and actual value.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string_view>

#include "proto/shm/pipe.h"

namespace heddle::local {

// `bytes`: of the body, if one was sent. `sends`: it waited for room, else for something to come.
Status pipe_status(shm::Outcome outcome, const shm::Pipe& end, std::string_view name,
                   uint64_t bytes, bool sends);

}  // namespace heddle::local
