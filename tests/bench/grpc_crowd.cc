// Very many calls that wait for locks, for what is measured beside them.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "heddle/v1/lock_service.grpc.pb.h"
#include "heddle/v1/session_service.grpc.pb.h"
#include "tests/bench/grpc_connect.h"
#include "tests/bench/grpc_work.h"

namespace heddle::bench {
namespace {

constexpr unsigned kWaitsPerConnection = 500;
constexpr unsigned kHolder = 1'023;  // the thread that holds what its session's others wait for
constexpr int64_t kLeaseMs = 600'000;

// One connection and its session.
class Guests {
 public:
  explicit Guests(const std::string& path) : channel_(channel_to(path, true)) {
    sessions_ = v1::SessionService::NewStub(channel_);
    locks_ = v1::LockService::NewStub(channel_);
    stream_ = sessions_->Open(&context_);
    v1::SessionServiceOpenRequest request;
    v1::SessionServiceOpenResponse reply;
    request.set_lease_ms(kLeaseMs);
    if (!stream_->Write(request) || !stream_->Read(&reply)) fail("no session");
    token_ = reply.token();
  }
  ~Guests() {
    for (Call& call : calls_) call.context.TryCancel();
    await(calls_.size());
    stream_->WritesDone();
    (void)stream_->Finish();
  }

  // Each thread holds one lock of its own, and waits for another one that kHolder has.
  void come(unsigned first, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      acquire("bench-far-own/" + std::to_string(first + i), i, true);
      acquire("bench-far/" + std::to_string(first + i), kHolder, true);
    }
    await(calls_.size());
    for (const Call& call : calls_) {
      if (call.reply.outcome() != v1::OUTCOME_OK) fail("a lock is not free: " + call.why());
    }
    calls_.clear();
    for (unsigned i = 0; i < count; ++i) {
      acquire("bench-far/" + std::to_string(first + i), i, false);
    }
  }
  void check() {
    void* tag = nullptr;
    bool ok = false;
    const auto settled = std::chrono::system_clock::now() + std::chrono::milliseconds(50);
    if (queue_.AsyncNext(&tag, &ok, settled) != grpc::CompletionQueue::GOT_EVENT) return;
    fail("an acquire did not wait: " + static_cast<Call*>(tag)->why());
  }

 private:
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::LockServiceAcquireResponse>> reader;
    v1::LockServiceAcquireResponse reply;
    grpc::Status status;
    std::string why() const { return status.error_message() + reply.ShortDebugString(); }
  };

  void acquire(const std::string& name, unsigned thread, bool at_once) {
    v1::LockServiceAcquireRequest request;
    request.set_name(name);
    request.set_thread(thread);
    if (at_once) request.set_timeout_ms(0);
    Call& call = calls_.emplace_back();
    call.context.AddMetadata("heddle-session", token_);
    call.reader = locks_->AsyncAcquire(&call.context, request, &queue_);
    call.reader->Finish(&call.reply, &call.status, &call);
  }
  void await(size_t count) {
    void* tag = nullptr;
    for (bool ok; count > 0 && queue_.Next(&tag, &ok);) --count;
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SessionService::Stub> sessions_;
  std::unique_ptr<v1::LockService::Stub> locks_;
  grpc::ClientContext context_;
  std::unique_ptr<
      grpc::ClientReaderWriter<v1::SessionServiceOpenRequest, v1::SessionServiceOpenResponse>>
      stream_;
  std::string token_;
  grpc::CompletionQueue queue_;
  std::deque<Call> calls_;
};

}  // namespace

void wait_for_locks(const Options& options) {
  std::vector<std::unique_ptr<Guests>> all;
  for (unsigned first = 0; first < options.outstanding; first += kWaitsPerConnection) {
    all.push_back(std::make_unique<Guests>(options.socket));
    all.back()->come(first, std::min(kWaitsPerConnection, options.outstanding - first));
  }
  for (const auto& guests : all) guests->check();
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}

}  // namespace heddle::bench
