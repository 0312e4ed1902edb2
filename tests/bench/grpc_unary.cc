#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <deque>
#include <memory>

#include "echo.grpc.pb.h"
#include "heddle/v1/dict_service.grpc.pb.h"
#include "heddle/v1/lock_service.grpc.pb.h"
#include "heddle/v1/queue_service.grpc.pb.h"
#include "heddle/v1/session_service.grpc.pb.h"
#include "tests/bench/grpc_connect.h"
#include "tests/bench/grpc_work.h"

namespace heddle::bench {
namespace {

constexpr double kWarmUp = 0.2;  // of the time measured
constexpr unsigned kCallsPerChannel = 500;

// One call after the other; several of them are in flight together.
class Caller {
 public:
  virtual ~Caller() = default;
  void start(grpc::CompletionQueue* queue) {
    context_ = std::make_unique<grpc::ClientContext>();
    started_ns_ = now_ns();
    call(context_.get(), queue);
  }
  void check() const {
    if (!status_.ok()) fail(status_.error_message());
    check_reply();
  }
  float micros() const { return float(now_ns() - started_ns_) / 1e3f; }

 protected:
  virtual void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) = 0;
  virtual void check_reply() const {}
  grpc::Status status_;

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  int64_t started_ns_ = 0;
};

class EchoCaller final : public Caller {
 public:
  EchoCaller(const std::shared_ptr<grpc::Channel>& channel, const Options&)
      : stub_(EchoService::NewStub(channel)) {}

 private:
  void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) override {
    reader_ = stub_->AsyncCall(context, {}, queue);
    reader_->Finish(&reply_, &status_, this);
  }

  std::unique_ptr<EchoService::Stub> stub_;
  EchoServiceCallResponse reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<EchoServiceCallResponse>> reader_;
};

class PutGetCaller final : public Caller {
 public:
  PutGetCaller(const std::shared_ptr<grpc::Channel>& channel, const Options& options)
      : stub_(v1::QueueService::NewStub(channel)) {
    put_.set_name(options.queue);
    put_.mutable_message()->set_data(std::string(options.bytes, 'x'));
    get_.set_name(options.queue);
    get_.set_timeout_ms(0);
    get_.set_body_as(v1::BODY_AS_DATA);
  }

 private:
  void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) override {
    puts_ = !puts_;
    if (puts_) {
      putting_ = stub_->AsyncPut(context, put_, queue);
      putting_->Finish(&put_reply_, &status_, this);
    } else {
      getting_ = stub_->AsyncGet(context, get_, queue);
      getting_->Finish(&get_reply_, &status_, this);
    }
  }
  void check_reply() const override {
    if ((puts_ ? put_reply_.outcome() : get_reply_.outcome()) != v1::OUTCOME_OK) {
      fail(puts_ ? "a put was not OK" : "a get was not OK");
    }
  }

  std::unique_ptr<v1::QueueService::Stub> stub_;
  bool puts_ = false;
  v1::QueueServicePutRequest put_;
  v1::QueueServiceGetRequest get_;
  v1::QueueServicePutResponse put_reply_;
  v1::QueueServiceGetResponse get_reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::QueueServicePutResponse>> putting_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::QueueServiceGetResponse>> getting_;
};

// A session that lasts as long as this.
class OpenSession {
 public:
  explicit OpenSession(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::SessionService::NewStub(channel)), stream_(stub_->Open(&context_)) {
    v1::SessionServiceOpenResponse reply;
    if (!stream_->Write({}) || !stream_->Read(&reply)) fail("no session");
    token_ = reply.token();
  }
  ~OpenSession() {
    stream_->WritesDone();
    (void)stream_->Finish();
  }
  const std::string& token() const { return token_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::SessionService::Stub> stub_;
  std::unique_ptr<
      grpc::ClientReaderWriter<v1::SessionServiceOpenRequest, v1::SessionServiceOpenResponse>>
      stream_;
  std::string token_;
};

class LockCaller final : public Caller {
 public:
  LockCaller(const std::shared_ptr<grpc::Channel>& channel, const Options& options)
      : session_(channel), stub_(v1::LockService::NewStub(channel)) {
    acquire_.set_name(options.queue);
    acquire_.set_timeout_ms(0);
    release_.set_name(options.queue);
  }

