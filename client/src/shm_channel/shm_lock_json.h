// Reads what the broker says about locks (CallMethod::kLockDo). Fields that are missing keep their
// defaults.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_JSON_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_JSON_H_

#include <heddle/lock_options.h>
#include <heddle/result.h>

#include <cstdint>
#include <string>
#include <vector>

namespace heddle::detail {

// All: INTERNAL if the text is no JSON object.
Result<LockInfo> parse_lock_info(const std::string& text);
// Appends one page; gives the token of the next one, empty after the last.
Result<std::string> parse_lock_list(const std::string& text, std::vector<LockInfo>* out);
// The sentence about the last circle that was broken at this process; empty if there is none.
std::string parse_own_deadlock(const std::string& text, std::int32_t pid);

// Puts reports that come in pages, the newest first, into one list, the oldest first. Appends one
// page; gives the number that the next one ends before, 0 after the last.
Result<std::uint64_t> parse_deadlocks(const std::string& text,
                                      std::vector<std::string>* newest_first);
std::string deadlocks_text(const std::vector<std::string>& newest_first);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_JSON_H_
