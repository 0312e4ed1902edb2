// Accepts gRPC connections, finds out who they are, and hands them to a gRPC server. Own loop
// because gRPC 1.51's never accepts again after one EMFILE and tells no credentials.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "daemon/server/connections.h"
#include "daemon/server/grpc_listener.h"
#include "proto/local/fd.h"

namespace heddle::server {

class AcceptLoop {
 public:
  // Calls `serve(number)` for each connection, on a thread of its own, until stop().
  AcceptLoop(std::vector<GrpcListener> listeners, Connections& connections,
             std::function<void(int number)> serve);
  ~AcceptLoop() { stop(); }
  // No connection is accepted after this has returned. Harmless twice.
  void stop();

 private:
  void run();
  void accept_from(const GrpcListener& listener);
  void refuse_for_want_of_descriptors(const GrpcListener& listener);
  void open_spare();

  std::vector<GrpcListener> listeners_;
  Connections& connections_;
  std::function<void(int)> serve_;
  local::Fd epoll_, bell_;
  local::Fd spare_;  // given up to accept and close one connection when there are no others
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace heddle::server
