// The listener of the attach protocol (proto/local/attach.h): local clients come in here.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "daemon/broker/core.h"
#include "daemon/broker/loop.h"
#include "daemon/server/attach_connection.h"
#include "proto/local/fd.h"

namespace heddle::server {

// Everything happens in the broker thread: construct it before the loop runs, destroy it after.
// Never waits for a client: what a client does not read is held up to a limit, then it is cut.
class AttachServer {
 public:
  AttachServer(broker::Loop& loop, broker::Core& core, local::Fd listener,
               uint32_t connections_per_uid_max);
  ~AttachServer();
  AttachServer(const AttachServer&) = delete;
  AttachServer& operator=(const AttachServer&) = delete;

  void set_connections_max(uint32_t per_uid) { connections_per_uid_max_ = per_uid; }
  // Takes no new clients and tells the present ones that the daemon is about to stop.
  void drain(int64_t until_stop_ms);
  size_t connection_count() const { return connections_.size(); }

 private:
  friend class AttachConnection;

  void accept_some();
  void admit(local::Fd socket);
  void refuse(local::Fd socket, const Status& why);
  void refuse_for_lack_of_descriptors();
  void close(AttachConnection& connection);
  // The session is now served by this connection; an older one is dropped.
  void bind(AttachConnection& connection);
  void tell(uint64_t session_id, uint64_t object_id, local::EventType event);

  broker::Loop& loop_;
  broker::Core& core_;
  local::Fd listener_;
  local::Fd spare_;  // closed for a moment to accept and refuse when descriptors run out
  uint32_t connections_per_uid_max_;
  std::unordered_map<int, std::shared_ptr<AttachConnection>> connections_;
  std::unordered_map<uint64_t, AttachConnection*> by_session_;
  std::unordered_map<uid_t, uint32_t> per_uid_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace heddle::server
