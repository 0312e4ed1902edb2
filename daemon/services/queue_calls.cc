// The unary calls that wait: Put, PutMany, Get, GetMany, Join. A reactor parks until its queue
// calls back. A cancelled wait ends with CANCELLED; a Get whose reply did not get out returns what
// it took to its place.
#include <algorithm>
#include <mutex>

#include "daemon/services/body.h"
#include "daemon/services/queue_leases.h"
#include "daemon/services/queue_service.h"
#include "daemon/services/queue_wire.h"

namespace heddle::services {
namespace {

using broker::Need;
using broker::QueueRef;

constexpr uint32_t kBatchMax = 4'096;
constexpr uint64_t kBatchBytesDefault = 2 * kMiB;
constexpr uint64_t kBatchBytesMax = 16 * kMiB;

// A call that waits on one queue.
class WaitingCall : public Call {
 public:
  using Call::Call;

  // gRPC calls this from any thread, before or after the wait has begun.
  void OnCancel() override {
    objects::Wait wait;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      wait = wait_;
    }
    if (wait) queue_.queue->cancel(wait);
  }

 protected:
  Status find(const std::string& name, Need need) {
    if (!identified_.ok()) return identified_;
    auto queue = env_.broker.find_queue(caller_, name, need);
    if (!queue.ok()) return queue.status();
    queue_ = std::move(*queue);
    return {};
  }

  // The callback may have run by now, but not OnDone: that comes after the method has returned.
  void park(objects::Wait wait) {
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      wait_ = wait;
      cancelled = cancelled_;
    }
    if (cancelled && wait) queue_.queue->cancel(wait);
  }

  QueueRef queue_;

 private:
  std::mutex mutex_;
  objects::Wait wait_;
  bool cancelled_ = false;
};

void report_put(const objects::PutResult& result, v1::QueueServicePutResponse* out) {
  if (!result.ids.empty()) out->set_id(result.ids.front());
}
void report_put(const objects::PutResult& result, v1::QueueServicePutManyResponse* out) {
  out->set_done(static_cast<uint32_t>(result.ids.size()));
  out->mutable_ids()->Add(result.ids.begin(), result.ids.end());
}
void report_duplicate(v1::QueueServicePutResponse* out) { out->set_duplicate(true); }
void report_duplicate(v1::QueueServicePutManyResponse*) {}

template <class Request, class Response>
class PutCall final : public WaitingCall {
 public:
  PutCall(Env& env, grpc::CallbackServerContext* context, const Request& request,
          Response* response)
      : WaitingCall(env, context), request_(request), response_(response) {}

  // `messages` and `count` lie in the request, which lives until the call is done.
  template <class MessageAt>
  void start(int count, MessageAt message_at) {
    Status status = find(request_.name(), Need::kWrite);
    std::vector<objects::Body> bodies(static_cast<size_t>(count));
    storage_.resize(bodies.size());
    for (int i = 0; status.ok() && i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      status = body_from(message_at(i), &storage_[at], &bodies[at]);
    }
    objects::Fence fence;
    if (status.ok() && request_.has_fence()) {
      auto known = env_.broker.fence_of(caller_, request_.fence().lock(), request_.fence().token());
      if (known.ok())
        fence = *std::move(known);
      else
        status = known.status();
    }
    if (status.ok() && !request_.request_id().empty()) status = begin(bodies.size());
    if (!status.ok() || recorded_.seen) return finish(status);
    const int64_t deadline = deadline_ns(context_, timeout_of(request_), shm::kTry);
    park(queue_.queue->put_async(
        caller_, std::move(bodies), deadline,
        [this](objects::PutResult result) { put_done(result); }, recorded_.record,
        std::move(fence)));
  }

 private:
  Status begin(size_t count) {
    auto request = env_.broker.begin_request(caller_, queue_, request_.request_id(), count);
    if (!request.ok()) return request.status();
    recorded_ = std::move(*request);
    if (recorded_.seen) {
      objects::PutResult earlier;
      earlier.ids = recorded_.record.ids;
      report_put(earlier, response_);
      report_duplicate(response_);
      response_->set_outcome(v1::OUTCOME_OK);
    }
    return {};
  }

  void put_done(const objects::PutResult& result) {
    if (!request_.request_id().empty()) env_.broker.finish_request(recorded_, result.ids);
    report_put(result, response_);
    finish(set_outcome(result.status, response_));
  }

  const Request& request_;
  Response* const response_;
  std::vector<std::string> storage_;  // of JSON values
  broker::Broker::Request recorded_;
};

v1::Delivery* add_delivery(v1::QueueServiceGetResponse* out) { return out->mutable_delivery(); }
v1::Delivery* add_delivery(v1::QueueServiceGetManyResponse* out) { return out->add_deliveries(); }
void clear_deliveries(v1::QueueServiceGetResponse* out) { out->clear_delivery(); }
void clear_deliveries(v1::QueueServiceGetManyResponse* out) { out->clear_deliveries(); }

template <class Request, class Response>
class GetCall final : public WaitingCall {
 public:
  GetCall(Env& env, grpc::CallbackServerContext* context, const Request& request,
          Response* response)
      : WaitingCall(env, context), request_(request), response_(response) {}

