#include "client/src/shm_channel/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "client/src/shm_channel/process_generation.h"

namespace heddle::detail {

Result<Mapping> Mapping::map(int fd, std::uint64_t bytes, bool read_only) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Status::from_errno(errno, "fstat of a shared segment");
  if (bytes == 0 || static_cast<std::uint64_t>(info.st_size) < bytes) {
    return Status(Reason::kCorrupt, "a shared segment is shorter than the broker said")
        .with_limit(bytes, static_cast<std::uint64_t>(info.st_size));
  }
  const int rights = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* base = ::mmap(nullptr, bytes, rights, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) {
    return Status(Reason::kMemoryExhausted,
                  "cannot map a shared segment of " + std::to_string(bytes) +
                      " bytes; see ulimit -v and vm.max_map_count");
  }
  ::madvise(base, bytes, MADV_DONTFORK);
  Mapping mapping;
  mapping.base_ = base;
  mapping.bytes_ = bytes;
  mapping.generation_ = process_generation();
  return mapping;
}

bool Mapping::here() const { return base_ != nullptr && generation_ == process_generation(); }

Mapping::~Mapping() {
  if (here()) ::munmap(base_, bytes_);
}

}  // namespace heddle::detail
