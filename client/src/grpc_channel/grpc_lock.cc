#include "client/src/grpc_channel/grpc_lock.h"

#include "client/src/grpc_channel/lock_wire.h"
#include "client/src/grpc_channel/thread_number.h"
#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

constexpr std::size_t kWishesMax = 64;

template <class Request, class Response, class Method>
Status call(Remote& remote, Method method, Request& request, Response* response) {
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return (remote.locks.get()->*method)(&context, request, response);
  });
}

// The same for what waits: a repeat waits for what is left. While the broker is away it goes on
// beyond the deadline, for a grant that was given must not stay unknown.
template <class Request, class Response, class Method>
Status wait_for(Remote& remote, Method method, std::int64_t deadline_ns, Request& request,
                Response* response) {
  bool asked_before = false;
  const auto attempt = [&](grpc::ClientContext& context) {
    timeout_to(deadline_ns, &request);
    return (remote.locks.get()->*method)(&context, request, response);
  };
  return remote.call(deadline_ns, attempt, &asked_before);
}

// Of a request that names nothing but the object.
template <class Request, class Response, class Method>
Status plain(Remote& remote, Method method, const std::string& name) {
  Request request;
  Response response;
  request.set_name(name);
  return call(remote, method, request, &response);
}

}  // namespace

Status GrpcLock::need(SyncKind kind, const char* what) const {
  if (kind_ == kind) return {};
  return Status(Reason::kInvalidArgument, std::string(what) + " is not for this kind of object")
      .with_object(name_);
}

template <class Request>
Status GrpcLock::sign(Request* request, std::string_view id) {
  std::uint32_t thread = 0;
  Status status = ThreadNumber::own(&thread);
  request->set_thread(thread);
  if (!id.empty()) {
    request->set_request_id(std::string(id));
  } else if (remote_->session) {
    request->set_request_id(remote_->next_request_id());
  }
  return status;
}

Status GrpcLock::acquire(const LockAsk& ask, Grant* grant) {
  if (kind_ == SyncKind::kSemaphore && ask.n == 0) {
    return Status(Reason::kInvalidArgument, "at least one permit must be asked for")
        .with_object(name_);
  }
  v1::LockServiceAcquireRequest request;
  v1::LockServiceAcquireResponse response;
  request.set_kind(kind_to(kind_));
  request.set_name(name_);
  request.set_mode(mode_to(ask.mode));
  request.set_permits(ask.n);
  request.set_priority(ask.priority);
  Status status = sign(&request, ask.request_id);
  if (!status.ok()) return status;
  status = wait_for(*remote_, &LockStub::Acquire, ask.deadline_ns, request, &response);
  if (status.ok()) status = outcome_from(response);
  if (!status.ok()) return status;
  if (kind_ != SyncKind::kSemaphore) ThreadNumber::held(1);
  *grant = grant_from(response.grant());
  return {};
}

Status GrpcLock::acquire_many(std::span<const LockWant> wants, std::int64_t deadline_ns,
                              Grant* grants) {
  v1::LockServiceAcquireManyRequest request;
  v1::LockServiceAcquireManyResponse response;
  if (wants.size() > kWishesMax) return Reason::kUnsupported;
  for (const LockWant& want : wants) {
    const auto* lock = dynamic_cast<const GrpcLock*>(want.lock);
    if (lock == nullptr || lock->remote_ != remote_) return Reason::kUnsupported;
    v1::LockWish* wish = request.add_wishes();
    wish->set_kind(kind_to(lock->kind_));
    wish->set_name(lock->name_);
    wish->set_mode(mode_to(want.mode));
  }
  Status status = sign(&request);
  if (!status.ok()) return status;
  status = wait_for(*remote_, &LockStub::AcquireMany, deadline_ns, request, &response);
  if (!status.ok()) return status;
  for (int i = 0; i < response.grants_size() && i < response.index_size(); ++i) {
    if (response.index(i) < wants.size())
      grants[response.index(i)] = grant_from(response.grants(i));
  }
  status = outcome_from(response);
  if (status.ok()) ThreadNumber::held(static_cast<std::int64_t>(wants.size()));
  return status;
}

Status GrpcLock::release(LockMode mode, std::uint32_t n) {
  if (n == 0) return {};
  v1::LockServiceReleaseRequest request;
  v1::LockServiceReleaseResponse response;
  request.set_kind(kind_to(kind_));
  request.set_name(name_);
  request.set_mode(mode_to(mode));
  request.set_permits(n);
  Status status = sign(&request);
  if (status.ok()) status = call(*remote_, &LockStub::Release, request, &response);
  if (status.ok()) status = outcome_from(response);
  if (status.ok() && kind_ != SyncKind::kSemaphore) ThreadNumber::held(-1);
  return status;
}

Status GrpcLock::release_any(bool same_process) {
  v1::LockServiceReleaseRequest request;
  v1::LockServiceReleaseResponse response;
  request.set_kind(kind_to(kind_));
  request.set_name(name_);
  request.set_holder(same_process ? v1::LockServiceReleaseRequest::HOLDER_SESSION
                                  : v1::LockServiceReleaseRequest::HOLDER_ANY);
  Status status = sign(&request);
  if (status.ok()) status = call(*remote_, &LockStub::Release, request, &response);
  return status.ok() ? outcome_from(response) : status;
}

Status GrpcLock::convert(LockMode from, LockMode to, std::int64_t deadline_ns, Grant* grant) {
  if (Status wrong = need(SyncKind::kLock, "convert"); !wrong.ok()) return wrong;
  v1::LockServiceConvertRequest request;
  v1::LockServiceConvertResponse response;
  request.set_name(name_);
  request.set_from(mode_to(from));
  request.set_to(mode_to(to));
  Status status = sign(&request);
  if (!status.ok()) return status;
  status = wait_for(*remote_, &LockStub::Convert, deadline_ns, request, &response);
  if (status.ok()) status = outcome_from(response);
  if (status.ok()) *grant = grant_from(response.grant());
  return status;
}

