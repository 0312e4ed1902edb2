// TCP addresses that the daemon may serve.
#ifndef HEDDLE_DAEMON_CONFIG_LISTEN_ADDRESS_H_
#define HEDDLE_DAEMON_CONFIG_LISTEN_ADDRESS_H_

#include <cstdint>
#include <string>

#include <heddle/result.h>

namespace heddle::config {

struct ListenAddress {
  bool v6 = false;         // ::1, else 127.0.0.1
  std::uint16_t port = 0;  // 0: the kernel chooses
};

// "127.0.0.1:7420" or "[::1]:7420". Every other address is refused: it needs mutual TLS.
Result<ListenAddress> parse_listen_address(const std::string& text);

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_LISTEN_ADDRESS_H_
