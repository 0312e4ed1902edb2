// How much of the memory of a dict or a list may be backed, and its end: the words of the header
// that the broker alone writes.
//
// extents_granted says that extents [1, granted) may be backed. Broker: raised after the catalog
// says so, never lowered, so a claim that read it before takes nothing that was not granted. Who
// finds all of them in use gets kMemoryExhausted, asks for more and tries again; only when there
// will be no more does the oldest history go (DictActor::spare_history). What is backed beside the
// extents follows from how many there are, but for directories in which few buckets are in use:
// the broker measures.
//
// `ended` is stored before the watchers are woken; whoever was about to sleep looks once a second.
#pragma once

#include <cstdint>

#include "proto/shm/dict.h"

namespace heddle::shm {

/// Extents that a new one may back: some small entries and what is kept for erasing.
uint32_t dict_first_grant(const DictGeometry& geometry);
/// Bytes of real memory that go with so many extents, and `control_bytes` that are always backed.
uint64_t dict_granted_bytes(const DictGeometry& geometry, uint64_t control_bytes, uint32_t extents);

inline uint32_t dict_granted(const DictMemory& m) {
  const uint32_t granted = m.header().extents_granted.load(std::memory_order_acquire);
  return granted < m.geometry().extents ? granted : m.geometry().extents;
}
/// Whether more may be asked for.
inline bool dict_may_grow(const DictMemory& m) { return dict_granted(m) < m.geometry().extents; }

/// Broker: before anybody else has the dict.
void dict_set_grant(DictMemory& m, uint32_t extents);
/// Broker.
void dict_raise_grant(DictMemory& m, uint32_t extents);
/// Extents below this were ever in use.
uint32_t dict_extents_used(const DictMemory& m);

/// Broker: nobody shall use it any more.
void dict_end(DictMemory& m);
inline bool dict_ended(const DictMemory& m) {
  return m.header().ended.load(std::memory_order_acquire) != 0;
}

}  // namespace heddle::shm
