// Copying from memory that somebody else may be writing over meanwhile. What was copied counts only
// if the CAS that follows succeeds, which it does only if nobody could have written.
//
// The race is meant, so the thread sanitizer does not look at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace heddle::shm {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

[[gnu::no_sanitize("thread")]] inline void copy_unproved(void* to, const std::byte* from,
                                                         uint64_t bytes) {
#if defined(__SANITIZE_THREAD__)
  auto* into = static_cast<volatile std::byte*>(to);
  for (uint64_t i = 0; i < bytes; ++i) into[i] = from[i];
#else
  if (bytes != 0) std::memcpy(to, from, bytes);
#endif
}

}  // namespace heddle::shm
