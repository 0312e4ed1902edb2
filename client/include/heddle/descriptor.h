// One owned file descriptor, as it comes out of a pipe.
#ifndef HEDDLE_DESCRIPTOR_H_
#define HEDDLE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace heddle {

// Closes its descriptor when it goes. -1 means none. Not thread-safe, like int.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Descriptor() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // From now on the caller's to close.
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace heddle

#endif  // HEDDLE_DESCRIPTOR_H_
