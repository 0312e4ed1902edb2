// The number by which the broker tells threads of this process apart as owners of locks. It stays
// with its thread; when the thread ends while it holds something, nobody else gets it.
#pragma once

#include <heddle/status.h>

#include <cstdint>

namespace heddle::detail {

class ThreadNumber {
 public:
  // Of the calling thread. TOO_MANY_THREADS beyond 1,024 that live or have left something locked.
  static Status own(std::uint32_t* number);
  // The same, but 1,024 for a thread that has not asked for one, and so has locked nothing.
  static std::uint32_t known();
  // The calling thread acquired so many more, or let go of them. Not for permits: those are the
  // session's.
  static void held(std::int64_t more);
};

}  // namespace heddle::detail
