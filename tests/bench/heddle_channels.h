// Heddle's queue: through the public library, and the bare memory protocol below it.
#ifndef HEDDLE_TESTS_BENCH_HEDDLE_CHANNELS_H_
#define HEDDLE_TESTS_BENCH_HEDDLE_CHANNELS_H_

#include <heddle/heddle.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "proto/shm/queue.h"
#include "tests/bench/pair.h"

namespace heddle::bench {

// The daemon is the one that HEDDLE_RUNTIME_DIR names.
class LibraryQueue {
 public:
  LibraryQueue(const Options& options, unsigned number)
      : bytes_(options.bytes),
        name_("bench/" + std::to_string(getpid()) + "-" + std::to_string(number)) {
    limits_.max_len = options.depth();
    limits_.max_msg_bytes = std::max<uint64_t>(options.bytes, 4096);
    limits_.open_existing = true;
  }
  void open_sender() { open(); }
  void open_receiver() { open(); }
  void send(const std::byte* data, size_t length) {
    if (auto id = queue_.put(Body(data, length)); !id) fail(id.status().to_string());
  }
  std::span<const std::byte> receive() { return take({}); }
  void flush() {}
  void close() {
    if (Status status = Client::connect().value().delete_queue(name_); !status.ok()) {
      fail(status.to_string());
    }
  }

 protected:
  void open() { queue_ = Client::connect().value().create_queue(name_, limits_).value(); }
  std::span<const std::byte> take(const GetOptions& options) {
    if (Status status = queue_.get_into(message_, kForever, options); !status.ok()) {
      fail(status.to_string());
    }
    return message_.data();
  }

  size_t bytes_;
  std::string name_;
  QueueOptions limits_;
  Queue queue_;
  Message message_;
};

// Each message is taken under a lease and acknowledged.
class LeasedQueue : public LibraryQueue {
 public:
  using LibraryQueue::LibraryQueue;
  std::span<const std::byte> receive() {
    const auto body = take({.ack = Ack::kManual});
    std::memcpy(copy_, body.data(), sizeof copy_);
    const size_t length = body.size();
    if (Status status = message_.ack(); !status.ok()) fail(status.to_string());
    return {copy_, length};  // what lies behind the stamp is not looked at
  }

 private:
  std::byte copy_[sizeof(Stamp)];
};

// Loan and commit, read in place: only the stamp is written and read.
class ZeroCopyQueue : public LeasedQueue {
 public:
  using LeasedQueue::LeasedQueue;
  void send(const std::byte* data, size_t length) {
    auto loan = queue_.loan(length);
    if (!loan) fail(loan.status().to_string());
    std::memcpy(loan->bytes().data(), data, sizeof(Stamp));
    if (auto id = loan->commit(length); !id) fail(id.status().to_string());
  }
};

// put_many and get_many.
class BatchQueue : public LibraryQueue {
 public:
  BatchQueue(const Options& options, unsigned number)
      : LibraryQueue(options, number), batch_(options.batch), room_(options.batch * bytes_) {
    bodies_.reserve(batch_);
  }
  void send(const std::byte* data, size_t length) {
    std::byte* place = room_.data() + bodies_.size() * bytes_;
    std::memcpy(place, data, length);
    bodies_.emplace_back(place, length);
    if (bodies_.size() == batch_) flush();
  }
  std::span<const std::byte> receive() {
    if (next_ == messages_.size()) {
      const Status status = queue_.get_many_into(messages_, kForever, {.max = batch_});
      if (!status.ok()) fail(status.to_string());
      next_ = 0;
    }
    return messages_[next_++].data();
  }
  void flush() {
    const PutManyResult result = queue_.put_many(bodies_);
    if (result.done != bodies_.size()) fail(result.status.to_string());
    bodies_.clear();
  }

 private:
  const size_t batch_;
  std::vector<std::byte> room_;
  std::vector<Body> bodies_;
  std::vector<Message> messages_;
  size_t next_ = 0;
};

// Heddle's pipe, from end a to end b.
class LibraryPipe {
 public:
  LibraryPipe(const Options& options, unsigned number)
      : name_("bench/pipe-" + std::to_string(getpid()) + "-" + std::to_string(number)),
        buffer_(options.bytes) {
    options_.capacity = std::max<uint64_t>(64 * 1024, options.depth() * (options.bytes + 16));
    if (*options_.capacity > kCapacityMax) options_.capacity = kCapacityMax;
  }
  void open_sender() { end_ = open(PipeSide::kA); }
  void open_receiver() { end_ = open(PipeSide::kB); }
  void send(const std::byte* data, size_t length) {
    if (auto sent = end_.send(Body(data, length)); !sent) fail(sent.status().to_string());
  }
  std::span<const std::byte> receive() {
    auto length = end_.receive_into(buffer_);
    if (!length) fail(length.status().to_string());
    return {buffer_.data(), *length};
  }
  void flush() {}
  void close() {
    if (Status status = Client::connect().value().delete_pipe(name_); !status.ok()) {
      fail(status.to_string());
    }
  }

