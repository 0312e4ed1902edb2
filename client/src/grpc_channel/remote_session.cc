#include "client/src/grpc_channel/remote_session.h"

#include <algorithm>
#include <utility>

#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr milliseconds kResumeAfter{50};
constexpr milliseconds kLeaseMin{1'000};

}  // namespace

RemoteSession::RemoteSession(std::shared_ptr<grpc::Channel> channel, std::string name, Tell tell)
    : channel_(std::move(channel)),
      stub_(v1::SessionService::NewStub(channel_)),
      name_(std::move(name)),
      tell_(std::move(tell)),
      why_(Reason::kBrokerAway),
      thread_([this] { run(); }) {}

RemoteSession::~RemoteSession() {
  if (!thread_.joinable()) return;
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    if (!changed_.wait_for(lock, std::chrono::seconds(2), [this] { return stopped_; }) &&
        context_) {
      context_->TryCancel();
    }
  }
  thread_.join();
}

std::string RemoteSession::token(nanoseconds timeout, Status* why) {
  std::unique_lock lock(mutex_);
  if (!open_) changed_.wait_for(lock, timeout, [this] { return open_ || stopped_; });
  if (open_) return token_;
  *why = why_;
  return {};
}

void RemoteSession::refused(const std::string& token) {
  std::lock_guard lock(mutex_);
  if (!open_ || token != token_) return;
  open_ = false;
  check_now_ = true;
  changed_.notify_all();
}

bool RemoteSession::sleep(milliseconds length) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, length, [this] { return stopping_ || check_now_ || stream_over_; });
  check_now_ = false;
  return !stopping_;
}

void RemoteSession::tell(const SessionEvent& event) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  if (tell_) tell_(event);
}

void RemoteSession::become(SessionState state) {
  std::lock_guard telling(telling_);
  if (state_.exchange(state) != state) tell({.state = state, .lost = {}});
}

void RemoteSession::told(const Event& event) {
  if (event.event() == Event::EVENT_DRAINING) return;
  if (event.event() == Event::EVENT_UNSURE) return become(SessionState::kUnsure);
  if (event.event() == Event::EVENT_LOST) {
    {
      std::lock_guard lock(mutex_);
      loss_told_ = true;
    }
    std::lock_guard telling(telling_);
    return tell({.state = SessionState::kLost, .lost = {event.lost().begin(), event.lost().end()}});
  }
  {
    std::lock_guard lock(mutex_);
    token_ = event.token();
    id_ = event.session();
    lease_ = std::max(milliseconds(event.lease_ms()), kLeaseMin);
    open_ = true;
    awaiting_ = loss_told_ = false;
    changed_.notify_all();
  }
  become(SessionState::kHeld);
}

void RemoteSession::run() {
  do {
    {
      std::lock_guard lock(mutex_);
      context_ = std::make_unique<grpc::ClientContext>();
      context_->set_wait_for_ready(true);
      stream_over_ = loss_told_ = false;
    }
    const auto stream = stub_->Open(context_.get());
    serve_stream(*stream);
    ended(stream->Finish());
  } while (sleep(kResumeAfter));
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void RemoteSession::ended(const grpc::Status& status) {
  const bool away = broker_is_away(status);
  bool was_open, told;
  {
    std::lock_guard lock(mutex_);
    was_open = !token_.empty();
    told = loss_told_;
    open_ = stream_over_ = false;
    why_ = status_from(status);
    if (why_.ok()) why_ = Reason::kSessionLost;
    if (!away) token_.clear();  // the broker itself says so: a new session
  }
  if (!was_open) return;
  if (away || told) {
    std::lock_guard telling(telling_);
    const auto state = away ? SessionState::kUnsure : SessionState::kLost;
    if (state_.exchange(state) != state && away) tell({.state = state, .lost = {}});
  } else {
    become(SessionState::kLost);
  }
}

void RemoteSession::serve_stream(Stream& stream) {
  std::thread reader([this, &stream] {
    Event event;
    while (stream.Read(&event)) told(event);
    std::lock_guard lock(mutex_);
    stream_over_ = true;
    changed_.notify_all();
  });
  keep_renewed(stream);
  reader.join();
}

void RemoteSession::keep_renewed(Stream& stream) {
  v1::SessionServiceOpenRequest request;
  request.set_name(name_.substr(0, 63));
  {
    std::lock_guard lock(mutex_);
    request.set_resume_token(token_);
    awaiting_ = true;
  }
  while (stream.Write(request)) {
    request.Clear();
    milliseconds wait;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !awaiting_ || stream_over_ || stopping_ || open_; });
      wait = lease_ / 3;
    }
    if (!sleep(wait)) {
      request.set_close(true);
      stream.WriteLast(request, grpc::WriteOptions());
      return;
    }
    bool late;
    {
      std::lock_guard lock(mutex_);
      if (stream_over_) return;
      late = std::exchange(awaiting_, true);
    }
    if (late) become(SessionState::kUnsure);
  }
}

}  // namespace heddle::detail
