#include "daemon/services/session_service.h"

#include <grpcpp/alarm.h>

#include <chrono>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "daemon/services/session_table.h"

namespace heddle::services {

using Request = v1::SessionServiceOpenRequest;
using Response = v1::SessionServiceOpenResponse;

namespace {

constexpr int64_t kAlarmSlackNs = 50'000'000;
constexpr size_t kPendingMax = 16;  // answers that a client leaves unread

// Reached from the broker's `ended`, which may come after the stream is gone.
struct Link {
  std::mutex mutex;
  SessionStream* stream = nullptr;
  broker::ResumeToken token{};
  uint64_t session_id = 0;
};

}  // namespace

// One Open stream. Two thirds of a lease without a renewal are told as UNSURE. Reads go on one at a
// time; the broker's calls run on the worker, in order. It finishes when the client half-closes
// (the session ends), breaks off (the session stays until its lease runs out) or when the session
// ended.
//
// Lifetime: gRPC holds `self_` until OnDone; whoever may Finish, after which OnDone can come at any
// moment, and every task on the worker hold another reference.
class SessionStream : public grpc::ServerBidiReactor<Request, Response>,
                      public std::enable_shared_from_this<SessionStream> {
 public:
  SessionStream(SessionService& service, grpc::CallbackServerContext* context)
      : service_(service), env_(service.env_), context_(*context) {}

  void start() {
    self_ = shared_from_this();
    const Status status = identify(env_, context_, &caller_, &admission_);
    link_->stream = this;
    if (status.ok()) {
      std::lock_guard lock(service_.mutex_);
      service_.streams_.insert(this);
      StartRead(&request_);
    } else {
      finish(status);
    }
  }

  void OnReadDone(bool ok) override {
    env_.worker.post([self = shared_from_this(), ok] { ok ? self->serve() : self->leave(); });
  }
  void OnWriteDone(bool) override {
    const auto keep = shared_from_this();
    std::lock_guard lock(mutex_);
    pending_.pop_front();
    writing_ = false;
    write_next_locked();
  }
  void OnDone() override {
    {
      std::lock_guard lock(service_.mutex_);
      service_.streams_.erase(this);
    }
    {
      std::lock_guard lock(link_->mutex);
      link_->stream = nullptr;
    }
    const auto last = std::move(self_);
    bool left;
    {
      std::lock_guard lock(mutex_);
      left = left_;
    }
    if (left && session_id() != 0 && !context_.IsCancelled()) {
      env_.worker.post([last] {
        (void)last->env_.broker.close_session(last->caller_, last->session_.session_id);
      });
    }
  }

  void send(Response::Event event, const std::vector<std::string>& lost = {}) {
    const auto keep = shared_from_this();
    std::lock_guard lock(mutex_);
    send_locked(event, lost);
  }

  // 0 before it is open.
  uint64_t session_id() const { return session_id_.load(); }

  // `lost`: what ended with the session. Told once, by whoever notices the end first.
  void finish(const Status& status, const std::vector<std::string>& lost = {}) {
    const auto keep = shared_from_this();
    std::lock_guard lock(mutex_);
    if (finished_) return;
    if (!lost.empty()) send_locked(Response::EVENT_LOST, lost);
    finished_ = true;
    final_ = to_grpc(status);
    if (!writing_) Finish(final_);
  }

 private:
  void send_locked(Response::Event event, const std::vector<std::string>& lost) {
    if (finished_ || pending_.size() >= kPendingMax) return;
    Response response;
    for (const std::string& name : lost) response.add_lost(name);
    response.set_event(event);
    response.set_session(session_.session_id);
    response.set_token(SessionTable::token_text(session_.token));
    response.set_lease_ms(static_cast<uint32_t>(session_.lease_ns / 1'000'000));
    pending_.push_back(std::move(response));
    write_next_locked();
  }
  void write_next_locked() {
    if (writing_) return;
    if (!pending_.empty()) {
      writing_ = true;
      StartWrite(&pending_.front());
    } else if (finished_) {
      Finish(final_);
    }
  }

  void watch_lease() {
    const auto when =
        std::chrono::system_clock::now() + std::chrono::nanoseconds(session_.lease_ns / 3 * 2);
    lease_watch_ = std::make_unique<grpc::Alarm>();
    lease_watch_->Set(when, [weak = weak_from_this(), worker = &env_.worker](bool due) {
      if (const auto self = due ? weak.lock() : nullptr) {
        worker->post([self] { self->be_unsure(); });
      }
    });
  }

  // --- on the worker ---
  void be_unsure() {
    if (unsure_ || now_ns() - renewed_ns_ < session_.lease_ns / 3 * 2 - kAlarmSlackNs) return;
    unsure_ = true;
    send(Response::EVENT_UNSURE);
  }
  void renewed() {
    renewed_ns_ = now_ns();
    if (std::exchange(unsure_, false)) send(Response::EVENT_HELD);
    watch_lease();
  }

  void serve() {
    if (request_.close()) return close();
    Status status;
    if (session_.session_id != 0) {
      status = env_.broker.renew_session(caller_, session_.session_id);
      if (status.ok()) {
        send(Response::EVENT_RENEWED);
        renewed();
      } else {
        // The lease ran out: its end may still be under way.
        finish(status, env_.broker.lost_with(session_.token));
      }
    } else {
      status = open();
    }
    if (!status.ok()) return finish(status);
    std::lock_guard lock(mutex_);
    if (!finished_) StartRead(&request_);
  }

  Status open() {
    auto ended = [link = link_, env = &env_] {
      std::lock_guard lock(link->mutex);
      env->sessions.remove(link->token);
      env->lock_requests.forget(link->session_id);
      if (link->stream == nullptr) return;
      link->stream->finish({Reason::kSessionLost, "the session has ended; open a new one"},
                           env->broker.lost_with(link->token));
    };
    const bool resume = !request_.resume_token().empty();
    broker::ResumeToken token;
    if (resume && !SessionTable::parse_token(request_.resume_token(), &token)) {
      return {Reason::kInvalidArgument, "resume_token is not a token of Heddle"};
    }
    if (request_.lease_ms() != 0 &&
        (request_.lease_ms() < 1'000 || request_.lease_ms() > 3'600'000)) {
      return Status(Reason::kInvalidArgument, "lease_ms must be 1,000 to 3,600,000");
    }
    auto opened = resume ? env_.broker.resume_session(caller_, token, std::move(ended))
                         : env_.broker.open_session(caller_, request_.lease_ms() * 1'000'000LL,
                                                    request_.name(), std::move(ended));
    if (!opened.ok()) {
      if (resume) finish(opened.status(), env_.broker.lost_with(token));
      return opened.status();
    }
    session_ = *opened;
    session_id_ = session_.session_id;
    {
      std::lock_guard lock(link_->mutex);
      link_->token = session_.token;
      link_->session_id = session_.session_id;
    }
    env_.sessions.add(session_);
    send(resume ? Response::EVENT_RESUMED : Response::EVENT_OPENED);
    unsure_ = resume;  // until it is told what it holds
    renewed();
    return {};
  }

  // In order, by a request that says so.
  void close() {
    if (session_.session_id == 0) return finish({});
    {
      std::lock_guard lock(link_->mutex);
      link_->stream = nullptr;  // `ended` is no news here
    }
    const Status closed = env_.broker.close_session(caller_, session_.session_id);
    finish(closed.is(Reason::kSessionLost) ? Status() : closed);
  }
  // A connection that broke looks like a half-close until the end of the call: OnDone() tells.
  void leave() {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return;
      left_ = true;
    }
    finish({});
  }

  std::shared_ptr<SessionStream> self_;
  SessionService& service_;
  Env& env_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::unique_ptr<Admission> admission_;
  Request request_;
  broker::RemoteSession session_;
  std::atomic<uint64_t> session_id_{0};
  int64_t renewed_ns_ = 0;
  bool unsure_ = false;
  std::unique_ptr<grpc::Alarm> lease_watch_;
  std::shared_ptr<Link> link_ = std::make_shared<Link>();
  std::mutex mutex_;
  std::deque<Response> pending_;  // the front one is being written while writing_
  bool writing_ = false;
  bool finished_ = false;
  bool left_ = false;  // it finished because the client sends no more
  grpc::Status final_;
};

grpc::ServerBidiReactor<Request, Response>* SessionService::Open(
    grpc::CallbackServerContext* context) {
  const auto stream = std::make_shared<SessionStream>(*this, context);
  stream->start();
  return stream.get();
}

void SessionService::announce_drain() {
  std::lock_guard lock(mutex_);
  for (SessionStream* stream : streams_) stream->send(Response::EVENT_DRAINING);
}

void SessionService::tell_lost(uint64_t session_id, const std::string& what) {
  std::lock_guard lock(mutex_);
  for (SessionStream* stream : streams_) {
    if (stream->session_id() == session_id) stream->send(Response::EVENT_LOST, {what});
  }
}

}  // namespace heddle::services
