// Send and Receive: one use of an end each, or with a session one more of the session's.
#include <algorithm>
#include <mutex>

#include "daemon/services/grpc_status.h"
#include "daemon/services/pipe_service.h"
#include "daemon/services/pipe_use.h"
#include "daemon/services/pipe_wire.h"

namespace heddle::services {
namespace {

constexpr uint32_t kMessagesMax = 4'096;
constexpr uint64_t kReceiveBytes = 4 << 20;  // one message may pass it

// Opens the end on the worker thread, then begins; everything that follows comes as a callback.
class EndCall : public Call {
 public:
  using Call::Call;

  // From any thread, at any moment until OnDone.
  void OnCancel() override {
    objects::Pipe::UseRef end;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (begun_) end = use_.end;
    }
    if (end) call_off(end);
  }

 protected:
  virtual Status begin() = 0;  // on the worker
  virtual void call_off(const objects::Pipe::UseRef& end) = 0;

  template <class Request>
  void start(const Request& request, v1::PipeSide usual) {
    if (!identified_.ok()) return finish(identified_);
    ask_.name = request.name();
    const v1::PipeSide side = request.side() == v1::PIPE_SIDE_UNSPECIFIED ? usual : request.side();
    ask_.options.role = static_cast<uint8_t>(local::PipeRole::kEnd);
    ask_.options.side = static_cast<uint8_t>(side - 1);
    env_.worker.post([this] {
      Status status = enter_pipe(env_, caller_, ask_.name, false, &use_);
      if (status.ok()) status = open_pipe(env_, ask_, &use_);
      if (status.ok()) status = begin();
      if (!status.ok()) end_call(status, false);
    });
  }
  // The call of the pipe has been made; its callback may have run, but not OnDone: end_call() waits
  // for this one.
  void begun(const objects::Pipe::UseRef& end) {
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      begun_ = true;
      cancelled = cancelled_;
    }
    if (cancelled) call_off(end);
    settle();
  }
  void ended(Status status, bool closes) {
    {
      std::lock_guard lock(mutex_);
      final_ = std::move(status);
      closes_ = closes;
      ended_ = true;
    }
    settle();
  }

  PipeAsk ask_;
  PipeUse use_;

 private:
  // By whoever comes last of begun() and ended().
  void settle() {
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      if (!begun_ || !ended_ || settled_) return;
      settled_ = true;
      begun_ = false;  // nothing to call off any more
      cancelled = cancelled_;
    }
    // What ends here may wait for the supervisor.
    env_.worker.post([this, cancelled] { end_call(final_, cancelled); });
  }
  void end_call(const Status& status, bool died) {
    end_pipe(env_, &use_, closes_, died);
    finish(status);
  }

  std::mutex mutex_;
  Status final_;
  bool begun_ = false, ended_ = false, settled_ = false, cancelled_ = false, closes_ = false;
};

class SendCall final : public EndCall {
 public:
  SendCall(Env& env, grpc::CallbackServerContext* context,
           const v1::PipeServiceSendRequest& request, v1::PipeServiceSendResponse* response)
      : EndCall(env, context), request_(request), response_(response) {}
  void run() { start(request_, v1::PIPE_SIDE_A); }

 private:
  Status begin() override {
    std::vector<objects::Body> bodies;
    Status status = pipe_bodies_from(request_.messages(), &storage_, &bodies);
    if (!status.ok()) return status;
    const auto end = use_.end;
    use_.ref.pipe->send(end, std::move(bodies),
                        deadline_ns(context_, timeout_of(request_), shm::kTry),
                        [this](objects::PipeSent sent) { done(std::move(sent)); });
    begun(end);
    return {};
  }
  void call_off(const objects::Pipe::UseRef& end) override { use_.ref.pipe->cancel_send(end); }
  void done(objects::PipeSent sent) {
    response_->set_sent(sent.messages);
    response_->set_bytes_sent(sent.bytes);
    ended(set_outcome(std::move(sent.status), response_), request_.close());
  }

  const v1::PipeServiceSendRequest& request_;
  v1::PipeServiceSendResponse* const response_;
  std::vector<std::string> storage_;
};

class ReceiveCall final : public EndCall {
 public:
  ReceiveCall(Env& env, grpc::CallbackServerContext* context,
              const v1::PipeServiceReceiveRequest& request,
              v1::PipeServiceReceiveResponse* response)
      : EndCall(env, context), request_(request), response_(response) {}
  void run() { start(request_, v1::PIPE_SIDE_B); }

 private:
  Status begin() override {
    objects::PipeWant want;
    want.count_max = std::clamp(request_.max_messages(), 1u, kMessagesMax);
    const bool stream = use_.ref.pipe->options().mode == shm::PipeMode::kBytes;
    want.bytes_max = stream ? std::min(want.count_max * kPieceBytes, kReceiveBytes) : kReceiveBytes;
    const auto end = use_.end;
    use_.ref.pipe->receive(end, want, deadline_ns(context_, timeout_of(request_), shm::kTry),
                           [this](objects::PipeGot got) { done(std::move(got)); });
    begun(end);
    return {};
  }
  void call_off(const objects::Pipe::UseRef& end) override { use_.ref.pipe->cancel_receive(end); }
  void done(objects::PipeGot got) {
    Status status = set_outcome(std::move(got.status), response_);
    if (status.ok()) status = received_to(std::move(got), request_.body_as(), response_);
    ended(std::move(status), request_.close());
  }

  const v1::PipeServiceReceiveRequest& request_;
  v1::PipeServiceReceiveResponse* const response_;
};

template <class OneCall, class Request, class Response>
grpc::ServerUnaryReactor* make(Env& env, grpc::CallbackServerContext* context,
                               const Request& request, Response* response) {
  auto* call = new OneCall(env, context, request, response);
  call->run();
  return call;
}

}  // namespace

grpc::ServerUnaryReactor* PipeService::Send(Context* context,
                                            const v1::PipeServiceSendRequest* request,
                                            v1::PipeServiceSendResponse* response) {
  return make<SendCall>(env_, context, *request, response);
}

grpc::ServerUnaryReactor* PipeService::Receive(Context* context,
                                               const v1::PipeServiceReceiveRequest* request,
                                               v1::PipeServiceReceiveResponse* response) {
  return make<ReceiveCall>(env_, context, *request, response);
}

}  // namespace heddle::services
