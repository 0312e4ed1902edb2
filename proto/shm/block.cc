#include "proto/shm/block.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/cpu_pause.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr auto kFirst = std::memory_order_acquire;
constexpr auto kThen = std::memory_order_release;
constexpr int kReadTries = 64;  // at least, however short the deadline
constexpr int64_t kReadNapNs = 50'000;
constexpr int kReadSpins = 1000;

constexpr uint64_t whole_pages(uint64_t n) {
  return (n + kBlockDataAt - 1) / kBlockDataAt * kBlockDataAt;
}

}  // namespace

uint64_t block_segment_bytes(uint64_t size) { return kBlockDataAt + whole_pages(size); }

void block_format(void* base, uint64_t size, uint64_t object_id) {
  auto& h = *new (base) BlockHeader{};
  h.segment = {
      kSegmentMagic, kBlockVersion, SegmentKind::kBlock, object_id, block_segment_bytes(size), {}};
  h.size = size;
  h.write_version = kBlockAnyVersion;
}

Outcome Block::attach(void* base, uint64_t bytes, Block* out) {
  if (bytes < kBlockDataAt) return Outcome::kCorrupt;
  const auto& h = *static_cast<const BlockHeader*>(base);
  SegmentHeader segment;
  std::memcpy(&segment, &h.segment, sizeof segment);
  const uint64_t size = h.size;
  if (segment.magic != kSegmentMagic || segment.version != kBlockVersion ||
      segment.kind != SegmentKind::kBlock || segment.bytes != bytes || size == 0 ||
      size > kBlockBytesMax || block_segment_bytes(size) != bytes) {
    return Outcome::kCorrupt;
  }
  out->base_ = static_cast<std::byte*>(base);
  out->size_ = size;
  return Outcome::kOk;
}

uint64_t Block::version() const { return block_version(header().state.load(kFirst)); }

BlockInfo Block::info() const {
  const uint64_t state = header().state.load(kFirst);
  BlockInfo i;
  i.version = block_version(state);
  i.writing = (state & kBlockWriting) != 0;
  if (i.writing) i.owner = block_owner(state), i.thread = block_thread(state);
  i.torn = (state & kBlockTorn) != 0;
  if (i.torn)
    i.torn_at = header().torn_at.load(kFirst), i.torn_end = header().torn_end.load(kFirst);
  return i;
}

void Block::wake() {
  if ((header().changed.word.load(std::memory_order_seq_cst) & kWakeSleepers) != 0) {
    wake_all_on(header().changed);
  }
}

Outcome Block::begin(BlockActor& a, uint64_t at, uint64_t bytes, int64_t deadline_ns,
                     uint64_t if_version) {
  if (!in_range(at, bytes)) return Outcome::kOutOfRange;
  BlockHeader& h = header();
  uint64_t version = 0;
  const Outcome outcome = wait_on(a, h.changed, deadline_ns, [&](bool* done) {
    uint64_t state = h.state.load(kFirst);
    while ((state & kBlockWriting) == 0) {
      *done = true;
      version = block_version(state);
      if (if_version != kBlockAnyVersion && version != if_version) return Outcome::kMismatch;
      if (h.state.compare_exchange_weak(state, block_writing(state, a.owner, a.thread))) {
        return Outcome::kOk;
      }
      *done = false;
    }
    return Outcome::kTimedOut;
  });
  if (outcome != Outcome::kOk) return outcome;
  h.write_at.store(at, std::memory_order_relaxed);
  h.write_bytes.store(bytes, std::memory_order_relaxed);
  h.write_version.store(version, kThen);
  std::atomic_thread_fence(kThen);
  return Outcome::kOk;
}

Outcome Block::end(BlockActor& a, uint64_t* version) {
  BlockHeader& h = header();
  uint64_t state = h.state.load(kFirst);
  if (block_writing(state, a.owner, a.thread) != state) return Outcome::kLeaseLost;
  // TORN goes when all that is torn was written.
  const uint64_t at = h.write_at.load(std::memory_order_relaxed);
  const uint64_t end = at + h.write_bytes.load(std::memory_order_relaxed);
  const bool covered = at <= h.torn_at.load(kFirst) && end >= h.torn_end.load(kFirst);
  const uint64_t next =
      make_block_state(block_version(state) + 1, covered ? 0 : state & kBlockTorn);
  *version = block_version(next);
  if (!h.state.compare_exchange_strong(state, next)) return Outcome::kLeaseLost;
  wake();
  return Outcome::kOk;
}

