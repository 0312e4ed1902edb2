// The gRPC plane behind the channel seam, and the one symbol of libheddle_grpc.so.
#include <grpc/grpc.h>

#include "client/src/channel.h"
#include "client/src/grpc_channel/grpc_dict.h"
#include "client/src/grpc_channel/grpc_list.h"
#include "client/src/grpc_channel/grpc_lock.h"
#include "client/src/grpc_channel/grpc_pipe.h"
#include "client/src/grpc_channel/grpc_queue.h"
#include "client/src/grpc_channel/lock_wire.h"
#include "client/src/grpc_channel/remote.h"
#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

class GrpcChannel final : public Channel {
 public:
  explicit GrpcChannel(std::shared_ptr<Remote> remote) : remote_(std::move(remote)) {}

  ConnectionInfo describe() const override {
    ConnectionInfo info;
    info.plane = Plane::kGrpc;
    info.address = remote_->target;
    info.broker_version = remote_->version;
    if (remote_->session) {
      info.owner = static_cast<std::uint16_t>(remote_->session->id());
      info.generation = static_cast<std::uint32_t>(remote_->session->id() >> 16);
    }
    return info;
  }

  Result<std::shared_ptr<QueueChannel>> open_queue(std::string_view name,
                                                   const QueueOptions& options,
                                                   bool create) override {
    return create ? create_one(name, options) : open_one(name, options);
  }

  Status delete_queue(std::string_view name) override {
    v1::QueueServiceDeleteRequest request;
    v1::QueueServiceDeleteResponse response;
    request.set_name(std::string(name));
    return remote_->call(kTry, [&](grpc::ClientContext& context) {
      return remote_->queues->Delete(&context, request, &response);
    });
  }

