// The gRPC plane of the broker: services, health, reflection, over its own accept loop.
#pragma once

#include <heddle/limits.h>
#include <heddle/result.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/server/grpc_listener.h"

namespace grpc {
class ServerBuilder;
}  // namespace grpc

namespace heddle::server {

struct GrpcOptions {
  std::string version;  // shown by AdminService.Status
  ConnectionLimits limits;
  uint64_t message_bytes_max = kQueueMessageBytesDefault + kMiB;  // of one request
  // Of gRPC's own buffers, beside what one request of the largest size needs; beyond it calls are
  // refused.
  uint64_t memory_bytes_max = kGiB;
  // What is known of waits for locks, as JSON: "deadlocks", "graph", "orders".
  std::function<Result<std::string>(const objects::Caller&, const char* what)> lock_report;
};

// Limits, keepalive and threads of a server of ours; the benchmarks' bare server has the same.
void configure(grpc::ServerBuilder& builder, const GrpcOptions& options);

class GrpcServer {
 public:
  // Serves at once. The broker must outlive it.
  static Result<std::unique_ptr<GrpcServer>> start(broker::Broker& broker,
                                                   const GrpcOptions& options,
                                                   std::vector<GrpcListener> listeners);
  // As drain(0).
  virtual ~GrpcServer() = default;
  // Stops accepting, turns health to NOT_SERVING, tells open sessions, lets calls finish for up to
  // `drain_ms`, then cancels the rest; what they had taken goes back. Harmless twice.
  virtual void drain(int64_t drain_ms) = 0;
  // For connections to come. Threads: any.
  virtual void set_connections_per_uid(uint32_t most) = 0;
};

}  // namespace heddle::server
