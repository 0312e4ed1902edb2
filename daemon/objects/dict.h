// A dict for remote callers, and what the broker does for all of them: the same functions of
// proto/shm that local processes call, watching by callback, expiry, deaths.
//
// Conditions that did not hold come as outcomes (kNotFound, kExists, kMismatch) beside an OK
// status; everything else that is not done is a failure in the status, with name, limit and actual.
//
// Threads: every method may be called from any thread; none blocks for longer than a short lock,
// but for a fenced write, which waits for other fenced writes of this dict. A callback runs exactly
// once, with no lock held, from the call that started it or later on another thread; it must not
// block, and may call any method here.
#pragma once

#include <heddle/status.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/objects/dict_sweep.h"
#include "daemon/objects/fence.h"
#include "daemon/objects/followed.h"
#include "daemon/objects/host.h"
#include "daemon/objects/lent_actors.h"
#include "proto/local/dict_calls.h"
#include "proto/shm/dict.h"

namespace heddle::objects {

class Dict final : public Followed {
 public:
  // `mapping` keeps base mapped. CORRUPT.
  static Result<std::shared_ptr<Dict>> adopt(Host& host, std::string name, uint64_t object_id,
                                             void* base, uint64_t bytes, int fd,
                                             std::shared_ptr<void> mapping);
  bool matches(uint64_t object_id, const shm::DictLimits& created) const {
    return dict_.object_id() == object_id && dict_.limits() == created;
  }

  Status get(std::string_view key, local::DictItem* out, shm::Outcome* outcome);
  // With `previous`, what was replaced (written->existed).
  Status write(const shm::DictWrite& write, const Fence& fence, shm::Outcome* outcome,
               shm::DictWritten* written, local::DictItem* previous = nullptr);
  // Any other change that is one call: `operate` gets the dict and the hands for it. `bytes`: of
  // the value that it adds.
  using Operate = std::function<shm::Outcome(shm::Dict&, shm::DictActor&)>;
  Status change(const Fence& fence, uint64_t key_bytes, uint64_t bytes, const Operate& operate,
                shm::Outcome* outcome);
  Status scan(const local::DictFilter& filter, size_t rows_max, uint64_t bytes_max,
              local::DictPlace* place, std::vector<local::DictItem>* rows);
  // OUT_OF_RANGE, naming the oldest revision.
  Status changes(std::string_view prefix, bool want_previous, size_t max, uint64_t bytes_max,
                 local::DictNext* next, std::vector<local::DictEvent>* out);

  Host& host() const { return host_; }
  shm::DictLimits limits() const { return dict_.limits(); }
  uint64_t revision() const { return dict_.revision(); }
  uint64_t oldest_revision() const { return dict_.oldest_revision(); }
  uint64_t len() const { return dict_.len(); }
  uint64_t bytes() const { return dict_.bytes(); }
  uint64_t followed() const override { return revision(); }
  Status usable() const override;

  void reap(uint16_t owner, uint64_t session_id) override;
  void tick() override;
  void end_of_object() override;

 protected:
  void sleep(uint64_t seen) override;

 private:
  using Hands = LentActors<shm::Dict>::Hands;

  Dict(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping);
  Status status_of(shm::Outcome outcome, uint64_t key_bytes, uint64_t bytes, uint64_t revision);
  Status run(uint64_t key_bytes, uint64_t bytes, const Operate& operate, shm::Outcome* outcome);
  void erase_owned(uint64_t session_id);

  Host& host_;
  std::shared_ptr<void> mapping_;
  shm::Dict dict_;

  std::mutex fence_mutex_;  // one fenced write at a time

  LentActors<shm::Dict> actors_;
  shm::DictActor sleeper_;  // of the follower

  void sweep();
  void tidy_memory();

  // tick(); broker thread
  DictSweep sweep_{dict_};
  int64_t next_sweep_ms_ = 0;
  int64_t next_trim_ms_ = 0;
  uint64_t seen_revision_ = 0;     // at the last look
  uint64_t trimmed_revision_ = 0;  // nothing is to be given back since
};

}  // namespace heddle::objects
