#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>
#include <vector>

#include "echo.grpc.pb.h"
#include "heddle/v1/queue_service.grpc.pb.h"
#include "tests/bench/grpc_work.h"
#include "tests/bench/measure.h"

namespace heddle::bench {
namespace {

std::shared_ptr<grpc::Channel> channel_to(const std::string& path) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

struct PlainForm {
  using Request = EchoServiceStreamRequest;
  static auto open(EchoService::Stub& stub, grpc::ClientContext* context) {
    return stub.Stream(context);
  }
  static void add(Request& request, const std::byte* data, size_t length) {
    request.add_messages(data, length);
  }
  static const std::string& body(const Request& request, int i) { return request.messages(i); }
};

struct TypedForm {
  using Request = v1::QueueServiceProduceRequest;
  static auto open(EchoService::Stub& stub, grpc::ClientContext* context) {
    return stub.StreamTyped(context);
  }
  static void add(Request& request, const std::byte* data, size_t length) {
    request.add_messages()->set_data(data, length);
  }
  static const std::string& body(const Request& request, int i) {
    return request.messages(i).data();
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
    if (out_.messages_size() == static_cast<int>(options_.batch)) flush();
  }
  void flush() {
    if (out_.messages_size() == 0) return;
    if (!stream_->Write(out_)) fail("the echo ended early");
    out_.clear_messages();
  }
  std::span<const std::byte> receive() {
    if (next_ == in_.messages_size()) {
      if (!stream_->Read(&in_)) fail("the echo ended early");
      next_ = 0;
    }
    return bytes_of(Form::body(in_, next_++));
  }
  void finish() { stream_->WritesDone(); }

 private:
  const Options& options_;
  std::unique_ptr<EchoService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<typename Form::Request, typename Form::Request>> stream_;
  typename Form::Request out_, in_;
  int next_ = 0;
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
    request.set_body_as(v1::BODY_AS_DATA);
    request.set_max_batch(options_.batch);
    grant(request, kCredits);
  }
  void send(const std::byte* data, size_t length) {
    // Clearing a message would free its body, so those of the last batch are written over.
    auto& message =
        filled_ < out_.messages_size() ? *out_.mutable_messages(filled_) : *out_.add_messages();
    message.mutable_data()->assign(reinterpret_cast<const char*>(data), length);
    if (++filled_ == static_cast<int>(options_.batch)) flush();
  }
  void flush() {
    if (filled_ == 0) return;
    out_.mutable_messages()->DeleteSubrange(filled_, out_.messages_size() - filled_);
    filled_ = 0;
    out_.set_name(options_.queue);
    if (!producer_->Write(out_)) fail("the stream ended early");
    if (++unanswered_ == kUnansweredMax) read_answers();
  }
  std::span<const std::byte> receive() {
    while (in_ == nullptr || next_ == in_->deliveries_size()) {
      arena_.Reset();
      in_ = google::protobuf::Arena::CreateMessage<v1::QueueServiceConsumeResponse>(&arena_);
      if (!consumer_->Read(in_)) fail("the stream ended early");
      next_ = 0;
      used_ += static_cast<unsigned>(in_->deliveries_size());
      if (used_ >= kCredits / 2) grant({}, std::exchange(used_, 0));
    }
    return bytes_of(in_->deliveries(next_++).message().data());
  }
  void finish() {
    producer_->WritesDone();
    read_answers();
    if (const auto status = producer_->Finish(); !status.ok()) fail(status.error_message());
  }
  void close() {}

 private:
  static constexpr unsigned kCredits = 16'384, kUnansweredMax = 32;
  static constexpr size_t kArenaBytes = 256 << 10;

  static google::protobuf::ArenaOptions arena_options(std::vector<char>& first) {
    google::protobuf::ArenaOptions options;
    options.initial_block = first.data();
    options.initial_block_size = first.size();
    return options;
  }
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
  int filled_ = 0;
  unsigned unanswered_ = 0;
  std::vector<char> arena_memory_ = std::vector<char>(kArenaBytes);
  google::protobuf::Arena arena_{arena_options(arena_memory_)};
  v1::QueueServiceConsumeResponse* in_ = nullptr;
  int next_ = 0;
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
void measure_produce_consume(const Options& options) { measure_within<QueueStreams>(options); }
void measure_produce_to_consume(const Options& options) { measure_rate<QueueStreams>(options); }

}  // namespace heddle::bench
