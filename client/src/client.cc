#include <heddle/client.h>
#include <heddle/name.h>

#include <chrono>
#include <utility>

#include "client/src/channel.h"
#include "client/src/connect.h"
#include "client/src/queue_handle.h"

#ifndef HEDDLE_VERSION
#error "the build defines HEDDLE_VERSION"
#endif

namespace heddle {

namespace {

Status not_connected() {
  return Status(Reason::kDaemonUnreachable, "this client is not connected; use Client::connect");
}

// `~/` is expanded by the broker, which knows for sure who asks.
Status check_name(std::string_view name) {
  return check_object_name(name.starts_with("~/") ? name.substr(2) : name);
}

}  // namespace

const char* version() noexcept { return HEDDLE_VERSION; }

Result<Client> Client::connect(const ConnectOptions& options) {
  auto channel = detail::connect_channel(options);
  if (!channel) return channel.status();
  return Client(std::move(*channel));
}

ConnectionInfo Client::describe() const {
  return channel_ ? channel_->describe() : ConnectionInfo{};
}

Result<Queue> Client::create_queue(std::string_view name, const QueueOptions& options) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  auto queue = channel_->open_queue(name, options, true);
  if (!queue) return queue.status();
  return Queue(std::make_shared<detail::QueueHandle>(std::move(*queue)));
}

Result<Queue> Client::create_anonymous_queue(const QueueOptions& options) {
  if (!channel_) return not_connected();
  auto queue = channel_->open_queue({}, options, true);
  if (!queue) return queue.status();
  return Queue(std::make_shared<detail::QueueHandle>(std::move(*queue)));
}

Result<std::string> Client::share_queue(std::string_view name) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  return channel_->share_queue(name);
}

Result<Queue> Client::open_queue(std::string_view name, const QueueOptions& options) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  auto queue = channel_->open_queue(name, options, false);
  if (!queue) return queue.status();
  return Queue(std::make_shared<detail::QueueHandle>(std::move(*queue)));
}

Result<Queue> Client::queue(std::string_view name) { return open_queue(name, {}); }

Status Client::delete_queue(std::string_view name) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  return channel_->delete_queue(name);
}

Result<std::vector<QueueInfo>> Client::list(std::string_view prefix) {
  if (!channel_) return not_connected();
  return channel_->list(prefix);
}

Result<std::chrono::nanoseconds> Client::ping() {
  if (!channel_) return not_connected();
  const auto start = std::chrono::steady_clock::now();
  Status status = channel_->ping();
  if (!status.ok()) return status;
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start);
}

Result<BrokerStatus> Client::status() {
  if (!channel_) return not_connected();
  return channel_->status();
}

Result<std::vector<SessionInfo>> Client::sessions() {
  if (!channel_) return not_connected();
  return channel_->sessions();
}

SessionState Client::session_state() const noexcept {
  return channel_ ? channel_->session_state() : SessionState::kLost;
}

}  // namespace heddle
