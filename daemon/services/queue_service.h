// QueueService: each method turns a request into one call of the broker or of a queue. Those that
// wait are in queue_calls.cc, the streams in produce_stream.cc and consume_stream.cc.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/queue_service.grpc.pb.h"

namespace heddle::services {

class QueueService final : public v1::QueueService::CallbackService {
 public:
  explicit QueueService(Env& env) : env_(env) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

#define HEDDLE_QUEUE_METHOD(Name)                                       \
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
  grpc::ServerBidiReactor<v1::QueueServiceProduceRequest, v1::QueueServiceProduceResponse>*
  Produce(Context* context) override;
  grpc::ServerBidiReactor<v1::QueueServiceConsumeRequest, v1::QueueServiceConsumeResponse>*
  Consume(Context* context) override;

 private:
  Env& env_;
};

}  // namespace heddle::services
