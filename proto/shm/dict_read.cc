// Reading a dict: from the hash to the bucket, the block, the record. Nothing is stored.
//
// Order: the bucket word by acquire, then all else relaxed, then an acquire fence and the bucket
// word again. What stood behind the word was written before the CAS that published the word, and
// is written again only after a later CAS of the word: unchanged means that everything was in use
// throughout. Through MOVED the half counts while the child is still EMPTY.
#include <bit>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"
#include "proto/shm/flatten.h"

namespace heddle::shm {
namespace {

constexpr auto kPeek = std::memory_order_relaxed;
// One read of 64 is noted, and not always the same one of a loop: the sequence is spread evenly.
constexpr uint32_t kNoteStep = 0x9e3779b9, kNoteBelow = UINT32_MAX / 64;

/// As memcmp == 0, over memory that may change meanwhile.
[[gnu::no_sanitize("thread")]] inline bool equal_unproved(const std::byte* a, const void* b,
                                                          uint32_t bytes) {
#if defined(__SANITIZE_THREAD__)
  const auto* x = reinterpret_cast<const volatile unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  for (uint32_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) return false;
  }
  return true;
#else
  const auto* c = static_cast<const std::byte*>(b);
  uint64_t x[2], y[2];
  if (bytes < 8 || bytes > 16) return std::memcmp(a, b, bytes) == 0;
  std::memcpy(x, a, 8), std::memcpy(x + 1, a + bytes - 8, 8);
  std::memcpy(y, c, 8), std::memcpy(y + 1, c + bytes - 8, 8);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
#endif
}

/// Short copies without a call.
[[gnu::no_sanitize("thread")]] inline void copy_short(std::byte* to, const std::byte* from,
                                                      uint64_t bytes) {
#if !defined(__SANITIZE_THREAD__)
  if (bytes >= 16 && bytes <= 128) {
    for (uint64_t i = 0; i + 16 < bytes; i += 16) std::memcpy(to + i, from + i, 16);
    std::memcpy(to + bytes - 16, from + bytes - 16, 16);
    return;
  }
#endif
  copy_unproved(to, from, bytes);
}

}  // namespace

bool Dict::find(const DictHash& h, Spot* spot) const {
  const DictHeader& header = memory_.header();
  const uint32_t deepest = memory_.geometry().levels_max;
  const uint32_t base = kDictLevelMin;
  uint32_t level = header.level.load(kPeek);
  if (level < base || level > deepest) level = base;
  for (uint32_t steps = 0; steps < kDictWalkMax; ++steps) {
    const uint64_t name = h.node(level);
    auto& word = memory_.node(name);
    const uint64_t w = word.load(std::memory_order_acquire);
    switch (node_flag(w)) {
      case NodeFlag::kNormal:
        *spot = {&word, w, name, level, node_block(w), nullptr};
        return true;
      case NodeFlag::kPending:
        *spot = {&word, w, name, level, 0, nullptr, true};
        find_pending(spot);
        return true;
      case NodeFlag::kEmpty:
        if (level == base) return false;
        --level;
        break;
      case NodeFlag::kDone:
        if (level == deepest) return false;
        ++level;
        break;
      case NodeFlag::kMoved: {
        if (level == deepest) return false;
        auto& child = memory_.node(h.node(level + 1));
        if (child.load(std::memory_order_acquire) != 0) {
          ++level;
          break;
        }
        const auto& halves = memory_.block(node_block(w)).pair;
        *spot = {&word, w, name, level, ref_line(halves[h.half(level)].load(kPeek)), &child};
        return true;
      }
      case NodeFlag::kArray:
        return find_in_array(h, level, node_block(w), spot);
      default:
        return false;
    }
  }
  return false;
}

