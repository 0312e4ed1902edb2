// Memory layout of a list segment (structs and words only; the protocol is in list.h).
//
//   offset        what                          size
//   0             ListHeader                    4 KiB: that of a dict's memory, limits, the root
//   journals_at   ListJournal[kDictRowsMax]     1 KiB a thread, beside its row
//   rows_at, groups_at, controls_at, area_at    as in dict_layout.h: rows, chunks, extents
//
// Heads, leaves, inner nodes and records are chunks of the classes of a dict's records. A record is
// a DictRecord without a key; its `rev` is the revision of the change that put it in. Nodes have
// their `meta` in the same place, with no flags, so that the memory treats both alike.
//
// Words
//   reference   generation 36 | line 28         names one life of a chunk: of a head (the root), a
//                                               node, a record
//   node meta   children 16 | height 8 | spare 24 | kind 8 | flags 8, always 0
#pragma once

#include "proto/shm/dict_layout.h"

namespace heddle::shm {

inline constexpr uint32_t kListVersion = 1;
inline constexpr uint32_t kListRefs = 26;      // of a leaf; of the tail in a head
inline constexpr uint32_t kListChildren = 19;  // of an inner node
inline constexpr uint32_t kListHeightMax = 12;
inline constexpr uint64_t kListLenMax = 1u << 27;
inline constexpr uint32_t kListFresh = 40;    // chunks that one change makes, at most
inline constexpr uint32_t kListRetired = 40;  // that it replaces
inline constexpr uint32_t kListResting = 32;
inline constexpr uint32_t kListClassNode = kDictClassRecord + 3;  // room for any node
inline constexpr uint32_t kListNodesKept = 6;
/// Larger chunks do not rest.
inline constexpr uint32_t kListRestingLinesMax = 64;

struct ListLimits {
  uint64_t max_len = 1'000'000;
  uint64_t max_bytes = 256ull << 20;  // of all values
  uint64_t max_value_bytes = kDictValueBytesMax;
  uint64_t reserved = 0;
  friend bool operator==(const ListLimits&, const ListLimits&) = default;
};
static_assert(sizeof(ListLimits) == 32);

struct ListGeometry {
  DictGeometry memory;  // no history, no directory
  uint64_t journals_at;

  static ListGeometry of(const ListLimits& limits);
};

struct ListHeader {
  DictHeader memory;
  ListLimits created;                      // immutable
  alignas(64) std::atomic<uint64_t> root;  // reference of the head that is the list; 0: empty
};
static_assert(sizeof(ListHeader) <= kDictPage && offsetof(ListHeader, memory) == 0);

enum class ListNodeKind : uint8_t { kHead = 200, kLeaf = 201, kInner = 202 };
constexpr uint64_t make_node_meta(ListNodeKind kind, uint32_t n, uint32_t height) {
  return n | uint64_t{height} << 16 | static_cast<uint64_t>(kind) << 48;
}
constexpr uint32_t node_meta_n(uint64_t meta) { return static_cast<uint32_t>(meta & 0xffff); }
constexpr uint32_t node_meta_height(uint64_t meta) {
  return static_cast<uint32_t>(meta >> 16 & 0xff);
}
constexpr bool is_node_meta(uint64_t meta, ListNodeKind kind) {
  return meta >> 48 == static_cast<uint64_t>(kind);
}

/// All that the list is at one revision; immutable. The last elements are in the head itself, so
/// that append and pop make one head and nothing else. Chunks are as long as the tail needs.
struct ListHead {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> revision;
  std::atomic<uint64_t> meta;  // children: of the tail; height: of the tree, 0 = there is none
  std::atomic<uint64_t> length;
  std::atomic<uint64_t> bytes;
  std::atomic<uint64_t> top;  // reference of the tree's root
  std::atomic<uint64_t> tail[kListRefs];
};
static_assert(sizeof(ListHead) == 4 * kDictLineBytes);

struct ListLeaf {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> reserved;
  std::atomic<uint64_t> meta;
  std::atomic<uint64_t> ref[kListRefs];
};
static_assert(sizeof(ListLeaf) <= sizeof(ListHead));

struct ListInner {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> reserved;
  std::atomic<uint64_t> meta;
  std::atomic<uint64_t> ref[kListChildren];
  std::atomic<uint32_t> count[kListChildren];  // elements below
};
static_assert(sizeof(ListInner) <= sizeof(ListHead));
static_assert(offsetof(ListHead, meta) == offsetof(DictRecord, meta) &&
              offsetof(ListLeaf, meta) == offsetof(DictRecord, meta) &&
              offsetof(ListInner, meta) == offsetof(DictRecord, meta));

/// What a thread is about to do. Plain stores by its thread; decisions by CAS of the reaper.
struct alignas(64) ListJournal {
  std::atomic<uint64_t> phase;    // DictPhase of the change
  std::atomic<uint64_t> head;     // the new one, once it may be published; 0 before
  std::atomic<uint64_t> garbage;  // top of a tree that goes as a whole if the change is published
  std::atomic<uint64_t> garbage_height;
  std::atomic<uint64_t> rubbish;  // the same, once it has been: anybody may give it back
  std::atomic<uint32_t> fresh_n, retired_n;
  std::atomic<uint64_t> resting_at;             // where the next one is laid to rest
  std::atomic<uint64_t> takes_out;              // 1: may use the memory that is kept for it
  std::atomic<uint64_t> fresh[kListFresh];      // made for the change; [0] its record, if any
  std::atomic<uint64_t> retired[kListRetired];  // replaced by it
  std::atomic<uint64_t> resting[kListResting];  // replaced before, not yet given back
  uint8_t padding[64];
};
static_assert(sizeof(ListJournal) == 1024);
static_assert(kDictClassLines[kListClassNode] * kDictLineBytes == sizeof(ListHead));

}  // namespace heddle::shm
