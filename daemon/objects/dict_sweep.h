// Takes out what has expired in a dict, without looking at all of it each time.
//
// A private heap of (when, hash of the key), fed from the dict's history and filled by one walk at
// the beginning: so it needs nothing of an earlier broker. What it says is a hint: Dict::expire()
// looks at the bucket. Entries that were overwritten stay in the heap until their time; when it has
// become much longer than the dict, or the history was faster than this, the dict is walked again,
// in slices, and after a walk not at once again. Readers and writers do not depend on it: what has
// expired is not there for them.
//
// One per dict, one thread at a time. Allocates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "proto/shm/dict.h"

namespace heddle::objects {

class DictSweep {
 public:
  explicit DictSweep(shm::Dict& dict) : dict_(dict), key_(shm::kDictKeyBytesMax) {}

  /// At most `work_max` changes read, buckets walked and buckets taken things out of, together.
  /// Returns the shm::dict_now_ms() at which to call again; now_ms: there is more to do. Never
  /// blocks. What memory exhaustion leaves undone is done later.
  int64_t run(shm::DictActor& reaper, int64_t now_ms, uint32_t work_max);

  uint64_t gone() const { return gone_; }  // entries taken out so far
  size_t waiting() const { return heap_.size(); }
  uint64_t walks() const { return walks_; }

 private:
  struct Due {
    int64_t at_ms;
    uint64_t hash;
  };
  static bool later(const Due& a, const Due& b) { return a.at_ms > b.at_ms; }
  void add(uint64_t hash, int64_t at_ms);
  void begin_walk(int64_t now_ms);
  void follow(uint32_t* work);
  bool walk(shm::DictActor& reaper, int64_t now_ms, uint32_t* work);
  bool take_out(shm::DictActor& reaper, int64_t now_ms, uint32_t* work);

  shm::Dict& dict_;
  std::vector<Due> heap_;
  std::vector<std::byte> key_;
  uint64_t next_ = 0;  // revision to read, and which of its changes
  uint32_t at_ = 0;
  bool started_ = false, walking_ = false;
  bool behind_ = false;  // something may be missing in the heap
  shm::DictCursor cursor_;
  int64_t walk_began_ms_ = 0, walk_again_ms_ = 0;
  uint64_t gone_ = 0, walks_ = 0;
};

}  // namespace heddle::objects
