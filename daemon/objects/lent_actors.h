// Rows of a dict or a list in the broker's name: each call borrows one.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "proto/shm/dict_memory.h"

namespace heddle::objects {

// Core: shm::Dict or shm::List. Rows stay: they go with the memory, or with the reaping of this
// broker. Threads: any.
template <class Core>
class LentActors {
 public:
  LentActors(Core& core, uint16_t owner) : core_(core), owner_(owner) {}

  // Lent for one call; null when all rows are taken.
  class Hands {
   public:
    explicit Hands(LentActors& of) : of_(of), actor(of.take()) {}
    ~Hands() {
      if (actor != nullptr) of_.give(actor);
    }
    Hands(const Hands&) = delete;

   private:
    LentActors& of_;

   public:
    shm::DictActor* const actor;
  };

 private:
  shm::DictActor* take() {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      shm::DictActor* actor = idle_.back();
      idle_.pop_back();
      return actor;
    }
    auto actor = std::make_unique<shm::DictActor>();
    actor->owner = owner_;
    actor->thread = static_cast<uint16_t>(actors_.size());
    if (core_.enter(*actor) != shm::Outcome::kOk) return nullptr;
    actors_.push_back(std::move(actor));
    return actors_.back().get();
  }
  void give(shm::DictActor* actor) {
    std::lock_guard lock(mutex_);
    idle_.push_back(actor);
  }

  Core& core_;
  const uint16_t owner_;
  std::mutex mutex_;  // a leaf
  std::vector<std::unique_ptr<shm::DictActor>> actors_;
  std::vector<shm::DictActor*> idle_;
};

// Whether threads of that session have rows.
inline bool has_rows_of(const shm::DictMemory& memory, uint16_t owner) {
  const uint32_t used = memory.header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < shm::kDictRowsMax; ++i) {
    const uint64_t word = memory.row(i).word.load(std::memory_order_acquire);
    if (shm::dict_row_taken(word) && shm::dict_row_owner(word) == owner) return true;
  }
  return false;
}

}  // namespace heddle::objects
