// Opening, deleting and looking at pipes over gRPC.
#include <utility>

#include "client/src/grpc_channel/grpc_pipe.h"
#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

using How = v1::PipeServiceAttachRequest;

void pipe_options_to(const PipeOptions& options, v1::PipeOptions* wire) {
  if (options.mode) {
    wire->set_mode(*options.mode == PipeMode::kBytes ? v1::PipeOptions::MODE_BYTES
                                                     : v1::PipeOptions::MODE_MESSAGE);
  }
  if (options.duplex) wire->set_duplex(*options.duplex);
  if (options.capacity) wire->set_capacity(*options.capacity);
  if (options.max_msg_bytes) wire->set_max_msg_bytes(*options.max_msg_bytes);
  if (options.resumable) wire->set_resumable(*options.resumable);
  if (options.access) wire->set_access(*options.access);
  if (!options.group.empty()) wire->set_group(options.group);
}

// What the wire has no word for.
Status check_lifetime(const PipeOptions& options) {
  if (options.lifetime.value_or(Lifetime::kKept) == Lifetime::kKept) return {};
  return Status(Reason::kInvalidArgument, "lifetime: a pipe is kept until it is deleted")
      .with_limit(0, static_cast<std::uint64_t>(*options.lifetime));
}

}  // namespace

PipeOptions pipe_options_from(const v1::PipeOptions& wire) {
  PipeOptions options;
  options.mode = wire.mode() == v1::PipeOptions::MODE_BYTES ? PipeMode::kBytes : PipeMode::kMessage;
  options.duplex = wire.duplex();
  options.capacity = wire.capacity();
  options.max_msg_bytes = wire.max_msg_bytes();
  options.resumable = wire.resumable();
  options.lifetime = Lifetime::kKept;
  options.access = wire.access();
  return options;
}

namespace {

PipeEndInfo end_from(const v1::PipeEnd& wire) {
  using std::chrono::milliseconds;
  PipeEndInfo end;
  end.state = wire.state();
  for (const auto& user : wire.users()) end.users.push_back(pipe_user_from(user));
  end.bytes_sent = wire.bytes_sent();
  end.bytes_queued = wire.bytes_queued();
  end.shut = wire.shut();
  if (wire.has_send_blocked_ms()) end.send_blocked = milliseconds(wire.send_blocked_ms());
  if (wire.has_receive_blocked_ms()) end.receive_blocked = milliseconds(wire.receive_blocked_ms());
  end.died_pid = wire.died_pid();
  return end;
}

PipeInfo info_of(const v1::PipeInfo& wire) {
  PipeInfo info;
  info.name = wire.name();
  info.uid = wire.uid();
  info.gid = wire.gid();
  info.options = pipe_options_from(wire.options());
  info.listeners = wire.listeners();
  info.connection_count = wire.connection_count();
  for (const auto& one : wire.connections()) {
    info.connections.push_back(
        {.id = one.id(), .named = one.named(), .a = end_from(one.a()), .b = end_from(one.b())});
  }
  return info;
}

// Accepts by a stream for each connection; one more says meanwhile that somebody listens.
class GrpcPipeHall final : public PipeHallChannel {
 public:
  GrpcPipeHall(std::shared_ptr<Remote> remote, std::shared_ptr<PipeChannel> listens)
      : remote_(std::move(remote)), listens_(std::move(listens)) {}
  const std::string& name() const override { return listens_->name(); }
  Result<std::shared_ptr<PipeChannel>> accept(std::int64_t deadline_ns) override {
    return open_pipe(remote_, name(), {.create = false}, How::HOW_ACCEPT, deadline_ns);
  }

 private:
  const std::shared_ptr<Remote> remote_;
  const std::shared_ptr<PipeChannel> listens_;
};

}  // namespace

PipeUser pipe_user_from(const v1::PipeEnd::User& wire) {
  return {.session = static_cast<std::uint16_t>(wire.peer().owner()),
          .pid = wire.peer().pid(),
          .uid = wire.peer().uid(),
          .command = wire.peer().name(),
          .sending = wire.sending(),
          .receiving = wire.receiving()};
}

Status create_pipe(Remote& remote, std::string_view name, const PipeOptions& options) {
  if (Status bad = check_lifetime(options); !bad.ok()) return bad;
  v1::PipeServiceCreateRequest request;
  v1::PipeServiceCreateResponse response;
  request.set_name(std::string(name));
  pipe_options_to(options, request.mutable_options());
  request.set_exclusive(options.exclusive);
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.pipes->Create(&context, request, &response);
  });
}

Result<std::shared_ptr<PipeChannel>> open_pipe(std::shared_ptr<Remote> remote,
                                               std::string_view name, const PipeOptions& options,
                                               How::How how, std::int64_t deadline_ns) {
  if (Status bad = check_lifetime(options); !bad.ok()) return bad;
  if (options.create && options.exclusive) {
    if (Status status = create_pipe(*remote, name, options); !status.ok()) return status;
  }
  PipeRequest request;
  auto* open = request.mutable_open();
  open->set_name(std::string(name));
  open->set_how(how);
  pipe_options_to(options, open->mutable_options());
  open->set_existing(!options.create);
  timeout_to(deadline_ns, open);
  auto link = PipeLink::open(std::move(remote), request);
  if (!link) return std::move(link).status();
  const std::shared_ptr<PipeLink> open_link = *std::move(link);
  return std::shared_ptr<PipeChannel>(std::make_shared<GrpcPipe>(
      GrpcPipe::LinkRef(open_link.get(), [open_link](PipeLink*) { open_link->close(); })));
}

Result<std::shared_ptr<PipeHallChannel>> listen_pipe(std::shared_ptr<Remote> remote,
                                                     std::string_view name,
                                                     const PipeOptions& options) {
  auto listens = open_pipe(remote, name, options, How::HOW_LISTEN, kNever);
  if (!listens) return std::move(listens).status();
  return std::shared_ptr<PipeHallChannel>(
      std::make_shared<GrpcPipeHall>(std::move(remote), *std::move(listens)));
}

Status delete_pipe(Remote& remote, std::string_view name) {
  v1::PipeServiceDeleteRequest request;
  v1::PipeServiceDeleteResponse response;
  request.set_name(std::string(name));
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.pipes->Delete(&context, request, &response);
  });
}

Result<std::vector<PipeInfo>> list_pipes(Remote& remote, std::string_view prefix) {
  std::vector<PipeInfo> all;
  v1::PipeServiceListRequest request;
  v1::PipeServiceListResponse response;
  request.set_prefix(std::string(prefix));
  do {
    Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
      return remote.pipes->List(&context, request, &response);
    });
    if (!status.ok()) return status;
    for (const auto& pipe : response.pipes()) all.push_back(info_of(pipe));
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return all;
}

Result<PipeInfo> pipe_info(Remote& remote, std::string_view name) {
  v1::PipeServiceInfoRequest request;
  v1::PipeServiceInfoResponse response;
  request.set_name(std::string(name));
  Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.pipes->Info(&context, request, &response);
  });
  if (!status.ok()) return status;
  return info_of(response.pipe());
}

}  // namespace heddle::detail
