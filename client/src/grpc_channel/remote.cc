#include "client/src/grpc_channel/remote.h"

#include <sys/random.h>

#include <algorithm>

namespace heddle::detail {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::system_clock;

constexpr std::int64_t kMarginNs = 5'000'000'000;  // for the answer of a call that has waited
constexpr milliseconds kRetry{50};

std::shared_ptr<grpc::Channel> open_channel(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // ours know which calls are repeatable
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

RemoteSession::RemoteSession(std::shared_ptr<grpc::Channel> channel, std::string name)
    : channel_(std::move(channel)),
      stub_(v1::SessionService::NewStub(channel_)),
      name_(std::move(name)),
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
  changed_.wait_for(lock, length, [this] { return stopping_ || check_now_; });
  check_now_ = false;
  return !stopping_;
}

bool RemoteSession::exchange(Stream& stream, const v1::SessionServiceOpenRequest& request,
                             v1::SessionServiceOpenResponse* response) {
  if (!stream.Write(request)) return false;
  do {
    if (!stream.Read(response)) return false;
  } while (response->event() == v1::SessionServiceOpenResponse::EVENT_DRAINING);
  return true;
}

void RemoteSession::run() {
  do {
    {
      std::lock_guard lock(mutex_);
      context_ = std::make_unique<grpc::ClientContext>();
      context_->set_wait_for_ready(true);
    }
    const auto stream = stub_->Open(context_.get());
    serve_stream(*stream);
    const grpc::Status ended = stream->Finish();
    std::lock_guard lock(mutex_);
    open_ = false;
    why_ = status_from(ended);
    if (why_.ok()) why_ = Reason::kSessionLost;
    if (!broker_is_away(ended)) token_.clear();  // the broker itself says so: a new session
  } while (sleep(kRetry));
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

void RemoteSession::serve_stream(Stream& stream) {
  v1::SessionServiceOpenRequest request;
  v1::SessionServiceOpenResponse response;
  request.set_name(name_.substr(0, 63));
  {
    std::lock_guard lock(mutex_);
    request.set_resume_token(token_);
  }
  while (exchange(stream, request, &response)) {
    {
      std::lock_guard lock(mutex_);
      token_ = response.token();
      open_ = true;
      changed_.notify_all();
    }
    request.Clear();
    if (!sleep(milliseconds(std::max<std::uint32_t>(response.lease_ms(), 1'000) / 3))) {
      stream.WritesDone();
      while (stream.Read(&response)) {
      }
      return;
    }
  }
}

Remote::Remote(std::string address, const ConnectOptions& connect_options)
    : target(std::move(address)), options(connect_options), channel(open_channel(target)),
      queues(v1::QueueService::NewStub(channel)), admin(v1::AdminService::NewStub(channel)) {
  unsigned char random[12] = {};
  (void)!getrandom(random, sizeof random, 0);
  constexpr char kDigits[] = "0123456789abcdef";
  for (const unsigned char byte : random) {
    request_prefix_ += kDigits[byte >> 4];
    request_prefix_ += kDigits[byte & 15];
  }
}

// After a fork gRPC's threads are the parent's: nothing may be ended here, only forgotten.
Remote::~Remote() {
  if (!forked()) return;
  if (session) session->abandon();
  (void)session.release();
  (void)queues.release();
  (void)admin.release();
  new std::shared_ptr<grpc::Channel>(std::move(channel));
}

Status Remote::connect() {
  if (!channel->WaitForConnected(system_clock::now() + options.timeout)) {
    return Status(Reason::kDaemonUnreachable, "no gRPC server answers within " +
                                                  std::to_string(options.timeout.count()) + " ms")
        .with_object("address " + target);
  }
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + options.timeout);
  v1::AdminServiceStatusResponse response;
  if (const auto result = admin->Status(&context, {}, &response); !result.ok()) {
    return status_from(result);
  }
  version = response.version();
  if (options.sessionless) return {};
  session = std::make_unique<RemoteSession>(channel, options.name);
  Status why;
  if (session->token(options.timeout, &why).empty()) return why;
  return {};
}

Status Remote::enter_session(std::string* token) {
  if (forked()) {
    return {Reason::kUnsupported,
            "gRPC does not survive fork: connect in the child, or use shared memory"};
  }
  if (!session) return {};
  Status why;
  *token = session->token(options.timeout, &why);
  return token->empty() ? why : Status();
}

Status Remote::prepare(std::int64_t deadline_ns, grpc::ClientContext* context,
                       std::string* token) {
  if (Status status = enter_session(token); !status.ok()) return status;
  if (!token->empty()) context->AddMetadata("heddle-session", *token);
  if (deadline_ns == kNever) return {};
  const std::int64_t wait =
      deadline_ns == kTry ? 0 : std::max<std::int64_t>(deadline_ns - monotonic_ns(), 0);
  const auto patience = nanoseconds(std::max<std::int64_t>(nanoseconds(options.timeout).count(),
                                                           kMarginNs));
  if (wait < INT64_MAX / 4) {
    context->set_deadline(system_clock::now() + nanoseconds(wait) + patience);
  }
  return {};
}

Status Remote::after_failure(const grpc::Status& result, std::int64_t deadline_ns,
                             const std::string& token, std::int64_t* give_up_ns) {
  Status status = status_from(result);
  const bool lost = session && status.is(Reason::kSessionLost);
  if (!broker_is_away(result) && !lost) {
    if (result.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return {Reason::kBrokerAway, "the broker does not answer"};
    }
    return status;
  }
  const std::int64_t now = monotonic_ns();
  if (*give_up_ns == 0) {
    *give_up_ns = now + nanoseconds(options.timeout).count();
    if (deadline_ns != kTry) *give_up_ns = std::min(*give_up_ns, std::max(deadline_ns, now + 1));
  }
  if (now >= *give_up_ns) return status;
  if (lost) {
    session->refused(token);
  } else {
    channel->WaitForConnected(system_clock::now() +
                              std::min(nanoseconds(*give_up_ns - now), nanoseconds(kRetry) * 4));
  }
  return {};
}

std::string Remote::next_request_id() {
  return request_prefix_ + "-" +
         std::to_string(request_number_.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace heddle::detail
