#include "daemon/broker/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace heddle::broker {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Status failed(const char* what) { return Status::from_errno(errno, what); }

}  // namespace

Result<std::shared_ptr<Segment>> Segment::create(const std::string& label, uint64_t bytes,
                                                 uint64_t reserved_bytes) {
  const std::string name = "heddle:" + label.substr(0, 200);
  local::Fd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return failed("making shared memory");
  if (::fchmod(fd.get(), 0600) != 0) return failed("setting the mode of shared memory");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return failed("sizing shared memory");
  }
  if (reserved_bytes > 0 &&
      ::fallocate(fd.get(), 0, 0, static_cast<off_t>(reserved_bytes)) != 0) {
    return Status(Reason::kMemoryExhausted, "the machine has no memory for a new object")
        .with_limit(0, reserved_bytes);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return failed("sealing shared memory");
  return map(std::move(fd), bytes);
}

Result<std::shared_ptr<Segment>> Segment::adopt(local::Fd fd, uint64_t bytes) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return failed("looking at shared memory");
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return Status(Reason::kCorrupt, "the memory that came back is not sealed");
  }
  const auto actual = static_cast<uint64_t>(info.st_size);
  if (bytes != 0 && actual != bytes) {
    return Status(Reason::kCorrupt, "the memory that came back has another size")
        .with_limit(bytes, actual);
  }
  return map(std::move(fd), actual);
}

Result<std::shared_ptr<Segment>> Segment::map(local::Fd fd, uint64_t bytes) {
  void* base =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (base == MAP_FAILED) return failed("mapping shared memory");
  ::madvise(base, bytes, MADV_DONTFORK);
  return std::shared_ptr<Segment>(new Segment(std::move(fd), base, bytes));
}

Segment::~Segment() { ::munmap(base_, bytes_); }

Result<std::shared_ptr<local::Fd>> Segment::reader() const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd_.get());
  auto fd = std::make_shared<local::Fd>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!*fd) return failed("opening shared memory for reading");
  return fd;
}

uint64_t Segment::real_bytes() const {
  struct stat info;
  return ::fstat(fd_.get(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

}  // namespace heddle::broker
