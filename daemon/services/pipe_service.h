// PipeService: each method turns a request into one call of the broker or of a pipe. Send and
// Receive are in pipe_calls.cc, Attach is in pipe_stream.cc.
#pragma once

#include "daemon/services/call.h"
#include "daemon/services/queue_service.h"
#include "heddle/v1/pipe_service.grpc.pb.h"

namespace heddle::services {

using PipeWire = v1::PipeService;
using PipeServiceBase =
    Wrapped<PipeWire::Service, PipeWire::WithRawCallbackMethod_Attach,
            PipeWire::WithCallbackMethod_Create, PipeWire::WithCallbackMethod_Delete,
            PipeWire::WithCallbackMethod_Info, PipeWire::WithCallbackMethod_List,
            PipeWire::WithCallbackMethod_Send, PipeWire::WithCallbackMethod_Receive>::Type;

class PipeService final : public PipeServiceBase {
 public:
  explicit PipeService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  using BytesReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

#define HEDDLE_PIPE_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::PipeService##Name##Request* request, \
                v1::PipeService##Name##Response* response) override
  HEDDLE_PIPE_METHOD(Create);
  HEDDLE_PIPE_METHOD(Delete);
  HEDDLE_PIPE_METHOD(Info);
  HEDDLE_PIPE_METHOD(List);
  HEDDLE_PIPE_METHOD(Send);
  HEDDLE_PIPE_METHOD(Receive);
#undef HEDDLE_PIPE_METHOD
  BytesReactor* Attach(Context* context) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
