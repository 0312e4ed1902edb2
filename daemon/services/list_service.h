// ListService: each method turns a request into one call of the broker or of a list.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/list_service.grpc.pb.h"

namespace heddle::services {

using ListServiceBase = v1::ListService::CallbackService;

class ListService final : public ListServiceBase {
 public:
  explicit ListService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_LIST_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::ListService##Name##Request* request, \
                v1::ListService##Name##Response* response) override
  HEDDLE_LIST_METHOD(Create);
  HEDDLE_LIST_METHOD(Delete);
  HEDDLE_LIST_METHOD(Info);
  HEDDLE_LIST_METHOD(List);
  HEDDLE_LIST_METHOD(Get);
  HEDDLE_LIST_METHOD(Slice);
  HEDDLE_LIST_METHOD(Append);
  HEDDLE_LIST_METHOD(Insert);
  HEDDLE_LIST_METHOD(Set);
  HEDDLE_LIST_METHOD(Pop);
  HEDDLE_LIST_METHOD(Remove);
  HEDDLE_LIST_METHOD(Clear);
#undef HEDDLE_LIST_METHOD
  grpc::ServerWriteReactor<v1::ListServiceWatchResponse>* Watch(
      Context* context, const v1::ListServiceWatchRequest* request) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
