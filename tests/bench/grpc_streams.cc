#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>
#include <vector>

#include "echo.grpc.pb.h"
#include "heddle/v1/queue_service.grpc.pb.h"
#include "tests/bench/grpc_connect.h"
#include "tests/bench/grpc_work.h"
#include "tests/bench/measure.h"

namespace heddle::bench {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// The forms in which a batch is echoed. `at` is where body i begins, for those that need it.
struct PlainForm {
  using Request = EchoServiceStreamRequest;
  static auto open(EchoService::Stub& stub, grpc::ClientContext* context) {
    return stub.Stream(context);
  }
  static int count(const Request& request) { return request.messages_size(); }
  static void clear(Request& request) { request.clear_messages(); }
  static void add(Request& request, const std::byte* data, size_t length) {
    request.add_messages(data, length);
  }
  static std::span<const std::byte> body(const Request& request, int i, size_t) {
    return bytes_of(request.messages(i));
  }
};

struct TypedForm {
  using Request = v1::QueueServiceProduceRequest;
  static auto open(EchoService::Stub& stub, grpc::ClientContext* context) {
    return stub.StreamTyped(context);
  }
  static int count(const Request& request) { return request.messages_size(); }
  static void clear(Request& request) { request.clear_messages(); }
  static void add(Request& request, const std::byte* data, size_t length) {
    request.add_messages()->set_data(data, length);
  }
  static std::span<const std::byte> body(const Request& request, int i, size_t) {
    return bytes_of(request.messages(i).data());
  }
};

void pack(v1::PackedBodies& packed, const std::byte* data, size_t length) {
  packed.mutable_bodies()->append(reinterpret_cast<const char*>(data), length);
  packed.add_lengths(static_cast<uint32_t>(length));
}

struct PackedForm {
  using Request = v1::QueueServiceProduceRequest;
  static auto open(EchoService::Stub& stub, grpc::ClientContext* context) {
    return stub.StreamTyped(context);
  }
  static int count(const Request& request) { return request.packed().lengths_size(); }
  static void clear(Request& request) { request.mutable_packed()->Clear(); }
  static void add(Request& request, const std::byte* data, size_t length) {
    pack(*request.mutable_packed(), data, length);
  }
  static std::span<const std::byte> body(const Request& request, int i, size_t at) {
    return bytes_of(request.packed().bodies()).subspan(at, request.packed().lengths(i));
  }
};

// There and back on one stream; both ends are in one process.
template <class Form>
class EchoStream {
 public:
  EchoStream(const Options& options, unsigned) : options_(options) {}
  void open_sender() {
    stub_ = EchoService::NewStub(channel_to(options_.socket));
    stream_ = Form::open(*stub_, &context_);
  }
  void open_receiver() {}
  void send(const std::byte* data, size_t length) {
    Form::add(out_, data, length);
    if (Form::count(out_) == static_cast<int>(options_.batch)) flush();
  }
  void flush() {
    if (Form::count(out_) == 0) return;
    if (!stream_->Write(out_)) fail("the echo ended early");
    Form::clear(out_);
  }
  std::span<const std::byte> receive() {
    if (next_ == Form::count(in_)) {
      if (!stream_->Read(&in_)) fail("the echo ended early");
      next_ = 0;
      at_ = 0;
    }
    const auto body = Form::body(in_, next_++, at_);
    at_ += body.size();
    return body;
  }
  void finish() { stream_->WritesDone(); }

 private:
  const Options& options_;
  std::unique_ptr<EchoService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<typename Form::Request, typename Form::Request>> stream_;
  typename Form::Request out_, in_;
  int next_ = 0;
  size_t at_ = 0;
};

// Produce and Consume of the broker. The ends may be in different processes.
class QueueStreams {
 public:
  QueueStreams(const Options& options, unsigned) : options_(options) {}

