#include "daemon/config/listen_address.h"

#include <charconv>

namespace heddle::config {

Result<ListenAddress> parse_listen_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  const std::string host = text.substr(0, colon == std::string::npos ? text.size() : colon);
  ListenAddress address;
  const char* const end = text.data() + text.size();
  const char* const start = colon == std::string::npos ? end : text.data() + colon + 1;
  const auto [rest, error] = std::from_chars(start, end, address.port);
  if (colon == std::string::npos || error != std::errc() || rest != end) {
    return Status(Reason::kInvalidArgument, "\"listen\" has \"" + text +
                                                "\"; an address is written as "
                                                "\"127.0.0.1:PORT\" or \"[::1]:PORT\"");
  }
  address.v6 = host == "[::1]";
  if (!address.v6 && host != "127.0.0.1") {
    return Status(Reason::kInvalidArgument,
                  "\"listen\" has \"" + text +
                      "\": plaintext is served on 127.0.0.1 and ::1 only; any other address needs "
                      "mutual TLS and is refused until that is supported");
  }
  return address;
}

}  // namespace heddle::config
