// Handles on named locks, semaphores, conditions, events, barriers and elections.
//
//   auto ledger = client.lock("ledger").value();
//   auto guard = ledger.guard().value();               // released at the end of the scope
//   if (guard.grant().abandoned) repair_what_it_guards();
//
// What all of them have in common
//   Results  Ordinary outcomes are values: EMPTY (did not want to wait), TIMED_OUT. Failures of any
//            of them: NOT_FOUND (it was deleted; waiters are told too), SESSION_LOST, DENIED,
//            TOO_MANY_THREADS, CORRUPT, and while waiting DEADLOCK_DETECTED (the message has the
//            circle; nothing was acquired, let go of what is held and start again) and
//            DAEMON_UNREACHABLE (heddled is gone for longer than ConnectOptions::timeout).
//   Owners   The owner is a thread of a process, as pthread has it. When the process ends in any
//            way, what it held comes free: see OwnerDeath; over gRPC when the lease of its session
//            runs out, and after LockOptions::lock_delay. ConnectOptions::on_session tells of that.
//            A thread that ends while it holds a lock keeps it locked until its process ends or
//            somebody forces it. The session of a process ends with its last handle: what it still
//            holds then is repaired as if it had died.
//   Threads  All methods may be called from any number of threads at once. Copies are the same
//            handle.
//   Fork     A child owns nothing that the parent held. On the shared-memory plane its first call
//            opens a session of its own; over gRPC its calls are UNSUPPORTED: it connects anew.
//   Time     Timeouts: zero does not wait, kForever waits without end.
//   Cost     On the shared-memory plane what does not wait makes no system call, takes no lock and
//            allocates nothing.
#ifndef HEDDLE_LOCK_H_
#define HEDDLE_LOCK_H_

#include <heddle/lock_options.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace heddle {

class Client;
class LockGuard;
namespace detail {
class LockChannel;
struct LockAccess;
}  // namespace detail

// A mutex, rlock or rw lock. Works with std::lock_guard, std::unique_lock, std::shared_lock and
// std::scoped_lock; those cannot show a Grant, guard() can.
class HEDDLE_API Lock {
 public:
  Lock() noexcept = default;  // No lock: every method fails with INVALID_ARGUMENT.
  explicit operator bool() const noexcept { return channel_ != nullptr; }
  const std::string& name() const;

  // Blocks until the caller holds it. PEER_DIED: poisoned, see OwnerDeath and repair(). A mode
  // other than kExclusive needs a kRw lock: INVALID_ARGUMENT.
  Result<Grant> acquire(LockMode mode = LockMode::kExclusive);
  // Never blocks: EMPTY.
  Result<Grant> try_acquire(LockMode mode = LockMode::kExclusive);
  // Blocks up to `timeout`: TIMED_OUT, or EMPTY if that is zero.
  Result<Grant> acquire_for(std::chrono::nanoseconds timeout, LockMode mode = LockMode::kExclusive);
  // All of the above, with everything that can be asked for.
  Result<Grant> acquire_with(const AcquireOptions& options);
  // The same, released when the guard goes out of scope.
  Result<LockGuard> guard(const AcquireOptions& options = {});

  // Lets go of what this thread holds in that mode; of an rlock one entry. LEASE_LOST when it does
  // not hold it (any more). Does not block.
  Status release(LockMode mode = LockMode::kExclusive);
  // kMutex: releases it whoever holds it, as Python's Lock does; the holder is not asked.
  // LEASE_LOST when nobody holds it, INVALID_ARGUMENT for other kinds.
  Status release_any();
  // kRw: from one mode to another without letting go in between. kUpdate to kExclusive waits up to
  // `timeout` for the readers; kShared to another mode is a try (two of them would wait for each
  // other): EMPTY. Down never waits. On failure the caller holds it as before.
  Result<Grant> convert(LockMode from, LockMode to, std::chrono::nanoseconds timeout = kForever);

