// LockService: each method turns a request into one call of the broker or of a lock. Those that
// wait are in lock_calls.cc.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/lock_service.grpc.pb.h"

namespace heddle::services {

class LockService final : public v1::LockService::CallbackService {
 public:
  explicit LockService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_LOCK_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::LockService##Name##Request* request, \
                v1::LockService##Name##Response* response) override
  HEDDLE_LOCK_METHOD(Create);
  HEDDLE_LOCK_METHOD(Open);
  HEDDLE_LOCK_METHOD(Delete);
  HEDDLE_LOCK_METHOD(List);
  HEDDLE_LOCK_METHOD(Inspect);
  HEDDLE_LOCK_METHOD(Acquire);
  HEDDLE_LOCK_METHOD(AcquireMany);
  HEDDLE_LOCK_METHOD(Release);
  HEDDLE_LOCK_METHOD(Convert);
  HEDDLE_LOCK_METHOD(Wait);
  HEDDLE_LOCK_METHOD(Notify);
  HEDDLE_LOCK_METHOD(WaitEvent);
  HEDDLE_LOCK_METHOD(SetEvent);
  HEDDLE_LOCK_METHOD(Arrive);
  HEDDLE_LOCK_METHOD(FinishAction);
  HEDDLE_LOCK_METHOD(AbortBarrier);
  HEDDLE_LOCK_METHOD(ResetBarrier);
  HEDDLE_LOCK_METHOD(JoinBarrier);
  HEDDLE_LOCK_METHOD(ForceRelease);
  HEDDLE_LOCK_METHOD(Repair);
  HEDDLE_LOCK_METHOD(Deadlocks);
  HEDDLE_LOCK_METHOD(Graph);
  HEDDLE_LOCK_METHOD(Orders);
#undef HEDDLE_LOCK_METHOD

 private:
  Env& env_;
};

// Finds it with the right to use it; makes what is made by use. May wait for the supervisor, so on
// the worker, if *missing was set by a call with `make` false.
Result<broker::LockRef> use_lock(Env& env, const Caller& caller, broker::ObjectKind kind,
                                 const std::string& name, bool make, bool* missing);

}  // namespace heddle::services
