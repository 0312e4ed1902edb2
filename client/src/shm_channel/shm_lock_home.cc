#include "client/src/shm_channel/shm_lock_home.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_generation.h"

namespace heddle::detail {

thread_local constinit LockHandsEntry t_lock_hands[kLockHandsCached]
    __attribute__((tls_model("initial-exec")));

namespace {

std::uint64_t next_key() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// Whether there is still a daemon behind the memory that somebody waits on.
bool look(void* context);

// Stands in the thread's line as long as the line is the thread's.
struct LockTenant final : LineTenant {
  explicit LockTenant(LockHome& home) : key(home.key), home(home.weak_from_this()) {}
  ~LockTenant() override {
    LockHandsEntry& entry = t_lock_hands[key % kLockHandsCached];
    if (entry.key == key) entry = {};
  }
  bool keeps() override {
    if (hands.held == 0) return false;
    const auto alive = home.lock();
    return alive && alive->names(hands.actor.holder());
  }

  const std::uint64_t key;
  const std::weak_ptr<LockHome> home;
  LockHands hands;
};

bool look(void* context) {
  auto& tenant = *static_cast<LockTenant*>(context);
  const auto home = tenant.home.lock();
  tenant.hands.look_failed = !home || !home->session->look().ok();
  return !tenant.hands.look_failed;
}

}  // namespace

LockHome::LockHome(std::shared_ptr<Session> of)
    : key(next_key()), generation(process_generation()), session(std::move(of)) {}

Result<std::shared_ptr<LockMemory>> LockHome::map(std::uint64_t segment_id, local::Fd fd,
                                                  std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  std::weak_ptr<LockMemory>& place = memories_[segment_id];
  if (auto known = place.lock()) return known;
  auto mapping = Mapping::map(fd.get(), bytes);
  if (!mapping) return mapping.status();
  auto memory = std::make_shared<LockMemory>();
  memory->mapping = std::move(*mapping);
  memory->fd = std::move(fd);
  if (shm::LockSegment::attach(memory->mapping.base(), bytes, memory->fd.get(), &memory->segment) !=
      shm::LockOutcome::kOk) {
    return Status(Reason::kVersionMismatch,
                  "its memory has another layout than this library knows, or is damaged");
  }
  place = memory;
  return memory;
}

bool LockHome::names(std::uint32_t holder) {
  std::vector<std::shared_ptr<LockMemory>> memories;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, memory] : memories_) {
      if (auto mapped = memory.lock()) memories.push_back(std::move(mapped));
    }
  }
  for (const auto& memory : memories) {
    shm::LockSegment& segment = memory->segment;
    const std::uint32_t used = std::min(segment.header().lines_used.load(), segment.lines_max());
    for (std::uint32_t line = 0; line < used; ++line) {
      shm::LockStanding standing[64];
      const shm::Lock one(&segment, line, segment.line(line).generation.load());
      const std::size_t count = std::min(one.standing(standing, 64), std::size_t{64});
      for (std::size_t i = 0; i < count; ++i) {
        if (standing[i].holder == holder) return true;
      }
    }
  }
  return false;
}

shm::LockActor* holding_hands(const Session& session) {
  // There are no others.
  auto* tenant = static_cast<LockTenant*>(tenant_here(*session.page()));
  return tenant != nullptr && tenant->hands.held != 0 ? &tenant->hands.actor : nullptr;
}

Status make_lock_hands(LockHome& home, LockHands** out) {
  ThreadSeat seat;
  if (!claim_seat(home.session->page(), &seat)) {
    const std::uint64_t lines = home.session->page()->thread_lines;
    return Status(Reason::kTooManyThreads, "every line of the session page belongs to a thread")
        .with_limit(lines, lines + 1);
  }
  auto* tenant = static_cast<LockTenant*>(seat.tenant->get());
  if (tenant == nullptr || tenant->key != home.key) {
    auto fresh = std::make_unique<LockTenant>(home);
    shm::LockActor& actor = fresh->hands.actor;
    actor.owner = home.session->owner();
    actor.thread = static_cast<std::uint16_t>(seat.index);
    actor.journal = &home.session->page()->line(seat.index).journal;
    auto* header = static_cast<shm::SessionHeader*>(home.session->page()->mapping.base());
    actor.waits_told = &header->waits_told;
    actor.doorbell_fd = home.session->doorbell();
    actor.look = look;
    actor.look_context = fresh.get();
    tenant = fresh.get();
    *seat.tenant = std::move(fresh);
  }
  t_lock_hands[home.key % kLockHandsCached] = {
      .key = home.key, .hands = &tenant->hands, .holder = tenant->hands.actor.holder()};
  *out = &tenant->hands;
  return {};
}

}  // namespace heddle::detail
