// A member that remote callers follow: it has a number that grows with each change, and they are
// told when it has passed one. One thread sleeps for all of them, and only while there are any.
//
// Threads: every method may be called from any thread. A callback is called once, with no lock
// held, on another thread than the one that gave it; it must not block.
#pragma once

#include <heddle/status.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "daemon/objects/member.h"

namespace heddle::objects {

inline constexpr int64_t kFollowerNapNs = 500'000'000;

class Followed : public Member, public std::enable_shared_from_this<Followed> {
 public:
  using Member::Member;
  ~Followed() override;

  // The number of the last change.
  virtual uint64_t followed() const = 0;
  // CLOSED, CORRUPT: nobody is served any more.
  virtual Status usable() const = 0;

  // Calls `ready` once when the number is `from` or more, or the object is gone. Gives a number for
  // unwatch(), after which it is not called any more unless it is just being called. 0: it is there
  // already, and `ready` is not called.
  uint64_t watch(uint64_t from, std::function<void()> ready);
  void unwatch(uint64_t number);
  uint32_t waiting_callers() const override;

 protected:
  // Until there is a change after `seen`, the object was deleted, or kFollowerNapNs.
  virtual void sleep(uint64_t seen) = 0;
  // It was deleted: all are called.
  void end_of_watching();

 private:
  struct Watcher {
    uint64_t from;
    std::function<void()> ready;
  };
  static void follow(std::weak_ptr<Followed> weak);
  bool follow_once();

  mutable std::mutex watch_mutex_;  // a leaf
  std::unordered_map<uint64_t, Watcher> watchers_;
  uint64_t last_watcher_ = 0;
  std::thread follower_;
  bool following_ = false;
};

}  // namespace heddle::objects
