// One connected local client.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/broker/core.h"
#include "daemon/server/attach_puts.h"
#include "proto/local/attach.h"
#include "proto/local/packet.h"

namespace heddle::server {

class AttachServer;

class AttachConnection : public std::enable_shared_from_this<AttachConnection> {
 public:
  AttachConnection(AttachServer& server, local::Fd socket, objects::Caller caller, local::Fd pidfd);

  // Reads and answers a few packets, or writes what is left over. The connection may be closed
  // (and *this gone, but for a reference that the caller holds) when it returns.
  void on_ready(uint32_t events);
  void send_event(local::EventType event, uint64_t object_id, int64_t value);
  void send_failed(const Status& status, uint32_t sequence);

  int fd() const { return socket_.get(); }
  const objects::Caller& caller() const { return caller_; }
  const broker::SessionRef& session() const { return session_; }
  bool greeted() const { return session_ != nullptr; }
  bool closed() const { return closed_; }
  void mark_closed() { closed_ = true; }
  void release_session() { session_.reset(); }

 private:
  struct Outgoing {
    std::vector<std::byte> bytes;  // after the header
    local::PacketHeader header;
    std::vector<int> fds;
    std::shared_ptr<void> keeps_fds;
  };

  void read_some();
  void flush();
  void answer(local::Packet& packet);
  Status hello(const local::Packet& packet, uint32_t sequence);
  Status open(const local::Packet& packet, uint32_t sequence);
  Status open_lock(const local::Open& request, broker::OpenFlags flags, uint32_t sequence);
  Status open_pipe(const local::Open& request, broker::OpenFlags flags, uint32_t sequence);
  Status open_member(const local::Open& request, broker::OpenFlags flags, uint32_t sequence);
  Status close_object(const local::Packet& packet, uint32_t sequence);
  Status delete_object(const local::Packet& packet, uint32_t sequence);
  Status call(const local::Packet& packet, uint32_t sequence);
  Status put_fenced(const local::Packet& packet, uint32_t sequence);
  Status grow(const local::Packet& packet, uint32_t sequence);
  Status lend(local::Packet& packet, uint32_t sequence);
  Status take_lent(const local::Packet& packet, uint32_t sequence);
  Status bye(uint32_t sequence);
  void done(uint64_t object_id, uint32_t sequence);
  void send(local::AttachType type, uint32_t sequence, std::span<const std::byte> body,
            std::string_view text = {}, std::vector<int> fds = {},
            std::shared_ptr<void> keeps_fds = nullptr);
  bool try_send(const Outgoing& out);
  void cut();

  AttachServer& server_;
  local::Fd socket_;
  objects::Caller caller_;
  local::Fd pidfd_;
  broker::SessionRef session_;
  std::deque<Outgoing> pending_;
  uint16_t version_ = 1;
  bool closed_ = false;
  std::unique_ptr<AttachPuts> puts_;  // once there was one
};

}  // namespace heddle::server
