// Opening, deleting and looking at locks over gRPC.
#include "client/src/grpc_channel/grpc_lock.h"
#include "client/src/grpc_channel/lock_wire.h"
#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

// `call(context)` of the lock service, of which any repeat is harmless.
template <class Method, class Request, class Response>
Status ask(Remote& remote, Method method, const Request& request, Response* response) {
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return (remote.locks.get()->*method)(&context, request, response);
  });
}

template <class Request, class Response, class Method>
Result<std::string> report(Remote& remote, Method method) {
  Response response;
  Status status = ask(remote, method, Request(), &response);
  if (!status.ok()) return status;
  return json_from(response.report());
}

}  // namespace

Result<std::shared_ptr<LockChannel>> open_lock(std::shared_ptr<Remote> remote,
                                               std::string_view name, const LockSpec& spec) {
  std::string full;
  if (spec.presence == Presence::kMust) {
    v1::LockServiceOpenRequest request;
    v1::LockServiceOpenResponse response;
    request.set_kind(kind_to(spec.kind));
    request.set_name(std::string(name));
    options_to(spec, request.mutable_options());
    Status status = ask(*remote, &LockStub::Open, request, &response);
    if (!status.ok()) return status;
    full = response.lock().name();
  } else {
    v1::LockServiceCreateRequest request;
    v1::LockServiceCreateResponse response;
    request.set_kind(kind_to(spec.kind));
    request.set_name(std::string(name));
    options_to(spec, request.mutable_options());
    request.set_exclusive(spec.presence == Presence::kMustNot);
    Status status = ask(*remote, &LockStub::Create, request, &response);
    if (!status.ok()) return status;
    full = response.lock().name();
  }
  return std::shared_ptr<LockChannel>(
      std::make_shared<GrpcLock>(std::move(remote), spec.kind, std::move(full)));
}

Status delete_lock(Remote& remote, SyncKind kind, std::string_view name) {
  v1::LockServiceDeleteRequest request;
  v1::LockServiceDeleteResponse response;
  request.set_kind(kind_to(kind));
  request.set_name(std::string(name));
  return ask(remote, &LockStub::Delete, request, &response);
}

Result<std::vector<LockInfo>> list_locks(Remote& remote, SyncKind kind, std::string_view prefix) {
  std::vector<LockInfo> all;
  v1::LockServiceListRequest request;
  v1::LockServiceListResponse response;
  request.set_kind(kind_to(kind));
  request.set_prefix(std::string(prefix));
  do {
    Status status = ask(remote, &LockStub::List, request, &response);
    if (!status.ok()) return status;
    for (const auto& lock : response.locks()) all.push_back(info_from(lock));
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return all;
}

Result<v1::LockInfo> inspect_lock(Remote& remote, SyncKind kind, std::string_view name,
                                  bool brief) {
  v1::LockServiceInspectRequest request;
  v1::LockServiceInspectResponse response;
  request.set_kind(kind_to(kind));
  request.set_name(std::string(name));
  request.set_brief(brief);
  Status status = ask(remote, &LockStub::Inspect, request, &response);
  if (!status.ok()) return status;
  return std::move(*response.mutable_lock());
}

Status force_release(Remote& remote, SyncKind kind, std::string_view name, std::uint16_t session) {
  v1::LockServiceForceReleaseRequest request;
  v1::LockServiceForceReleaseResponse response;
  request.set_kind(kind_to(kind));
  request.set_name(std::string(name));
  request.set_owner(session);
  Status status = ask(remote, &LockStub::ForceRelease, request, &response);
  return status.ok() ? outcome_from(response) : status;
}

Result<std::string> lock_report(Remote& remote, LockReport which) {
  switch (which) {
    case LockReport::kDeadlocks:
      return report<v1::LockServiceDeadlocksRequest, v1::LockServiceDeadlocksResponse>(
          remote, &LockStub::Deadlocks);
    case LockReport::kGraph:
      return report<v1::LockServiceGraphRequest, v1::LockServiceGraphResponse>(remote,
                                                                               &LockStub::Graph);
    default:
      return report<v1::LockServiceOrdersRequest, v1::LockServiceOrdersResponse>(remote,
                                                                                 &LockStub::Orders);
  }
}

}  // namespace heddle::detail
