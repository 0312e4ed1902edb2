// What people ask about pipes, as JSON.
#pragma once

#include <heddle/result.h>

#include <string>
#include <string_view>

#include "daemon/broker/core.h"

namespace heddle::server {

// A page of pipes after the name `page_token`, as many as fit.
Result<std::string> list_pipes_json(broker::Core& core, const objects::Caller& caller,
                                    std::string_view prefix, std::string_view page_token,
                                    uint32_t page_size, size_t bytes_max);
// One pipe with its connections, as many as fit; "left_off" says how many did not.
Result<std::string> describe_pipe_json(broker::Core& core, const objects::Caller& caller,
                                       std::string_view name, size_t bytes_max);
// Who uses the other end of a connection that the caller uses; see local::CallMethod::kPipePeer.
Result<std::string> pipe_peer_json(broker::Core& core, const objects::Caller& caller,
                                   std::string_view arguments);

}  // namespace heddle::server
