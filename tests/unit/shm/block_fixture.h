// A block of one's own.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/shm/block.h"

namespace heddle::shm {

class BlockSegment {
 public:
  explicit BlockSegment(uint64_t size)
      : bytes_(block_segment_bytes(size)), fd_(memfd_create("block", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes_)), 0);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
    block_format(base_, size, 7);
    EXPECT_EQ(Block::attach(base_, bytes_, &block_), Outcome::kOk);
  }
  ~BlockSegment() {
    munmap(base_, bytes_);
    close(fd_);
  }
  BlockSegment(const BlockSegment&) = delete;

  Block& block() { return block_; }
  std::byte* base() { return static_cast<std::byte*>(base_); }
  int fd() const { return fd_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t bytes_;
  int fd_;
  void* base_;
  Block block_;
};

inline BlockActor block_actor(uint16_t owner, uint16_t thread = 0) {
  BlockActor a;
  a.owner = owner;
  a.thread = thread;
  return a;
}

}  // namespace heddle::shm
