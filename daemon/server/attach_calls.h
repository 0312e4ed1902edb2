// The administrative calls of the attach protocol: JSON in, JSON out. Same answers as AdminService.
#pragma once

#include <heddle/result.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "daemon/broker/core.h"

namespace heddle::server {

// What stands around the rows of a page, a name among it.
inline constexpr size_t kPageFrameBytes = 512;

// Never more than `bytes_max`: lists come in pages that fit. Broker thread.
Result<std::string> answer_call(broker::Core& core, const objects::Caller& caller,
                                local::CallMethod method, std::string_view arguments,
                                size_t bytes_max);

// One line; bytes that are no UTF-8 are replaced.
std::string text_of(const nlohmann::json& value);

}  // namespace heddle::server
