#include "daemon/objects/followed.h"

#include <utility>
#include <vector>

namespace heddle::objects {

// The follower has no reference any more, or is the one that drops the last.
Followed::~Followed() {
  if (!follower_.joinable()) return;
  if (follower_.get_id() == std::this_thread::get_id()) {
    follower_.detach();
  } else {
    follower_.join();
  }
}

uint64_t Followed::watch(uint64_t from, std::function<void()> ready) {
  std::lock_guard lock(watch_mutex_);
  if (followed() >= from || !usable().ok()) return 0;
  const uint64_t number = ++last_watcher_;
  watchers_[number] = {from, std::move(ready)};
  if (!std::exchange(following_, true)) {
    if (follower_.joinable()) follower_.join();  // it has nothing left to do
    follower_ = std::thread(follow, weak_from_this());
  }
  return number;
}

void Followed::unwatch(uint64_t number) {
  std::lock_guard lock(watch_mutex_);
  watchers_.erase(number);
}

uint32_t Followed::waiting_callers() const {
  std::lock_guard lock(watch_mutex_);
  return static_cast<uint32_t>(watchers_.size());
}

void Followed::follow(std::weak_ptr<Followed> weak) {
  for (;;) {
    const std::shared_ptr<Followed> self = weak.lock();
    if (!self || !self->follow_once()) return;
  }
}

bool Followed::follow_once() {
  std::vector<std::function<void()>> due;
  const uint64_t seen = followed();
  {
    std::lock_guard lock(watch_mutex_);
    const bool over = !usable().ok();
    for (auto it = watchers_.begin(); it != watchers_.end();) {
      const bool ready = over || it->second.from <= seen;
      if (ready) due.push_back(std::move(it->second.ready));
      it = ready ? watchers_.erase(it) : std::next(it);
    }
    if (watchers_.empty() && due.empty()) return following_ = false;
  }
  for (const auto& ready : due) ready();
  if (due.empty()) sleep(seen);
  return true;
}

void Followed::end_of_watching() {
  std::vector<std::function<void()>> due;
  {
    std::lock_guard lock(watch_mutex_);
    for (auto& [number, watcher] : watchers_) due.push_back(std::move(watcher.ready));
    watchers_.clear();
  }
  for (const auto& ready : due) ready();
}

}  // namespace heddle::objects
