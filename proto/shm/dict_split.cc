// How a full bucket grows: into its two children on the directory's next level, or, on the last
// level and below, into an array of sixteen. The crash story is in dict.h.
#include <bit>

#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kLoose = std::memory_order_relaxed;
constexpr auto kAfter = std::memory_order_release;
constexpr uint32_t kSamples = 8, kSamplesFilled = 5, kSplitsPerSample = 4;
constexpr uint64_t kOddStride = 0x9e3779b97f4a7c15;

constexpr uint64_t phase_word(DictPhase phase) { return static_cast<uint64_t>(phase); }

}  // namespace

/// False: there is no memory for it.
bool Dict::grow(DictActor& a, const Spot& spot, const Pairs& pairs) {
  const bool directory = (spot.name & kNodeInArray) == 0;
  return directory && spot.depth < memory_.geometry().levels_max ? split_node(a, spot, pairs)
                                                                 : split_to_array(a, spot, pairs);
}

/// A block from the magazine, now in use; its pairs are what the caller makes them.
uint64_t Dict::begin_block(DictActor& a, std::atomic<uint64_t>& named) {
  const uint32_t line = memory_.pop(a, kDictClassBlock);
  const uint64_t ref =
      line == 0 ? 0 : dict_ref(stamp_generation(memory_.stamp(line).load(kLoose)), line);
  named.store(ref, kLoose);
  return ref;
}

void Dict::use_chunk(DictActor& a, uint64_t ref, uint32_t size_class) {
  if (ref == 0) return;
  memory_.stamp(ref_line(ref))
      .store(make_stamp(ref_generation(ref), a.row, size_class, DictChunkState::kUsed), kAfter);
}

bool Dict::split_node(DictActor& a, const Spot& spot, const Pairs& pairs) {
  DictJournal& j = memory_.journal(a);
  if (!memory_.back_node(2 * spot.name) || !make_room(a, kDictClassBlock, 3)) return false;
  const auto old_stamp = memory_.stamp(spot.block).load(kLoose);
  j.snode.store(spot.name, kLoose);
  j.so.store(dict_ref(stamp_generation(old_stamp), spot.block), kLoose);
  const uint64_t s = begin_block(a, j.s);
  const uint64_t halves[2] = {begin_block(a, j.l), begin_block(a, j.r)};
  if (s == 0 || halves[0] == 0 || halves[1] == 0) return false;
  j.sphase.store(phase_word(DictPhase::kRun), kAfter);
  use_chunk(a, s, kDictClassBlock);
  DictBlock& split = memory_.block(ref_line(s));
  for (unsigned half = 0; half < 2; ++half) {
    use_chunk(a, halves[half], kDictClassBlock);
    DictBlock& to = memory_.block(ref_line(halves[half]));
    uint32_t n = 0;
    for (uint32_t i = 0; i < pairs.n; ++i) {
      if ((pair_tag(pairs.word[i]) >> (30 - spot.depth) & 1) == half) {
        to.pair[n++].store(pairs.word[i], kLoose);
      }
    }
    for (; n < kDictPairs; ++n) to.pair[n].store(0, kLoose);
    split.pair[half].store(halves[half], kLoose);
  }
  const uint64_t moved = next_node(spot.seen, NodeFlag::kMoved, ref_line(s));
  if (!dict_cas(*spot.word, spot.seen, moved)) {
    give_up_split(a, j, a.row);
    return true;
  }
  finish_split(a, spot.name, moved);
  end_split(a, j);
  deepen(a, spot.depth);
  return true;
}

/// The old block goes; also called by the reaper.
void Dict::end_split(DictActor& a, DictJournal& j) {
  const uint64_t old = j.so.load(kLoose);
  const uint64_t stamp = memory_.stamp(ref_line(old)).load(std::memory_order_acquire);
  if (ref_line(old) != 0 && same_life(stamp, old) && stamp_state(stamp) == DictChunkState::kUsed) {
    memory_.release(a, ref_line(old), stamp);
  }
  j.sphase.store(phase_word(DictPhase::kIdle), kAfter);
}

/// Nothing was published: what `row` had prepared goes back.
void Dict::give_up_split(DictActor& a, DictJournal& j, uint32_t row) {
  j.sphase.store(phase_word(DictPhase::kUnpublished), kAfter);
  const uint64_t s = j.s.load(kLoose);
  const uint64_t stamp = memory_.stamp(ref_line(s)).load(std::memory_order_acquire);
  if (j.l.load(kLoose) == 0 && same_life(stamp, s) && stamp_row(stamp) == row) {
    for (auto& word : memory_.array(ref_line(s)).word) {
      const uint32_t line = node_block(word.load(kLoose));
      if (line == 0) continue;
      const uint64_t child = memory_.stamp(line).load(std::memory_order_acquire);
      if (stamp_class(child) != kDictClassBlock) continue;
      memory_.release_private(a, dict_ref(stamp_generation(child), line), row);
    }
  }
  memory_.release_private(a, j.l.load(kLoose), row);
  memory_.release_private(a, j.r.load(kLoose), row);
  memory_.release_private(a, s, row);
  j.sphase.store(phase_word(DictPhase::kIdle), kAfter);
}

