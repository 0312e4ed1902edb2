// Opening, deleting and looking at locks: what the shared-memory plane asks the broker.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/shm_channel.h"
#include "client/src/shm_channel/shm_lock.h"
#include "client/src/shm_channel/shm_lock_json.h"
#include "client/src/shm_channel/wire_fields.h"

namespace heddle::detail {

using local::AttachType;

namespace {

constexpr std::uint32_t kPageRows = 100;
constexpr std::int64_t kSoonMs = 200;

constexpr local::ObjectKind kWireKinds[] = {local::ObjectKind::kLock, local::ObjectKind::kSemaphore,
                                            local::ObjectKind::kCondition,
                                            local::ObjectKind::kEvent, local::ObjectKind::kBarrier};
constexpr const char* kNouns[] = {"lock", "sem", "condition", "event", "barrier"};

std::uint8_t wire_of(SyncKind kind) {
  return static_cast<std::uint8_t>(kWireKinds[static_cast<std::size_t>(kind)]);
}
const char* noun_of(SyncKind kind) { return kNouns[static_cast<std::size_t>(kind)]; }

shm::LockKind shm_kind(LockKind kind) {
  switch (kind) {
    case LockKind::kRlock:
      return shm::LockKind::kRlock;
    case LockKind::kRw:
      return shm::LockKind::kRw;
    default:
      return shm::LockKind::kMutex;
  }
}

local::LockOptionsWire wire_of(const LockSpec& spec) {
  local::LockOptionsWire wire{};
  std::optional<shm::LockKind> kind;
  if (spec.lock_kind) kind = shm_kind(*spec.lock_kind);
  if (spec.counting) kind = *spec.counting ? shm::LockKind::kCounting : shm::LockKind::kSemaphore;
  give(wire, kind, wire.lock_kind, local::kGivenLockKind);
  give(wire, spec.on_owner_death, wire.policy, local::kGivenPolicy);
  give(wire, spec.fair, wire.fair, local::kGivenFair);
  give(wire, spec.count, wire.count, local::kGivenCount);
  give(wire, spec.count_max, wire.count_max, local::kGivenCountMax);
  give(wire, spec.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, spec.mode, wire.mode, local::kGivenMode);
  if (spec.lock_delay) {
    // What does not fit is the largest there is; the broker refuses it by name.
    const auto delay = std::clamp<std::int64_t>(spec.lock_delay->count(), 0, UINT32_MAX);
    wire.lock_delay_ms = static_cast<std::uint32_t>(delay);
    wire.given |= local::kGivenLockDelay;
  }
  if (!spec.group.empty()) wire.given |= local::kGivenGroup;
  return wire;
}

std::string ask(const char* what, SyncKind kind, std::string_view name) {
  return nlohmann::json{{"do", what}, {"kind", noun_of(kind)}, {"name", name}}.dump();
}

}  // namespace

Result<std::shared_ptr<LockHome>> ShmChannel::lock_home() {
  auto session = this->session();
  if (!session) return session.status();
  std::lock_guard lock(mutex_);
  if (!lock_home_ || lock_home_->session != *session) {
    lock_home_ = std::make_shared<LockHome>(std::move(*session));
  }
  return lock_home_;
}

Result<std::unique_ptr<LockPlace>> ShmChannel::attach_lock(std::string_view name,
                                                           const LockSpec& spec) {
  local::Open open{};
  open.kind = wire_of(spec.kind);
  if (spec.presence != Presence::kMust) open.flags = local::kOpenCreate;
  if (spec.presence == Presence::kMustNot) open.flags |= local::kOpenExclusive;
  open.lock = wire_of(spec);
  if (!copy_text(open.group, spec.group) || !copy_text(open.name, name)) {
    return Status(Reason::kInvalidArgument, "the name or the group is too long");
  }
  auto home = lock_home();
  if (!home) return home.status();
  local::Packet answer;
  Status status = (*home)->session->request(AttachType::kOpen, local::bytes_of(open), {},
                                            AttachType::kOpened, &answer);
  if (!status.ok()) return status;
  local::Opened opened{};
  local::Fd fd = answer.take_fd(0);
  if (!answer.read(&opened) || !fd) {
    return Status(Reason::kInternal, "the broker opened it without handing over its memory");
  }
  opened.name[sizeof opened.name - 1] = '\0';
  const std::string label = label_of(spec.kind, opened.name);
  auto memory = (*home)->map(opened.lock.segment_id, std::move(fd), opened.bytes);
  if (!memory) return Status(memory.status()).with_object(label);
  if (opened.lock.line >= (*memory)->segment.lines_max()) {
    return Status(Reason::kCorrupt, "it lies beyond the end of its memory").with_object(label);
  }
  auto place = std::make_unique<LockPlace>();
  place->key = (*home)->key;
  place->generation = (*home)->generation;
  place->generation_now = g_generation_page.load(std::memory_order_acquire);
  place->kind = static_cast<shm::LockKind>(opened.lock.lock_kind);
  const bool plain = place->kind == shm::LockKind::kMutex || place->kind == shm::LockKind::kRlock ||
                     place->kind == shm::LockKind::kCondition;
  place->quick = plain && opened.lock.fair == static_cast<std::uint8_t>(shm::Fairness::kBarging);
  place->lock = shm::Lock(&(*memory)->segment, opened.lock.line, opened.lock.generation);
  place->home = std::move(*home);
  place->memory = std::move(*memory);
  place->object_id = opened.object_id;
  place->name = opened.name;
  return place;
}

Result<std::shared_ptr<LockChannel>> ShmChannel::open_lock(std::string_view name,
                                                           const LockSpec& spec) {
  auto place = attach_lock(name, spec);
  if (!place) return place.status();
  return std::shared_ptr<LockChannel>(
      std::make_shared<ShmLock>(shared_from_this(), spec.kind, std::move(*place)));
}

Status ShmChannel::delete_lock(SyncKind kind, std::string_view name) {
  return remove(static_cast<local::ObjectKind>(wire_of(kind)), name);
}

Result<std::vector<LockInfo>> ShmChannel::locks(SyncKind kind, std::string_view prefix) {
  std::vector<LockInfo> rows;
  std::string token;
  do {
    const nlohmann::json arguments{{"do", "list"},
                                   {"kind", noun_of(kind)},
                                   {"prefix", prefix},
                                   {"page_size", kPageRows},
                                   {"page_token", token}};
    auto text = call(local::CallMethod::kLockDo, arguments.dump());
    if (!text) return text.status();
    auto next = parse_lock_list(*text, &rows);
    if (!next) return next.status();
    token = std::move(*next);
  } while (!token.empty());
  return rows;
}

Result<LockInfo> ShmChannel::lock_info(SyncKind kind, std::string_view name) {
  auto text = call(local::CallMethod::kLockDo, ask("inspect", kind, name));
  if (!text) return text.status();
  return parse_lock_info(*text);
}

Result<std::string> ShmChannel::lock_report(LockReport which) {
  static constexpr const char* kWhat[] = {"deadlocks", "graph", "orders"};
  nlohmann::json arguments{{"do", kWhat[static_cast<std::size_t>(which)]}};
  if (which != LockReport::kDeadlocks) return call(local::CallMethod::kLockDo, arguments.dump());
  std::vector<std::string> newest_first;
  std::uint64_t before = 0;
  do {
    arguments["before"] = before;
    auto text = call(local::CallMethod::kLockDo, arguments.dump());
    if (!text) return text.status();
    auto next = parse_deadlocks(*text, &newest_first);
    if (!next) return next.status();
    before = *next;
  } while (before != 0);
  return deadlocks_text(newest_first);
}

Status ShmChannel::force_release(SyncKind kind, std::string_view name, std::uint16_t session) {
  const nlohmann::json arguments{
      {"do", "force_release"}, {"kind", noun_of(kind)}, {"name", name}, {"session", session}};
  return call(local::CallMethod::kLockDo, arguments.dump()).status();
}

Status ShmChannel::lock_do(SyncKind kind, std::string_view name, const char* what) {
  return call(local::CallMethod::kLockDo, ask(what, kind, name)).status();
}

std::string ShmChannel::own_deadlock() {
  auto text = call(local::CallMethod::kLockDo, R"({"do":"deadlocks"})", kSoonMs);
  return text ? parse_own_deadlock(*text, ::getpid()) : std::string();
}

}  // namespace heddle::detail
