// The catalog's records of fences. Crash story: catalog_layout.h.
#include <algorithm>
#include <cstring>

#include "daemon/broker/catalog.h"

namespace heddle::broker {

// Pages of records that were never used are not touched: reading them would cost memory.
void Catalog::index_fences() {
  const uint32_t used = std::min(header_->fences_used.load(), header_->fences_max);
  for (uint32_t slot = used; slot-- > 0;) {
    FenceRecord& record = fences_[slot];
    if (record.commit.load(std::memory_order_acquire) == 0) {
      free_fences_.push_back(slot);
      continue;
    }
    record.entry.lock[sizeof record.entry.lock - 1] = 0;
    fence_slots_[record.entry.object_id][record.entry.lock] = slot;
  }
}

Result<uint64_t> Catalog::raise_fence(uint64_t object_id, std::string_view lock, uint64_t token) {
  std::lock_guard guard(mutex_);
  const auto known = fence_slots_.find(object_id);
  if (known != fence_slots_.end()) {
    if (const auto at = known->second.find(std::string(lock)); at != known->second.end()) {
      std::atomic<uint64_t>& newest = fences_[at->second].token;
      if (newest.load() < token) newest.store(token, std::memory_order_release);
      return newest.load();
    }
    if (known->second.size() >= kFencesPerObjectMax) {
      return Status(Reason::kQuota,
                    "its writes were fenced by as many locks as one object remembers; use fewer "
                    "locks, or make the object anew")
          .with_limit(kFencesPerObjectMax, known->second.size());
    }
  }
  uint32_t slot;
  if (!free_fences_.empty()) {
    slot = free_fences_.back();
    free_fences_.pop_back();
  } else if ((slot = header_->fences_used.load()) < header_->fences_max) {
    header_->fences_used.store(slot + 1);
  } else {
    return Status(Reason::kQuota,
                  "the daemon has no room for more fences; delete queues with fenced writes")
        .with_limit(header_->fences_max, header_->fences_max);
  }
  FenceRecord& record = fences_[slot];
  record.token.store(token);
  record.entry = {};
  record.entry.object_id = object_id;
  std::memcpy(record.entry.lock, lock.data(), std::min(lock.size(), sizeof record.entry.lock - 1));
  record.commit.store(commit_word(1, static_cast<uint8_t>(ObjectState::kLive)),
                      std::memory_order_release);
  fence_slots_[object_id][std::string(lock)] = slot;
  return token;
}

void Catalog::forget_fence(uint32_t slot) {
  fences_[slot].commit.store(0, std::memory_order_release);
  free_fences_.push_back(slot);
}

void Catalog::remove_fences(uint64_t object_id) {
  std::lock_guard guard(mutex_);
  const auto known = fence_slots_.extract(object_id);
  if (known.empty()) return;
  for (const auto& [lock, slot] : known.mapped()) forget_fence(slot);
}

void Catalog::keep_fences_of(const std::function<bool(uint64_t object_id)>& there) {
  std::lock_guard guard(mutex_);
  std::erase_if(fence_slots_, [&](const auto& known) {
    if (there(known.first)) return false;
    for (const auto& [lock, slot] : known.second) forget_fence(slot);
    return true;
  });
}

}  // namespace heddle::broker
