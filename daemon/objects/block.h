// A block for remote callers: the same functions of proto/shm that local processes call, watching
// by callback, deaths.
//
// Threads: every method may be called from any thread; none waits for a writer, and none blocks for
// longer than it takes to copy kBlockCopyBytesMax.
#pragma once

#include <heddle/result.h>
#include <heddle/status.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "daemon/objects/followed.h"
#include "daemon/objects/host.h"
#include "proto/shm/block.h"

namespace heddle::objects {

inline constexpr uint64_t kBlockCopyBytesMax = uint64_t{16} << 20;  // of one read or write

class Block final : public Followed {
 public:
  // `mapping` keeps base mapped. CORRUPT.
  static Result<std::shared_ptr<Block>> adopt(Host& host, std::string name, uint64_t object_id,
                                              void* base, uint64_t bytes,
                                              std::shared_ptr<void> mapping);
  bool matches(uint64_t object_id, uint64_t size) const {
    return block_.object_id() == object_id && block_.size() == size;
  }

  // A range as it was at one version. *torn: part of it is what a writer left that died.
  // OUT_OF_RANGE, TOO_LARGE; TIMED_OUT names who writes.
  Status read(uint64_t at, uint64_t bytes, std::string* out, uint64_t* version, bool* torn);
  // The same failures, and MISMATCH; LEASE_LOST: somebody ended the write, part of it is there.
  Status write(uint64_t at, std::string_view data, uint64_t if_version, uint64_t* version);
  Status mend(uint64_t* version);
  // *ended: somebody was in a write.
  Status force(bool* ended, uint64_t* version);

  shm::BlockInfo figures() const { return block_.info(); }
  uint64_t size() const { return block_.size(); }
  uint64_t followed() const override { return block_.version(); }
  Status usable() const override;

  void reap(uint16_t owner, uint64_t session_id) override;
  void tick() override {}
  void end_of_object() override;

 protected:
  void sleep(uint64_t seen) override;

 private:
  Block(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping);
  Status check(uint64_t bytes) const;

  std::shared_ptr<void> mapping_;
  shm::Block block_;
  std::mutex write_mutex_;  // the broker is one writer
  shm::BlockActor writer_;
  shm::BlockActor sleeper_;  // of the follower
};

}  // namespace heddle::objects