Status GrpcLock::wait(LockChannel* lock, std::int64_t deadline_ns) {
  if (Status wrong = need(SyncKind::kCondition, "wait"); !wrong.ok()) return wrong;
  v1::LockServiceWaitRequest request;
  v1::LockServiceWaitResponse response;
  request.set_name(name_);
  if (lock != nullptr) {
    const auto* other = dynamic_cast<const GrpcLock*>(lock);
    if (other == nullptr || other->remote_ != remote_ || other->kind_ != SyncKind::kLock) {
      return Status(Reason::kInvalidArgument,
                    "wait needs a mutex or rlock of the same client, held by the caller")
          .with_object(name_);
    }
    request.set_lock(other->name_);
  }
  Status status = sign(&request);
  if (!status.ok()) return status;
  status = wait_for(*remote_, &LockStub::Wait, deadline_ns, request, &response);
  return status.ok() ? outcome_from(response) : status;
}

Result<std::uint32_t> GrpcLock::notify(std::uint32_t n, bool all) {
  if (Status wrong = need(SyncKind::kCondition, "notify"); !wrong.ok()) return wrong;
  if (n == 0 && !all) return 0u;
  v1::LockServiceNotifyRequest request;
  v1::LockServiceNotifyResponse response;
  request.set_name(name_);
  request.set_waiters(n);
  request.set_all(all);
  if (remote_->session) request.set_request_id(remote_->next_request_id());
  Status status = call(*remote_, &LockStub::Notify, request, &response);
  if (!status.ok()) return status;
  return response.done();
}

Status GrpcLock::wait_event(std::int64_t deadline_ns) {
  if (Status wrong = need(SyncKind::kEvent, "wait"); !wrong.ok()) return wrong;
  v1::LockServiceWaitEventRequest request;
  v1::LockServiceWaitEventResponse response;
  request.set_name(name_);
  Status status = wait_for(*remote_, &LockStub::WaitEvent, deadline_ns, request, &response);
  return status.ok() ? outcome_from(response) : status;
}

Status GrpcLock::set_event(bool set) {
  if (Status wrong = need(SyncKind::kEvent, "set and clear"); !wrong.ok()) return wrong;
  v1::LockServiceSetEventRequest request;
  v1::LockServiceSetEventResponse response;
  request.set_name(name_);
  request.set_clear(!set);
  return call(*remote_, &LockStub::SetEvent, request, &response);
}

Status GrpcLock::arrive(bool action, std::int64_t deadline_ns, std::uint32_t* index, bool* lead) {
  if (Status wrong = need(SyncKind::kBarrier, "arrive"); !wrong.ok()) return wrong;
  v1::LockServiceArriveRequest request;
  v1::LockServiceArriveResponse response;
  request.set_name(name_);
  request.set_action(action);
  Status status = sign(&request);
  if (!status.ok()) return status;
  status = wait_for(*remote_, &LockStub::Arrive, deadline_ns, request, &response);
  if (status.ok()) status = outcome_from(response);
  *index = response.index();
  *lead = response.lead();
  return status;
}

Status GrpcLock::finish_action() {
  v1::LockServiceFinishActionRequest request;
  v1::LockServiceFinishActionResponse response;
  request.set_name(name_);
  Status status = sign(&request);
  if (status.ok()) status = call(*remote_, &LockStub::FinishAction, request, &response);
  return status.ok() ? outcome_from(response) : status;
}

Status GrpcLock::abort_barrier() {
  if (Status wrong = need(SyncKind::kBarrier, "abort"); !wrong.ok()) return wrong;
  return plain<v1::LockServiceAbortBarrierRequest, v1::LockServiceAbortBarrierResponse>(
      *remote_, &LockStub::AbortBarrier, name_);
}

Status GrpcLock::reset_barrier() {
  if (Status wrong = need(SyncKind::kBarrier, "reset"); !wrong.ok()) return wrong;
  return plain<v1::LockServiceResetBarrierRequest, v1::LockServiceResetBarrierResponse>(
      *remote_, &LockStub::ResetBarrier, name_);
}

Status GrpcLock::join_barrier(bool join) {
  if (Status wrong = need(SyncKind::kBarrier, "join and leave"); !wrong.ok()) return wrong;
  v1::LockServiceJoinBarrierRequest request;
  v1::LockServiceJoinBarrierResponse response;
  request.set_name(name_);
  request.set_leave(!join);
  Status status = sign(&request);
  if (status.ok()) status = call(*remote_, &LockStub::JoinBarrier, request, &response);
  if (status.ok()) status = outcome_from(response);
  if (status.ok()) ThreadNumber::held(join ? 1 : -1);
  return status;
}

Result<LockGlance> GrpcLock::glance() {
  const auto info = inspect_lock(*remote_, kind_, name_, true);
  if (!info.ok()) return info.status();
  return glance_from(*info);
}

Result<LockInfo> GrpcLock::info() {
  const auto info = inspect_lock(*remote_, kind_, name_, false);
  if (!info.ok()) return info.status();
  return info_from(*info);
}

Status GrpcLock::force_release() { return detail::force_release(*remote_, kind_, name_, 0); }

Status GrpcLock::repair() {
  v1::LockServiceRepairRequest request;
  v1::LockServiceRepairResponse response;
  request.set_kind(kind_to(kind_));
  request.set_name(name_);
  return call(*remote_, &LockStub::Repair, request, &response);
}

}  // namespace heddle::detail
