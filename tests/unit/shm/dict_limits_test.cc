// max_entries and max_bytes: never passed, whoever writes at once, and who goes when they are
// reached.
#include <algorithm>
#include <random>
#include <thread>

#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

DictLimits limited(uint64_t entries, uint64_t bytes, DictAtLimit policy) {
  DictLimits limits = small_dict();
  limits.max_entries = entries;
  limits.max_bytes = bytes;
  limits.at_limit = policy;
  return limits;
}

std::string name(uint64_t i) { return "key " + std::to_string(1000000 + i); }

TEST(DictLimits, OneWriterHasAllOfThem) {
  for (const uint64_t entries : {1ull, 7ull, 1000ull, 8191ull, 8192ull, 20'001ull}) {
    DictSegment s(limited(entries, 64 << 20, DictAtLimit::kReject));
    Dict& d = s.dict();
    DictActor a = s.actor(1);
    for (uint64_t i = 0; i < entries; ++i) ASSERT_EQ(put(d, a, name(i), "v"), Outcome::kOk) << i;
    ASSERT_EQ(put(d, a, "one more", "v"), Outcome::kFull) << entries;
    EXPECT_EQ(put(d, a, name(0), "other"), Outcome::kOk) << "nothing more by it";
    ASSERT_EQ(drop(d, a, name(0)), Outcome::kOk);
    EXPECT_EQ(put(d, a, "one more", "v"), Outcome::kOk);
    EXPECT_EQ(d.len(), entries);
    EXPECT_EQ(DictAudit(d).run(), "");
  }
}

TEST(DictLimits, BytesToTheLast) {
  for (const uint64_t bytes : {100ull, 9001ull, 1'000'003ull}) {
    DictSegment s(limited(100'000, bytes, DictAtLimit::kReject));
    Dict& d = s.dict();
    DictActor a = s.actor(1);
    EXPECT_EQ(put(d, a, "k", std::string(bytes, 'x')), Outcome::kTooLarge) << "never fits";
    uint64_t used = 0;
    for (uint64_t i = 0; used + 50 <= bytes; ++i, used += 50) {
      const std::string key = name(i);
      ASSERT_EQ(put(d, a, key, std::string(50 - key.size(), 'v')), Outcome::kOk) << used;
    }
    const uint64_t rest = bytes - used;
    ASSERT_EQ(put(d, a, "k", std::string(rest, 'v')), Outcome::kFull);
    if (rest > 0) {
      ASSERT_EQ(put(d, a, "k", std::string(rest - 1, 'v')), Outcome::kOk);
    }
    EXPECT_EQ(d.bytes(), bytes);
    EXPECT_EQ(put(d, a, name(0), std::string(60, 'v')), Outcome::kFull) << "an update may grow";
    EXPECT_EQ(DictAudit(d).run(), "");
  }
}

TEST(DictLimits, WhatOthersEraseComesBack) {
  // One inserts, one erases, for ever: grants wander from row to row.
  DictSegment s(limited(64, 1 << 20, DictAtLimit::kReject));
  Dict& d = s.dict();
  DictActor a = s.actor(1), b = s.actor(2);
  for (uint64_t i = 0; i < 20'000; ++i) {
    ASSERT_EQ(put(d, a, name(i), "v"), Outcome::kOk) << i;
    if (i < 50) continue;
    ASSERT_EQ(drop(d, b, name(i - 50)), Outcome::kOk);
  }
  EXPECT_EQ(DictAudit(d).run(), "");
  d.leave(b);
  for (uint64_t i = 20'000; i < 20'014; ++i) ASSERT_EQ(put(d, a, name(i), "v"), Outcome::kOk);
  EXPECT_EQ(put(d, a, "one more", "v"), Outcome::kFull) << "all was given back: 64 are there";
  EXPECT_EQ(d.len(), 64u);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictLimits, NeverMoreWhoeverWrites) {
  const uint64_t entries = 500;
  DictSegment s(limited(entries, 1 << 20, DictAtLimit::kReject));
  Dict& d = s.dict();
  std::atomic<uint64_t> most{0}, refusals{0}, wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint16_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      DictActor a;
      a.owner = 1;
      a.thread = t;
      if (d.enter(a) != Outcome::kOk) return;
      std::mt19937 random(t);
      for (int i = 0; i < 30'000; ++i) {
        const std::string key = name(random() % 900);
        const Outcome o = random() % 3 == 0 ? drop(d, a, key) : put(d, a, key, "v");
        refusals += o == Outcome::kFull;
        wrong += o != Outcome::kOk && o != Outcome::kNotFound && o != Outcome::kFull;
      }
      d.leave(a);
    });
  }
  std::thread watcher([&] {
    while (!stop.load()) {
      // A walk meets each key that is there throughout; keys come and go, so it may meet more.
      uint64_t len = d.len();
      if (len > most.load()) most.store(len);
    }
  });
  for (std::thread& t : threads) t.join();
  stop.store(true);
  watcher.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_GT(refusals.load(), 0u);
  DictAudit audit(d);
  EXPECT_EQ(audit.run(), "");
  EXPECT_LE(audit.entries().size(), entries);
  DictActor a = s.actor(9);
  uint64_t i = 0;
  for (; put(d, a, "more " + std::to_string(i), "v") == Outcome::kOk; ++i) {
  }
  EXPECT_EQ(d.len(), entries) << "nothing was lost on the way";
}