  // Whether anybody holds it now, and the token of the last exclusive grant. Do not block.
  Answer locked();
  Result<std::uint64_t> token();
  // Everything, with holders and waiters. Asks the broker.
  Result<LockInfo> info();
  // Takes it from whoever holds it; the next owner is told `abandoned`. The loser's release gives
  // LEASE_LOST, but it may still be at work: fence what it writes. Owner of the lock or root only:
  // DENIED. LEASE_LOST when nobody holds it. Asks the broker, which writes it into its log.
  Status force_release();
  // Ends the poisoned state; the next owner is told `abandoned`. Owner of the lock or root only.
  Status repair();

#if defined(__cpp_exceptions)
  // The names of the standard library. They throw heddle::Error for anything but success; the try_
  // ones give false for EMPTY and TIMED_OUT. unlock never throws: a lock that was lost meanwhile is
  // told by release() alone.
  void lock() { acquire().or_throw(); }
  bool try_lock() { return got(try_acquire()); }
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& timeout) {
    return got(acquire_for(std::chrono::ceil<std::chrono::nanoseconds>(timeout)));
  }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return try_lock_for(when - Clock::now());
  }
  void unlock() noexcept { (void)release(); }
  void lock_shared() { acquire(LockMode::kShared).or_throw(); }
  bool try_lock_shared() { return got(try_acquire(LockMode::kShared)); }
  template <class Rep, class Period>
  bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& timeout) {
    return got(
        acquire_for(std::chrono::ceil<std::chrono::nanoseconds>(timeout), LockMode::kShared));
  }
  template <class Clock, class Duration>
  bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when) {
    return try_lock_shared_for(when - Clock::now());
  }
  void unlock_shared() noexcept { (void)release(LockMode::kShared); }
#endif

 private:
  friend struct detail::LockAccess;
  static bool got(const Result<Grant>& grant) {
    if (!grant && !grant.outcome()) grant.or_throw();
    return grant.ok();
  }
  std::shared_ptr<detail::LockChannel> channel_;
};

// Holds a lock for a scope. Threads: must end on the thread that acquired. Does not cross fork: in
// a child it lets go of nothing.
class HEDDLE_API LockGuard {
 public:
  LockGuard() noexcept = default;  // Holds nothing.
  // Takes over what `lock` was just granted.
  LockGuard(Lock lock, const Grant& grant, LockMode mode = LockMode::kExclusive) noexcept
      : lock_(std::move(lock)), grant_(grant), mode_(mode) {}
  LockGuard(LockGuard&& other) noexcept { swap(other); }
  LockGuard& operator=(LockGuard&& other) noexcept {
    LockGuard taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~LockGuard() { (void)release(); }

  explicit operator bool() const noexcept { return static_cast<bool>(lock_); }
  const Grant& grant() const noexcept { return grant_; }
  LockMode mode() const noexcept { return mode_; }
  // For Queue::put: refused once somebody else has been granted the lock.
  Fence fence() const { return {lock_.name(), grant_.token}; }
  // Lock::convert; the guard then releases the new mode.
  Status convert(LockMode to, std::chrono::nanoseconds timeout = kForever);
  // Before the end of the scope, and with the answer. OK if it holds nothing.
  Status release();

 private:
  void swap(LockGuard& other) noexcept {
    std::swap(lock_, other.lock_);
    std::swap(grant_, other.grant_);
    std::swap(mode_, other.mode_);
  }
  Lock lock_;
  Grant grant_;
  LockMode mode_ = LockMode::kExclusive;
};

// One lock of acquire_many.
struct LockWish {
  Lock* lock = nullptr;
  LockMode mode = LockMode::kExclusive;
};

// All of them or none; while it waits for one it holds none, so it takes part in no deadlock with
// others that do the same. `grants`, if not empty, has room for all, in the order of `wishes`.
// TIMED_OUT, EMPTY; INVALID_ARGUMENT for an empty handle, a lock that is named twice, or too little
// room. On failure nothing is held, but a grant that says `abandoned` was had on the way: the death
// is told to nobody else. Locks that the caller holds already count as any other.
HEDDLE_API Status acquire_many(std::span<const LockWish> wishes, std::span<Grant> grants = {},
                               std::chrono::nanoseconds timeout = kForever);
// In reverse order; goes on after a failure and gives the first one.
HEDDLE_API Status release_many(std::span<const LockWish> wishes);

// Permits. Owned ones belong to the session and come back with its end; counting ones to nobody.
class HEDDLE_API Semaphore {
 public:
  Semaphore() noexcept = default;
  explicit operator bool() const noexcept { return channel_ != nullptr; }
  const std::string& name() const;

