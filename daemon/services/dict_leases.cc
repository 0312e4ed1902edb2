// DictService.GetOrLease and EndLease.
#include "daemon/objects/dict_leases.h"

#include <algorithm>
#include <mutex>

#include "daemon/services/dict_lookup.h"
#include "daemon/services/dict_service.h"
#include "daemon/services/dict_wire.h"

namespace heddle::services {
namespace {

using broker::MemberRef;
using broker::Need;
using broker::ObjectKind;
using objects::DictLeaseWait;

constexpr size_t kLeaseIdBytesMax = 64;

Status lease_ask_from(const v1::DictServiceGetOrLeaseRequest& request, const Caller& caller,
                      DictLeaseWait::Ask* out) {
  const int64_t lease_ms =
      request.lease_ms() == 0 ? local::kDictLeaseMsDefault : request.lease_ms();
  if (lease_ms < 1 || lease_ms > local::kDictLeaseMsMax) {
    return Status(Reason::kInvalidArgument, "lease_ms is from 1 to a day")
        .with_limit(local::kDictLeaseMsMax, static_cast<uint64_t>(lease_ms));
  }
  if (request.request_id().size() > kLeaseIdBytesMax) {
    return Status(Reason::kInvalidArgument, "a request id has 1 to 64 bytes")
        .with_limit(kLeaseIdBytesMax, request.request_id().size());
  }
  out->key = dict_key_from(request);
  out->id = request.request_id();
  out->owner = caller.session_id;
  out->lease_ms = lease_ms;
  out->early_ms = std::max<int64_t>(request.early_ms(), 0);
  out->wait_when_stale = request.wait_when_stale();
  return {};
}

class LeaseCall final : public Call {
 public:
  LeaseCall(Env& env, grpc::CallbackServerContext* context,
            const v1::DictServiceGetOrLeaseRequest& request,
            v1::DictServiceGetOrLeaseResponse* response)
      : Call(env, context), request_(request), response_(response) {}

  void start() {
    Status status = identified_;
    DictLeaseWait::Ask ask;
    if (status.ok()) status = find();
    if (status.ok()) {
      status = lease_ask_from(request_, caller_, &ask);
      if (!status.ok()) status = std::move(status).with_object(dict_->label());
    }
    if (!status.ok()) return finish(status);
    const int64_t deadline = deadline_ns(context_, timeout_of(request_), shm::kForever);
    const auto wait = DictLeaseWait::begin(dict_, std::move(ask), deadline,
                                           [this](const Status& ended, local::DictLeaseTold told) {
                                             answer_with(ended, std::move(told));
                                           });
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      wait_ = wait;
      cancelled = cancelled_;
    }
    if (cancelled) give_up(*wait);
  }

  // gRPC calls this from any thread, before or after the wait has begun.
  void OnCancel() override {
    std::shared_ptr<DictLeaseWait> wait;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      wait = wait_;
    }
    if (wait) give_up(*wait);
  }

 private:
  Status find() {
    const auto ref =
        env_.broker.find_member(caller_, ObjectKind::kDict, request_.name(), Need::kWrite);
    if (ref.ok()) dict_ = std::static_pointer_cast<objects::Dict>(ref->member);
    return ref.status();
  }
  void give_up(DictLeaseWait& wait) {
    if (wait.cancel()) finish(Reason::kInterrupted);
  }
  void answer_with(const Status& status, local::DictLeaseTold told) {
    if (told.there) dict_entry_to(told.item, false, response_->mutable_entry());
    response_->set_stale(told.stale);
    response_->set_lease(told.lease);
    response_->set_holder(told.holder);
    if (told.until_ms != 0) {
      response_->set_holder_ms(std::max<int64_t>(told.until_ms - shm::dict_now_ms(), 0));
    }
    response_->set_revision(dict_->revision());
    finish(status);
  }

  const v1::DictServiceGetOrLeaseRequest& request_;
  v1::DictServiceGetOrLeaseResponse* const response_;
  std::shared_ptr<objects::Dict> dict_;
  std::mutex mutex_;
  std::shared_ptr<DictLeaseWait> wait_;
  bool cancelled_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* DictService::GetOrLease(Context* context,
                                                  const v1::DictServiceGetOrLeaseRequest* request,
                                                  v1::DictServiceGetOrLeaseResponse* response) {
  auto* call = new LeaseCall(env_, context, *request, response);
  call->start();
  return call;
}

grpc::ServerUnaryReactor* DictService::EndLease(Context* context,
                                                const v1::DictServiceEndLeaseRequest* request,
                                                v1::DictServiceEndLeaseResponse* response) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller&, const MemberRef&, objects::Dict& dict) {
                     const std::string_view key = dict_key_from(*request);
                     bool ended = false;
                     shm::Outcome outcome = shm::Outcome::kOk;
                     const Status status = dict.change(
                         objects::Fence(), key.size() + local::kDictLeasePrefix.size(), 0,
                         [&](shm::Dict& memory, shm::DictActor& actor) {
                           const auto result =
                               local::end_lease(memory, actor, key, request->lease());
                           ended = result == shm::Outcome::kOk;
                           return result == shm::Outcome::kLeaseLost ? shm::Outcome::kOk : result;
                         },
                         &outcome);
                     response->set_ended(ended);
                     return status;
                   });
}

}  // namespace heddle::services
