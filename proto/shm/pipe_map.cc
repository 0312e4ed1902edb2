#include "proto/shm/pipe_map.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "proto/shm/pipe.h"

namespace heddle::shm {

void* map_pipe(int fd, const PipeOptions& options) {
  struct stat file {};
  if (pipe_options_invalid(options) != nullptr || fstat(fd, &file) != 0 ||
      static_cast<uint64_t>(file.st_size) != pipe_segment_bytes(options)) {
    errno = EINVAL;
    return nullptr;
  }
  const uint64_t bytes = pipe_mapped_bytes(options);
  void* const base =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  auto* to = static_cast<char*>(base);
  const auto place = [&](uint64_t length, uint64_t offset) {
    void* const at = mmap(to, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                          static_cast<off_t>(offset));
    to += length;
    return at != MAP_FAILED;
  };
  bool placed = place(kPipeHeaderBytes, 0);
  for (uint64_t ring = 0; ring < pipe_directions(options); ++ring) {
    const uint64_t offset = kPipeHeaderBytes + ring * options.capacity;
    placed = placed && place(options.capacity, offset) && place(options.capacity, offset);
  }
  if (placed) return base;
  const int error = errno;
  munmap(base, bytes);
  errno = error;
  return nullptr;
}

void unmap_pipe(void* base, const PipeOptions& options) {
  if (base != nullptr) munmap(base, pipe_mapped_bytes(options));
}

}  // namespace heddle::shm
