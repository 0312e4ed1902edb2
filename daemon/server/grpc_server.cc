#include "daemon/server/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>

#include "daemon/server/accept_loop.h"
#include "daemon/services/admin_service.h"
#include "daemon/services/block_service.h"
#include "daemon/services/dict_service.h"
#include "daemon/services/list_service.h"
#include "daemon/services/lock_service.h"
#include "daemon/services/pipe_service.h"
#include "daemon/services/queue_service.h"
#include "daemon/services/session_service.h"
#include "daemon/services/session_table.h"
#include "grpc/health/v1/health.pb.h"

namespace heddle::server {
namespace {

constexpr int64_t kGraceMsMax = 500;

// Methods that do not exist count as calls of their connection too.
class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  explicit UnknownMethods(services::Env& env) : env_(env) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Refusal final : public grpc::ServerGenericBidiReactor {
     public:
      void OnDone() override { delete this; }
      std::unique_ptr<services::Admission> admission;
    };
    auto* refusal = new Refusal;
    objects::Caller caller;
    Status status = env_.peers.admit(context->peer(), &caller, &refusal->admission);
    if (status.ok()) {
      status = Status(Reason::kUnsupported, "no such method; `grpcurl list` shows what there is")
                   .with_object("method " + context->method());
    }
    refusal->Finish(services::to_grpc(status));
    return refusal;
  }

 private:
  services::Env& env_;
};

class GrpcServerImpl final : public GrpcServer {
 public:
  GrpcServerImpl(broker::Broker& broker, const GrpcOptions& options)
      : connections_(options.limits),
        sessions_(broker),
        env_{broker,
             connections_,
             sessions_,
             worker_,
             lock_requests_,
             options.lock_report,
             [this](uint64_t session, const std::string& what) {
               session_service_.tell_lost(session, what);
             }},
        session_service_(env_),
        queue_service_(env_),
        lock_service_(env_),
        pipe_service_(env_),
        dict_service_(env_),
        list_service_(env_),
        block_service_(env_),
        admin_service_(env_, options.version),
        unknown_methods_(env_) {}
  ~GrpcServerImpl() override { drain(0); }

  Status start(const GrpcOptions& options, std::vector<GrpcListener> listeners) {
    static std::once_flag once;
    std::call_once(once, [] {
      grpc::EnableDefaultHealthCheckService(true);
      google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    });
    grpc::ServerBuilder builder;
    configure(builder, options);
    builder.RegisterService(&session_service_);
    builder.RegisterService(&queue_service_);
    builder.RegisterService(&lock_service_);
    builder.RegisterService(&pipe_service_);
    builder.RegisterService(&dict_service_);
    builder.RegisterService(&list_service_);
    builder.RegisterService(&block_service_);
    builder.RegisterService(&admin_service_);
    builder.RegisterCallbackGenericService(&unknown_methods_);
    server_ = builder.BuildAndStart();
    if (!server_) return {Reason::kInternal, "gRPC did not start"};
    accept_.emplace(std::move(listeners), connections_,
                    [this](int number) { grpc::AddInsecureChannelFromFd(server_.get(), number); });
    return {};
  }

  void drain(int64_t drain_ms) override {
    if (!server_) return;
    accept_->stop();
    server_->GetHealthCheckService()->SetServingStatus(false);
    session_service_.announce_drain();
    // What is still there after a moment waits for something, and a wait may be broken off.
    const auto grace = std::chrono::milliseconds(std::min(drain_ms, kGraceMsMax));
    server_->Shutdown(std::chrono::system_clock::now() + grace);
    server_->Wait();
    server_.reset();
  }

  void set_connections_per_uid(uint32_t most) override {
    connections_.set_connections_per_uid(most);
  }

 private:
  Connections connections_;
  services::SessionTable sessions_;
  objects::LockRequests lock_requests_;
  services::Env env_;
  services::SessionService session_service_;
  services::QueueService queue_service_;
  services::LockService lock_service_;
  services::PipeService pipe_service_;
  services::DictService dict_service_;
  services::ListService list_service_;
  services::BlockService block_service_;
  services::AdminService admin_service_;
  UnknownMethods unknown_methods_;
  services::Worker worker_;  // its last tasks use all of the above
  std::unique_ptr<grpc::Server> server_;
  std::optional<AcceptLoop> accept_;
};

}  // namespace

void configure(grpc::ServerBuilder& builder, const GrpcOptions& options) {
  grpc::ResourceQuota quota("heddle");
  quota.Resize(options.memory_bytes_max + 2 * options.message_bytes_max);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);  // see stream_guard.h
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(options.limits.calls_per_connection));
  // A connection that does not answer pings is gone or hostile: a minute of silence ends it.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  // Only reflection still is a service with threads of its own.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(broker::Broker& broker,
                                                      const GrpcOptions& options,
                                                      std::vector<GrpcListener> listeners) {
  auto server = std::make_unique<GrpcServerImpl>(broker, options);
  if (Status status = server->start(options, std::move(listeners)); !status.ok()) return status;
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace heddle::server
