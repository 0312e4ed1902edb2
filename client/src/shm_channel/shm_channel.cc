#include "client/src/shm_channel/shm_channel.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/admin_json.h"
#include "client/src/shm_channel/shm_queue.h"
#include "client/src/shm_channel/wire_fields.h"

namespace heddle::detail {

using local::AttachType;

namespace {

constexpr std::uint32_t kPageRows = 100;
constexpr std::int64_t kSoonMs = 200;

// A limit that does not fit its wire field is the largest one; the broker refuses it by name.
std::uint32_t narrow(std::uint64_t value) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
}

local::QueueOptionsWire wire_of(const QueueOptions& options) {
  local::QueueOptionsWire wire{};
  if (options.max_len) {
    wire.max_len = narrow(*options.max_len);
    wire.given |= local::kGivenMaxLen;
  }
  give(wire, options.max_bytes, wire.max_bytes, local::kGivenMaxBytes);
  give(wire, options.max_msg_bytes, wire.max_msg_bytes, local::kGivenMaxMsgBytes);
  give(wire, options.max_leases, wire.max_leases, local::kGivenMaxLeases);
  give(wire, options.max_deliveries, wire.max_deliveries, local::kGivenMaxDeliveries);
  give(wire, options.overflow, wire.overflow, local::kGivenOverflow);
  give(wire, options.eos, wire.eos, local::kGivenEos);
  give(wire, options.on_producer_death, wire.on_producer_death, local::kGivenOnProducerDeath);
  give(wire, options.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, options.mode, wire.mode, local::kGivenMode);
  if (!options.group.empty()) wire.given |= local::kGivenGroup;
  return wire;
}

QueueOptions options_of(const local::QueueOptionsWire& wire) {
  QueueOptions options;
  options.max_len = wire.max_len;
  options.max_bytes = wire.max_bytes;
  options.max_msg_bytes = wire.max_msg_bytes;
  options.max_leases = wire.max_leases;
  options.max_deliveries = wire.max_deliveries;
  options.overflow = static_cast<Overflow>(wire.overflow);
  options.eos = static_cast<Eos>(wire.eos);
  options.on_producer_death = static_cast<OnProducerDeath>(wire.on_producer_death);
  options.lifetime = static_cast<Lifetime>(wire.lifetime);
  options.mode = wire.mode;
  return options;
}

std::string queue_arguments(std::string_view name) {
  return nlohmann::json{{"kind", "queue"}, {"name", name}}.dump();
}

}  // namespace

Result<std::shared_ptr<Channel>> connect_shm(const std::string& runtime_dir,
                                             const ConnectOptions& options) {
  Session::Where where{.socket = runtime_dir + "/local.sock",
                       .name = options.name.empty() ? program_invocation_short_name : options.name,
                       .timeout = options.timeout};
  auto channel = std::make_shared<ShmChannel>(std::move(where));
  Status status = channel->open();
  if (!status.ok()) return status;
  return std::shared_ptr<Channel>(std::move(channel));
}

Status ShmChannel::open() {
  auto first = session();
  if (!first) return first.status();
  auto broker = status();
  if (broker) broker_version_ = broker->version;
  return {};
}

Result<std::shared_ptr<Session>> ShmChannel::session() {
  std::lock_guard lock(mutex_);
  if (!session_ || session_->ended()) {
    auto fresh = Session::open(where_);
    if (!fresh) return fresh.status();
    session_ = std::move(*fresh);
  }
  return session_;
}

ConnectionInfo ShmChannel::describe() const {
  std::lock_guard lock(mutex_);
  return {.plane = Plane::kShm,
          .address = where_.socket,
          .owner = session_ ? session_->owner() : std::uint16_t{0},
          .generation = session_ ? session_->generation() : 0,
          .broker_version = broker_version_};
}

Result<ShmChannel::OpenedObject> ShmChannel::open_object(local::Open& open, std::string_view group,
                                                         std::string_view name) {
  if (!copy_text(open.group, group) || !copy_text(open.name, name)) {
    return Status(Reason::kInvalidArgument, "the name or the group is too long");
  }
  auto session = this->session();
  if (!session) return session.status();
  local::Packet answer;
  Status status = (*session)->request(AttachType::kOpen, local::bytes_of(open), {},
                                      AttachType::kOpened, &answer);
  if (!status.ok()) return status;
  OpenedObject object{.session = std::move(*session), .opened = {}, .fd = answer.take_fd(0)};
  if (!answer.read(&object.opened) || !object.fd) {
    return Status(Reason::kInternal, "the broker opened it without handing over its memory");
  }
  object.opened.name[sizeof object.opened.name - 1] = '\0';
  return object;
}

