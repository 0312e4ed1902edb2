// Options of pipes on their way between the wire and the memory protocol.
#pragma once

#include <heddle/result.h>

#include <string>

#include "daemon/broker/broker.h"
#include "proto/shm/pipe_layout.h"

namespace heddle::broker {

// Defaults filled in, the capacity rounded up. INVALID_ARGUMENT names field, limit and value.
Result<PipeOptions> complete_pipe(const PipeOptions& asked);
// EXISTS_OTHER_OPTIONS names the field and both values.
Status check_same_pipe(const PipeOptions& in_force, const PipeOptions& asked,
                       const std::string& label);
shm::PipeOptions pipe_options_of(const PipeOptions& wire);
const char* pipe_mode_name(uint8_t mode);

}  // namespace heddle::broker
