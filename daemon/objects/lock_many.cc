#include "daemon/objects/lock_many.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace heddle::objects {
namespace {

constexpr int kRoundsMax = 16;

bool same(const LockWish& a, const LockWish& b) { return a.lock == b.lock; }

}  // namespace

LockMany::LockMany(const Caller& caller, std::vector<LockWish> wishes, int64_t deadline_ns,
                   LockDone done)
    : caller_(caller),
      wishes_(std::move(wishes)),
      deadline_ns_(deadline_ns),
      done_(std::move(done)),
      got_(wishes_.size()),
      held_(wishes_.size()),
      waits_for_(wishes_.size()) {}

std::shared_ptr<LockMany> LockMany::start(const Caller& caller, std::vector<LockWish> wishes,
                                          int64_t deadline_ns, LockDone done) {
  const std::shared_ptr<LockMany> many(
      new LockMany(caller, std::move(wishes), deadline_ns, std::move(done)));
  if (Status bad = many->check(); !bad.ok()) {
    many->finish(std::move(bad));
  } else {
    many->run();
  }
  return many;
}

Status LockMany::check() const {
  for (size_t i = 0; i < wishes_.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (!same(wishes_[i], wishes_[j])) continue;
      return Status(Reason::kInvalidArgument, "the same object is named twice")
          .with_object(wishes_[i].lock->name());
    }
  }
  return Status();
}

/// A death that was told to a grant which was given back must be told to the one that stays.
bool LockMany::take(size_t wish, LockReply reply) {
  LockReply& told = got_[wish];
  const bool before = told.grant.abandoned && !reply.grant.abandoned;
  if (!reply.status.ok()) return false;
  if (before) {
    reply.grant.abandoned = true;
    reply.grant.dead_holder = told.grant.dead_holder;
    reply.previous = std::move(told.previous);
  }
  told = std::move(reply);
  held_[wish] = true;
  return true;
}

std::optional<LockReply> LockMany::acquire(size_t wish, int64_t deadline_ns) {
  const std::shared_ptr<Lock>& lock = wishes_[wish].lock;
  const auto came = [self = shared_from_this()](LockReply reply) {
    {
      std::lock_guard guard(self->mutex_);
      self->came_ = std::move(reply);
      if (self->running_) return;
      self->running_ = true;
    }
    self->run();
  };
  const LockWait wait = lock->start(caller_, wishes_[wish].ask, deadline_ns, came);
  bool cancelled;
  {
    std::lock_guard guard(mutex_);
    if (came_) return std::exchange(came_, std::nullopt);
    running_ = false;
    waits_for_ = wish;
    waiting_on_ = lock;
    wait_ = wait;
    cancelled = cancelled_;
  }
  if (cancelled) lock->cancel(wait);
  return std::nullopt;
}

void LockMany::let_go(size_t end) {
  for (size_t i = end; i-- > 0;) {
    if (!held_[i]) continue;
    held_[i] = false;
    const LockAsk& ask = wishes_[i].ask;
    (void)wishes_[i].lock->release(caller_, ask.mode, ask.n, ask.thread);
  }
}

void LockMany::release(const Caller& caller, const std::vector<LockWish>& wishes) {
  for (size_t i = wishes.size(); i-- > 0;) {
    const LockAsk& ask = wishes[i].ask;
    (void)wishes[i].lock->release(caller, ask.mode, ask.n, ask.thread);
  }
}

void LockMany::finish(Status status) {
  if (!status.ok()) let_go(wishes_.size());
  LockReply reply;
  reply.status = std::move(status);
  reply.many = std::move(got_);
  if (const LockDone done = std::exchange(done_, nullptr)) done(std::move(reply));
}

bool LockMany::try_all() {
  size_t missing = wishes_.size();
  LockReply why;
  for (size_t i = 0; i < wishes_.size() && missing == wishes_.size(); ++i) {
    if (held_[i]) continue;
    why = *acquire(i, 0);  // answers within the call
    if (!take(i, std::move(why))) missing = i;
  }
  if (missing == wishes_.size()) {
    finish(Status());
    return false;
  }
  let_go(wishes_.size());
  if (!why.status.is(Reason::kTimedOut) || deadline_ns_ == 0) {
    finish(std::move(why.status));
    return false;
  }
  if (++rounds_ > kRoundsMax) {
    order_.resize(wishes_.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(), [this](size_t a, size_t b) {
      const Lock &x = *wishes_[a].lock, &y = *wishes_[b].lock;
      return x.name() != y.name() ? x.name() < y.name() : x.object_id() < y.object_id();
    });
    return true;
  }
  std::optional<LockReply> came = acquire(missing, deadline_ns_);
  if (!came) return false;
  if (take(missing, *came)) return true;
  finish(std::move(came->status));
  return false;
}

bool LockMany::next_in_order() {
  const auto next =
      std::find_if(order_.begin(), order_.end(), [this](size_t i) { return !held_[i]; });
  if (next == order_.end()) {
    finish(Status());
    return false;
  }
  std::optional<LockReply> came = acquire(*next, deadline_ns_);
  if (!came) return false;
  if (take(*next, *came)) return true;
  finish(std::move(came->status));
  return false;
}

void LockMany::run() {
  std::optional<LockReply> came;
  bool cancelled;
  for (;;) {
    {
      std::lock_guard guard(mutex_);
      came = std::exchange(came_, std::nullopt);
      cancelled = cancelled_;
      wait_ = nullptr;
    }
    if (came && !take(waits_for_, *came)) return finish(std::move(came->status));
    if (cancelled) {
      return finish(Status(Reason::kInterrupted, "the caller went away"));
    }
    if (!(order_.empty() ? try_all() : next_in_order())) return;
  }
}

void LockMany::cancel() {
  LockWait wait;
  std::shared_ptr<Lock> lock;
  {
    std::lock_guard guard(mutex_);
    cancelled_ = true;
    wait = wait_;
    lock = waiting_on_;
  }
  if (wait) lock->cancel(wait);
}

}  // namespace heddle::objects
