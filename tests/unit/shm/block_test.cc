// Blocks: versioned writes and reads, what a dead writer leaves.
#include "proto/shm/block.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/unit/shm/block_fixture.h"

namespace heddle::shm {
namespace {

int64_t soon() { return monotonic_ns() + 20'000'000; }

TEST(Block, WritesHaveVersions) {
  BlockSegment s(10'000);
  Block& b = s.block();
  BlockActor a = block_actor(1);
  EXPECT_EQ(b.version(), 0u);
  EXPECT_EQ(b.size(), 10'000u);
  uint64_t version = 0;
  ASSERT_EQ(b.write(a, 9'990, "0123456789", 10, kTry, &version), Outcome::kOk);
  EXPECT_EQ(version, 1u);
  EXPECT_EQ(b.write(a, 9'991, "0123456789", 10, kTry, &version), Outcome::kOutOfRange);
  EXPECT_EQ(b.write(a, UINT64_MAX, "0", 1, kTry, &version), Outcome::kOutOfRange);
  char to[10];
  ASSERT_EQ(b.read(9'990, to, 10, kTry, &version), Outcome::kOk);
  EXPECT_EQ(std::memcmp(to, "0123456789", 10), 0);
  EXPECT_EQ(version, 1u);
  EXPECT_EQ(b.read(9'990, to, 11, kTry, &version), Outcome::kOutOfRange);
  EXPECT_EQ(b.write(a, 0, "x", 1, kTry, &version, 0), Outcome::kMismatch);
  EXPECT_EQ(b.write(a, 0, "x", 1, kTry, &version, 1), Outcome::kOk);
  EXPECT_EQ(version, 2u);
}

TEST(Block, WhileOneWritesOthersAreToldWhoItIs) {
  BlockSegment s(100);
  Block& b = s.block();
  BlockActor first = block_actor(7, 3), second = block_actor(8);
  ASSERT_EQ(b.begin(first, 10, 20, kTry), Outcome::kOk);
  BlockInfo i = b.info();
  EXPECT_TRUE(i.writing);
  EXPECT_EQ(i.owner, 7);
  EXPECT_EQ(i.thread, 3);
  EXPECT_EQ(b.begin(second, 0, 1, soon()), Outcome::kTimedOut);
  char to[100];
  uint64_t version;
  EXPECT_EQ(b.read(0, to, 100, soon(), &version), Outcome::kTimedOut);
  EXPECT_EQ(b.end(second, &version), Outcome::kLeaseLost) << "it is not his";
  ASSERT_EQ(b.end(first, &version), Outcome::kOk);
  EXPECT_EQ(b.read(0, to, 100, kTry, &version), Outcome::kOk);
  EXPECT_EQ(b.begin(second, 0, 1, kTry), Outcome::kOk);
}

TEST(Block, WhatADeadWriterLeftIsTold) {
  BlockSegment s(100);
  Block& b = s.block();
  BlockActor dead = block_actor(7), other = block_actor(8);
  char to[100];
  uint64_t version;
  ASSERT_EQ(b.begin(dead, 40, 20, kTry), Outcome::kOk);
  EXPECT_FALSE(b.reap(8));
  EXPECT_TRUE(b.reap(7));
  EXPECT_FALSE(b.reap(7));
  const BlockInfo i = b.info();
  EXPECT_TRUE(i.torn);
  EXPECT_EQ(i.torn_at, 40u);
  EXPECT_EQ(i.torn_end, 60u);
  EXPECT_EQ(i.version, 1u);
  EXPECT_EQ(b.read(0, to, 100, kTry, &version), Outcome::kTorn);
  EXPECT_EQ(b.read(0, to, 40, kTry, &version), Outcome::kOk);
  EXPECT_EQ(b.read(59, to, 1, kTry, &version), Outcome::kTorn);
  EXPECT_EQ(b.read(60, to, 40, kTry, &version), Outcome::kOk);
  ASSERT_EQ(b.write(other, 41, to, 19, kTry, &version), Outcome::kOk);
  EXPECT_TRUE(b.info().torn) << "a byte is left";
  ASSERT_EQ(b.begin(dead, 55, 10, kTry), Outcome::kOk);
  EXPECT_TRUE(b.reap_thread(7, 0));
  EXPECT_EQ(b.info().torn_end, 65u) << "both ranges";
  ASSERT_EQ(b.write(other, 40, to, 25, kTry, &version), Outcome::kOk);
  EXPECT_FALSE(b.info().torn);
  ASSERT_EQ(b.begin(dead, 0, 1, kTry), Outcome::kOk);
  EXPECT_TRUE(b.force());
  EXPECT_EQ(b.end(dead, &version), Outcome::kLeaseLost);
  b.mend();
  EXPECT_FALSE(b.info().torn);
  EXPECT_EQ(b.read(0, to, 100, kTry, &version), Outcome::kOk);
}

TEST(Block, AReaderOnAReadOnlyMapping) {
  BlockSegment s(4'096);
  BlockActor a = block_actor(1);
  uint64_t version;
  ASSERT_EQ(s.block().write(a, 0, "abc", 3, kTry, &version), Outcome::kOk);
  void* base = mmap(nullptr, s.bytes(), PROT_READ, MAP_SHARED, s.fd(), 0);
  Block reader;
  ASSERT_EQ(Block::attach(base, s.bytes(), &reader), Outcome::kOk);
  EXPECT_EQ(Block::attach(base, s.bytes() - 4'096, &reader), Outcome::kCorrupt);
  char to[3];
  EXPECT_EQ(reader.read(0, to, 3, kTry, &version), Outcome::kOk);
  EXPECT_EQ(std::memcmp(to, "abc", 3), 0);
  munmap(base, s.bytes());
}

TEST(Block, NoCopyIsTornWhileTwoWrite) {
  BlockSegment s(1'024);
  Block& b = s.block();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0}, read{0}, failed{0};
  const int n = std::getenv("HEDDLE_LONG") != nullptr ? 2'000'000 : 30'000;
  const auto write = [&](uint16_t owner) {
    BlockActor a = block_actor(owner);
    uint64_t words[128], version;
    for (int i = 0; i < n; ++i) {
      for (uint64_t& w : words) w = uint64_t{owner} << 32 | static_cast<uint64_t>(i);
      failed += b.write(a, 0, words, sizeof words, kForever, &version) != Outcome::kOk;
    }
  };
  std::thread w1(write, 1), w2(write, 2), r([&] {
    uint64_t words[128], version;
    while (!stop.load()) {
      if (b.read(0, words, sizeof words, soon(), &version) != Outcome::kOk) continue;
      for (uint64_t w : words) torn += w != words[0];
      ++read;
    }
  });
  w1.join(), w2.join();
  stop = true;
  r.join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_EQ(failed.load(), 0u);
  EXPECT_EQ(b.version(), 2u * static_cast<unsigned>(n));
}

TEST(Block, AWatcherSleepsUntilTheChange) {
  BlockSegment s(64);
  Block& b = s.block();
  BlockActor a = block_actor(1);
  EXPECT_EQ(b.wait_change(a, 0, soon()), Outcome::kTimedOut);
  std::thread other([&] {
    BlockActor w = block_actor(2);
    uint64_t version;
    usleep(5'000);
    EXPECT_EQ(b.write(w, 0, "x", 1, kForever, &version), Outcome::kOk);
  });
  EXPECT_EQ(b.wait_change(a, 0, kForever), Outcome::kOk);
  other.join();
}

}  // namespace
}  // namespace heddle::shm
