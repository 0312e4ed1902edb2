// Remote callers that wait for a value which somebody else computes: see proto/local/dict_lease.h.
//
// Threads: any. `done` runs exactly once, with no lock held, from the call that started it or later
// on another thread, and not any more once cancel() has returned true.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/objects/dict.h"
#include "proto/local/dict_lease.h"

namespace heddle::objects {

class DictLeaseWait : public std::enable_shared_from_this<DictLeaseWait> {
 public:
  // With OK: the value, a lease, or neither: until the deadline somebody else computed.
  using Done = std::function<void(Status, local::DictLeaseTold)>;
  struct Ask {
    std::string key, id;
    uint64_t owner = 0;
    int64_t lease_ms = 0, early_ms = 0;
    bool wait_when_stale = false;
  };

  // Begins to wait. `deadline_ns` <= 0: `done` is called at once.
  static std::shared_ptr<DictLeaseWait> begin(std::shared_ptr<Dict> dict, Ask ask,
                                              int64_t deadline_ns, Done done);
  // False: `done` has been called, or is being called.
  bool cancel();

 private:
  DictLeaseWait(std::shared_ptr<Dict> dict, Ask ask, int64_t deadline_ns, Done done)
      : dict_(std::move(dict)),
        ask_(std::move(ask)),
        deadline_ns_(deadline_ns),
        done_(std::move(done)) {}
  void look();
  bool look_once();
  void look_again(uint64_t revision, int64_t until_ms);
  Done take_done();
  void end(const Status& status, local::DictLeaseTold told);

  const std::shared_ptr<Dict> dict_;
  const Ask ask_;
  const int64_t deadline_ns_;

  std::mutex mutex_;       // a leaf
  Done done_;              // empty: it has been called, or is not to be
  uint32_t looks_ = 0;     // asked for, by the clock or by a change
  int64_t alarm_ns_ = 0;   // the next one by the clock; 0: none
  bool watching_ = false;  // a change is waited for
  uint64_t watcher_ = 0;   // how that is taken back; perhaps of one that has come
};

}  // namespace heddle::objects
