// A pipe whose sender is local and whose receiver is far away, against a bare stream of messages of
// the same size.
#include <grpcpp/grpcpp.h>
#include <heddle/client.h>

#include <vector>

#include "echo.grpc.pb.h"
#include "tests/bench/grpc_work.h"
#include "tests/bench/measure.h"

namespace heddle::bench {
namespace {

class PipeToGrpc {
 public:
  PipeToGrpc(const Options& options, unsigned)
      : name_("bench/pipe-" + std::to_string(::getpid())), body_(options.bytes) {
    options_.capacity = 16 * options.bytes;
  }
  void open_sender() { end_ = open(Plane::kShm, PipeSide::kA); }
  void open_receiver() { end_ = open(Plane::kGrpc, PipeSide::kB); }
  void send(const std::byte* data, size_t length) {
    if (!end_.send(Body(data, length))) fail("nothing can be sent");
  }
  void flush() {}
  std::span<const std::byte> receive() {
    const auto length = end_.receive_into(body_);
    if (!length) fail(length.status().to_string());
    return {body_.data(), *length};
  }
  void close() {
    auto client = Client::connect({.plane = Plane::kShm});
    if (client) (void)client->delete_pipe(name_);
  }

 private:
  PipeEnd open(Plane plane, PipeSide side) {
    client_ = Client::connect({.plane = plane}).value();
    return client_.pipe_end(name_, side, options_).value();
  }

  const std::string name_;
  PipeOptions options_;
  std::vector<std::byte> body_;
  Client client_;
  PipeEnd end_;
};

}  // namespace

void measure_pipe_to_grpc(const Options& options) { measure_rate<PipeToGrpc>(options); }

void measure_source(const Options& options) {
  Shared& shared = *Shared::map();
  run_sides({{kConsumerCore, [&] {
                const auto stub = EchoService::NewStub(grpc::CreateChannel(
                    "unix:" + options.socket, grpc::InsecureChannelCredentials()));
                grpc::ClientContext context;
                EchoServiceSourceRequest request;
                request.set_bytes(static_cast<uint32_t>(options.bytes));
                const auto stream = stub->Source(&context, request);
                EchoServiceStreamRequest batch;
                std::vector<std::byte> body(options.bytes);
                auto& side = shared.sides[0];
                side.first_ns = side.last_ns = now_ns();
                const int64_t to_ns = side.first_ns + int64_t(options.seconds * 1e9);
                for (; side.last_ns < to_ns; side.last_ns = now_ns()) {
                  if (!stream->Read(&batch)) fail("the source ended early");
                  std::memcpy(body.data(), batch.messages(0).data(), body.size());
                  ++side.received;
                }
                context.TryCancel();
                (void)stream->Finish();
              }}});
  const auto& side = shared.sides[0];
  report({{"per_s", double(side.received) * 1e9 / double(side.last_ns - side.first_ns)},
          {"messages", double(side.received)}});
}

}  // namespace heddle::bench