 private:
  void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) override {
    context->AddMetadata("heddle-session", session_.token());
    acquires_ = !acquires_;
    if (acquires_) {
      acquiring_ = stub_->AsyncAcquire(context, acquire_, queue);
      acquiring_->Finish(&acquire_reply_, &status_, this);
    } else {
      releasing_ = stub_->AsyncRelease(context, release_, queue);
      releasing_->Finish(&release_reply_, &status_, this);
    }
  }
  void check_reply() const override {
    if ((acquires_ ? acquire_reply_.outcome() : release_reply_.outcome()) != v1::OUTCOME_OK) {
      fail(acquires_ ? "an acquire was not OK" : "a release was not OK");
    }
  }

  OpenSession session_;
  std::unique_ptr<v1::LockService::Stub> stub_;
  bool acquires_ = false;
  v1::LockServiceAcquireRequest acquire_;
  v1::LockServiceReleaseRequest release_;
  v1::LockServiceAcquireResponse acquire_reply_;
  v1::LockServiceReleaseResponse release_reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::LockServiceAcquireResponse>> acquiring_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::LockServiceReleaseResponse>> releasing_;
};

// Of a dict of its own with as many entries as one GetMany asks for.
class DictCaller : public Caller {
 public:
  DictCaller(const std::shared_ptr<grpc::Channel>& channel, const Options& options)
      : stub_(v1::DictService::NewStub(channel)) {
    v1::DictServiceCreateRequest create;
    v1::DictServiceCreateResponse created;
    v1::DictServiceSetManyRequest set;
    v1::DictServiceSetManyResponse done;
    create.set_name("bench");
    set.set_name("bench");
    for (unsigned i = 0; i < kKeysAtOnce; ++i) {
      auto* entry = set.add_entries();
      entry->set_key("key " + std::to_string(i));
      entry->mutable_value()->set_data(std::string(options.bytes, 'x'));
    }
    grpc::ClientContext creating, setting;
    const bool made = stub_->Create(&creating, create, &created).ok() &&
                      stub_->SetMany(&setting, set, &done).ok();
    if (!made) fail("no dict");
  }

 protected:
  static constexpr unsigned kKeysAtOnce = 256;
  std::unique_ptr<v1::DictService::Stub> stub_;
};

class GetCaller final : public DictCaller {
 public:
  GetCaller(const std::shared_ptr<grpc::Channel>& channel, const Options& options)
      : DictCaller(channel, options) {
    request_.set_name("bench");
    request_.set_key("key 7");
  }

 private:
  void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) override {
    reader_ = stub_->AsyncGet(context, request_, queue);
    reader_->Finish(&reply_, &status_, this);
  }
  void check_reply() const override {
    if (reply_.outcome() != v1::DICT_OUTCOME_OK) fail("a get was not OK");
  }
  v1::DictServiceGetRequest request_;
  v1::DictServiceGetResponse reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::DictServiceGetResponse>> reader_;
};

class GetManyCaller final : public DictCaller {
 public:
  GetManyCaller(const std::shared_ptr<grpc::Channel>& channel, const Options& options)
      : DictCaller(channel, options) {
    request_.set_name("bench");
    for (unsigned i = 0; i < kKeysAtOnce; ++i) request_.add_keys("key " + std::to_string(i));
  }
  static constexpr unsigned keys() { return kKeysAtOnce; }

 private:
  void call(grpc::ClientContext* context, grpc::CompletionQueue* queue) override {
    reader_ = stub_->AsyncGetMany(context, request_, queue);
    reader_->Finish(&reply_, &status_, this);
  }
  void check_reply() const override {
    if (reply_.answered() != kKeysAtOnce) fail("keys were left out");
  }
  v1::DictServiceGetManyRequest request_;
  v1::DictServiceGetManyResponse reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::DictServiceGetManyResponse>> reader_;
};