Outcome Block::write(BlockActor& a, uint64_t at, const void* from, uint64_t bytes,
                     int64_t deadline_ns, uint64_t* version, uint64_t if_version) {
  const Outcome outcome = begin(a, at, bytes, deadline_ns, if_version);
  if (outcome != Outcome::kOk) return outcome;
  copy_unproved(data() + at, static_cast<const std::byte*>(from), bytes);
  return end(a, version);
}

/// False: somebody was writing.
bool Block::try_read(uint64_t at, void* to, uint64_t bytes, uint64_t* version, bool* torn) const {
  const BlockHeader& h = header();
  const uint64_t state = h.state.load(kFirst);
  if ((state & kBlockWriting) != 0) return false;
  copy_unproved(to, data() + at, bytes);
  *torn = (state & kBlockTorn) != 0 && at < h.torn_end.load(kFirst) &&
          at + bytes > h.torn_at.load(kFirst);
  std::atomic_thread_fence(kFirst);
  *version = block_version(state);
  return h.state.load(kFirst) == state;
}

Outcome Block::read(uint64_t at, void* to, uint64_t bytes, int64_t deadline_ns,
                    uint64_t* version) const {
  if (!in_range(at, bytes)) return Outcome::kOutOfRange;
  bool torn = false;
  for (int tries = 0;; ++tries) {
    if (try_read(at, to, bytes, version, &torn)) return torn ? Outcome::kTorn : Outcome::kOk;
    if (tries < kReadTries) {
      cpu_pause();
      continue;
    }
    if (deadline_ns == kTry || (deadline_ns != kForever && monotonic_ns() >= deadline_ns)) {
      return Outcome::kTimedOut;
    }
    // A reader stores nothing, so nobody can wake it.
    if (tries > kReadSpins) {
      const timespec nap{0, kReadNapNs};
      nanosleep(&nap, nullptr);
    }
  }
}

Outcome Block::wait_change(BlockActor& a, uint64_t version_seen, int64_t deadline_ns) {
  return wait_on(a, header().changed, deadline_ns, [&](bool* done) {
    *done = version() != version_seen || ended();
    return *done ? Outcome::kOk : Outcome::kTimedOut;
  });
}

void Block::mend() {
  auto& word = header().state;
  uint64_t state = word.load(kFirst);
  while ((state & (kBlockTorn | kBlockWriting)) == kBlockTorn &&
         !word.compare_exchange_weak(state, make_block_state(block_version(state) + 1, 0))) {
  }
  wake();
}

/// Ends the write that this state tells of. The torn range is written while nobody else may.
bool Block::end_for(uint64_t state, bool* torn) {
  BlockHeader& h = header();
  const uint64_t version = block_version(state);
  const bool began = h.write_version.load(kFirst) == version;
  const uint64_t at = h.write_at.load(kFirst), bytes = h.write_bytes.load(kFirst);
  uint64_t flags = state & kBlockTorn;
  if (began && bytes != 0) {
    const bool before = flags != 0;
    const uint64_t end = at + bytes;
    const uint64_t from = before ? std::min(at, h.torn_at.load(kFirst)) : at;
    const uint64_t to = before ? std::max(end, h.torn_end.load(kFirst)) : end;
    h.torn_at.store(from, kThen);
    h.torn_end.store(to, kThen);
    flags = kBlockTorn;
    *torn = true;
  }
  if (!h.state.compare_exchange_strong(state, make_block_state(version + 1, flags))) return false;
  wake();
  return true;
}

bool Block::force() {
  bool torn = false;
  const uint64_t state = header().state.load(kFirst);
  return (state & kBlockWriting) != 0 && end_for(state, &torn);
}

bool Block::reap(uint16_t dead) {
  bool torn = false;
  const uint64_t state = header().state.load(kFirst);
  if ((state & kBlockWriting) != 0 && block_owner(state) == dead) end_for(state, &torn);
  wake();  // it may have died between its end and the wake
  return torn;
}

bool Block::reap_thread(uint16_t owner, uint16_t thread) {
  bool torn = false;
  const uint64_t state = header().state.load(kFirst);
  if (block_writing(state, owner, thread) == state) end_for(state, &torn);
  wake();
  return torn;
}

void Block::end_of_object() {
  header().ended.store(1, std::memory_order_seq_cst);
  wake_all_on(header().changed);
}

}  // namespace heddle::shm
