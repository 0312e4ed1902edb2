// A dict's segment: geometry, formatting, attaching, rows.
#include <bit>
#include <cstring>
#include <new>

#include "proto/shm/dict.h"

namespace heddle::shm {
namespace {

constexpr uint64_t up_to_pages(uint64_t n) { return (n + kDictPage - 1) / kDictPage * kDictPage; }
constexpr uint32_t kDictHistoryMin = 16;
constexpr uint32_t kAgeBitsMin = 10, kAgeBitsMax = 21;
constexpr uint64_t kTtlMax = uint64_t{1} << 52;

}  // namespace

DictGeometry DictGeometry::of(const DictLimits& limits) {
  DictGeometry g{};
  // Keys and values twice over (size classes), a record and its share of a block for each entry,
  // extents that are begun, and what the history keeps.
  const uint64_t bytes = 2 * limits.max_bytes + 160 * limits.max_entries +
                         uint64_t{limits.history} * 256 + 2 * limits.max_value_bytes;
  const uint64_t extents = bytes / kDictExtentBytes + 2 * kDictClasses + 16;
  g.extents = static_cast<uint32_t>(extents < kDictExtentsMax ? extents : kDictExtentsMax);
  g.levels_max = kDictLevelMin;
  while (g.levels_max < kDictLevelMax && (uint64_t{2} << g.levels_max) < limits.max_entries) {
    ++g.levels_max;
  }
  g.history = std::bit_ceil(limits.history < kDictHistoryMin ? kDictHistoryMin : limits.history);
  const uint64_t nodes = uint64_t{2} << g.levels_max;
  g.history_at = kDictPage;
  if (limits.at_limit == DictAtLimit::kEvictLru) {
    g.age_bits = static_cast<uint32_t>(std::bit_width(limits.max_entries)) + 1;
    if (g.age_bits < kAgeBitsMin) g.age_bits = kAgeBitsMin;
    if (g.age_bits > kAgeBitsMax) g.age_bits = kAgeBitsMax;
  }
  g.ages_at = g.history_at + up_to_pages(g.history * sizeof(DictHistory));
  g.pages_at = g.ages_at + (g.age_bits == 0 ? 0 : up_to_pages(uint64_t{4} << g.age_bits));
  g.nodes_at = g.pages_at + up_to_pages(nodes * 8 / kDictPage / 8 + 8);
  g.rows_at = g.nodes_at + up_to_pages(nodes * 8);
  g.groups_at = g.rows_at + kDictRowsMax * sizeof(DictRow);
  g.controls_at = g.groups_at + up_to_pages((g.extents / 64 + 1) * sizeof(DictGroup));
  g.area_at = g.controls_at + up_to_pages(g.extents * sizeof(DictExtent));
  g.area_at = (g.area_at + kDictExtentBytes - 1) / kDictExtentBytes * kDictExtentBytes;
  g.bytes = g.area_at + uint64_t{g.extents} * kDictExtentBytes;
  return g;
}

const char* dict_limits_invalid(const DictLimits& l) {
  if (l.max_entries == 0 || l.max_entries > (uint64_t{1} << 27)) return "max_entries";
  if (l.max_bytes == 0 || l.max_bytes > (uint64_t{1} << 33)) return "max_bytes";
  if (l.max_value_bytes > kDictValueBytesMax) return "max_value_bytes";
  if (l.max_key_bytes == 0 || l.max_key_bytes > kDictKeyBytesMax) return "max_key_bytes";
  if (l.history == 0 || l.history > kDictHistoryMax) return "history";
  if (l.keep_previous > 1) return "keep_previous";
  if (l.default_ttl_ms > kTtlMax) return "default_ttl_ms";
  if (l.at_limit > DictAtLimit::kEvictTtlFirst) return "at_limit";
  if (l.on_overwrite > DictOnOverwrite::kDefault) return "on_overwrite";
  return nullptr;
}

uint64_t dict_segment_bytes(const DictLimits& limits) { return DictGeometry::of(limits).bytes; }

uint64_t dict_control_bytes(const DictLimits& limits) {
  return DictGeometry::of(limits).nodes_at + kDictPage;
}

void dict_format(void* base, const DictLimits& limits, uint64_t object_id, uint64_t seed,
                 uint64_t hash_mask) {
  auto& h = *new (base) DictHeader{};
  h.segment = {kSegmentMagic, kDictVersion, SegmentKind::kDict, object_id, 0, {}};
  h.created = limits;
  h.geometry = DictGeometry::of(limits);
  h.segment.bytes = h.geometry.bytes;
  h.seed = seed;
  h.hash_mask = hash_mask;
  h.level = h.base = kDictLevelMin;
  h.extents_granted = h.geometry.extents;
  h.extents_used = 1;
  h.budget[0] = dict_budget(limits.max_entries);
  h.budget[1] = dict_budget(limits.max_bytes);
  const DictMemory memory(static_cast<std::byte*>(base), h.geometry, -1);
  const uint64_t n = h.geometry.history;
  for (uint64_t i = 0; i < n; ++i) memory.history(i).done.store(i);
  memory.history(n).done.store(n);  // revision 0
  memory.history(n).word.store(uint64_t{1} << 60);
  h.tail = n + 1;
  for (uint64_t i = 0; i < (uint64_t{1} << kDictLevelMin); ++i) {
    memory.node((uint64_t{1} << kDictLevelMin) + i).store(first_node(0));
  }
  auto* pages =
      reinterpret_cast<std::atomic<uint64_t>*>(static_cast<std::byte*>(base) + h.geometry.pages_at);
  pages->store(1);
}

Outcome Dict::attach(void* base, uint64_t bytes, int fd, Dict* out) {
  if (bytes < kDictPage) return Outcome::kCorrupt;
  const auto& h = *static_cast<const DictHeader*>(base);
  SegmentHeader segment;
  DictLimits created;
  std::memcpy(&segment, &h.segment, sizeof segment);
  std::memcpy(&created, &h.created, sizeof created);
  if (segment.magic != kSegmentMagic || segment.version != kDictVersion ||
      segment.kind != SegmentKind::kDict || dict_limits_invalid(created) != nullptr)
    return Outcome::kCorrupt;
  const DictGeometry g = DictGeometry::of(created);
  if (!(g == h.geometry) || g.bytes != bytes || segment.bytes != bytes) return Outcome::kCorrupt;
  out->memory_ = DictMemory(static_cast<std::byte*>(base), g, fd);
  out->limits_ = created;
  out->seed_ = h.seed;
  out->mask_ = h.hash_mask;
  out->history_ = g.history;
  out->history_bits_ = static_cast<uint32_t>(std::countr_zero(g.history));
  out->ages_ = g.age_bits;
  out->portion_bits_[0] = dict_portion_bits(created.max_entries);
  out->portion_bits_[1] = dict_portion_bits(created.max_bytes);
  out->policy_expires_ =
      created.default_ttl_ms != 0 || created.on_overwrite == DictOnOverwrite::kKeep;
  return Outcome::kOk;
}

Outcome Dict::enter(DictActor& a) {
  const Outcome outcome = memory_.claim_row(a);
  if (outcome == Outcome::kOk) {
    a.tail = find_tail(memory_.header().tail.load(std::memory_order_acquire));
  }
  return outcome;
}

void Dict::leave(DictActor& a) {
  if (a.row == kDictRowNone) return;
  give_back(a.row, 0, 0);
  memory_.free_row(a);
}

uint64_t Dict::len() const {
  uint64_t sum = 0;
  const uint32_t used = memory_.header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    sum += memory_.row(i).entries.load(std::memory_order_acquire);
  }
  return static_cast<int64_t>(sum) > 0 ? sum : 0;
}

uint64_t Dict::bytes() const {
  uint64_t sum = 0;
  const uint32_t used = memory_.header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < kDictRowsMax; ++i) {
    sum += memory_.row(i).bytes.load(std::memory_order_acquire);
  }
  return static_cast<int64_t>(sum) > 0 ? sum : 0;
}

}  // namespace heddle::shm
