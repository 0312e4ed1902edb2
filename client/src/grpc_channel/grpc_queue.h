// One opened queue over gRPC: unary calls for single operations, open streams for batches.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "client/src/channel.h"
#include "client/src/grpc_channel/remote.h"

namespace heddle::detail {

// A bidi stream that is open between calls. One thread uses it at a time.
template <class Request, class Response>
struct OpenStream {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream;
  bool first = true;
  ~OpenStream() {
    if (!stream) return;
    context.TryCancel();
    (void)stream->Finish();
  }
};

// Idle streams; several threads that wait at once get one each.
template <class Stream>
class StreamPool {
 public:
  std::unique_ptr<Stream> take() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return nullptr;
    auto stream = std::move(idle_.back());
    idle_.pop_back();
    return stream;
  }
  void give(std::unique_ptr<Stream> stream) {
    std::lock_guard lock(mutex_);
    if (idle_.size() < kIdleMax) idle_.push_back(std::move(stream));
  }
  void forget() {  // in the child of a fork
    for (auto& stream : idle_) (void)stream.release();
  }

 private:
  static constexpr std::size_t kIdleMax = 8;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Stream>> idle_;
};

class GrpcQueue final : public QueueChannel {
 public:
  GrpcQueue(std::shared_ptr<Remote> remote, std::string name, std::uint64_t max_msg_bytes)
      : remote_(std::move(remote)), name_(std::move(name)), max_msg_bytes_(max_msg_bytes) {}
  ~GrpcQueue() override;

  const std::string& name() const override { return name_; }
  Result<std::uint64_t> put(const Body& body, std::int64_t deadline_ns) override;
  Status put_many(std::span<const Body> bodies, std::int64_t deadline_ns, std::size_t* done,
                  std::uint64_t* ids) override;
  Result<std::uint64_t> put_fenced(const Body& body, const Fence& fence,
                                   std::int64_t deadline_ns) override;
  Status loan(std::size_t bytes, LoanRoom* room) override;
  Result<std::uint64_t> commit(LoanRoom& room, std::size_t length, BodyKind kind,
                               std::int64_t deadline_ns) override;
  void discard(LoanRoom& room) noexcept override;
  Status take(const TakeOptions& options, Message* out) override;
  Status take_many(const TakeOptions& options, std::size_t max, std::uint64_t max_bytes,
                   std::vector<Message>* out) override;
  Status ack(const Lease& lease) override;
  Status nack(const Lease& lease, bool counted) override;
  Status bury(const Lease& lease) override;
  Status extend(const Lease& lease, std::int64_t duration_ms) override;
  Status join(std::int64_t deadline_ns) override;
  Result<QueueCounts> counts() override;
  Result<bool> full() override;
  Result<QueueInfo> info() override;
  Result<std::vector<BrowseRow>> browse(const BrowseOptions& options) override;
  Result<std::uint64_t> kick(std::uint64_t max) override;
  Result<std::uint64_t> purge(unsigned states) override;
  Status shutdown(bool immediate) override;
  Status reopen() override;
  Status open_producer(std::uint64_t* cell) override;
  Status close_producer(std::uint64_t cell) override;

 private:
  using ProduceStream = OpenStream<v1::QueueServiceProduceRequest, v1::QueueServiceProduceResponse>;
  using ConsumeStream = OpenStream<v1::QueueServiceConsumeRequest, v1::QueueServiceConsumeResponse>;

  grpc::Status produce(v1::QueueServiceProduceRequest& request,
                       v1::QueueServiceProduceResponse* response, const std::string& token,
                       bool* sent);
  grpc::Status consume(v1::QueueServiceConsumeRequest& request, bool leased,
                       v1::QueueServiceConsumeResponse* response, const std::string& token);
  Result<std::uint64_t> put_one(const Body& body, const Fence* fence, std::int64_t deadline_ns);
  Status take_batch(const TakeOptions& options, std::uint32_t max, std::uint64_t max_bytes,
                    v1::QueueServiceConsumeResponse* out);
  // The broker's gRPC refuses what is too large without knowing which queue it is for.
  Status named(Status status) const;
  std::shared_ptr<QueueChannel> holder(bool leased) {
    return leased ? shared_from_this() : nullptr;
  }

  std::shared_ptr<Remote> remote_;
  const std::string name_;
  const std::uint64_t max_msg_bytes_;
  StreamPool<ProduceStream> producing_;
  StreamPool<ConsumeStream> consuming_auto_, consuming_leased_;
};

}  // namespace heddle::detail