  void open_sender() {
    out_stub_ = v1::QueueService::NewStub(channel_to(options_.socket));
    producer_ = out_stub_->Produce(&out_context_);
  }
  void open_receiver() {
    in_stub_ = v1::QueueService::NewStub(channel_to(options_.socket));
    consumer_ = in_stub_->Consume(&in_context_);
    v1::QueueServiceConsumeRequest request;
    request.set_name(options_.queue);
    request.set_packed(true);
    request.set_max_batch(options_.batch);
    grant(request, kCredits);
  }
  void send(const std::byte* data, size_t length) {
    pack(*out_.mutable_packed(), data, length);
    if (out_.packed().lengths_size() == static_cast<int>(options_.batch)) flush();
  }
  void flush() {
    if (out_.packed().lengths_size() == 0) return;
    out_.set_name(options_.queue);
    if (!producer_->Write(out_)) fail("the stream ended early");
    out_.mutable_packed()->Clear();
    if (++unanswered_ == kUnansweredMax) read_answers();
  }
  std::span<const std::byte> receive() {
    while (next_ == in_.packed().ids_size()) {
      if (!consumer_->Read(&in_)) fail("the stream ended early");
      next_ = 0;
      at_ = 0;
      used_ += static_cast<unsigned>(in_.packed().ids_size());
      if (used_ >= kCredits / 2) grant({}, std::exchange(used_, 0));
    }
    const v1::PackedBodies& bodies = in_.packed().bodies();
    const auto body = bytes_of(bodies.bodies()).subspan(at_, bodies.lengths(next_++));
    at_ += body.size();
    return body;
  }
  void finish() {
    producer_->WritesDone();
    read_answers();
    if (const auto status = producer_->Finish(); !status.ok()) fail(status.error_message());
  }
  void close() {}

 private:
  static constexpr unsigned kCredits = 16'384, kUnansweredMax = 32;

  void read_answers() {
    for (v1::QueueServiceProduceResponse answer; unanswered_ > 0; --unanswered_) {
      if (!producer_->Read(&answer)) fail("the stream ended early");
      if (answer.outcome() != v1::OUTCOME_OK) fail("a batch was not put");
    }
  }
  void grant(v1::QueueServiceConsumeRequest request, unsigned credits) {
    request.set_credits(credits);
    if (!consumer_->Write(request)) fail("the stream ended early");
  }

  const Options& options_;
  std::unique_ptr<v1::QueueService::Stub> out_stub_, in_stub_;
  grpc::ClientContext out_context_, in_context_;
  std::unique_ptr<
      grpc::ClientReaderWriter<v1::QueueServiceProduceRequest, v1::QueueServiceProduceResponse>>
      producer_;
  std::unique_ptr<
      grpc::ClientReaderWriter<v1::QueueServiceConsumeRequest, v1::QueueServiceConsumeResponse>>
      consumer_;
  v1::QueueServiceProduceRequest out_;
  unsigned unanswered_ = 0;
  v1::QueueServiceConsumeResponse in_;
  int next_ = 0;
  size_t at_ = 0;
  unsigned used_ = 0;
};

// Sender and receiver as two threads of one process on one core.
template <class Channel>
void measure_within(const Options& options) {
  Shared& shared = *Shared::map();
  run_sides({{kProducerCore, [&] {
                Channel channel(options, 0);
                std::thread sender([&] { produce(channel, options, shared, 0); });
                while (shared.ready.load() == 0) usleep(100);  // it opens the stream
                consume(channel, options, shared, 0);
                sender.join();
              }}});
  const auto& side = shared.sides[1];
  if (shared.sides[0].sent != side.received) fail("not everything came back");
  report({{"per_s", double(side.received) * 1e9 / double(side.last_ns - side.first_ns)},
          {"messages", double(side.received)}});
}

}  // namespace

void measure_echo_stream(const Options& options) { measure_within<EchoStream<PlainForm>>(options); }
void measure_typed_echo_stream(const Options& options) {
  measure_within<EchoStream<TypedForm>>(options);
}
void measure_packed_echo_stream(const Options& options) {
  measure_within<EchoStream<PackedForm>>(options);
}
void measure_produce_consume(const Options& options) { measure_within<QueueStreams>(options); }
void measure_produce_to_consume(const Options& options) { measure_rate<QueueStreams>(options); }

}  // namespace heddle::bench