  void start(uint32_t count_max, uint64_t bytes_max) {
    Status status = find(request_.name(), Need::kWrite);
    objects::GetParams params;
    params.count_max = count_max;
    params.bytes_max = bytes_max;
    manual_ = request_.ack_mode() == v1::ACK_MODE_MANUAL;
    params.ack = manual_ ? objects::AckMode::kManual : objects::AckMode::kAuto;
    if (status.ok()) status = lease_ns(request_, &params.lease_ns);
    if (status.ok()) status = ack_first();
    if (!status.ok()) return finish(set_outcome(std::move(status), response_));
    const int64_t deadline = deadline_ns(context_, timeout_of(request_), shm::kForever);
    park(queue_.queue->get_async(caller_, params, deadline,
                                 [this](objects::GetResult result) { got(std::move(result)); }));
  }

  void OnDone() override {
    context_.IsCancelled() ? give_back() : settle();
    Call::OnDone();
  }

 private:
  Status ack_first() {
    Status lost;
    for (const std::string& lease : request_.ack_leases()) {
      shm::Ticket ticket;
      if (Status status = ticket_from(lease, &ticket); !status.ok()) return status;
      Status status = queue_.queue->ack(caller_, ticket);
      if (status.is(Reason::kLeaseLost)) {
        lost = std::move(status);
      } else if (!status.ok()) {
        return status;
      }
    }
    return lost;
  }

  void got(objects::GetResult result) {
    taken_ = std::move(result.messages);
    Status status = std::move(result.status);
    for (auto& delivery : taken_) {
      if (!status.ok()) break;
      status = delivery_to(delivery, request_.body_as(), manual_, add_delivery(response_));
      if (!status.ok()) {
        clear_deliveries(response_);
        give_back();
      }
    }
    finish(set_outcome(std::move(status), response_));
  }

  void settle() {
    // Without a message there may be no queue either: it was not found.
    if (!manual_ && !taken_.empty()) queue_.queue->delivered(taken_);
    taken_.clear();
  }
  void give_back() {
    for (const auto& delivery : taken_) {
      if (!manual_) {
        queue_.queue->undelivered(delivery);
      } else {
        // Fails only when the lease has ended meanwhile, and then it is in its place already.
        (void)queue_.queue->nack(caller_, delivery.ticket, false);
      }
    }
    taken_.clear();
  }

  const Request& request_;
  Response* const response_;
  bool manual_ = false;
  std::vector<objects::Delivery> taken_;
};

class JoinCall final : public WaitingCall {
 public:
  using WaitingCall::WaitingCall;
  void start(const v1::QueueServiceJoinRequest& request, v1::QueueServiceJoinResponse* response) {
    if (Status status = find(request.name(), Need::kRead); !status.ok()) return finish(status);
    if (request.thread() > shm::kThreadsMax) {
      return finish(Status(Reason::kInvalidArgument,
                           "thread is a number below 1024, or 1024 for one that holds no lock")
                        .with_limit(shm::kThreadsMax, request.thread()));
    }
    const objects::JoinParams params{.thread = static_cast<uint16_t>(request.thread()),
                                     .priority = request.priority()};
    const int64_t deadline = deadline_ns(context_, timeout_of(request), shm::kForever);
    const auto joined = [this, response](objects::JoinResult result) {
      response->set_unfinished(result.unfinished);
      holders_to(result.holders, response->mutable_holders());
      finish(set_outcome(std::move(result.status), response));
    };
    park(queue_.queue->join_async(caller_, deadline, joined, params));
  }
};

}  // namespace

grpc::ServerUnaryReactor* QueueService::Put(Context* context,
                                            const v1::QueueServicePutRequest* request,
                                            v1::QueueServicePutResponse* response) {
  auto* call = new PutCall<v1::QueueServicePutRequest, v1::QueueServicePutResponse>(
      env_, context, *request, response);
  call->start(1, [request](int) -> const v1::Message& { return request->message(); });
  return call;
}

grpc::ServerUnaryReactor* QueueService::PutMany(Context* context,
                                                const v1::QueueServicePutManyRequest* request,
                                                v1::QueueServicePutManyResponse* response) {
  auto* call = new PutCall<v1::QueueServicePutManyRequest, v1::QueueServicePutManyResponse>(
      env_, context, *request, response);
  call->start(request->messages_size(),
              [request](int i) -> const v1::Message& { return request->messages(i); });
  return call;
}

grpc::ServerUnaryReactor* QueueService::Get(Context* context,
                                            const v1::QueueServiceGetRequest* request,
                                            v1::QueueServiceGetResponse* response) {
  auto* call = new GetCall<v1::QueueServiceGetRequest, v1::QueueServiceGetResponse>(
      env_, context, *request, response);
  call->start(1, UINT64_MAX);
  return call;
}

grpc::ServerUnaryReactor* QueueService::GetMany(Context* context,
                                                const v1::QueueServiceGetManyRequest* request,
                                                v1::QueueServiceGetManyResponse* response) {
  auto* call = new GetCall<v1::QueueServiceGetManyRequest, v1::QueueServiceGetManyResponse>(
      env_, context, *request, response);
  const uint64_t bytes = request->max_bytes() == 0 ? kBatchBytesDefault : request->max_bytes();
  call->start(std::clamp<uint32_t>(request->max_messages(), 1, kBatchMax),
              std::min(bytes, kBatchBytesMax));
  return call;
}

grpc::ServerUnaryReactor* QueueService::Join(Context* context,
                                             const v1::QueueServiceJoinRequest* request,
                                             v1::QueueServiceJoinResponse* response) {
  auto* call = new JoinCall(env_, context);
  call->start(*request, response);
  return call;
}

}  // namespace heddle::services
