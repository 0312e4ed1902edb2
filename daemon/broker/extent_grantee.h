// What MemoryGrants asks of a dict or a list: both have the memory of proto/shm/dict_memory.h.
#pragma once

#include "daemon/broker/family.h"
#include "daemon/broker/memory_grants.h"
#include "proto/shm/dict_grant.h"

namespace heddle::broker {

inline Family::Plan extent_plan(const shm::DictGeometry& geometry, uint64_t control_bytes) {
  const uint32_t first = shm::dict_first_grant(geometry);
  return {geometry.bytes, control_bytes, shm::dict_granted_bytes(geometry, control_bytes, first),
          first};
}

class ExtentGrantee final : public Grantee {
 public:
  // `control_bytes`: what is always backed.
  ExtentGrantee(const shm::DictMemory& memory, uint64_t control_bytes)
      : memory_(memory), control_bytes_(control_bytes) {}
  shm::QueueGrant first() const override { return {shm::dict_first_grant(memory_.geometry()), 0}; }
  shm::QueueGrant most() const override { return {memory_.geometry().extents, 0}; }
  uint64_t bytes(const ObjectGrant& grant) const override {
    return shm::dict_granted_bytes(memory_.geometry(), control_bytes_, grant.extents_ever);
  }
  shm::QueueGrant granted() const override { return {shm::dict_granted(memory_), 0}; }
  void raise(const shm::QueueGrant& to) override { shm::dict_raise_grant(memory_, to.extents); }
  // Extents keep what they were carved for.
  uint32_t lower(uint32_t) override { return shm::dict_granted(memory_); }
  uint32_t extents_in_use() const override { return shm::dict_granted(memory_); }

 private:
  shm::DictMemory memory_;
  const uint64_t control_bytes_;
};

}  // namespace heddle::broker
