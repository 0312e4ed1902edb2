// A queue segment of one's own, with actors of as many owners as a test wants.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <string>
#include <string_view>

#include "proto/shm/queue.h"

namespace heddle::shm {

class QueueSegment {
 public:
  explicit QueueSegment(const QueueLimits& limits, uint64_t object_id = 7)
      : bytes_(queue_segment_bytes(limits)), fd_(memfd_create("queue", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes_)), 0);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
    journal_ = static_cast<JournalLine*>(mmap(nullptr, kLines * sizeof(JournalLine),
                                              PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                              -1, 0));
    queue_format(base_, limits, object_id);
    EXPECT_EQ(Queue::attach(base_, bytes_, fd_, &queue_), Outcome::kOk);
  }
  ~QueueSegment() {
    munmap(base_, bytes_);
    munmap(journal_, kLines * sizeof(JournalLine));
    close(fd_);
  }
  QueueSegment(const QueueSegment&) = delete;

  Queue& queue() { return queue_; }
  void* base() { return base_; }
  int fd() const { return fd_; }
  uint64_t bytes() const { return bytes_; }
  JournalLine* line(uint16_t owner) { return journal_ + owner; }

  /// An actor that has entered; owner < 64.
  Actor actor(uint16_t owner) {
    Actor a;
    a.owner = owner;
    a.journal = line(owner);
    EXPECT_EQ(queue_.enter(a), Outcome::kOk);
    return a;
  }

 private:
  static constexpr size_t kLines = 64;
  uint64_t bytes_;
  int fd_;
  void* base_;
  JournalLine* journal_;
  Queue queue_;
};

inline QueueLimits small_limits() {
  QueueLimits limits;
  limits.max_len = 300;
  limits.max_leases = 64;
  limits.max_bytes = 1 << 20;
  limits.max_msg_bytes = 256 * 1024;
  return limits;
}

inline Outcome put(Queue& q, Actor& a, std::string_view body, uint64_t* id = nullptr,
                   int64_t deadline_ns = kTry) {
  uint64_t ignored;
  return q.put(a, {body.data(), body.size(), 1}, deadline_ns, id ? id : &ignored);
}

inline std::string body_of(const Taken& t) {
  return {reinterpret_cast<const char*>(t.data), t.length};
}

/// Takes with auto ack; the body, or the outcome in angle brackets.
inline std::string get(Queue& q, Actor& a) {
  Taken t;
  const Outcome outcome = q.take(a, TakeMode::kAuto, &t, kTry);
  if (outcome != Outcome::kOk) return "<" + std::to_string(static_cast<int>(outcome)) + ">";
  std::string body = body_of(t);
  if (t.leased) {
    EXPECT_EQ(q.ack(a, t.ticket), Outcome::kOk);
  }
  return body;
}

}  // namespace heddle::shm