Result<std::shared_ptr<Attachment>> ShmChannel::attach(std::string_view name,
                                                       const QueueOptions& options, bool create) {
  local::Open open{};
  open.kind = static_cast<std::uint8_t>(local::ObjectKind::kQueue);
  if (create) open.flags = local::kOpenCreate | (options.open_existing ? 0 : local::kOpenExclusive);
  if (create && name.empty()) open.flags |= local::kOpenAnonymous;
  open.options = wire_of(options);
  auto asked = open_object(open, options.group, name);
  if (!asked) return std::move(asked).status();
  auto& [session, opened, fd] = *asked;
  auto mapping = Mapping::map(fd.get(), opened.bytes);
  if (!mapping) return mapping.status();
  auto attachment = std::make_shared<Attachment>();
  attachment->session = std::move(session);
  attachment->mapping = std::move(*mapping);
  attachment->fd = std::move(fd);
  attachment->object_id = opened.object_id;
  attachment->rights = opened.rights;
  attachment->name = opened.name;
  attachment->options = options_of(opened.options);
  const auto attached = shm::Queue::attach(attachment->mapping.base(), attachment->mapping.bytes(),
                                           attachment->fd.get(), &attachment->queue);
  if (attached != shm::Outcome::kOk) {
    return Status(Reason::kVersionMismatch,
                  "its memory has another layout than this library knows, or is damaged")
        .with_object("queue " + attachment->name);
  }
  return attachment;
}

Result<std::shared_ptr<QueueChannel>> ShmChannel::open_queue(std::string_view name,
                                                             const QueueOptions& options,
                                                             bool create) {
  auto attachment = attach(name, options, create);
  if (!attachment) return attachment.status();
  return std::shared_ptr<QueueChannel>(
      std::make_shared<ShmQueue>(shared_from_this(), std::move(*attachment)));
}

Result<std::string> ShmChannel::share_queue(std::string_view name) {
  auto text = call(local::CallMethod::kShare, queue_arguments(name));
  if (!text) return text.status();
  return parse_name(*text);
}

Status ShmChannel::delete_queue(std::string_view name) {
  return remove(local::ObjectKind::kQueue, name);
}

Status ShmChannel::remove(local::ObjectKind kind, std::string_view name) {
  local::Delete request{};
  request.kind = static_cast<std::uint8_t>(kind);
  if (!copy_text(request.name, name)) {
    return Status(Reason::kInvalidArgument, "the name is too long")
        .with_limit(sizeof request.name - 1, name.size());
  }
  auto session = this->session();
  if (!session) return session.status();
  local::Packet answer;
  return (*session)->request(AttachType::kDelete, local::bytes_of(request), {}, AttachType::kDone,
                             &answer);
}

Result<std::string> ShmChannel::call(local::CallMethod method, const std::string& arguments,
                                     std::int64_t timeout_ms) {
  auto session = this->session();
  if (!session) return session.status();
  const local::Call call{.method = static_cast<std::uint32_t>(method),
                         .text_bytes = static_cast<std::uint32_t>(arguments.size())};
  local::Packet answer;
  Status status = (*session)->request(AttachType::kCall, local::bytes_of(call),
                                      std::as_bytes(std::span(arguments)), AttachType::kReturn,
                                      &answer, timeout_ms);
  if (!status.ok()) return status;
  local::Return head{};
  if (!answer.read(&head) || answer.body().size() - sizeof head < head.text_bytes) {
    return Status(Reason::kInternal, "the broker's answer is cut off");
  }
  const auto text = answer.body().subspan(sizeof head, head.text_bytes);
  return std::string(reinterpret_cast<const char*>(text.data()), text.size());
}

bool ShmChannel::deleted(std::string_view name, std::uint64_t object_id) {
  auto text = call(local::CallMethod::kDescribe, queue_arguments(name), kSoonMs);
  if (!text) return text.status().is(Reason::kNotFound);
  auto info = parse_queue_info(*text);
  return info && info->object_id != object_id;
}

Result<QueueInfo> ShmChannel::describe_queue(std::string_view name) {
  auto text = call(local::CallMethod::kDescribe, queue_arguments(name));
  if (!text) return text.status();
  return parse_queue_info(*text);
}

Result<std::vector<QueueInfo>> ShmChannel::list(std::string_view prefix) {
  std::vector<QueueInfo> rows;
  std::string token;
  do {
    const nlohmann::json arguments{
        {"kind", "queue"}, {"prefix", prefix}, {"page_size", kPageRows}, {"page_token", token}};
    auto text = call(local::CallMethod::kList, arguments.dump());
    if (!text) return text.status();
    auto next = parse_list(*text, &rows);
    if (!next) return next.status();
    token = std::move(*next);
  } while (!token.empty());
  return rows;
}

Status ShmChannel::ping() { return call(local::CallMethod::kStatus, "{}").status(); }

Result<BrokerStatus> ShmChannel::status() {
  auto text = call(local::CallMethod::kStatus, "{}");
  if (!text) return text.status();
  return parse_status(*text);
}

Result<std::vector<SessionInfo>> ShmChannel::sessions() {
  std::vector<SessionInfo> rows;
  std::string token;
  do {
    const nlohmann::json arguments{{"page_size", kPageRows}, {"page_token", token}};
    auto text = call(local::CallMethod::kSessions, arguments.dump());
    if (!text) return text.status();
    auto next = parse_sessions(*text, &rows);
    if (!next) return next.status();
    token = std::move(*next);
  } while (!token.empty());
  return rows;
}

}  // namespace heddle::detail
