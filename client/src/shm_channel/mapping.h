// A shared mapping that does not cross fork.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_MAPPING_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_MAPPING_H_

#include <heddle/result.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace heddle::detail {

class Mapping {
 public:
  Mapping() = default;
  // Maps the first `bytes` of `fd` for reading and, unless told otherwise, writing; the fd may be
  // closed afterwards. CORRUPT if the file is shorter, MEMORY_EXHAUSTED if the kernel refuses.
  static Result<Mapping> map(int fd, std::uint64_t bytes, bool read_only = false);
  Mapping(Mapping&& other) noexcept { swap(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    Mapping taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Mapping();

  void* base() const { return base_; }
  std::uint64_t bytes() const { return bytes_; }
  // False in a child of the process that mapped it: nothing is there, or something else is.
  bool here() const;

 private:
  void swap(Mapping& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(generation_, other.generation_);
  }

  void* base_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_MAPPING_H_
