// A mutex that a forked child finds unlocked, whatever the parent's threads were doing.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_MUTEX_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_MUTEX_H_

#include <atomic>
#include <cstdint>
#include <mutex>

#include "client/src/shm_channel/process_generation.h"

namespace heddle::detail {

class ProcessMutex {
 public:
  ProcessMutex() = default;
  ProcessMutex(const ProcessMutex&) = delete;
  ProcessMutex& operator=(const ProcessMutex&) = delete;
  ~ProcessMutex() { delete now_.load(); }

  void lock() { current()->mutex.lock(); }
  void unlock() { now_.load(std::memory_order_acquire)->mutex.unlock(); }

 private:
  struct Node {
    std::uint64_t generation;
    std::mutex mutex;
  };

  Node* current() {
    const std::uint64_t generation = process_generation();
    Node* node = now_.load(std::memory_order_acquire);
    while (node == nullptr || node->generation != generation) {
      // The parent's node may be locked for ever; the child leaves it behind.
      auto* fresh = new Node{generation, {}};
      if (now_.compare_exchange_strong(node, fresh)) return fresh;
      delete fresh;
    }
    return node;
  }

  std::atomic<Node*> now_{nullptr};
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_MUTEX_H_
