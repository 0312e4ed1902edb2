#include "tests/bench/echo_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <utility>

#include "daemon/server/accept_loop.h"
#include "daemon/server/grpc_server.h"
#include "echo.grpc.pb.h"
#include "tests/bench/pair.h"

namespace heddle::bench {
namespace {

// Sends each message back; reads the next one meanwhile.
template <class M>
class Mirror final : public grpc::ServerBidiReactor<M, M> {
 public:
  Mirror() { this->StartRead(&in_); }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (!ok) {
      closed_ = true;
      if (!writing_) this->Finish(grpc::Status::OK);
    } else if (writing_) {
      waiting_ = true;
    } else {
      turn_locked();
    }
  }
  void OnWriteDone(bool) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (std::exchange(waiting_, false)) {
      turn_locked();
    } else if (closed_) {
      this->Finish(grpc::Status::OK);
    }
  }
  void OnDone() override { delete this; }

 private:
  void turn_locked() {
    in_.Swap(&out_);
    writing_ = true;
    this->StartWrite(&out_);
    this->StartRead(&in_);
  }

  std::mutex mutex_;
  M in_, out_;
  bool writing_ = false, waiting_ = false, closed_ = false;
};

class Source final : public grpc::ServerWriteReactor<EchoServiceStreamRequest> {
 public:
  explicit Source(uint32_t bytes) {
    batch_.add_messages(std::string(bytes, 's'));
    StartWrite(&batch_);
  }
  void OnWriteDone(bool ok) override { ok ? StartWrite(&batch_) : Finish(grpc::Status::OK); }
  void OnDone() override { delete this; }

 private:
  EchoServiceStreamRequest batch_;
};

class Echo final : public EchoService::CallbackService {
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context,
                                 const EchoServiceCallRequest*, EchoServiceCallResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerBidiReactor<EchoServiceStreamRequest, EchoServiceStreamRequest>* Stream(
      grpc::CallbackServerContext*) override {
    return new Mirror<EchoServiceStreamRequest>;
  }
  grpc::ServerBidiReactor<v1::QueueServiceProduceRequest, v1::QueueServiceProduceRequest>*
  StreamTyped(grpc::CallbackServerContext*) override {
    return new Mirror<v1::QueueServiceProduceRequest>;
  }
  grpc::ServerWriteReactor<EchoServiceStreamRequest>* Source(
      grpc::CallbackServerContext*, const EchoServiceSourceRequest* request) override {
    return new bench::Source(request->bytes());
  }
};

local::Fd listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  local::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd.get(), 128) != 0) {
    fail("cannot listen at " + path);
  }
  return fd;
}

}  // namespace

void serve_echo(const std::string& path) {
  const server::GrpcOptions options;
  server::Connections connections(options.limits);
  Echo echo;
  grpc::ServerBuilder builder;
  server::configure(builder, options);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  if (!server) fail("gRPC did not start");
  std::vector<server::GrpcListener> listeners;
  listeners.push_back({listen_at(path), false});
  server::AcceptLoop accept(std::move(listeners), connections, [&](int number) {
    grpc::AddInsecureChannelFromFd(server.get(), number);
  });
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  accept.stop();
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace heddle::bench
