// Several locks for one owner: all of them or none.
//
// It tries all; where one is not free, it lets everything go, waits for that one alone, and tries
// the others beside it. So nobody waits while holding, and no circle can close. Two that keep
// meeting could go on for ever; after some lost rounds all of them take turns: the locks are then
// acquired in one order for everybody, by name and kind, the other way without circles.
//
// Threads: as daemon/objects/lock.h. No lock of an object is held while this waits on its own.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "daemon/objects/lock.h"

namespace heddle::objects {

struct LockWish {
  std::shared_ptr<Lock> lock;
  LockAsk ask;  // kAcquire
};

class LockMany : public std::enable_shared_from_this<LockMany> {
 public:
  // `done` runs once with OK and a grant for each wish in reply.many, or with nothing held; then a
  // reply.many says `abandoned` where a death was told on the way, as nobody else will hear of it.
  // INVALID_ARGUMENT for a lock that is named twice. Deadline as Lock::start.
  static std::shared_ptr<LockMany> start(const Caller& caller, std::vector<LockWish> wishes,
                                         int64_t deadline_ns, LockDone done);
  // The callback runs with INTERRUPTED, unless it already did.
  void cancel();
  // Gives back what a grant of them got.
  static void release(const Caller& caller, const std::vector<LockWish>& wishes);

 private:
  LockMany(const Caller& caller, std::vector<LockWish> wishes, int64_t deadline_ns, LockDone done);
  Status check() const;
  void run();
  // False: it waits, or is over.
  bool try_all();
  bool next_in_order();
  // What the wish got, or nothing: then the callback goes on with run().
  std::optional<LockReply> acquire(size_t wish, int64_t deadline_ns);
  bool take(size_t wish, LockReply reply);
  void let_go(size_t end);
  void finish(Status status);

  const Caller caller_;
  const std::vector<LockWish> wishes_;
  const int64_t deadline_ns_;
  LockDone done_;
  // Of whoever runs: one thread at a time.
  std::vector<LockReply> got_;
  std::vector<bool> held_;
  std::vector<size_t> order_;  // not empty: the turns
  size_t waits_for_;
  int rounds_ = 0;

  std::mutex mutex_;
  bool cancelled_ = false, running_ = true;
  std::optional<LockReply> came_;  // for waits_for_, while it ran or waited
  std::shared_ptr<Lock> waiting_on_;
  LockWait wait_;
};

}  // namespace heddle::objects
