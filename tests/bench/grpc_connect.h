// How the measured programs connect.
#ifndef HEDDLE_TESTS_BENCH_GRPC_CONNECT_H_
#define HEDDLE_TESTS_BENCH_GRPC_CONNECT_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace heddle::bench {

// `own`: a connection of its own; gRPC gives channels of the same target one together otherwise.
inline std::shared_ptr<grpc::Channel> channel_to(const std::string& path, bool own = false) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, own ? 1 : 0);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_GRPC_CONNECT_H_
