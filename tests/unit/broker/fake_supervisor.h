// Stands in for the supervisor: keeps descriptors over as many brokers as the test starts.
#pragma once

#include <sys/socket.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/local/keeper.h"

namespace heddle::test {

class FakeSupervisor {
 public:
  ~FakeSupervisor() { disconnect(); }

  // The broker's end; an earlier one must be closed by then.
  local::Fd connect() {
    disconnect();
    int ends[2];
    ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    socket_.reset(ends[0]);
    thread_ = std::thread([this] { serve(); });
    return local::Fd(ends[1]);
  }
  // As when the supervisor dies, but what it keeps stays for the next connect().
  void disconnect() {
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    socket_.reset();
  }
  // Only while no broker is connected.
  std::map<std::pair<uint8_t, uint64_t>, local::Fd>& kept() { return kept_; }

 private:
  void serve() {
    local::Packet packet;
    while (local::receive_keeper(socket_.get(), &packet).ok()) {
      const auto type = static_cast<local::KeeperType>(packet.header().type);
      if (type == local::KeeperType::kReturnAll) {
        return_all(packet.header().sequence);
        continue;
      }
      local::KeepBody body;
      if (!packet.read(&body)) continue;
      local::AckBody ack{};
      labels_[{body.kind, body.key}] = std::string(local::label_of(body));
      if (type == local::KeeperType::kKeep) kept_[{body.kind, body.key}] = packet.take_fd(0);
      else if (kept_.erase({body.kind, body.key}) == 0) ack.error = ENOENT;
      (void)local::send_keeper(socket_.get(), local::KeeperType::kAck, packet.header().sequence,
                               local::bytes_of(ack));
    }
  }
  void return_all(uint32_t sequence) {
    std::vector<local::KeepBody> entries;
    std::vector<int> fds;
    for (const auto& [key, fd] : kept_) {
      entries.push_back(local::keep_body(static_cast<char>(key.first), key.second, labels_[key]));
      fds.push_back(fd.get());
    }
    const local::BatchBody batch{static_cast<uint32_t>(fds.size()), 0};
    (void)local::send_keeper(socket_.get(), local::KeeperType::kBatch, sequence,
                             local::bytes_of(batch), std::as_bytes(std::span(entries)), fds);
  }

  std::map<std::pair<uint8_t, uint64_t>, local::Fd> kept_;
  std::map<std::pair<uint8_t, uint64_t>, std::string> labels_;
  local::Fd socket_;
  std::thread thread_;
};

}  // namespace heddle::test
