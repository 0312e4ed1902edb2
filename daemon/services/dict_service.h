// DictService: each method turns a request into one call of the broker or of a dict. Those that
// change entries are in dict_calls.cc, Watch is in dict_watch.cc, leases are in dict_leases.cc.
#pragma once

#include "daemon/services/call.h"
#include "daemon/services/queue_service.h"
#include "heddle/v1/dict_service.grpc.pb.h"

namespace heddle::services {

using DictWire = v1::DictService;
using DictServiceBase = DictWire::CallbackService;

class DictService final : public DictServiceBase {
 public:
  explicit DictService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_DICT_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::DictService##Name##Request* request, \
                v1::DictService##Name##Response* response) override
  HEDDLE_DICT_METHOD(Create);
  HEDDLE_DICT_METHOD(Delete);
  HEDDLE_DICT_METHOD(Info);
  HEDDLE_DICT_METHOD(List);
  HEDDLE_DICT_METHOD(Get);
  HEDDLE_DICT_METHOD(GetMany);
  HEDDLE_DICT_METHOD(Set);
  HEDDLE_DICT_METHOD(SetMany);
  HEDDLE_DICT_METHOD(Remove);
  HEDDLE_DICT_METHOD(Clear);
  HEDDLE_DICT_METHOD(Increment);
  HEDDLE_DICT_METHOD(Append);
  HEDDLE_DICT_METHOD(Touch);
  HEDDLE_DICT_METHOD(Edit);
  HEDDLE_DICT_METHOD(Txn);
  HEDDLE_DICT_METHOD(Scan);
  HEDDLE_DICT_METHOD(GetOrLease);
  HEDDLE_DICT_METHOD(EndLease);
#undef HEDDLE_DICT_METHOD
  grpc::ServerWriteReactor<v1::DictServiceWatchResponse>* Watch(
      Context* context, const v1::DictServiceWatchRequest* request) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
