// QueueService.Produce: batches in, one answer per batch, in order.
//
// A batch is read only when the one before is stored and not too many answers wait to be written,
// so a full queue, or a client that does not read, stops its own sender and nothing piles up here.
//
// Lifetime: gRPC holds `self_` until OnDone; whoever may Finish, after which OnDone can come at any
// moment, holds another reference.
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "daemon/services/batch_wire.h"
#include "daemon/services/queue_service.h"

namespace heddle::services {
namespace {

using Response = v1::QueueServiceProduceResponse;

constexpr size_t kAnswersUnwrittenMax = 4;

class ProduceStream final : public QueueService::BytesReactor,
                            public std::enable_shared_from_this<ProduceStream> {
 public:
  ProduceStream(Env& env, grpc::CallbackServerContext* context) : env_(env), context_(*context) {}

  void start() {
    self_ = shared_from_this();
    const Status status = identify(env_, context_, &caller_, &admission_);
    status.ok() ? StartRead(&request_) : finish(status);
  }

  void OnReadDone(bool ok) override {
    const auto keep = shared_from_this();
    if (!ok) return finish({});
    Status status = batch_.read(request_);
    request_.Clear();
    if (status.ok()) status = put();
    if (!status.ok()) finish(status);
  }

  void OnWriteDone(bool) override {
    const auto keep = shared_from_this();
    std::unique_lock lock(mutex_);
    writing_ = false;
    unwritten_.pop_front();
    write_next_locked();
    read_next(lock);
  }

  void OnCancel() override {
    objects::Wait wait;
    std::shared_ptr<objects::Queue> queue;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      wait = wait_;
      queue = waiting_at_;
    }
    if (wait) queue->cancel(wait);
  }

  void OnDone() override { const auto last = std::move(self_); }
  bool InternalInlineable() override { return true; }  // as in call.h

 private:
  Status put() {
    if (!batch_.name().empty() && batch_.name() != asked_) {
      auto queue = env_.broker.find_queue(caller_, batch_.name(), broker::Need::kWrite);
      if (!queue.ok()) return queue.status();
      queue_ = std::move(*queue);
      asked_ = batch_.name();
    }
    if (!queue_.queue) return {Reason::kInvalidArgument, "the first request must name the queue"};
    std::vector<objects::Body> bodies;
    if (Status status = batch_.bodies(&bodies); !status.ok()) return status;
    objects::Fence fence;
    if (batch_.fence() != nullptr) {
      auto known = env_.broker.fence_of(caller_, batch_.fence()->lock(), batch_.fence()->token());
      if (!known.ok()) return known.status();
      fence = *std::move(known);
    }
    const int64_t deadline = deadline_ns(context_, batch_.timeout_ms(), shm::kForever);
    const auto at = queue_.queue;
    const uint64_t number = ++put_count_;
    auto wait = at->put_async(
        caller_, std::move(bodies), deadline,
        [keep = shared_from_this()](objects::PutResult result) { keep->stored(std::move(result)); },
        {}, std::move(fence));
    // The callback may have run by now and the next put have begun: nothing but what the mutex
    // guards may be touched from here on.
    std::unique_lock lock(mutex_);
    if (stored_count_ >= number) return {};
    wait_ = wait;
    waiting_at_ = at;
    const bool cancelled = cancelled_;
    lock.unlock();
    if (cancelled && wait) at->cancel(wait);
    return {};
  }

  void stored(objects::PutResult result) {
    Response response;
    const Status status = set_outcome(std::move(result.status), &response);
    if (!status.ok() && result.ids.empty()) return finish(status);
    response.set_done(static_cast<uint32_t>(result.ids.size()));
    if (batch_.want_ids()) response.mutable_ids()->Add(result.ids.begin(), result.ids.end());
    std::unique_lock lock(mutex_);
    ++stored_count_;
    wait_.reset();
    unwritten_.push_back(serialise(response));
    if (!status.ok()) {  // part of the batch is stored: say how much, then why not the rest
      ending_ = true;
      final_ = to_grpc(status);
    }
    write_next_locked();
    want_read_ = true;
    read_next(lock);
  }

  void read_next(std::unique_lock<std::mutex>& lock) {
    if (!want_read_ || ending_ || unwritten_.size() > kAnswersUnwrittenMax) return;
    want_read_ = false;
    lock.unlock();
    StartRead(&request_);
  }

  void write_next_locked() {
    if (writing_) return;
    if (!unwritten_.empty()) {
      writing_ = true;
      StartWrite(&unwritten_.front());
    } else if (ending_ && !finished_) {
      finished_ = true;
      Finish(final_);
    }
  }

  void finish(const Status& status) {
    const auto keep = shared_from_this();
    std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    final_ = to_grpc(status);
    write_next_locked();
  }

  std::shared_ptr<ProduceStream> self_;
  Env& env_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::unique_ptr<Admission> admission_;
  // Touched by one at a time: the reader, then the put it started.
  grpc::ByteBuffer request_;
  ProduceBatch batch_;
  std::string asked_;
  broker::QueueRef queue_;
  uint64_t put_count_ = 0;

  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> unwritten_;  // the front one is being written while writing_
  objects::Wait wait_;
  std::shared_ptr<objects::Queue> waiting_at_;
  uint64_t stored_count_ = 0;
  bool writing_ = false, want_read_ = false, cancelled_ = false, ending_ = false, finished_ = false;
  grpc::Status final_;
};

}  // namespace

QueueService::BytesReactor* QueueService::Produce(Context* context) {
  const auto stream = std::make_shared<ProduceStream>(env_, context);
  stream->start();
  return stream.get();
}

}  // namespace heddle::services
