#include "client/src/grpc_channel/remote.h"

#include <sys/random.h>

#include <algorithm>

#include "client/src/grpc_channel/turned_away.h"

namespace heddle::detail {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::system_clock;

constexpr std::int64_t kMarginNs = 5'000'000'000;  // for the answer of a call that has waited
constexpr std::int64_t kNsPerByte = 64;            // at worst, on the way and in memory: 15 MiB/s
constexpr milliseconds kRetry{50};
constexpr milliseconds kLook{250};

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

Remote::Remote(std::string address, const ConnectOptions& connect_options)
    : target(std::move(address)),
      options(connect_options),
      channel(open_channel(target)),
      queues(v1::QueueService::NewStub(channel)),
      locks(v1::LockService::NewStub(channel)),
      pipes(v1::PipeService::NewStub(channel)),
      dicts(v1::DictService::NewStub(channel)),
      lists(v1::ListService::NewStub(channel)),
      blocks(v1::BlockService::NewStub(channel)),
      admin(v1::AdminService::NewStub(channel)) {
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
  (void)locks.release();
  (void)pipes.release();
  (void)dicts.release();
  (void)lists.release();
  (void)blocks.release();
  (void)admin.release();
  new std::shared_ptr<grpc::Channel>(std::move(channel));
}

// OK when it is connected, or nobody answered in time.
Status Remote::await_connection() {
  const auto end = system_clock::now() + options.timeout;
  while (!channel->WaitForConnected(std::min(end, system_clock::now() + kLook))) {
    if (system_clock::now() >= end) return {};
    if (Status why = turned_away(target); !why.ok()) return why;
  }
  return {};
}

Status Remote::connect() {
  if (Status status = await_connection(); !status.ok()) return status;
  if (channel->GetState(false) != GRPC_CHANNEL_READY) {
    return Status(Reason::kDaemonUnreachable, "no gRPC server answers within " +
                                                  std::to_string(options.timeout.count()) + " ms")
        .with_object("address " + target);
  }
  const auto end = system_clock::now() + options.timeout;
  v1::AdminServiceStatusResponse response;
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(end);
    const auto result = admin->Status(&context, {}, &response);
    if (result.ok()) break;
    // It may have counted as connected for a moment, or broken off in this one.
    Status why = broker_is_away(result) ? turned_away(target) : Status();
    if (!why.ok()) return why;
    const bool again = broker_is_away(result) && system_clock::now() < end;
    if (!again || !channel->WaitForConnected(end)) return status_from(result);
  }
  version = response.version();
  if (options.sessionless) return {};
  session = std::make_unique<RemoteSession>(channel, options.name, options.on_session);
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

Status Remote::prepare(std::int64_t deadline_ns, std::uint64_t bytes, grpc::ClientContext* context,
                       std::string* token) {
  if (Status status = enter_session(token); !status.ok()) return status;
  if (!token->empty()) context->AddMetadata("heddle-session", *token);
  if (deadline_ns == kNever) return {};
  const std::int64_t wait =
      deadline_ns == kTry ? 0 : std::max<std::int64_t>(deadline_ns - monotonic_ns(), 0);
  const auto patience =
      nanoseconds(std::max<std::int64_t>(nanoseconds(options.timeout).count(), kMarginNs) +
                  static_cast<std::int64_t>(bytes) * kNsPerByte);
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
  if (now >= *give_up_ns) {
    Status why = lost ? Status() : turned_away(target);
    return why.ok() ? std::move(status) : std::move(why);
  }
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
