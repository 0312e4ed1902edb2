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

bool acquire_at_once(const LockChannel& channel, Grant* grant) {
  return take_at_once(channel, &grant->token);
}

bool release_at_once(const LockChannel& channel) { return give_at_once(channel); }

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

namespace {

[[gnu::noinline]] Result<Grant> acquire_beside(const std::shared_ptr<detail::LockChannel>& channel,
                                               LockMode mode, std::int64_t deadline_ns) {
  if (mode == LockMode::kShared && channel != nullptr) {
    Grant grant;
    if (detail::acquire_kin_at_once(*channel, 0, &grant)) [[likely]]
      return grant;
  }
  return detail::acquire_from(channel, {.mode = mode, .deadline_ns = deadline_ns});
}

[[gnu::noinline]] Status release_slowly(detail::LockChannel* channel, LockMode mode) {
  if (mode == LockMode::kShared && channel != nullptr) {
    if (detail::release_kin_at_once(*channel, 1)) return {};
  }
  return channel != nullptr ? channel->release(mode, 1) : detail::no_object();
}

}  // namespace

Result<Grant> Lock::acquire(LockMode mode) {
  std::uint64_t token;
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    if (detail::take_at_once(*channel_, &token)) [[likely]]
      return Grant{.token = token};
  }
  return acquire_beside(channel_, mode, kNever);
}

Result<Grant> Lock::try_acquire(LockMode mode) {
  std::uint64_t token;
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    if (detail::take_at_once(*channel_, &token)) [[likely]]
      return Grant{.token = token};
  }
  return acquire_beside(channel_, mode, kTry);
}

Result<Grant> Lock::acquire_for(std::chrono::nanoseconds timeout, LockMode mode) {
  std::uint64_t token;
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    if (detail::take_at_once(*channel_, &token)) [[likely]]
      return Grant{.token = token};
  }
  return acquire_beside(channel_, mode, detail::deadline_after(timeout));
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
  if (mode == LockMode::kExclusive && channel_ != nullptr) [[likely]] {
    if (detail::give_at_once(*channel_)) [[likely]]
      return {};
  }
  return release_slowly(channel_.get(), mode);
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