/// A bucket of a transaction is as before until that is decided.
void Dict::find_pending(Spot* spot) const {
  const auto& words = memory_.block(node_block(spot->seen)).pair;
  const uint64_t list = words[kPendingList].load(kPeek);
  const uint64_t before = words[kPendingOld].load(kPeek), after = words[kPendingNew].load(kPeek);
  const uint64_t decision = memory_.record(ref_line(list)).version.load(std::memory_order_acquire);
  const bool made = decision_of(decision, ref_generation(list)) == DictDecision::kMade;
  spot->block = ref_line(made && after != 0 ? after : before);
}

/// Arrays are never given back, and their buckets are never EMPTY, MOVED or DONE.
bool Dict::find_in_array(const DictHash& h, uint32_t depth, uint32_t line, Spot* spot) const {
  for (; depth <= kDictDepthMax; depth += kDictSlotBits) {
    const unsigned slot = h.slot(depth);
    auto& word = memory_.array(line).word[slot];
    const uint64_t w = word.load(std::memory_order_acquire);
    const bool pending = node_flag(w) == NodeFlag::kPending;
    if (node_flag(w) == NodeFlag::kNormal || pending) {
      const uint64_t name = kNodeInArray | uint64_t{line} << 4 | slot;
      *spot = {&word, w, name, depth + kDictSlotBits, node_block(w), nullptr, pending};
      if (pending) find_pending(spot);
      return true;
    }
    if (node_flag(w) != NodeFlag::kArray) return false;
    line = node_block(w);
  }
  return false;
}

bool Dict::unchanged(const Spot& spot) {
  std::atomic_thread_fence(std::memory_order_acquire);
  return spot.word->load(std::memory_order_acquire) == spot.seen &&
         (spot.child == nullptr || spot.child->load(std::memory_order_acquire) == 0);
}

void Dict::load_pairs(uint32_t block, Pairs* pairs) const {
  if (block == 0) {
    *pairs = {};
    return;
  }
  const auto& words = memory_.block(block).pair;
  uint32_t empty = 1u << kDictPairs;
#pragma GCC unroll 7
  for (uint32_t i = 0; i < kDictPairs; ++i) {
    pairs->word[i] = words[i].load(kPeek);
    empty |= uint32_t{pairs->word[i] == 0} << i;
  }
  pairs->n = static_cast<uint32_t>(std::countr_zero(empty));
}

/// Where things are in a record. False: it says nonsense, or was written over meanwhile.
bool Dict::view(uint32_t line, View* v) const {
  const DictRecord& r = memory_.record(line);
  v->line = line;
  v->meta = r.meta.load(kPeek);
  v->rev = r.rev.load(kPeek);
  v->value_bytes = static_cast<uint32_t>(v->meta);
  v->key_bytes = static_cast<uint32_t>(v->meta >> 32 & 0xffff);
  v->kind = static_cast<uint8_t>(v->meta >> 48);
  v->flags = static_cast<uint8_t>(v->meta >> 56);
  uint64_t at = sizeof(DictRecord);
  if ((v->flags & kRecordMore) == 0) {  // nearly always
    v->list = nullptr;
    v->key = memory_.chunk(line) + at;
    v->value = v->key + v->key_bytes;
    return v->key_bytes <= kDictKeyBytesMax &&
           at + v->key_bytes + v->value_bytes <= memory_.room(line);
  }
  at += (v->flags & kRecordExpires ? 8u : 0u) + (v->flags & kRecordOwned ? 8u : 0u);
  const std::byte* const start = memory_.chunk(line);
  v->list = nullptr;
  if ((v->flags & kRecordExtents) != 0) {
    if (v->value_bytes > kDictValueBytesMax) return false;
    v->list = reinterpret_cast<const std::atomic<uint32_t>*>(start + at);
    at += (dict_value_extents(v->value_bytes) * 4 + 7) / 8 * 8;
  }
  v->key = start + at;
  at += v->key_bytes;
  v->value = v->list == nullptr ? start + at : nullptr;
  if (v->list == nullptr) at += v->value_bytes;
  return v->key_bytes <= kDictKeyBytesMax && at <= memory_.room(line);
}

