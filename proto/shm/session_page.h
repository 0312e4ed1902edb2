// The session page: one memfd per session, mapped by that session's process and by the broker,
// nobody else.
//
// Layout (little-endian, sizes fixed by static_assert):
//   0     SessionHeader (128 B)    written by the broker before the page is handed out
//   128   ThreadLine[thread_lines] one per thread of the client; claimed and released by the client
//
// A ThreadLine holds the thread's *bell*, the one pthread object allowed in shared memory: a
// robust, process-shared mutex that the thread holds for as long as it lives. The kernel marks it
// when the thread ends in any way, exec included, which a pidfd does not show. `claimed` is written
// by the client only.
// Crash story: a thread that dies leaves its bell owner-dead and its journal line as it was; the
// broker reads the line, repairs the objects it points to, clears the line, and the page is never
// reused for another session.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "proto/shm/journal.h"

namespace heddle::shm {

inline constexpr uint64_t kSessionMagic = 0x31534553444c4448;  // "HDLDSES1"
inline constexpr uint32_t kSessionVersion = 2;

struct alignas(128) SessionHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t thread_lines;
  uint64_t session_id;
  uint32_t generation;
  uint16_t owner;
  std::atomic<uint16_t> closed;  // by the client: it has ended, should nobody hear its BYE
  std::atomic<uint32_t> waits_told;  // by the client: a thread waits for long (wait_note.h)
  std::atomic<uint32_t> lines_used;  // by the client: lines from here on were never claimed
  uint8_t reserved1[88];
};

// `claimed`. Only a claimed line's bell says something about its thread: a line that is being
// claimed has none yet, and a kept one's thread has ended while something names it: it is nobody's,
// and not free.
inline constexpr uint32_t kLineFree = 0, kLineClaimed = 1, kLineKept = 2, kLineClaiming = 3;

struct alignas(128) ThreadLine {
  JournalLine journal;
  pthread_mutex_t bell;            // robust + process-shared; held by the thread for life
  std::atomic<uint32_t> claimed;   // kLine...
  std::atomic<uint32_t> park;      // futex word of the thread
  uint8_t reserved[128 - sizeof(pthread_mutex_t) - 8];
};

static_assert(sizeof(pthread_mutex_t) == 40);
static_assert(sizeof(SessionHeader) == 128);
static_assert(sizeof(ThreadLine) == 256);

inline constexpr uint64_t session_page_bytes(uint32_t thread_lines) {
  return sizeof(SessionHeader) + uint64_t{thread_lines} * sizeof(ThreadLine);
}

/// The thread lines behind a session header.
inline ThreadLine* thread_lines_of(SessionHeader* header) {
  return reinterpret_cast<ThreadLine*>(header + 1);
}

}  // namespace heddle::shm
