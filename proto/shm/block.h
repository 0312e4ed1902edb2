// A block: shared memory of fixed size under a name, for whoever maps it.
//
// The data may be used as it is, by any means that two processes agree on: a lock of Heddle's, the
// atomics of their language. What this class adds is for those who want to know whether a copy is
// whole: versioned writes and reads.
//
// A versioned write: the state word becomes WRITING(me) by CAS, the bytes are put in, the word gets
// the next version. Others who write wait meanwhile; a reader copies, and believes it if the word
// is the same afterwards and nobody was writing.
//
// Crash and freeze
//   1  CAS: WRITING(me)              nothing written yet: write_version is of an earlier write;
//                                    reaper: the word as it was, next version
//   2  at, bytes, write_version      the same range may be half written from here on
//   3  the bytes                     reaper: range joins the torn one, then CAS: TORN, next version
//   4  CAS: next version             whole
// A writer that is killed in 2 or 3 leaves half of its bytes: no copy of the old ones exists. That
// is told to everybody who reads any of them (kTorn), until a write covers all that is torn, or
// somebody who has put it right says so (mend()). A frozen writer holds the block: others time out
// and are told who it is; that is what writing in place costs, lists and dicts do not have it.
// A store through the mapping after one's write was ended by somebody else is seen by nobody.
//
// All is seq_cst or weaker than that where stated: a reader's copy stands between an acquire load
// and an acquire fence followed by the second load, a writer's between its CAS (and a release
// fence) and the CAS that ends it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proto/shm/block_layout.h"
#include "proto/shm/outcome.h"

namespace heddle::shm {

/// One thread's hands on one block. Fill in the first two.
struct BlockActor {
  uint16_t owner = 0;   // the session's number; not 0
  uint16_t thread = 0;  // line in the session page, below 1,024
  bool interruptible = false;
  int64_t patience_ns = INT64_MAX;
  uint32_t spins_failed = 0;
  uint32_t burst = 0;
};

struct BlockInfo {
  uint64_t version = 0;
  bool writing = false;  // by the next two
  uint16_t owner = 0, thread = 0;
  bool torn = false;  // [torn_at, torn_end) is what a dead writer left
  uint64_t torn_at = 0, torn_end = 0;
};

inline constexpr uint64_t kBlockAnyVersion = UINT64_MAX;

/// Bytes of the memfd.
uint64_t block_segment_bytes(uint64_t size);
/// Broker: in a fresh zeroed memfd, of which all is backed.
void block_format(void* base, uint64_t size, uint64_t object_id);

class Block {
 public:
  Block() = default;
  /// kCorrupt if the header and the size disagree.
  static Outcome attach(void* base, uint64_t bytes, Block* out);

  std::byte* data() const { return base_ + kBlockDataAt; }
  uint64_t size() const { return size_; }
  uint64_t object_id() const { return header().segment.object_id; }
  uint64_t version() const;
  bool ended() const { return header().ended.load(std::memory_order_acquire) != 0; }
  BlockInfo info() const;

  /// Begins a write of that range, which is then changed through data(). kOk, kOutOfRange (not all
  /// of it is in the block), kMismatch (not if_version), kTimedOut (info() tells who writes),
  /// kInterrupted. One write at a time; not for a thread that is in one.
  Outcome begin(BlockActor& a, uint64_t at, uint64_t bytes, int64_t deadline_ns,
                uint64_t if_version = kBlockAnyVersion);
  /// Ends it. kOk and the new version; kLeaseLost: somebody has ended it before (force()).
  Outcome end(BlockActor& a, uint64_t* version);
  /// begin, copy, end.
  Outcome write(BlockActor& a, uint64_t at, const void* from, uint64_t bytes, int64_t deadline_ns,
                uint64_t* version, uint64_t if_version = kBlockAnyVersion);

  /// Copies a range as it was at one version. Stores nothing: also over a read-only mapping. kOk,
  /// kTorn (copied, but part of it is what a dead writer left), kOutOfRange, kTimedOut (it was
  /// written all the time; info() tells by whom). With kTry it tries some times.
  Outcome read(uint64_t at, void* to, uint64_t bytes, int64_t deadline_ns, uint64_t* version) const;

  /// Waits until the version is another, or the block was deleted. kOk, kTimedOut, kInterrupted.
  /// Writable mapping only.
  Outcome wait_change(BlockActor& a, uint64_t version_seen, int64_t deadline_ns);

  /// What was torn has been put right.
  void mend();
  /// Ends the write of somebody who is stopped, as if he had died. What he still writes tears
  /// silently: only for the owner of the block, who knows.
  bool force();

  // ---- broker only ----
  /// Ends what threads of `dead` had begun; idempotent. True if something was torn.
  bool reap(uint16_t dead);
  bool reap_thread(uint16_t owner, uint16_t thread);
  /// It was deleted: nobody shall use it any more. Whoever waits is woken.
  void end_of_object();

 private:
  BlockHeader& header() const { return *reinterpret_cast<BlockHeader*>(base_); }
  bool in_range(uint64_t at, uint64_t bytes) const { return at <= size_ && bytes <= size_ - at; }
  bool end_for(uint64_t state, bool* torn);
  bool try_read(uint64_t at, void* to, uint64_t bytes, uint64_t* version, bool* torn) const;
  void wake();

  std::byte* base_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace heddle::shm