bool Dict::copy_value(const View& v, std::byte* to) const {
  if (v.list == nullptr) {
    copy_short(to, v.value, v.value_bytes);
    return true;
  }
  for (uint64_t at = 0, i = 0; at < v.value_bytes; at += kDictExtentBytes, ++i) {
    const uint64_t left = v.value_bytes - at;
    copy_unproved(to + at, memory_.extent_data(v.list[i].load(kPeek)),
                  left < kDictExtentBytes ? left : kDictExtentBytes);
  }
  return true;
}

void Dict::describe(const View& v, DictEntry* e) const {
  const DictRecord& r = memory_.record(v.line);
  const bool pending = (v.rev & kRevUnassigned) != 0;
  e->bytes = v.value_bytes;
  e->kind = v.kind;
  e->mod_revision = pending ? 0 : v.rev;
  const uint64_t created = r.create_revision.load(kPeek);
  e->create_revision = created != 0 ? created : e->mod_revision;
  e->version = r.version.load(kPeek);
  e->expires_ms = 0;
  e->owner = 0;
  if ((v.flags & (kRecordExpires | kRecordOwned)) == 0) return;
  e->expires_ms = expires_of(v);
  e->owner = owner_of(v);
}

/// False: some record is nonsense, so the block has changed.
bool Dict::find_key(const Pairs& pairs, uint64_t tag, const DictKey& key, Found* found) const {
  found->pair = 0;
  uint32_t match = 0;
#pragma GCC unroll 7
  for (uint32_t i = 0; i < kDictPairs; ++i) match |= uint32_t{pair_tag(pairs.word[i]) == tag} << i;
  for (; match != 0; match &= match - 1) {
    const auto i = static_cast<uint32_t>(std::countr_zero(match));
    const uint32_t line = pair_record(pairs.word[i]);
    if (i >= pairs.n) break;
    __builtin_prefetch(memory_.chunk(line) + kDictLineBytes);
    if (!view(line, &found->view)) return false;
    if (found->view.key_bytes != key.bytes || !equal_unproved(found->view.key, key.data, key.bytes))
      continue;
    found->pair = pairs.word[i];
    found->at = i;
    return true;
  }
  return true;
}

HEDDLE_FLATTEN Outcome Dict::get(const DictKey& key, DictEntry* out, DictActor* helper) const {
  const DictHash h = hash(key.data, key.bytes);
  uint32_t nonsense = 0;
  for (uint32_t tries = 0; tries < kDictTriesMax && nonsense < 16; ++tries) {
    Spot spot;
    if (!find(h, &spot)) {
      ++nonsense;
      continue;
    }
    Pairs pairs;
    load_pairs(spot.block, &pairs);
    Found found;
    const bool sane = find_key(pairs, h.tag(), key, &found);
    const bool there = sane && found.pair != 0 && is_there(found.view);
    bool fits = false;
    if (there) {
      describe(found.view, out);
      fits = out->bytes <= out->room_bytes;
      if (fits) copy_value(found.view, out->room);
    }
    if (!mutated(DictMutant::kReadWithoutSecondLook) && !unchanged(spot)) continue;
    if (!sane) {
      ++nonsense;  // and nobody is at work on it
      continue;
    }
    if (!there) return Outcome::kNotFound;
    if (helper != nullptr) {
      if (out->mod_revision == 0) {
        auto& self = const_cast<Dict&>(*this);
        if ((found.view.flags & kRecordMember) != 0) {
          self.meet(*helper, spot);  // decided, else it would not be seen
        } else {
          nonsense += !self.assign(*helper, found.view.line, found.view.rev);
        }
        continue;
      }
      if (ages_ != 0 && (helper->reads += kNoteStep) < kNoteBelow) note_age(h.high());
    }
    return fits ? Outcome::kOk : Outcome::kTooLarge;
  }
  return Outcome::kCorrupt;
}

}  // namespace heddle::shm
