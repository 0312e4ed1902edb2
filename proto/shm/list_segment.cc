// A list's segment: geometry, formatting, attaching, rows.
#include <cstring>
#include <new>

#include "proto/shm/list.h"

namespace heddle::shm {
namespace {

constexpr uint64_t list_pages(uint64_t n) { return (n + kDictPage - 1) / kDictPage * kDictPage; }

}  // namespace

ListGeometry ListGeometry::of(const ListLimits& limits) {
  ListGeometry all{};
  DictGeometry& g = all.memory;
  // Values twice over (size classes), a record's head and its share of a leaf for each element,
  // extents that are begun, and a value that is put in while another leaves.
  const uint64_t bytes = 2 * limits.max_bytes + 128 * limits.max_len + 2 * limits.max_value_bytes;
  const uint64_t extents = bytes / kDictExtentBytes + 2 * kDictClasses + 16;
  g.extents = static_cast<uint32_t>(extents < kDictExtentsMax ? extents : kDictExtentsMax);
  g.history = 1;
  all.journals_at = kDictPage;
  g.history_at = g.pages_at = g.nodes_at = all.journals_at;  // there are none
  g.rows_at = all.journals_at + kDictRowsMax * sizeof(ListJournal);
  g.groups_at = g.rows_at + kDictRowsMax * sizeof(DictRow);
  g.controls_at = g.groups_at + list_pages((g.extents / 64 + 1) * sizeof(DictGroup));
  g.area_at = g.controls_at + list_pages(g.extents * sizeof(DictExtent));
  g.area_at = (g.area_at + kDictExtentBytes - 1) / kDictExtentBytes * kDictExtentBytes;
  g.bytes = g.area_at + uint64_t{g.extents} * kDictExtentBytes;
  return all;
}

const char* list_limits_invalid(const ListLimits& l) {
  if (l.max_len == 0 || l.max_len > kListLenMax) return "max_len";
  if (l.max_bytes == 0 || l.max_bytes > (uint64_t{1} << 33)) return "max_bytes";
  if (l.max_value_bytes > kDictValueBytesMax) return "max_value_bytes";
  return nullptr;
}

uint64_t list_segment_bytes(const ListLimits& limits) {
  return ListGeometry::of(limits).memory.bytes;
}

uint64_t list_control_bytes(const ListLimits&) { return kDictPage; }

void list_format(void* base, const ListLimits& limits, uint64_t object_id) {
  auto& h = *new (base) ListHeader{};
  const ListGeometry g = ListGeometry::of(limits);
  h.memory.segment = {kSegmentMagic, kListVersion, SegmentKind::kList, object_id, 0, {}};
  h.memory.segment.bytes = g.memory.bytes;
  h.memory.geometry = g.memory;
  h.memory.extents_granted = g.memory.extents;
  h.memory.extents_used = 1;
  h.created = limits;
}

Outcome List::attach(void* base, uint64_t bytes, int fd, List* out) {
  if (bytes < kDictPage) return Outcome::kCorrupt;
  const auto& h = *static_cast<const ListHeader*>(base);
  SegmentHeader segment;
  ListLimits created;
  std::memcpy(&segment, &h.memory.segment, sizeof segment);
  std::memcpy(&created, &h.created, sizeof created);
  if (segment.magic != kSegmentMagic || segment.version != kListVersion ||
      segment.kind != SegmentKind::kList || list_limits_invalid(created) != nullptr)
    return Outcome::kCorrupt;
  const ListGeometry g = ListGeometry::of(created);
  if (!(g.memory == h.memory.geometry) || g.memory.bytes != bytes || segment.bytes != bytes) {
    return Outcome::kCorrupt;
  }
  out->memory_ = DictMemory(static_cast<std::byte*>(base), g.memory, fd);
  out->limits_ = created;
  out->journals_at_ = g.journals_at;
  return Outcome::kOk;
}

ListJournal& List::journal(uint32_t row) const {
  auto* base = reinterpret_cast<std::byte*>(&memory_.header());
  return reinterpret_cast<ListJournal*>(base + journals_at_)[row % kDictRowsMax];
}

Outcome List::enter(ListActor& a) {
  const Outcome outcome = memory_.claim_row(a);
  if (outcome != Outcome::kOk) return outcome;
  const uint64_t at = journals_at_ + uint64_t{a.row} * sizeof(ListJournal);
  if (!memory_.reserve(at / kDictPage * kDictPage, kDictPage)) {
    memory_.free_row(a);
    return Outcome::kMemoryExhausted;
  }
  return Outcome::kOk;
}

void List::leave(ListActor& a) {
  if (a.row == kDictRowNone) return;
  end_rest(a, journal(a.row));
  memory_.free_row(a);
}

}  // namespace heddle::shm
