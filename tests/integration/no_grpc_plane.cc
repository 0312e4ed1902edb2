// In the place of the gRPC plane in a broker under the sanitizers, which would take minutes to
// compile with it: nobody accepts on its sockets.
#include <utility>

#include "daemon/server/grpc_server.h"

namespace heddle::server {
namespace {

class NoGrpcPlane final : public GrpcServer {
 public:
  explicit NoGrpcPlane(std::vector<GrpcListener> listeners) : listeners_(std::move(listeners)) {}
  void drain(int64_t) override {}
  void set_connections_per_uid(uint32_t) override {}

 private:
  std::vector<GrpcListener> listeners_;
};

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(broker::Broker&, const GrpcOptions&,
                                                      std::vector<GrpcListener> listeners) {
  return std::unique_ptr<GrpcServer>(std::make_unique<NoGrpcPlane>(std::move(listeners)));
}

}  // namespace heddle::server
