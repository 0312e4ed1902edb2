// Channels of the kernel and of plain shared memory: pipe, sockets, POSIX and Boost message queues,
// and the limits: a spinning cache line, an eventfd.
#ifndef HEDDLE_TESTS_BENCH_KERNEL_CHANNELS_H_
#define HEDDLE_TESTS_BENCH_KERNEL_CHANNELS_H_

#include <fcntl.h>
#include <mqueue.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proto/shm/cpu_pause.h"
#include "tests/bench/pair.h"

namespace heddle::bench {

inline void write_all(int fd, const std::byte* data, size_t length) {
  while (length > 0) {
    const ssize_t done = write(fd, data, length);
    if (done <= 0) fail(std::string("write: ") + std::strerror(errno));
    data += done;
    length -= static_cast<size_t>(done);
  }
}

inline void read_all(int fd, std::byte* data, size_t length) {
  while (length > 0) {
    const ssize_t done = read(fd, data, length);
    if (done <= 0) fail(std::string("read: ") + std::strerror(errno));
    data += done;
    length -= static_cast<size_t>(done);
  }
}

// Bytes in order: a pipe as it comes, 64 KiB, and a socketpair.
class ByteChannel {
 public:
  explicit ByteChannel(const Options& options) : buffer_(options.bytes) {}
  void open_sender() {}
  void open_receiver() {}
  void send(const std::byte* data, size_t length) { write_all(ends_[1], data, length); }
  std::span<const std::byte> receive() {
    read_all(ends_[0], buffer_.data(), buffer_.size());
    return buffer_;
  }
  void flush() {}
  void close() {}

 protected:
  int ends_[2];
  std::vector<std::byte> buffer_;
};

class Pipe : public ByteChannel {
 public:
  Pipe(const Options& options, unsigned) : ByteChannel(options) {
    if (pipe2(ends_, O_CLOEXEC) != 0) fail("pipe2");
  }
};

class UnixStream : public ByteChannel {
 public:
  UnixStream(const Options& options, unsigned) : ByteChannel(options) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_) != 0) fail("socketpair");
  }
};

// As deep as this user may make it.
class PosixMq {
 public:
  PosixMq(const Options& options, unsigned number) : buffer_(options.bytes) {
    const std::string name =
        "/heddle_bench_" + std::to_string(getpid()) + "_" + std::to_string(number);
    for (long depth = options.depth(); depth > 0 && queue_ < 0; depth /= 2) {
      mq_attr shape{};
      shape.mq_maxmsg = depth;
      shape.mq_msgsize = static_cast<long>(options.bytes);
      queue_ = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &shape);
    }
    if (queue_ < 0) skip(std::string("mq_open: ") + std::strerror(errno));
    mq_unlink(name.c_str());
  }
  void open_sender() {}
  void open_receiver() {}
  void send(const std::byte* data, size_t length) {
    if (mq_send(queue_, reinterpret_cast<const char*>(data), length, 0) != 0) fail("mq_send");
  }
  std::span<const std::byte> receive() {
    auto* to = reinterpret_cast<char*>(buffer_.data());
    const ssize_t length = mq_receive(queue_, to, buffer_.size(), nullptr);
    if (length < 0) fail("mq_receive");
    return {buffer_.data(), static_cast<size_t>(length)};
  }
  void flush() {}
  void close() { mq_close(queue_); }

 private:
  mqd_t queue_ = -1;
  std::vector<std::byte> buffer_;
};

// What two cores need to tell each other anything.
class SpinningLine {
 public:
  SpinningLine(const Options&, unsigned) : line_(new (Shared::map()->sides) Line) {}
  void open_sender() {}
  void open_receiver() {}
  void send(const std::byte* data, size_t) {
    uint64_t sequence;
    std::memcpy(&sequence, data, sizeof sequence);
    line_->sequence.store(sequence, std::memory_order_release);
  }
  std::span<const std::byte> receive() {
    uint64_t now;
    while ((now = line_->sequence.load(std::memory_order_acquire)) == seen_) shm::cpu_pause();
    seen_ = now;
    std::memcpy(copy_, &now, sizeof now);
    return copy_;
  }
  void flush() {}
  void close() {}

 private:
  struct alignas(64) Line {
    std::atomic<uint64_t> sequence{0};
  };
  Line* line_;
  uint64_t seen_ = 0;
  std::byte copy_[64] = {};
};

// What the kernel needs to wake a sleeper. The body lies in shared memory.
class EventFd {
 public:
  EventFd(const Options& options, unsigned)
      : bell_(eventfd(0, EFD_CLOEXEC)),
        body_(reinterpret_cast<std::byte*>(Shared::map()->sample_us)),
        bytes_(options.bytes) {}
  void open_sender() {}
  void open_receiver() {}
  void send(const std::byte* data, size_t length) {
    std::memcpy(body_, data, length);
    const uint64_t one = 1;
    if (write(bell_, &one, sizeof one) != sizeof one) fail("write to an eventfd");
  }
  std::span<const std::byte> receive() {
    uint64_t count;
    if (read(bell_, &count, sizeof count) != sizeof count) fail("read of an eventfd");
    return {body_, bytes_};
  }
  void flush() {}
  void close() {}

 private:
  int bell_;
  std::byte* body_;
  size_t bytes_;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_KERNEL_CHANNELS_H_
