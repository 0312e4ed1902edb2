#include "client/src/shm_channel/process_generation.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace heddle::detail {

constinit std::atomic<std::atomic<std::uint64_t>*> g_generation_page{nullptr};

namespace {

// Ordinary memory: the child inherits the parent's value and counts on from there.
constinit std::atomic<std::uint64_t> g_last{0};
constinit std::atomic<std::uint64_t> g_fallback{0};

std::atomic<std::uint64_t>* map_word() {
  const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* page =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page != MAP_FAILED && ::madvise(page, bytes, MADV_WIPEONFORK) == 0) {
    return new (page) std::atomic<std::uint64_t>(0);
  }
  // A kernel without it: fork() at least is seen.
  if (page != MAP_FAILED) ::munmap(page, bytes);
  ::pthread_atfork(nullptr, nullptr, [] { g_fallback.store(0, std::memory_order_relaxed); });
  return &g_fallback;
}

}  // namespace

std::uint64_t start_generation() {
  auto* word = g_generation_page.load(std::memory_order_acquire);
  if (word == nullptr) {
    auto* fresh = map_word();
    // The loser of a race leaves one page behind, once.
    if (g_generation_page.compare_exchange_strong(word, fresh)) word = fresh;
  }
  std::uint64_t none = 0;
  const std::uint64_t next = g_last.fetch_add(1) + 1;
  return word->compare_exchange_strong(none, next) ? next : none;
}

}  // namespace heddle::detail
