// What a dict's memory may grow to. The story is in dict_grant.h.
#include "proto/shm/dict_grant.h"

#include <algorithm>

#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kFirstGrant = 24;
constexpr uint64_t kRowsCounted = 32;           // of threads; more are measured
constexpr uint64_t kNodeBytesPerExtent = 8192;  // a bucket for each line that can be a record

}  // namespace

uint32_t dict_first_grant(const DictGeometry& g) { return std::min(kFirstGrant, g.extents); }

// Of a list the journals stand where a dict has the nodes of its directory.
uint64_t dict_granted_bytes(const DictGeometry& g, uint64_t control_bytes, uint32_t extents) {
  const uint64_t n = std::min(extents, g.extents);
  const uint64_t nodes = std::min(n * kNodeBytesPerExtent, g.rows_at - g.nodes_at);
  const uint64_t controls = n * sizeof(DictExtent) + n / 64 * sizeof(DictGroup) + 2 * kDictPage;
  return control_bytes + nodes + kRowsCounted * sizeof(DictRow) + controls + n * kDictExtentBytes;
}

void dict_set_grant(DictMemory& m, uint32_t extents) {
  m.header().extents_granted.store(std::min(extents, m.geometry().extents),
                                   std::memory_order_release);
}

void dict_raise_grant(DictMemory& m, uint32_t extents) {
  if (extents > dict_granted(m)) dict_set_grant(m, extents);
}

uint32_t dict_extents_used(const DictMemory& m) {
  return std::min(m.header().extents_used.load(std::memory_order_acquire), m.geometry().extents);
}

void dict_end(DictMemory& m) {
  m.header().ended.store(1, std::memory_order_seq_cst);
  wake_all_on(m.header().changed);
}

}  // namespace heddle::shm