  // `n` permits or none. INVALID_ARGUMENT if there are never that many.
  Result<Grant> acquire(std::uint32_t n = 1);
  Result<Grant> try_acquire(std::uint32_t n = 1);
  Result<Grant> acquire_for(std::chrono::nanoseconds timeout, std::uint32_t n = 1);
  // timeout and priority of the options; the mode plays no part.
  Result<Grant> acquire_with(const AcquireOptions& options, std::uint32_t n = 1);
  // Owned: permits of this session, whichever thread acquired them; more than it has: LEASE_LOST,
  // none are released. Counting: by anybody; beyond permits_max INVALID_ARGUMENT.
  Status release(std::uint32_t n = 1);
  // Free permits now.
  Result<std::uint32_t> value();
  Result<LockInfo> info();
  // Owned: takes all permits back from their holders. As Lock::force_release.
  Status force_release();

 private:
  friend struct detail::LockAccess;
  std::shared_ptr<detail::LockChannel> channel_;
};

// A condition with a reentrant lock of its own, or with any Lock that the caller holds. A
// notification to a waiter that dies goes on to the next.
class HEDDLE_API Condition {
 public:
  Condition() noexcept = default;
  explicit operator bool() const noexcept { return channel_ != nullptr; }
  const std::string& name() const;

  // Its own lock, like Lock of kind kRlock.
  Result<Grant> acquire();
  Result<Grant> try_acquire();
  Result<Grant> acquire_for(std::chrono::nanoseconds timeout);
  Status release();

  // Lets go of its own lock (all entries), waits for a notification, and holds the lock again when
  // it returns, whatever it returns; only NOT_FOUND, PEER_DIED, DEADLOCK_DETECTED and SESSION_LOST
  // come without it. TIMED_OUT. LEASE_LOST if the caller does not hold the lock. May return without
  // a notification; use the forms with a predicate, which is called with the lock held.
  Status wait(std::chrono::nanoseconds timeout = kForever);
  template <class Predicate>
  requires std::is_invocable_r_v<bool, Predicate> Status
  wait(Predicate predicate, std::chrono::nanoseconds timeout = kForever) {
    const auto until = end_of(timeout);
    while (!predicate()) {
      Status status = wait(left(until));
      if (status.failed()) return status;
      if (!status.ok()) return predicate() ? Status() : status;
    }
    return {};
  }
  // The same with another lock (kMutex or kRlock, of the same client) in place of its own.
  Status wait_with(Lock& lock, std::chrono::nanoseconds timeout = kForever);
  template <class Predicate>
  requires std::is_invocable_r_v<bool, Predicate> Status
  wait_with(Lock& lock, Predicate predicate, std::chrono::nanoseconds timeout = kForever) {
    const auto until = end_of(timeout);
    while (!predicate()) {
      Status status = wait_with(lock, left(until));
      if (status.failed()) return status;
      if (!status.ok()) return predicate() ? Status() : status;
    }
    return {};
  }

