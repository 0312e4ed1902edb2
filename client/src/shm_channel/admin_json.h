// Reads the JSON text that the broker's administrative calls return. Fields that are missing keep
// their defaults: a newer or older broker may say more or less.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_ADMIN_JSON_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_ADMIN_JSON_H_

#include <heddle/client.h>
#include <heddle/result.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace heddle::detail {

struct Holder {
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::string command;
};

// All: INTERNAL if the text is no JSON object.
Result<QueueInfo> parse_queue_info(const std::string& text);
Result<std::string> parse_name(const std::string& text);
// Appends one page; gives the token of the next one, empty after the last.
Result<std::string> parse_list(const std::string& text, std::vector<QueueInfo>* out);
Result<std::string> parse_sessions(const std::string& text, std::vector<SessionInfo>* out);
Result<BrokerStatus> parse_status(const std::string& text);
// By message id; empty if the text cannot be read.
std::map<std::uint64_t, Holder> parse_holders(const std::string& text);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_ADMIN_JSON_H_
