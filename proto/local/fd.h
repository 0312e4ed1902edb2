// One owned file descriptor.
#ifndef HEDDLE_PROTO_LOCAL_FD_H_
#define HEDDLE_PROTO_LOCAL_FD_H_

#include <unistd.h>

#include <utility>

namespace heddle::local {

// Closes its descriptor when it goes. -1 means none. Not thread-safe, like int.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace heddle::local

#endif  // HEDDLE_PROTO_LOCAL_FD_H_