  // Wakes up to `n` of those who wait, the longest first: how many. Hold the lock, or a waiter
  // between its look and its wait may be missed.
  Result<std::uint32_t> notify(std::uint32_t n = 1);
  Result<std::uint32_t> notify_all();
  Result<LockInfo> info();

#if defined(__cpp_exceptions)
  // As Lock has them.
  void lock() { acquire().or_throw(); }
  void unlock() noexcept { (void)release(); }
#endif

 private:
  friend struct detail::LockAccess;
  using Clock = std::chrono::steady_clock;
  static Clock::time_point end_of(std::chrono::nanoseconds timeout) {
    const auto now = Clock::now();
    return timeout >= Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
  }
  static std::chrono::nanoseconds left(Clock::time_point until) {
    return until == Clock::time_point::max() ? kForever : until - Clock::now();
  }
  std::shared_ptr<detail::LockChannel> channel_;
};

// A flag that can be waited for.
class HEDDLE_API Event {
 public:
  Event() noexcept = default;
  explicit operator bool() const noexcept { return channel_ != nullptr; }
  const std::string& name() const;

  // Blocks until it is set: OK, TIMED_OUT, or EMPTY for a zero timeout. A set that is cleared at
  // once still wakes everybody who waited.
  Status wait(std::chrono::nanoseconds timeout = kForever);
  Status set();
  Status clear();
  Answer is_set();
  Result<LockInfo> info();

 private:
  friend struct detail::LockAccess;
  std::shared_ptr<detail::LockChannel> channel_;
};

// A meeting point of a fixed number of parties. BROKEN_BARRIER: one of them died, timed out,
// aborted, or its action failed; that generation is over for all of them.
class HEDDLE_API Barrier {
 public:
  Barrier() noexcept = default;
  explicit operator bool() const noexcept { return channel_ != nullptr; }
  const std::string& name() const;

  // Blocks until all have arrived: a number from 0 to parties - 1, different for each of them. A
  // timeout that passes breaks this generation: TIMED_OUT for the caller, BROKEN_BARRIER for the
  // others; abort() then makes it last.
  Result<std::uint32_t> arrive(std::chrono::nanoseconds timeout = kForever);
  // The same, and exactly one of the callers runs its action while the others still wait. An action
  // that does not give OK, or throws, breaks the barrier; its caller gets that status or exception.
  Result<std::uint32_t> arrive(const std::function<Status()>& action,
                               std::chrono::nanoseconds timeout = kForever);
  // Breaks it for those who wait and for those who come, until reset().
  Status abort();
  // Makes it whole; whoever waits gets BROKEN_BARRIER.
  Status reset();
  Answer broken();
  // This thread is one of the parties: its death breaks a generation even before it arrives.
  Status join();
  Status leave();
  Result<std::uint32_t> parties();
  Result<std::uint32_t> waiting();
  Result<LockInfo> info();

 private:
  friend struct detail::LockAccess;
  std::shared_ptr<detail::LockChannel> channel_;
};

// Leader election: a lock that the leader holds. Created by use, in the name space of locks.
class HEDDLE_API Election {
 public:
  Election() noexcept = default;
  explicit Election(Lock lock) noexcept : lock_(std::move(lock)) {}
  explicit operator bool() const noexcept { return static_cast<bool>(lock_); }
  const std::string& name() const { return lock_.name(); }

  // Blocks until this thread leads. The token is the number of the term: fence what the leader
  // writes with it. TIMED_OUT, EMPTY.
  Result<Grant> campaign(std::chrono::nanoseconds timeout = kForever) {
    return lock_.acquire_for(timeout);
  }
  // Also on behalf of another thread of this process. LEASE_LOST if it does not lead.
  Status resign();
  // Who leads now; EMPTY when nobody does. Asks the broker.
  Result<LockParty> leader();
  // The lock behind it.
  Lock& lock() { return lock_; }

 private:
  Lock lock_;
};

}  // namespace heddle

#endif  // HEDDLE_LOCK_H_
