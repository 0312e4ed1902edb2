// BlockService: each method turns a request into one call of the broker or of a block.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/block_service.grpc.pb.h"

namespace heddle::services {

using BlockServiceBase = v1::BlockService::CallbackService;

class BlockService final : public BlockServiceBase {
 public:
  explicit BlockService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_BLOCK_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::BlockService##Name##Request* request, \
                v1::BlockService##Name##Response* response) override
  HEDDLE_BLOCK_METHOD(Create);
  HEDDLE_BLOCK_METHOD(Delete);
  HEDDLE_BLOCK_METHOD(Info);
  HEDDLE_BLOCK_METHOD(List);
  HEDDLE_BLOCK_METHOD(Read);
  HEDDLE_BLOCK_METHOD(Write);
  HEDDLE_BLOCK_METHOD(Mend);
  HEDDLE_BLOCK_METHOD(Force);
#undef HEDDLE_BLOCK_METHOD
  grpc::ServerWriteReactor<v1::BlockServiceWatchResponse>* Watch(
      Context* context, const v1::BlockServiceWatchRequest* request) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
