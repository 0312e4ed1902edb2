#include "daemon/objects/dict_sweep.h"

#include <algorithm>

namespace heddle::objects {
namespace {

constexpr int64_t kUnusedMs = 1000;  // between looks at a dict in which nothing ever expired
constexpr int64_t kFollowMs = 100;   // between looks at the history
constexpr int64_t kWalkAgainMs = 1000;
constexpr int64_t kWalkShare = 10;  // one of so many parts of the time is spent walking
constexpr uint64_t kStaleMin = 4096, kStaleTimes = 4;

}  // namespace

void DictSweep::add(uint64_t hash, int64_t at_ms) {
  heap_.push_back({at_ms, hash});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void DictSweep::begin_walk(int64_t now_ms) {
  heap_.clear();
  heap_.shrink_to_fit();
  next_ = dict_.revision() + 1;  // before the walk: what comes after it, the history tells
  at_ = 0;
  cursor_ = {};
  walking_ = true;
  behind_ = false;
  walk_began_ms_ = now_ms;
  ++walks_;
}

void DictSweep::follow(uint32_t* work) {
  shm::DictChange c;
  c.key_room = key_.data();
  for (; *work > 0; --*work) {
    c.at = at_;
    const shm::Outcome outcome = dict_.read_change(next_, &c);
    if (outcome == shm::Outcome::kEmpty) return;
    if (outcome != shm::Outcome::kOk && outcome != shm::Outcome::kTooLarge) {
      behind_ = true;
      next_ = dict_.revision() + 1;
      at_ = 0;
      return;
    }
    if (shm::is_value(c.entry.kind) && c.entry.expires_ms != 0) {
      add(dict_.hash_of({c.key_room, c.key_bytes}), c.entry.expires_ms);
    }
    if (++at_ >= c.of) {
      at_ = 0;
      ++next_;
    }
  }
}

/// False: no memory now.
bool DictSweep::walk(shm::DictActor& reaper, int64_t now_ms, uint32_t* work) {
  shm::DictSwept swept;
  swept.context = this;
  swept.due = [](void* self, uint64_t hash, int64_t expires_ms) {
    static_cast<DictSweep*>(self)->add(hash, expires_ms);
  };
  shm::Outcome outcome = shm::Outcome::kOk;
  for (; *work > 0 && !cursor_.done && outcome == shm::Outcome::kOk; --*work) {
    outcome = dict_.expire(reaper, now_ms, &cursor_, 1, &swept);
  }
  gone_ += swept.gone;
  if (cursor_.done) {
    walking_ = false;
    const int64_t took_ms = shm::dict_now_ms() - walk_began_ms_;
    walk_again_ms_ = shm::dict_now_ms() + std::max(kWalkAgainMs, kWalkShare * took_ms);
  }
  return outcome == shm::Outcome::kOk;
}

/// False: no memory now.
bool DictSweep::take_out(shm::DictActor& reaper, int64_t now_ms, uint32_t* work) {
  for (; *work > 0 && !heap_.empty() && heap_.front().at_ms <= now_ms; --*work) {
    shm::DictCursor at{heap_.front().hash, 0, false};
    shm::DictSwept swept;
    if (dict_.expire(reaper, now_ms, &at, 1, &swept) != shm::Outcome::kOk) return false;
    gone_ += swept.gone;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
  }
  return true;
}

int64_t DictSweep::run(shm::DictActor& reaper, int64_t now_ms, uint32_t work_max) {
  if (!dict_.may_expire()) return now_ms + kUnusedMs;
  now_ms = std::min(now_ms, shm::dict_now_ms());  // else the dict would not agree
  if (!started_) {
    started_ = true;
    begin_walk(now_ms);
  }
  uint32_t work = work_max;
  follow(&work);
  const bool stale = heap_.size() > kStaleMin + kStaleTimes * dict_.len();
  if ((behind_ || stale) && !walking_ && now_ms >= walk_again_ms_) begin_walk(now_ms);
  bool memory = true;
  if (walking_) memory = walk(reaper, now_ms, &work);
  if (memory) memory = take_out(reaper, now_ms, &work);
  if (memory && work == 0) return now_ms;
  const int64_t next = now_ms + kFollowMs;
  return memory && !heap_.empty() ? std::clamp(heap_.front().at_ms, now_ms + 1, next) : next;
}

}  // namespace heddle::objects
