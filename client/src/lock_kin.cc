// The public handles on semaphores, conditions, events and barriers.
#include <heddle/lock.h>

#include <utility>

#include "client/src/lock_handle.h"
#include "client/src/shm_channel/shm_lock_place.h"

namespace heddle {

using detail::acquire_from;
using detail::deadline_after;

const std::string& Semaphore::name() const { return detail::name_of(channel_); }

namespace {

inline Result<Grant> permits(const std::shared_ptr<detail::LockChannel>& channel, std::uint32_t n,
                             std::chrono::nanoseconds timeout) {
  if (channel != nullptr) [[likely]] {
    Grant grant;
    if (detail::acquire_kin_at_once(*channel, n, &grant)) [[likely]]
      return grant;
  }
  return acquire_from(channel, {.n = n, .deadline_ns = deadline_after(timeout)});
}

}  // namespace

Result<Grant> Semaphore::acquire(std::uint32_t n) { return permits(channel_, n, kForever); }

Result<Grant> Semaphore::try_acquire(std::uint32_t n) {
  return permits(channel_, n, std::chrono::nanoseconds::zero());
}

Result<Grant> Semaphore::acquire_for(std::chrono::nanoseconds timeout, std::uint32_t n) {
  return permits(channel_, n, timeout);
}

Result<Grant> Semaphore::acquire_with(const AcquireOptions& options, std::uint32_t n) {
  return acquire_from(channel_, {.mode = LockMode::kExclusive,
                                 .n = n,
                                 .deadline_ns = deadline_after(options.timeout.value_or(kForever)),
                                 .priority = options.priority,
                                 .request_id = options.request_id});
}

Status Semaphore::release(std::uint32_t n) {
  HEDDLE_NEED_OBJECT();
  if (detail::release_kin_at_once(*channel_, n)) [[likely]]
    return {};
  return channel_->release(LockMode::kExclusive, n);
}

Result<std::uint32_t> Semaphore::value() {
  HEDDLE_NEED_OBJECT();
  auto glance = channel_->glance();
  if (!glance) return std::move(glance).status();
  return glance->free;
}

Result<LockInfo> Semaphore::info() {
  HEDDLE_NEED_OBJECT();
  return channel_->info();
}

Status Semaphore::force_release() {
  HEDDLE_NEED_OBJECT();
  return channel_->force_release();
}

const std::string& Condition::name() const { return detail::name_of(channel_); }

Result<Grant> Condition::acquire() { return acquire_for(kForever); }
Result<Grant> Condition::try_acquire() { return acquire_for(std::chrono::nanoseconds::zero()); }

Result<Grant> Condition::acquire_for(std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  Grant grant;
  if (detail::acquire_at_once(*channel_, &grant)) return grant;
  return acquire_from(channel_, {.deadline_ns = deadline_after(timeout)});
}

Status Condition::release() {
  HEDDLE_NEED_OBJECT();
  if (detail::release_at_once(*channel_)) return {};
  return channel_->release(LockMode::kExclusive, 1);
}

Status Condition::wait(std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  return channel_->wait(nullptr, deadline_after(timeout));
}

Status Condition::wait_with(Lock& lock, std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  if (!lock) return detail::no_object();
  return channel_->wait(detail::LockAccess::channel(lock).get(), deadline_after(timeout));
}

Result<std::uint32_t> Condition::notify(std::uint32_t n) {
  HEDDLE_NEED_OBJECT();
  return channel_->notify(n, false);
}

Result<std::uint32_t> Condition::notify_all() {
  HEDDLE_NEED_OBJECT();
  return channel_->notify(0, true);
}

Result<LockInfo> Condition::info() {
  HEDDLE_NEED_OBJECT();
  return channel_->info();
}

const std::string& Event::name() const { return detail::name_of(channel_); }

Status Event::wait(std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  return channel_->wait_event(deadline_after(timeout));
}

Status Event::set() {
  HEDDLE_NEED_OBJECT();
  return channel_->set_event(true);
}

Status Event::clear() {
  HEDDLE_NEED_OBJECT();
  return channel_->set_event(false);
}

Answer Event::is_set() {
  if (channel_ == nullptr) return Result<bool>(detail::no_object());
  auto glance = channel_->glance();
  if (!glance) return Result<bool>(std::move(glance).status());
  return Result<bool>(glance->set);
}

Result<LockInfo> Event::info() {
  HEDDLE_NEED_OBJECT();
  return channel_->info();
}

const std::string& Barrier::name() const { return detail::name_of(channel_); }

Result<std::uint32_t> Barrier::arrive(std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_OBJECT();
  std::uint32_t index = 0;
  bool lead = false;
  Status status = channel_->arrive(false, deadline_after(timeout), &index, &lead);
  if (!status.ok()) return status;
  return index;
}

namespace {

// Breaks the barrier unless the action came to a good end: by a status, or by an exception.
class Action {
 public:
  explicit Action(detail::LockChannel& channel) : channel_(channel) {}
  ~Action() {
    if (!done_) (void)channel_.abort_barrier();
  }
  Status run(const std::function<Status()>& action) {
    Status status = action();
    if (!status.ok()) return status;
    done_ = true;
    return channel_.finish_action();
  }

 private:
  detail::LockChannel& channel_;
  bool done_ = false;
};

}  // namespace

Result<std::uint32_t> Barrier::arrive(const std::function<Status()>& action,
                                      std::chrono::nanoseconds timeout) {
  if (!action) return arrive(timeout);
  HEDDLE_NEED_OBJECT();
  std::uint32_t index = 0;
  bool lead = false;
  Status status = channel_->arrive(true, deadline_after(timeout), &index, &lead);
  if (status.ok() && lead) status = Action(*channel_).run(action);
  if (!status.ok()) return status;
  return index;
}

Status Barrier::abort() {
  HEDDLE_NEED_OBJECT();
  return channel_->abort_barrier();
}

Status Barrier::reset() {
  HEDDLE_NEED_OBJECT();
  return channel_->reset_barrier();
}

Answer Barrier::broken() {
  if (channel_ == nullptr) return Result<bool>(detail::no_object());
  auto glance = channel_->glance();
  if (!glance) return Result<bool>(std::move(glance).status());
  return Result<bool>(glance->broken);
}

Status Barrier::join() {
  HEDDLE_NEED_OBJECT();
  return channel_->join_barrier(true);
}

Status Barrier::leave() {
  HEDDLE_NEED_OBJECT();
  return channel_->join_barrier(false);
}

Result<std::uint32_t> Barrier::parties() {
  HEDDLE_NEED_OBJECT();
  auto glance = channel_->glance();
  if (!glance) return std::move(glance).status();
  return glance->limit;
}

Result<std::uint32_t> Barrier::waiting() {
  HEDDLE_NEED_OBJECT();
  auto glance = channel_->glance();
  if (!glance) return std::move(glance).status();
  return glance->arrived;
}

Result<LockInfo> Barrier::info() {
  HEDDLE_NEED_OBJECT();
  return channel_->info();
}

}  // namespace heddle