template <class Kind>
void run_calls(const Options& options, Shared& shared) {
  const auto channel = channel_to(options.socket, true);
  grpc::CompletionQueue queue;
  std::deque<Kind> callers;
  for (unsigned i = 0; i < options.outstanding; ++i) {
    callers.emplace_back(channel, options).start(&queue);
  }
  const auto span_ns = static_cast<int64_t>(options.seconds * 1e9);
  const auto warm_up_ns = static_cast<int64_t>(kWarmUp * options.seconds * 1e9);
  int64_t begin = 0;  // from the first reply on there is a connection
  auto& side = shared.sides[0];
  void* tag = nullptr;
  bool ok = false;
  for (unsigned in_flight = options.outstanding; in_flight > 0 && queue.Next(&tag, &ok);) {
    auto* caller = static_cast<Caller*>(tag);
    caller->check();
    const int64_t now = now_ns();
    if (begin == 0) begin = now + warm_up_ns;
    if (now >= begin && shared.samples < kSamplesMax) {
      shared.sample_us[shared.samples++] = caller->micros();
      if (side.received++ == 0) side.first_ns = now;
      side.last_ns = now;
    }
    if (now < begin + span_ns || side.received < 2) {
      caller->start(&queue);
    } else {
      --in_flight;
    }
  }
}

template <class Kind>
void measure_calls(const Options& options) {
  Shared& shared = *Shared::map();
  run_sides({{0, [&] { run_calls<Kind>(options, shared); }}});
  const auto& side = shared.sides[0];
  std::sort(shared.sample_us, shared.sample_us + shared.samples);
  report({{"per_s", double(side.received - 1) * 1e9 / double(side.last_ns - side.first_ns)},
          {"p50_us", shared.sample_us[shared.samples / 2]},
          {"p99_us", shared.sample_us[shared.samples - 1 - shared.samples / 100]}});
}

}  // namespace

void measure_echo_calls(const Options& options) { measure_calls<EchoCaller>(options); }
void measure_put_get_calls(const Options& options) { measure_calls<PutGetCaller>(options); }
void measure_lock_calls(const Options& options) { measure_calls<LockCaller>(options); }
void measure_dict_gets(const Options& options) { measure_calls<GetCaller>(options); }

void measure_dict_get_many(const Options& options) {
  Shared& shared = *Shared::map();
  run_sides({{0, [&] { run_calls<GetManyCaller>(options, shared); }}});
  std::sort(shared.sample_us, shared.sample_us + shared.samples);
  report({{"key_us", shared.sample_us[shared.samples / 2] / double(GetManyCaller::keys())},
          {"bar_us", 1.0}});
}

void block_gets(const Options& options) {
  struct Blocked {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::QueueServiceGetResponse>> reader;
    v1::QueueServiceGetResponse reply;
    grpc::Status status;
  };
  v1::QueueServiceGetRequest request;
  request.set_name(options.queue);
  request.set_timeout_ms(600'000);
  grpc::CompletionQueue queue;
  std::unique_ptr<v1::QueueService::Stub> stub;
  std::deque<Blocked> calls;
  for (unsigned i = 0; i < options.outstanding; ++i) {
    if (i % kCallsPerChannel == 0)
      stub = v1::QueueService::NewStub(channel_to(options.socket, true));
    Blocked& call = calls.emplace_back();
    call.reader = stub->AsyncGet(&call.context, request, &queue);
    call.reader->Finish(&call.reply, &call.status, &call);
  }
  void* tag = nullptr;
  bool ok = false;
  const auto settled = std::chrono::system_clock::now() + std::chrono::seconds(1);
  if (queue.AsyncNext(&tag, &ok, settled) == grpc::CompletionQueue::GOT_EVENT) {
    fail("a get did not wait: " + static_cast<Blocked*>(tag)->status.error_message());
  }
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  for (Blocked& call : calls) call.context.TryCancel();
  for (size_t left = calls.size(); left > 0 && queue.Next(&tag, &ok); --left) {
  }
}

}  // namespace heddle::bench
