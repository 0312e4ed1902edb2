// A memfd and its mapping: object segments, session pages, the catalog.
#pragma once

#include <heddle/result.h>

#include <cstdint>
#include <memory>
#include <string>

#include "proto/local/fd.h"

namespace heddle::broker {

// Unmaps and closes when it goes. Not copyable; the memory itself is thread-safe to share.
class Segment {
 public:
  // A fresh one: zeroed, mode 0600, sealed against any change of size, its first
  // `reserved_bytes` backed by real memory. MEMORY_EXHAUSTED or QUOTA (descriptors) otherwise.
  static Result<std::shared_ptr<Segment>> create(const std::string& label, uint64_t bytes,
                                                 uint64_t reserved_bytes);
  // One that was made before. CORRUPT when it is no sealed memfd of `bytes` (0: any size).
  static Result<std::shared_ptr<Segment>> adopt(local::Fd fd, uint64_t bytes);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  void* base() const { return base_; }
  uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }
  // Another descriptor of it that cannot be mapped for writing, nor made to be.
  Result<std::shared_ptr<local::Fd>> reader() const;
  uint64_t real_bytes() const;  // of memory behind it now

 private:
  Segment(local::Fd fd, void* base, uint64_t bytes)
      : fd_(std::move(fd)), base_(base), bytes_(bytes) {}
  static Result<std::shared_ptr<Segment>> map(local::Fd fd, uint64_t bytes);

  local::Fd fd_;
  void* base_;
  uint64_t bytes_;
};

}  // namespace heddle::broker
