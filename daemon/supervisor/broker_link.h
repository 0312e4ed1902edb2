// The supervisor's end of the keeper conversation with one broker.
#ifndef HEDDLE_DAEMON_SUPERVISOR_BROKER_LINK_H_
#define HEDDLE_DAEMON_SUPERVISOR_BROKER_LINK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "daemon/os/loop.h"
#include "daemon/supervisor/listeners.h"
#include "daemon/supervisor/vault.h"
#include "proto/local/keeper.h"

namespace heddle::supervisor {

// Never blocks: what the broker is slow to read waits here. Callbacks must not destroy the link.
class BrokerLink {
 public:
  struct Host {
    std::function<void()> on_ready;
    std::function<void(std::string)> on_status;
    std::function<void()> on_stopping;
    std::function<void(std::uint64_t)> on_pong;
    std::function<void(const char* why)> on_closed;  // once; the link says nothing more
    std::function<std::string()> config;
  };

  BrokerLink(os::Loop* loop, Vault* vault, const std::vector<Listener>* listeners, Fd socket,
             Host host);
  ~BrokerLink();
  BrokerLink(const BrokerLink&) = delete;
  BrokerLink& operator=(const BrokerLink&) = delete;

  void ping(std::uint64_t number);
  void stop(std::uint32_t drain_ms);
  void push_config(const std::string& json);

 private:
  using Send = std::function<local::IoResult()>;

  void on_socket(std::uint32_t events);
  bool handle(local::Packet* packet);  // false: malformed
  bool handle_keep(local::Packet* packet);
  bool handle_drop(const local::Packet& packet);
  void acknowledge(std::uint32_t sequence, int error);
  void return_all(std::uint32_t sequence);
  void send_listeners(std::uint32_t sequence);
  void send_text(local::KeeperType type, std::uint32_t sequence, std::string text);
  void enqueue(Send send);
  void flush();
  void close(const char* why);

  os::Loop* loop_;
  Vault* vault_;
  const std::vector<Listener>* listeners_;
  Fd socket_;
  Host host_;
  local::Packet packet_;
  std::deque<Send> outgoing_;
  bool writing_ = false;  // EPOLLOUT is asked for
};

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_BROKER_LINK_H_
