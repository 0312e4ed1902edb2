// A list for remote callers, and what the broker does for all of them: the same functions of
// proto/shm that local processes call, watching by callback, deaths.
//
// Everything that is not done is a failure in the status, with name, limit and actual.
//
// Threads: every method may be called from any thread; none blocks for longer than a short lock.
#pragma once

#include <heddle/result.h>
#include <heddle/status.h>

#include <functional>
#include <memory>
#include <string>

#include "daemon/objects/followed.h"
#include "daemon/objects/host.h"
#include "daemon/objects/lent_actors.h"
#include "proto/local/list_calls.h"
#include "proto/shm/list.h"

namespace heddle::objects {

class List final : public Followed {
 public:
  // `mapping` keeps base mapped. CORRUPT.
  static Result<std::shared_ptr<List>> adopt(Host& host, std::string name, uint64_t object_id,
                                             void* base, uint64_t bytes, int fd,
                                             std::shared_ptr<void> mapping);
  bool matches(uint64_t object_id, const shm::ListLimits& created) const {
    return list_.object_id() == object_id && list_.limits() == created;
  }

  // OUT_OF_RANGE.
  Status get(int64_t index, local::ListRow* out);
  // As local::read_rows(); MISMATCH.
  Status rows(int64_t from, size_t most, uint64_t bytes_max, uint64_t if_revision,
              local::ListRows* out);
  // With `taken`, what it takes out of the list. EMPTY, FULL, OUT_OF_RANGE, MISMATCH, TOO_LARGE,
  // MEMORY_EXHAUSTED.
  Status change(const shm::ListChange& change, shm::ListWritten* written,
                local::ListRow* taken = nullptr);

  shm::ListInfo figures() const;
  uint64_t followed() const override { return figures().revision; }
  Status usable() const override;

  void reap(uint16_t owner, uint64_t session_id) override;
  void tick() override {}
  void end_of_object() override;

 protected:
  void sleep(uint64_t seen) override;

 private:
  using Hands = LentActors<shm::List>::Hands;

  List(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping);
  Status status_of(shm::Outcome outcome, int64_t index, uint64_t bytes, uint64_t if_revision);

  Host& host_;
  std::shared_ptr<void> mapping_;
  shm::List list_;
  LentActors<shm::List> actors_;
  shm::ListActor sleeper_;  // of the follower
};

}  // namespace heddle::objects
