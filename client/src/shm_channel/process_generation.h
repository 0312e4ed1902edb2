// A number that changes when the process forks: raw clone and vfork children included, which
// pthread_atfork misses. It stands in a page that the kernel wipes in the child.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_GENERATION_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_GENERATION_H_

#include <atomic>
#include <cstdint>

namespace heddle::detail {

extern constinit std::atomic<std::atomic<std::uint64_t>*> g_generation_page;

std::uint64_t start_generation();

// Never 0. About 1 ns.
[[gnu::always_inline]] inline std::uint64_t process_generation() {
  if (auto* word = g_generation_page.load(std::memory_order_acquire)) [[likely]] {
    if (const auto generation = word->load(std::memory_order_relaxed)) [[likely]]
      return generation;
  }
  return start_generation();
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_PROCESS_GENERATION_H_
