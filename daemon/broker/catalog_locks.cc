// The catalog's records of locks. Crash story: catalog_layout.h.
#include <algorithm>
#include <cstring>

#include "daemon/broker/catalog.h"

namespace heddle::broker {

// Pages of records that were never used are not touched: reading them would cost memory.
void Catalog::index_locks() {
  const uint32_t used = std::min(header_->locks_used.load(), header_->locks_max);
  for (uint32_t slot = used; slot-- > 0;) {
    if (locks_[slot].commit.load(std::memory_order_acquire) == 0) free_locks_.push_back(slot);
  }
}

Result<uint32_t> Catalog::add_lock(const LockEntry& entry) {
  std::lock_guard lock(mutex_);
  uint32_t slot;
  if (!free_locks_.empty()) {
    slot = free_locks_.back();
    free_locks_.pop_back();
  } else if ((slot = header_->locks_used.load()) < header_->locks_max) {
    header_->locks_used.store(slot + 1);
  } else {
    return Status(Reason::kQuota, "the daemon has no room for more locks; delete some")
        .with_limit(header_->locks_max, header_->locks_max);
  }
  std::memcpy(&locks_[slot].entry, &entry, sizeof entry);
  locks_[slot].commit.store(commit_word(1, static_cast<uint8_t>(ObjectState::kLive)),
                            std::memory_order_release);
  return slot;
}

void Catalog::remove_lock(uint32_t slot) {
  std::lock_guard lock(mutex_);
  locks_[slot].commit.store(0, std::memory_order_release);
  free_locks_.push_back(slot);
}

void Catalog::each_lock(const EachLock& each) const {
  const uint32_t used = std::min(header_->locks_used.load(), header_->locks_max);
  for (uint32_t slot = 0; slot < used; ++slot) {
    if (locks_[slot].commit.load(std::memory_order_acquire) != 0) each(slot, locks_[slot].entry);
  }
}

void Catalog::raise_token_high_water(uint64_t token) {
  uint64_t seen = header_->token_high_water.load();
  while (seen < token && !header_->token_high_water.compare_exchange_weak(seen, token)) {
  }
}

}  // namespace heddle::broker