 protected:
  static constexpr uint64_t kCapacityMax = 4 << 20;
  PipeEnd open(PipeSide side) {
    return Client::connect().value().pipe_end(name_, side, options_).value();
  }

  std::string name_;
  PipeOptions options_;
  PipeEnd end_;
  std::vector<std::byte> buffer_;
};

// send_many; what comes is received one by one.
class BatchPipe : public LibraryPipe {
 public:
  BatchPipe(const Options& options, unsigned number)
      : LibraryPipe(options, number), batch_(options.batch), room_(batch_ * options.bytes) {
    bodies_.reserve(batch_);
  }
  void send(const std::byte* data, size_t length) {
    std::byte* place = room_.data() + bodies_.size() * length;
    std::memcpy(place, data, length);
    bodies_.emplace_back(place, length);
    if (bodies_.size() == batch_) flush();
  }
  void flush() {
    const PutManyResult result = end_.send_many(bodies_);
    if (result.done != bodies_.size()) fail(result.status.to_string());
    bodies_.clear();
  }

 private:
  const size_t batch_;
  std::vector<std::byte> room_;
  std::vector<Body> bodies_;
};

// Reserve and commit, viewed in place: only the stamp is written and read.
class ZeroCopyPipe : public LibraryPipe {
 public:
  using LibraryPipe::LibraryPipe;
  void send(const std::byte* data, size_t length) {
    auto room = end_.reserve(length);
    if (!room) fail(room.status().to_string());
    std::memcpy(room->bytes().data(), data, sizeof(Stamp));
    if (Status status = room->commit(length); !status.ok()) fail(status.to_string());
  }
  std::span<const std::byte> receive() {
    auto view = end_.view();
    if (!view) fail(view.status().to_string());
    std::memcpy(buffer_.data(), view->bytes().data(), sizeof(Stamp));
    const size_t length = view->bytes().size();
    if (Status status = view->consume(); !status.ok()) fail(status.to_string());
    return {buffer_.data(), length};  // what lies behind the stamp is not looked at
  }
};

// The memory protocol alone, in memory of its own: no library, no broker.
class BareQueue {
 public:
  BareQueue(const Options& options, unsigned) {
    shm::QueueLimits limits{};
    limits.max_len = options.depth();
    limits.max_leases = 1024;
    limits.max_bytes = 256 << 20;
    limits.max_msg_bytes = std::max<uint64_t>(options.bytes, 4096);
    bytes_ = shm::queue_segment_bytes(limits);
    fd_ = memfd_create("bench", MFD_CLOEXEC);
    if (ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) fail("ftruncate");
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    journal_ = static_cast<shm::JournalLine*>(mmap(nullptr, kLines * sizeof(shm::JournalLine),
                                                   PROT_READ | PROT_WRITE,
                                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || journal_ == MAP_FAILED) fail("mmap");
    shm::queue_format(base_, limits, 1);
  }
  void open_sender() { open(); }
  void open_receiver() { open(); }
  void send(const std::byte* data, size_t length) {
    uint64_t id;
    const shm::MessageIn message{data, length, 0};
    if (queue_.put(actor_, message, shm::kForever, &id) != shm::Outcome::kOk) fail("put");
  }
  std::span<const std::byte> receive() {
    taken_.large_room = copy_.data();
    taken_.large_room_bytes = copy_.size() <= kCopiedBytesMax ? copy_.size() : 0;
    if (queue_.take(actor_, shm::TakeMode::kAuto, &taken_, shm::kForever) != shm::Outcome::kOk) {
      fail("take");
    }
    if (taken_.leased) {
      copy_.assign(taken_.data, taken_.data + taken_.length);
      if (queue_.ack(actor_, taken_.ticket) != shm::Outcome::kOk) fail("ack");
      return copy_;
    }
    return {taken_.data, taken_.length};
  }
  void flush() {}
  void close() {}

 private:
  static constexpr uint16_t kLines = 4096;
  static constexpr size_t kCopiedBytesMax = 16 * 1024;  // as the library has it
  void open() {
    actor_.owner = static_cast<uint16_t>(1 + getpid() % (kLines - 1));
    actor_.journal = journal_ + actor_.owner;
    if (shm::Queue::attach(base_, bytes_, fd_, &queue_) != shm::Outcome::kOk ||
        queue_.enter(actor_) != shm::Outcome::kOk) {
      fail("attach");
    }
  }

  uint64_t bytes_ = 0;
  int fd_ = -1;
  void* base_ = nullptr;
  shm::JournalLine* journal_ = nullptr;
  shm::Queue queue_;
  shm::Actor actor_;
  shm::Taken taken_;
  std::vector<std::byte> copy_;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_HEDDLE_CHANNELS_H_