TEST(DictLimits, TheOldestWriteGoesMoreOrLess) {
  const uint64_t entries = 1000;
  DictSegment s(limited(entries, 1 << 20, DictAtLimit::kEvictOldestWrite));
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (uint64_t i = 0; i < entries; ++i) ASSERT_EQ(put(d, a, name(i), "v"), Outcome::kOk);
  for (uint64_t i = 0; i < 300; ++i) {
    ASSERT_EQ(put(d, a, "new " + std::to_string(i), "v"), Outcome::kOk);
    std::byte key[kDictKeyBytesMax];
    DictChange c;
    c.key_room = key;
    ASSERT_EQ(d.read_change(entries + 2 * i + 1, &c), Outcome::kOk);
    ASSERT_EQ(c.entry.kind, static_cast<uint8_t>(DictKind::kEvicted));
    ASSERT_EQ(d.len(), entries);
  }
  uint64_t old_half = 0, young_half = 0;
  for (uint64_t i = 0; i < entries; ++i) {
    const bool gone = value_of(d, name(i)) == kAbsent;
    (i < entries / 2 ? old_half : young_half) += gone;
  }
  EXPECT_EQ(old_half + young_half, 300u);
  EXPECT_LT(young_half, 15u) << "of the younger half";
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictLimits, WhatIsReadStays) {
  const uint64_t entries = 1000;
  DictSegment s(limited(entries, 1 << 20, DictAtLimit::kEvictLru));
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (uint64_t i = 0; i < entries; ++i) ASSERT_EQ(put(d, a, name(i), "v"), Outcome::kOk);
  for (const int64_t until = dict_now_ms() + 40; dict_now_ms() < until;) usleep(2000);
  for (int round = 0; round < 2000; ++round) {
    for (uint64_t i = 0; i < 100; ++i) value_of(d, name(i), nullptr, &a);
  }
  for (const int64_t until = dict_now_ms() + 12; dict_now_ms() < until;) usleep(2000);
  for (uint64_t i = 0; i < 300; ++i) {
    ASSERT_EQ(put(d, a, "new " + std::to_string(i), "v"), Outcome::kOk);
  }
  uint64_t kept = 0;
  for (uint64_t i = 0; i < 100; ++i) kept += value_of(d, name(i)) != kAbsent;
  EXPECT_GT(kept, 85u) << "of 100 that were read, and are the oldest writes";
  EXPECT_EQ(d.len(), entries);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictLimits, WhatExpiresFirstGoesFirst) {
  DictSegment s(limited(1000, 1 << 20, DictAtLimit::kEvictTtlFirst));
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const int64_t now = dict_now_ms();
  for (uint64_t i = 0; i < 1000; ++i) {
    const std::string key = name(i);
    DictWrite w;
    w.key = key_of(key);
    w.value = "v";
    w.bytes = 1;
    w.expiry = i % 2 ? DictExpiry::kSet : DictExpiry::kClear;
    w.expires_ms = now + 1'000'000;
    DictWritten out;
    ASSERT_EQ(d.write(a, w, &out), Outcome::kOk);
  }
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(put(d, a, "new " + std::to_string(i), "v"), Outcome::kOk);
  }
  for (uint64_t i = 0; i < 1000; i += 2) ASSERT_NE(value_of(d, name(i)), kAbsent) << i;
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictLimits, ALargeValueMayEvictMany) {
  DictSegment s(limited(10'000, 200'000, DictAtLimit::kEvictOldestWrite));
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (uint64_t i = 0; i < 3000; ++i) {
    ASSERT_EQ(put(d, a, name(i), std::string(100, 'v')), Outcome::kOk);
  }
  ASSERT_EQ(put(d, a, "large", std::string(150'000, 'L')), Outcome::kOk);
  EXPECT_EQ(value_of(d, "large").size(), 150'000u);
  EXPECT_LE(d.bytes(), 200'000u);
  EXPECT_GT(d.len(), 300u);
  ASSERT_EQ(put(d, a, "large", std::string(199'000, 'L')), Outcome::kOk) << "not itself";
  EXPECT_EQ(value_of(d, "large").size(), 199'000u);
  EXPECT_EQ(DictAudit(d).run(), "");
}

}  // namespace
}  // namespace heddle::shm
