// QueueService.Consume: batches out against credits, or one batch for each `take`.
//
// One get at a time is with the queue and one response at a time with gRPC, so a client that does
// not read holds up to two batches and no more. Messages of an auto stream are settled when gRPC
// has written them, else they go back to their places. Leases that a manual stream without a
// session still holds at its end go back uncounted.
//
// Lifetime: gRPC holds `self_` until OnDone; whoever may Finish, after which OnDone can come at any
// moment, and every callback of the queue hold another reference. mutex_ guards the state but is
// never held while the queue or the broker is called.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/services/batch_wire.h"
#include "daemon/services/queue_service.h"

namespace heddle::services {

class ConsumeStream final : public QueueService::BytesReactor,
                            public std::enable_shared_from_this<ConsumeStream> {
 public:
  using Request = v1::QueueServiceConsumeRequest;
  using Response = v1::QueueServiceConsumeResponse;

  ConsumeStream(Env& env, grpc::CallbackServerContext* context) : env_(env), context_(*context) {}
  void start();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  bool InternalInlineable() override { return true; }  // as in call.h

 private:
  struct Batch {
    grpc::ByteBuffer response;
    std::vector<objects::Delivery> messages;  // their bodies are in the response
  };
  struct Want {  // one get: for credits, or for a take
    bool take = false;
    uint32_t count = 0;
    int64_t deadline_ns = 0;
  };

  Status begin();
  Status obey();
  Status settle_leases(Response* lost);
  void pump();
  bool next_want_locked(Want* want);
  void get(const Want& want);
  void got(const Want& want, objects::GetResult result);
  Status write_to(objects::GetResult& result, grpc::ByteBuffer* out);
  void give_back(const std::vector<objects::Delivery>& messages);
  void write_next_locked();
  void end(const Status& status);

  std::shared_ptr<ConsumeStream> self_;
  Env& env_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::unique_ptr<Admission> admission_;
  grpc::ByteBuffer received_;  // the reader's
  Request request_;            // what it says
  // Set by the first request, then constant.
  broker::QueueRef queue_;
  bool manual_ = false, packed_ = false;
  v1::BodyAs body_as_ = v1::BODY_AS_AUTO;
  uint32_t batch_max_ = 0;

  std::mutex mutex_;
  int64_t lease_ns_ = 0;
  uint32_t credits_ = 0;
  std::deque<Want> takes_;
  bool getting_ = false;
  uint64_t gets_started_ = 0;
  objects::Wait wait_;
  std::deque<Batch> unwritten_;                     // the front one is being written while writing_
  std::unordered_map<uint64_t, shm::Ticket> held_;  // by message id; streams without a session
  bool writing_ = false, cancelled_ = false, ending_ = false, finished_ = false;
  grpc::Status final_;
};

}  // namespace heddle::services
