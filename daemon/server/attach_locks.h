// Calls of local clients about locks: what needs the broker's eyes.
#pragma once

#include <heddle/result.h>

#include <string>
#include <string_view>

#include "daemon/broker/core.h"

namespace heddle::server {

// The text of CallMethod::kLockDo: {"do": ..., "kind": "lock|sem|condition|event|barrier",
// "name": ...}; answers are JSON. Of a list that does not fit one packet the end is missing, and
// "left_off" says how many rows that are.
//   inspect        -> everything that lock_json shows, holders and waiters included
//   list           {"prefix","page_size","page_token"} -> {"objects":[...], "next_page_token"}
//   force_release  {"session","thread"}; 0 = whoever holds it, -1 = every thread; owner or root
//   repair         ends the poisoned state; owner or root
//   deadlocks      {"before"} -> {"deadlocks":[{number, found_unix_ms, text, circle:[...]}]}, the
//                  newest first, of those with a lower number than `before` (0: all)
//   orders         -> {"orders":[{first, second, command, other_command, found_unix_ms}]}
//   graph          -> {"edges":[{waiter:{...}, kind, name, mode, age_ms, holders:[{...}]}]}
Result<std::string> answer_lock_call(broker::Core& core, const objects::Caller& caller,
                                     std::string_view text, size_t bytes_max);

}  // namespace heddle::server
