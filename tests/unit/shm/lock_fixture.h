// A lock segment of one's own, with actors of as many owners as a test wants, in memory that
// forked children share.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "proto/shm/lock.h"

namespace heddle::shm {

class LockWorld {
 public:
  static constexpr uint32_t kLines = 64, kBlocks = 32;
  static constexpr size_t kThreads = 64;

  LockWorld() : bytes_(lock_segment_bytes(kLines, kBlocks)), fd_(memfd_create("locks", 0)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes_)), 0);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
    journal_ =
        static_cast<JournalLine*>(mmap(nullptr, kThreads * sizeof(JournalLine),
                                       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    LockSegment::format(base_, kLines, kBlocks, 3);
    EXPECT_EQ(LockSegment::attach(base_, bytes_, fd_, &segment_), LockOutcome::kOk);
  }
  ~LockWorld() {
    munmap(base_, bytes_);
    munmap(journal_, kThreads * sizeof(JournalLine));
    close(fd_);
  }
  LockWorld(const LockWorld&) = delete;

  Lock make(LockKind kind, uint32_t count = 0, uint64_t token_start = 0) {
    return make(LockOptions{.kind = kind, .count = count}, token_start);
  }
  Lock make(const LockOptions& options, uint64_t token_start = 0) {
    uint32_t index = 0;
    EXPECT_EQ(segment_.create(options, ++made_, token_start, &index), LockOutcome::kOk);
    return Lock(&segment_, index, segment_.line(index).generation.load());
  }
  /// owner < 64; sleeps without bound, so that a wake that is missing shows.
  LockActor actor(uint16_t owner, uint16_t thread = 1) {
    LockActor a;
    a.owner = owner;
    a.thread = thread;
    a.journal = journal_ + owner;
    a.sleep_ns_max = INT64_MAX / 2;
    return a;
  }
  /// Repairs what `dead` left.
  void reap(uint16_t dead) {
    segment_.reap([](void* context,
                     uint16_t owner) { return owner != *static_cast<const uint16_t*>(context); },
                  &dead);
  }
  /// A complaint when any word still names `owner`, else nothing.
  const char* names(uint16_t owner) {
    for (uint32_t i = 0; i < kLines; ++i) {
      if (owner_in(segment_.line(i).word.load()) == owner) return "a lock word names the dead";
    }
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const LinkWord link = LinkWord::decode(segment_.link(i).load());
      if (link.state == LinkState::kClaimed && link.owner == owner) return "a link names the dead";
      for (Cell& cell : segment_.block(i).cells) {
        if (owner_in(cell.word.load()) == owner) return "a cell names the dead";
      }
    }
    return nullptr;
  }

  LockSegment& segment() { return segment_; }
  void* base() { return base_; }
  uint64_t bytes() const { return bytes_; }
  JournalLine* journal(uint16_t owner) { return journal_ + owner; }

 private:
  const uint64_t bytes_;
  const int fd_;
  void* base_;
  JournalLine* journal_;
  LockSegment segment_;
  uint64_t made_ = 100;
};

}  // namespace heddle::shm
