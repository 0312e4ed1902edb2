#include "daemon/objects/dict_leases.h"

#include <algorithm>
#include <utility>

namespace heddle::objects {

std::shared_ptr<DictLeaseWait> DictLeaseWait::begin(std::shared_ptr<Dict> dict, Ask ask,
                                                    int64_t deadline_ns, Done done) {
  std::shared_ptr<DictLeaseWait> wait(
      new DictLeaseWait(std::move(dict), std::move(ask), deadline_ns, std::move(done)));
  wait->look();
  return wait;
}

bool DictLeaseWait::cancel() { return take_done() != nullptr; }

DictLeaseWait::Done DictLeaseWait::take_done() {
  Done done;
  uint64_t watcher = 0;
  {
    std::lock_guard lock(mutex_);
    done = std::exchange(done_, nullptr);
    watcher = std::exchange(watcher_, 0);
  }
  if (watcher != 0) dict_->unwatch(watcher);
  return done;
}

// By one thread at a time: whoever comes meanwhile leaves it to that one to look once more.
void DictLeaseWait::look() {
  {
    std::lock_guard lock(mutex_);
    if (looks_++ > 0) return;
  }
  for (;;) {
    const bool more = look_once();
    std::lock_guard lock(mutex_);
    if (!more || --looks_ == 0) return;
    looks_ = 1;
  }
}

// False: it is over.
bool DictLeaseWait::look_once() {
  {
    std::lock_guard lock(mutex_);
    if (!done_) return false;
  }
  const uint64_t seen = dict_->revision();
  local::DictLeaseTold told;
  shm::Outcome outcome = shm::Outcome::kOk;
  const Status status = dict_->change(
      Fence(), ask_.key.size() + local::kDictLeasePrefix.size(), ask_.id.size(),
      [&](shm::Dict& dict, shm::DictActor& actor) {
        return local::ask_lease(
            dict, actor, {ask_.key, ask_.owner, ask_.id, ask_.lease_ms, ask_.early_ms}, &told);
      },
      &outcome);
  const bool there = told.there && !(told.stale && ask_.wait_when_stale);
  if (!status.ok() || there || told.lease != 0 || deadline_ns_ <= dict_->host().now_ns()) {
    end(status, std::move(told));
    return false;
  }
  look_again(seen + 1, told.until_ms);
  return true;
}

// When the dict has changed, when the lease has run out, or when it is too late.
void DictLeaseWait::look_again(uint64_t revision, int64_t until_ms) {
  const int64_t now_ns = dict_->host().now_ns();
  const int64_t left_ms = std::max<int64_t>(until_ms - shm::dict_now_ms(), 0) + 1;
  const int64_t due_ns = std::min(deadline_ns_, now_ns + left_ms * 1'000'000);
  const auto self = shared_from_this();
  bool alarm = false, watch = false;
  {
    std::lock_guard lock(mutex_);
    alarm = alarm_ns_ == 0 || due_ns < alarm_ns_;
    if (alarm) alarm_ns_ = due_ns;
    watch = !std::exchange(watching_, true);
  }
  if (alarm) {
    dict_->host().at(due_ns, [self, due_ns] {
      {
        std::lock_guard lock(self->mutex_);
        if (self->alarm_ns_ == due_ns) self->alarm_ns_ = 0;
        if (!self->done_) return;
      }
      self->look();
    });
  }
  if (!watch) return;
  const uint64_t number = dict_->watch(revision, [weak = weak_from_this()] {
    const auto wait = weak.lock();
    if (!wait) return;
    {
      std::lock_guard lock(wait->mutex_);
      wait->watching_ = false;
      if (!wait->done_) return;
    }
    wait->look();
  });
  std::lock_guard lock(mutex_);
  watcher_ = number;
  if (number != 0) return;
  watching_ = false;
  ++looks_;  // it is there already
}

void DictLeaseWait::end(const Status& status, local::DictLeaseTold told) {
  if (const Done done = take_done()) done(status, std::move(told));
}

}  // namespace heddle::objects
