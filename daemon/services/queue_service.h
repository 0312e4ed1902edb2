// QueueService: each method turns a request into one call of the broker or of a queue. Those that
// wait are in queue_calls.cc, the streams in produce_stream.cc and consume_stream.cc.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/queue_service.grpc.pb.h"

namespace heddle::services {

// The generated base of a service whose calls get messages and whose streams get bytes, which they
// take apart themselves (batch_wire.h): each method's wrapper around the next one's.
template <class Base, template <class> class... Methods>
struct Wrapped {
  using Type = Base;
};
template <class Base, template <class> class First, template <class> class... Rest>
struct Wrapped<Base, First, Rest...> {
  using Type = First<typename Wrapped<Base, Rest...>::Type>;
};
using Wire = v1::QueueService;
using QueueServiceBase = Wrapped<
    Wire::Service, Wire::WithRawCallbackMethod_Produce, Wire::WithRawCallbackMethod_Consume,
    Wire::WithCallbackMethod_Create, Wire::WithCallbackMethod_Open, Wire::WithCallbackMethod_Delete,
    Wire::WithCallbackMethod_Info, Wire::WithCallbackMethod_List, Wire::WithCallbackMethod_Put,
    Wire::WithCallbackMethod_PutMany, Wire::WithCallbackMethod_Get,
    Wire::WithCallbackMethod_GetMany, Wire::WithCallbackMethod_Ack, Wire::WithCallbackMethod_Nack,
    Wire::WithCallbackMethod_Extend, Wire::WithCallbackMethod_Bury, Wire::WithCallbackMethod_Kick,
    Wire::WithCallbackMethod_Peek, Wire::WithCallbackMethod_Browse, Wire::WithCallbackMethod_Who,
    Wire::WithCallbackMethod_Purge, Wire::WithCallbackMethod_Shutdown,
    Wire::WithCallbackMethod_Reopen, Wire::WithCallbackMethod_Join,
    Wire::WithCallbackMethod_TaskDone, Wire::WithCallbackMethod_RegisterProducer,
    Wire::WithCallbackMethod_UnregisterProducer>::Type;

class QueueService final : public QueueServiceBase {
 public:
  explicit QueueService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_QUEUE_METHOD(Name)                                                 \
  Reactor* Name(Context* context, const v1::QueueService##Name##Request* request, \
                v1::QueueService##Name##Response* response) override
  HEDDLE_QUEUE_METHOD(Create);
  HEDDLE_QUEUE_METHOD(Open);
  HEDDLE_QUEUE_METHOD(Delete);
  HEDDLE_QUEUE_METHOD(Info);
  HEDDLE_QUEUE_METHOD(List);
  HEDDLE_QUEUE_METHOD(Put);
  HEDDLE_QUEUE_METHOD(PutMany);
  HEDDLE_QUEUE_METHOD(Get);
  HEDDLE_QUEUE_METHOD(GetMany);
  HEDDLE_QUEUE_METHOD(Ack);
  HEDDLE_QUEUE_METHOD(Nack);
  HEDDLE_QUEUE_METHOD(Extend);
  HEDDLE_QUEUE_METHOD(Bury);
  HEDDLE_QUEUE_METHOD(Kick);
  HEDDLE_QUEUE_METHOD(Peek);
  HEDDLE_QUEUE_METHOD(Browse);
  HEDDLE_QUEUE_METHOD(Who);
  HEDDLE_QUEUE_METHOD(Purge);
  HEDDLE_QUEUE_METHOD(Shutdown);
  HEDDLE_QUEUE_METHOD(Reopen);
  HEDDLE_QUEUE_METHOD(Join);
  HEDDLE_QUEUE_METHOD(TaskDone);
  HEDDLE_QUEUE_METHOD(RegisterProducer);
  HEDDLE_QUEUE_METHOD(UnregisterProducer);
#undef HEDDLE_QUEUE_METHOD
  using BytesReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;
  BytesReactor* Produce(Context* context) override;
  BytesReactor* Consume(Context* context) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