/// Anybody finishes a split that he meets. The mark tells the splitter's reaper that it was
/// published, when the bucket word no longer does.
void Dict::finish_split(DictActor& a, uint64_t name, uint64_t word) {
  DictJournal& j = memory_.journal(a);
  auto& node = memory_.node(name);
  const uint32_t line = node_block(word);
  DictBlock& split = memory_.block(line);
  uint64_t stamp = split.stamp.load(std::memory_order_acquire);
  const uint64_t ref = dict_ref(stamp_generation(stamp), line);
  const uint64_t left = split.pair[0].load(kLoose), right = split.pair[1].load(kLoose);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (line == 0 || node.load(std::memory_order_acquire) != word) return;
  j.fnode.store(name, kLoose);
  j.fs.store(ref, kAfter);
  for (uint32_t tries = 0; tries < kDictTriesMax && !mutated(DictMutant::kSplitNotMarked);
       ++tries) {
    stamp = split.stamp.load(std::memory_order_acquire);
    if (!same_life(stamp, ref) || stamp_state(stamp) != DictChunkState::kUsed ||
        (stamp & kStampPublished) != 0 || dict_cas(split.stamp, stamp, stamp | kStampPublished))
      break;
  }
  if (node.load(std::memory_order_seq_cst) == word) {
    dict_cas(memory_.node(2 * name), 0, first_node(ref_line(left)));
    dict_cas(memory_.node(2 * name + 1), 0, first_node(ref_line(right)));
    dict_cas(node, word, next_node(word, NodeFlag::kDone, 0));
  }
  stamp = split.stamp.load(std::memory_order_acquire);
  if (same_life(stamp, ref) && stamp_state(stamp) == DictChunkState::kUsed) {
    memory_.release(a, line, stamp);
  }
  j.fs.store(0, kAfter);
}

/// The sixteen buckets and their blocks, visible by one CAS.
bool Dict::split_to_array(DictActor& a, const Spot& spot, const Pairs& pairs) {
  DictJournal& j = memory_.journal(a);
  if (spot.depth > kDictDepthMax || !make_room(a, kDictClassBlock, kDictPairs) ||
      !make_room(a, kDictClassArray, 1)) {
    return false;
  }
  const uint32_t line = memory_.pop(a, kDictClassArray);
  if (line == 0) return false;
  const uint64_t array = dict_ref(stamp_generation(memory_.stamp(line).load(kLoose)), line);
  for (auto& word : memory_.array(line).word) word.store(first_node(0), kLoose);
  const auto old_stamp = memory_.stamp(spot.block).load(kLoose);
  j.snode.store(spot.name, kLoose);
  j.so.store(dict_ref(stamp_generation(old_stamp), spot.block), kLoose);
  j.s.store(array, kLoose);
  j.l.store(0, kLoose);
  j.r.store(0, kLoose);
  j.sphase.store(phase_word(DictPhase::kRun), kAfter);
  use_chunk(a, array, kDictClassArray);
  if (!fill_array(a, spot, pairs, line) ||
      !dict_cas(*spot.word, spot.seen, next_node(spot.seen, NodeFlag::kArray, line))) {
    give_up_split(a, j, a.row);
    return true;
  }
  end_split(a, j);
  return true;
}

/// False: a record was written over meanwhile, so the bucket has changed.
bool Dict::fill_array(DictActor& a, const Spot& spot, const Pairs& pairs, uint32_t array) {
  uint8_t slots[kDictPairs];
  for (uint32_t i = 0; i < pairs.n; ++i) {
    View v;
    if (!view(pair_record(pairs.word[i]), &v)) return false;
    slots[i] = static_cast<uint8_t>(hash(v.key, v.key_bytes).slot(spot.depth));
  }
  for (unsigned slot = 0; slot < kDictSlots; ++slot) {
    uint32_t n = 0, line = 0;
    for (uint32_t i = 0; i < pairs.n; ++i) {
      if (slots[i] != slot) continue;
      if (n == 0) {
        line = memory_.pop(a, kDictClassBlock);
        if (line == 0) return false;
        for (auto& pair : memory_.block(line).pair) pair.store(0, kLoose);
      }
      memory_.block(line).pair[n++].store(pairs.word[i], kLoose);
    }
    if (n == 0) continue;
    memory_.array(array).word[slot].store(first_node(line), kAfter);
    const uint64_t stamp = memory_.stamp(line).load(kLoose);
    use_chunk(a, dict_ref(stamp_generation(stamp), line), kDictClassBlock);
  }
  return true;
}

/// Walks begin one level deeper once most buckets are there. Its pages are backed first.
void Dict::deepen(DictActor& a, uint32_t level) {
  auto& hint = memory_.header().level;
  if (hint.load(kLoose) != level || ++a.splits % kSplitsPerSample != 0) return;
  const uint64_t nodes = uint64_t{2} << level, start = a.splits * kOddStride >> 32;
  uint32_t filled = 0;
  for (uint32_t i = 0; i < kSamples; ++i) {
    const uint64_t at = nodes + (start + i * (nodes / kSamples)) % nodes;
    filled += memory_.is_backed(at) && memory_.node(at).load(kLoose) != 0;
  }
  if (filled >= kSamplesFilled && memory_.back_level(level + 1)) hint.store(level + 1, kAfter);
}

}  // namespace heddle::shm
