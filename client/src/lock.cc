// The public lock handle: timeouts become deadlines, and a free lock is taken where it lies.
#include <heddle/lock.h>

#include <utility>

#include "client/src/lock_handle.h"
#include "client/src/shm_channel/shm_lock_place.h"

namespace heddle {

using detail::kNever;
using detail::kTry;
using detail::LockAsk;

namespace detail {

namespace {

// Of a place: a mutex, rlock or a condition's lock.
bool plain(const LockPlace& place) {
  return place.kind == shm::LockKind::kMutex || place.kind == shm::LockKind::kRlock ||
         place.kind == shm::LockKind::kCondition;
}

// Now and then the channel looks whether the session still is one.
constexpr std::uint32_t kUsesPerLook = 4096;

inline bool acquire_in(const LockPlace& place, Grant* grant) {
  if (!plain(place)) return false;
  LockHands* hands = cached_lock_hands(place);
  if (hands == nullptr || ++hands->uses % kUsesPerLook == 0) [[unlikely]]
    return false;
  shm::Lock lock = place.lock;
  if ((lock.line().word.load(std::memory_order_relaxed) & shm::kLowMask) != 0) return false;
  shm::Grant got;
  if (lock.acquire(hands->actor, kTry, &got) != shm::LockOutcome::kOk) [[unlikely]]
    return false;
  ++hands->held;
  grant->token = got.token;
  if (got.abandoned) [[unlikely]] {
    grant->abandoned = true;
    grant->previous_session = shm::owner_in(got.dead_holder);
    grant->previous_thread = shm::thread_in(got.dead_holder);
  }
  return true;
}

inline bool release_in(const LockPlace& place) {
  if (!plain(place)) return false;
  LockHands* hands = cached_lock_hands(place);
  if (hands == nullptr) [[unlikely]]
    return false;
  shm::Lock lock = place.lock;
  if (lock.release(hands->actor) != shm::LockOutcome::kOk) [[unlikely]]
    return false;
  --hands->held;
  return true;
}

}  // namespace

bool acquire_at_once(const LockChannel& channel, Grant* grant) {
  const LockPlace* place = channel.place();
  return place != nullptr && acquire_in(*place, grant);
}

bool release_at_once(const LockChannel& channel) {
  const LockPlace* place = channel.place();
  return place != nullptr && release_in(*place);
}

Result<Grant> acquire_from(const std::shared_ptr<LockChannel>& channel, const LockAsk& ask) {
  if (channel == nullptr) [[unlikely]]
    return no_object();
  Grant grant;
  Status status = channel->acquire(ask, &grant);
  if (!status.ok()) [[unlikely]]
    return status;
  return grant;
}

}  // namespace detail

const std::string& Lock::name() const { return detail::name_of(channel_); }

Result<Grant> Lock::acquire(LockMode mode) {
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    Grant grant;
    if (detail::acquire_at_once(*channel_, &grant)) [[likely]]
      return grant;
  }
  return detail::acquire_from(channel_, {.mode = mode, .deadline_ns = kNever});
}

Result<Grant> Lock::try_acquire(LockMode mode) {
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    Grant grant;
    if (detail::acquire_at_once(*channel_, &grant)) [[likely]]
      return grant;
  }
  return detail::acquire_from(channel_, {.mode = mode, .deadline_ns = kTry});
}

Result<Grant> Lock::acquire_for(std::chrono::nanoseconds timeout, LockMode mode) {
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    Grant grant;
    if (detail::acquire_at_once(*channel_, &grant)) [[likely]]
      return grant;
  }
  return detail::acquire_from(channel_,
                              {.mode = mode, .deadline_ns = detail::deadline_after(timeout)});
}

Result<Grant> Lock::acquire_with(const AcquireOptions& options) {
  return detail::acquire_from(
      channel_, {.mode = options.mode,
                 .n = 1,
                 .deadline_ns = detail::deadline_after(options.timeout.value_or(kForever)),
                 .priority = options.priority,
                 .request_id = options.request_id});
}

Result<LockGuard> Lock::guard(const AcquireOptions& options) {
  auto grant = acquire_with(options);
  if (!grant) return std::move(grant).status();
  return LockGuard(*this, *grant, options.mode);
}

Status Lock::release(LockMode mode) {
  HEDDLE_NEED_OBJECT();
  if (mode == LockMode::kExclusive && detail::release_at_once(*channel_)) [[likely]]
    return {};
  return channel_->release(mode, 1);
}

Status Lock::release_any() {
  HEDDLE_NEED_OBJECT();
  return channel_->release_any(false);
}

Result<Grant> Lock::convert(LockMode from, LockMode to, std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  Grant grant;
  Status status = channel_->convert(from, to, detail::deadline_after(timeout), &grant);
  if (!status.ok()) return status;
  return grant;
}

Answer Lock::locked() {
  if (channel_ == nullptr) return Result<bool>(detail::no_object());
  auto glance = channel_->glance();
  if (!glance) return Result<bool>(std::move(glance).status());
  return Result<bool>(glance->locked);
}

Result<std::uint64_t> Lock::token() {
  HEDDLE_NEED_OBJECT();
  auto glance = channel_->glance();
  if (!glance) return std::move(glance).status();
  return glance->token;
}

Result<LockInfo> Lock::info() {
  HEDDLE_NEED_OBJECT();
  return channel_->info();
}

Status Lock::force_release() {
  HEDDLE_NEED_OBJECT();
  return channel_->force_release();
}

Status Lock::repair() {
  HEDDLE_NEED_OBJECT();
  return channel_->repair();
}

Status LockGuard::convert(LockMode to, std::chrono::nanoseconds timeout) {
  auto grant = lock_.convert(mode_, to, timeout);
  if (!grant) return std::move(grant).status();
  grant_.token = grant->token;
  mode_ = to;
  return {};
}

Status LockGuard::release() {
  if (!lock_) return {};
  Lock lock = std::exchange(lock_, Lock());
  return lock.release(mode_);
}

Status Election::resign() {
  if (!lock_) return detail::no_object();
  return detail::LockAccess::channel(lock_)->release_any(true);
}

Result<LockParty> Election::leader() {
  auto info = lock_.info();
  if (!info) return std::move(info).status();
  if (info->holders.empty()) return Reason::kEmpty;
  return std::move(info->holders.front());
}

}  // namespace heddle