  Result<std::string> share_queue(std::string_view name) override {
    v1::QueueServiceOpenRequest request;
    v1::QueueServiceOpenResponse response;
    request.set_name(std::string(name));
    request.set_share(true);
    Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
      return remote_->queues->Open(&context, request, &response);
    });
    if (!status.ok()) return status;
    return response.queue().name();
  }

  Result<std::vector<QueueInfo>> list(std::string_view prefix) override {
    std::vector<QueueInfo> all;
    v1::QueueServiceListRequest request;
    v1::QueueServiceListResponse response;
    request.set_prefix(std::string(prefix));
    do {
      Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
        return remote_->queues->List(&context, request, &response);
      });
      if (!status.ok()) return status;
      for (const auto& queue : response.queues()) all.push_back(info_from(queue));
      request.set_page_token(response.next_page_token());
    } while (!response.next_page_token().empty());
    return all;
  }

  Status ping() override { return ask_status().status(); }

  Result<BrokerStatus> status() override {
    auto answer = ask_status();
    if (!answer.ok()) return answer.status();
    BrokerStatus status;
    status.version = answer->version();
    status.pid = answer->pid();
    status.supervisor_pid = answer->supervisor_pid();
    status.incarnation = answer->incarnation();
    status.uptime = std::chrono::milliseconds(answer->uptime_ms());
    status.queues = answer->objects();
    status.sessions = answer->sessions();
    status.memory_bytes = answer->memory_bytes();
    status.memory_budget_bytes = answer->memory_bytes_max();
    return status;
  }

  Result<std::vector<SessionInfo>> sessions() override {
    std::vector<SessionInfo> all;
    v1::AdminServiceSessionsRequest request;
    v1::AdminServiceSessionsResponse response;
    do {
      Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
        return remote_->admin->Sessions(&context, request, &response);
      });
      if (!status.ok()) return status;
      for (const auto& row : response.sessions()) {
        SessionInfo& info = all.emplace_back();
        info.owner = static_cast<std::uint16_t>(row.peer().owner());
        info.generation = row.generation();
        info.plane = row.peer().plane() == "grpc" ? Plane::kGrpc : Plane::kShm;
        info.pid = row.peer().pid();
        info.uid = row.peer().uid();
        info.name = row.peer().name();
        info.command = row.command();
        info.attached = row.attached();
        info.age = std::chrono::milliseconds(row.age_ms());
      }
      request.set_page_token(response.next_page_token());
    } while (!response.next_page_token().empty());
    return all;
  }

  SessionState session_state() const noexcept override {
    return remote_->session ? remote_->session->state() : SessionState::kHeld;
  }

  Result<std::shared_ptr<LockChannel>> open_lock(std::string_view name,
                                                 const LockSpec& spec) override {
    return detail::open_lock(remote_, name, spec);
  }
  Status delete_lock(SyncKind kind, std::string_view name) override {
    return detail::delete_lock(*remote_, kind, name);
  }
  Result<std::vector<LockInfo>> locks(SyncKind kind, std::string_view prefix) override {
    return list_locks(*remote_, kind, prefix);
  }
  Result<LockInfo> lock_info(SyncKind kind, std::string_view name) override {
    const auto info = inspect_lock(*remote_, kind, name, false);
    if (!info.ok()) return info.status();
    return info_from(*info);
  }
  Status force_release(SyncKind kind, std::string_view name, std::uint16_t session) override {
    return detail::force_release(*remote_, kind, name, session);
  }
  Result<std::string> lock_report(LockReport which) override {
    return detail::lock_report(*remote_, which);
  }

  Result<std::shared_ptr<DictChannel>> open_dict(std::string_view name, const DictOptions& options,
                                                 bool create) override {
    return detail::open_dict(remote_, name, options, create);
  }
  Status delete_dict(std::string_view name) override { return detail::delete_dict(*remote_, name); }
  Result<std::vector<DictInfo>> dicts(std::string_view prefix) override {
    return list_dicts(*remote_, prefix);
  }
  Result<DictInfo> dict_info(std::string_view name) override {
    return detail::dict_info(*remote_, name);
  }

  Result<std::shared_ptr<ListChannel>> open_list(std::string_view name, const ListOptions& options,
                                                 bool create) override {
    return detail::open_list(remote_, name, options, create);
  }
  Status delete_list(std::string_view name) override { return detail::delete_list(*remote_, name); }
  Result<std::vector<ListInfo>> lists(std::string_view prefix) override {
    return list_lists(*remote_, prefix);
  }
  Result<ListInfo> list_info(std::string_view name) override {
    return detail::list_info(*remote_, name);
  }

  Result<std::shared_ptr<BlockChannel>> open_block(std::string_view name,
                                                   const BlockOptions& options,
                                                   bool create) override {
    return detail::open_block(remote_, name, options, create);
  }
  Status delete_block(std::string_view name) override {
    return detail::delete_block(*remote_, name);
  }
  Result<std::vector<BlockInfo>> blocks(std::string_view prefix) override {
    return list_blocks(*remote_, prefix);
  }
  Result<BlockInfo> block_info(std::string_view name) override {
    return detail::block_info(*remote_, name);
  }

  Status create_pipe(std::string_view name, const PipeOptions& options) override {
    return detail::create_pipe(*remote_, name, options);
  }
  Result<std::shared_ptr<PipeChannel>> open_pipe_end(std::string_view name, PipeSide side,
                                                     const PipeOptions& options) override {
    const auto how = side == PipeSide::kA ? v1::PipeServiceAttachRequest::HOW_END_A
                                          : v1::PipeServiceAttachRequest::HOW_END_B;
    return open_pipe(remote_, name, options, how, kNever);
  }
  Result<std::shared_ptr<PipeChannel>> connect_pipe(std::string_view name,
                                                    const PipeOptions& options,
                                                    std::int64_t deadline_ns) override {
    return open_pipe(remote_, name, options, v1::PipeServiceAttachRequest::HOW_CONNECT,
                     deadline_ns);
  }
  Result<std::shared_ptr<PipeHallChannel>> listen_pipe(std::string_view name,
                                                       const PipeOptions& options) override {
    return detail::listen_pipe(remote_, name, options);
  }
  Status delete_pipe(std::string_view name) override { return detail::delete_pipe(*remote_, name); }
  Result<std::vector<PipeInfo>> pipes(std::string_view prefix) override {
    return list_pipes(*remote_, prefix);
  }
  Result<PipeInfo> pipe_info(std::string_view name) override {
    return detail::pipe_info(*remote_, name);
  }

 private:
  Result<std::shared_ptr<QueueChannel>> create_one(std::string_view name,
                                                   const QueueOptions& options) {
    v1::QueueServiceCreateRequest request;
    v1::QueueServiceCreateResponse response;
    request.set_name(std::string(name));
    options_to(options, request.mutable_options());
    request.set_exclusive(!options.open_existing);
    request.set_anonymous(name.empty());
    Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
      return remote_->queues->Create(&context, request, &response);
    });
    if (!status.ok()) return status;
    return handle(response.queue());
  }

  Result<std::shared_ptr<QueueChannel>> open_one(std::string_view name,
                                                 const QueueOptions& options) {
    v1::QueueServiceOpenRequest request;
    v1::QueueServiceOpenResponse response;
    request.set_name(std::string(name));
    options_to(options, request.mutable_options());
    Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
      return remote_->queues->Open(&context, request, &response);
    });
    if (!status.ok()) return status;
    return handle(response.queue());
  }

  std::shared_ptr<QueueChannel> handle(const v1::QueueInfo& queue) {
    return std::make_shared<GrpcQueue>(remote_, queue.name(), queue.options().max_msg_bytes());
  }

  Result<v1::AdminServiceStatusResponse> ask_status() {
    v1::AdminServiceStatusResponse response;
    Status status = remote_->call(kTry, [&](grpc::ClientContext& context) {
      return remote_->admin->Status(&context, {}, &response);
    });
    if (!status.ok()) return status;
    return response;
  }

  std::shared_ptr<Remote> remote_;
};

}  // namespace
}  // namespace heddle::detail

extern "C" __attribute__((visibility("default"))) void heddle_grpc_connect_v1(
    const char* target, const heddle::ConnectOptions& options,
    heddle::Result<std::shared_ptr<heddle::detail::Channel>>* out) {
  // gRPC stops its threads with its last object and starts them with the next one: keep it up.
  [[maybe_unused]] static const bool kept = (grpc_init(), true);
  auto remote = std::make_shared<heddle::detail::Remote>(target, options);
  if (heddle::Status status = remote->connect(); !status.ok()) {
    *out = std::move(status);
  } else {
    *out = std::shared_ptr<heddle::detail::Channel>(
        std::make_shared<heddle::detail::GrpcChannel>(std::move(remote)));
  }
}
