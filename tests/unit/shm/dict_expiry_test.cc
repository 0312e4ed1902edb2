// What expires and what is owned, conditions on values, and what is added to values.
#include <set>

#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

constexpr int64_t kPast = 1;
constexpr int64_t kFuture = INT64_MAX / 2;

DictWrite writing(std::string_view key, std::string_view value) {
  DictWrite w;
  w.key = key_of(key);
  w.value = value.data();
  w.bytes = value.size();
  return w;
}

Outcome put_until(Dict& d, DictActor& a, std::string_view key, int64_t expires_ms,
                  uint64_t owner = 0, DictWritten* out = nullptr) {
  DictWrite w = writing(key, key);
  w.expiry = DictExpiry::kSet;
  w.expires_ms = expires_ms;
  w.owner = owner;
  DictWritten own;
  return d.write(a, w, out != nullptr ? out : &own);
}

std::string change_at(const Dict& d, uint64_t revision) {
  std::byte key[kDictKeyBytesMax], value[64];
  DictChange c;
  c.key_room = key;
  c.entry.room = value;
  c.entry.room_bytes = sizeof value;
  if (d.read_change(revision, &c) != Outcome::kOk) return "?";
  return std::to_string(c.entry.kind) + " " +
         std::string(reinterpret_cast<char*>(key), c.key_bytes);
}

TEST(DictExpiry, WhatHasExpiredIsNotThereAndTheNextWriterSaysSo) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  ASSERT_EQ(put_until(d, a, "k", kFuture), Outcome::kOk);
  DictEntry e;
  EXPECT_EQ(value_of(d, "k", &e), "k");
  EXPECT_EQ(e.expires_ms, kFuture);
  ASSERT_EQ(put_until(d, a, "k", kPast), Outcome::kOk);
  EXPECT_EQ(value_of(d, "k"), kAbsent);
  EXPECT_EQ(value_of(d, "k", nullptr, &a), kAbsent);
  EXPECT_EQ(d.revision(), 2u) << "a reader publishes nothing";
  DictWritten w;
  EXPECT_EQ(drop(d, a, "k", &w), Outcome::kNotFound);
  EXPECT_EQ(change_at(d, 3), "129 k");
  ASSERT_EQ(put_until(d, a, "k", kPast), Outcome::kOk);
  ASSERT_EQ(put(d, a, "k", "new", &w), Outcome::kOk);
  EXPECT_EQ(w.revision, 6u);
  EXPECT_EQ(w.version, 1u) << "created anew";
  EXPECT_FALSE(w.existed);
  EXPECT_EQ(change_at(d, 5), "129 k");
  EXPECT_EQ(value_of(d, "k", &e), "new");
  EXPECT_EQ(e.expires_ms, 0) << "the policy clears";
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictExpiry, ConditionsSeeTheEntryAsGone) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  DictWritten out;
  ASSERT_EQ(put_until(d, a, "k", kPast), Outcome::kOk);
  DictWrite w = writing("k", "v");
  w.if_present = true;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kNotFound);
  ASSERT_EQ(put_until(d, a, "k", kPast), Outcome::kOk);
  w.if_present = false;
  w.if_version = 3;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kNotFound) << "the revision was right, the time was not";
  ASSERT_EQ(put_until(d, a, "k", kPast), Outcome::kOk);
  w.if_version = kDictAnyVersion;
  w.if_absent = true;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  int64_t n = 100;
  EXPECT_EQ(d.increment(a, key_of("n"), 1, 0, 1000, &n, nullptr, DictExpiry::kSet, kPast),
            Outcome::kOk);
  n = 100;
  EXPECT_EQ(d.increment(a, key_of("n"), 1, 0, 1000, &n), Outcome::kOk);
  EXPECT_EQ(n, 101) << "begins anew";
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictExpiry, ATimeToLivePasses) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const int64_t until = dict_now_ms() + 40;
  ASSERT_EQ(put_until(d, a, "k", until), Outcome::kOk);
  std::string value = value_of(d, "k");
  while (dict_now_ms() < until) {
    if (value != "k") break;
    value = value_of(d, "k");
    usleep(2000);
  }
  EXPECT_TRUE(value == "k" || dict_now_ms() >= until);
  EXPECT_EQ(value_of(d, "k"), kAbsent);
}

TEST(DictExpiry, PoliciesOfOverwriting) {
  struct Case {
    DictOnOverwrite policy;
    uint64_t ttl_ms;
    DictExpiry how;
    bool there;
    int expected;  // 0: none, 1: as it was, 2: the default
  };
  const Case cases[] = {
      {DictOnOverwrite::kClear, 0, DictExpiry::kPolicy, true, 0},
      {DictOnOverwrite::kClear, 5000, DictExpiry::kPolicy, true, 0},
      {DictOnOverwrite::kClear, 5000, DictExpiry::kPolicy, false, 2},
      {DictOnOverwrite::kKeep, 0, DictExpiry::kPolicy, true, 1},
      {DictOnOverwrite::kKeep, 0, DictExpiry::kPolicy, false, 0},
      {DictOnOverwrite::kKeep, 5000, DictExpiry::kPolicy, false, 2},
      {DictOnOverwrite::kDefault, 5000, DictExpiry::kPolicy, true, 2},
      {DictOnOverwrite::kDefault, 5000, DictExpiry::kKeep, true, 1},
      {DictOnOverwrite::kClear, 0, DictExpiry::kKeep, true, 1},
      {DictOnOverwrite::kKeep, 5000, DictExpiry::kClear, true, 0},
      {DictOnOverwrite::kClear, 5000, DictExpiry::kKeep, false, 2},
  };
  for (const Case& c : cases) {
    DictLimits limits = small_dict();
    limits.on_overwrite = c.policy;
    limits.default_ttl_ms = c.ttl_ms;
    DictSegment s(limits);
    DictActor a = s.actor(1);
    if (c.there) {
      ASSERT_EQ(put_until(s.dict(), a, "k", kFuture, 9), Outcome::kOk);
    }
    DictWrite w = writing("k", "value");
    w.expiry = c.how;
    DictWritten out;
    const int64_t before = dict_now_ms();
    ASSERT_EQ(s.dict().write(a, w, &out), Outcome::kOk);
    DictEntry e;
    ASSERT_EQ(value_of(s.dict(), "k", &e), "value");
    if (c.expected != 2) {
      EXPECT_EQ(e.expires_ms, c.expected == 1 ? kFuture : 0);
    }
    if (c.expected == 2) {
      EXPECT_GE(e.expires_ms, before + 5000);
      EXPECT_LE(e.expires_ms, dict_now_ms() + 5000);
    }
    EXPECT_EQ(e.owner, 0u) << "whoever overwrites it without owner makes it stay";
    EXPECT_EQ(DictAudit(s.dict()).run(), "");
  }
}

TEST(DictExpiry, AScanPassesOver) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(put_until(d, a, std::to_string(i), i % 2 ? kPast : kFuture), Outcome::kOk);
  }
  DictCursor cursor;
  DictScanned page[300];
  static std::byte room[1 << 16];
  size_t n;
  uint64_t needed;
  ASSERT_EQ(d.scan(&cursor, page, 300, room, sizeof room, true, &n, &needed), Outcome::kOk);
  EXPECT_EQ(n, 100u);
  for (size_t i = 0; i < n; ++i) EXPECT_EQ(page[i].entry.expires_ms, kFuture);
}

TEST(DictExpiry, TheSweepTakesOutInSlices) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  EXPECT_FALSE(d.may_expire());
  const int64_t soon = dict_now_ms() + 100'000;
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(put_until(d, a, std::to_string(i), i % 5 ? kPast : soon + i), Outcome::kOk);
    if (i % 7 != 0) continue;
    ASSERT_EQ(put(d, a, "stays " + std::to_string(i), "v"), Outcome::kOk);
  }
  EXPECT_TRUE(d.may_expire());
  DictCursor cursor;
  DictSwept swept;
  int slices = 0;
  for (; !cursor.done; ++slices) {
    ASSERT_EQ(d.expire(a, dict_now_ms(), &cursor, 3, &swept), Outcome::kOk);
  }
  EXPECT_GT(slices, 10);
  EXPECT_EQ(swept.gone, 400u);
  EXPECT_EQ(swept.next_ms, soon);
  EXPECT_EQ(d.len(), 100u + 72u);
  EXPECT_EQ(DictAudit(d).run(), "");
  // One key's bucket alone.
  ASSERT_EQ(put_until(d, a, "one", kPast), Outcome::kOk);
  DictCursor at{d.hash_of(key_of("one")), 0, false};
  DictSwept one;
  ASSERT_EQ(d.expire(a, dict_now_ms(), &at, 1, &one), Outcome::kOk);
  EXPECT_EQ(one.gone, 1u);
}

TEST(DictExpiry, WhatOneOwnedGoesWithHim) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const uint64_t me = 5 | uint64_t{3} << 16, other = 6 | uint64_t{3} << 16;
  const uint64_t before = 5 | uint64_t{2} << 16;
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(put_until(d, a, std::to_string(i), 0,
                        i % 3 == 0   ? me
                        : i % 3 == 1 ? other
                                     : before),
              Outcome::kOk);
  }
  DictEntry e;
  EXPECT_EQ(value_of(d, "3", &e), "3");
  EXPECT_EQ(e.owner, me);
  ASSERT_EQ(put(d, a, "3", "stays"), Outcome::kOk);
  int64_t n = 0;
  DictCursor cursor;
  DictSwept swept;
  while (!cursor.done) {
    ASSERT_EQ(d.erase_owned(a, me, &cursor, 8, &swept), Outcome::kOk);
    ++n;
  }
  EXPECT_GT(n, 3);
  EXPECT_EQ(swept.gone, 99u);
  EXPECT_EQ(d.len(), 201u);
  EXPECT_EQ(value_of(d, "3"), "stays");
  EXPECT_EQ(value_of(d, "6"), kAbsent);
  EXPECT_EQ(value_of(d, "7"), "7");
  cursor = {};
  ASSERT_EQ(d.erase_owned(a, 900, &cursor, 1, &swept), Outcome::kOk);
  EXPECT_TRUE(cursor.done) << "he never owned anything";
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictExpiry, ConditionsOnTheValue) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  DictWritten out;
  DictWrite w = writing("k", "two");
  w.if_value = "one";
  w.if_value_bytes = 3;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kNotFound);
  ASSERT_EQ(put(d, a, "k", "one"), Outcome::kOk);
  w.if_value_kind = DictKind::kString;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch);
  w.if_value_kind = DictKind::kBytes;
  w.if_value = "oNe";
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch);
  EXPECT_EQ(out.revision, 1u);
  w.if_value = "one";
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  w.kind = DictKind::kDeleted;
  w.bytes = 0;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch) << "an erase may have one as well";
  const std::string large(200'000, 'x');
  ASSERT_EQ(put(d, a, "k", large), Outcome::kOk);
  std::string wrong = large;
  wrong[150'000] = 'y';
  w = writing("k", "small");
  w.if_value = wrong.data();
  w.if_value_bytes = wrong.size();
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch);
  w.if_value = large.data();
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  w.if_value = "";
  w.if_value_bytes = 0;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictExpiry, IncrementKeepsExpiryAndOwner) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  int64_t n = 5;
  ASSERT_EQ(d.increment(a, key_of("n"), 1, 0, 100, &n, nullptr, DictExpiry::kSet, kFuture),
            Outcome::kOk);
  EXPECT_EQ(n, 6);
  ASSERT_EQ(d.increment(a, key_of("n"), 1, 0, 100, &n), Outcome::kOk);
  DictEntry e;
  value_of(d, "n", &e);
  EXPECT_EQ(e.expires_ms, kFuture);
  ASSERT_EQ(d.increment(a, key_of("n"), 1, 0, 100, &n, nullptr, DictExpiry::kClear), Outcome::kOk);
  EXPECT_EQ(n, 8);
  value_of(d, "n", &e);
  EXPECT_EQ(e.expires_ms, 0);
  DictWrite w;
  w.key = key_of("n");
  w.value = &n;
  w.bytes = sizeof n;
  w.kind = DictKind::kInt64;
  w.owner = 42;
  DictWritten out;
  ASSERT_EQ(d.write(a, w, &out), Outcome::kOk);
  ASSERT_EQ(d.increment(a, key_of("n"), 1, 0, 100, &n), Outcome::kOk);
  value_of(d, "n", &e);
  EXPECT_EQ(e.owner, 42u);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictExpiry, AppendAndTouchWriteTheValueOn) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  DictWritten out;
  uint64_t total = 0;
  EXPECT_EQ(d.touch(a, key_of("t"), DictExpiry::kSet, kFuture, &out), Outcome::kNotFound);
  std::string all;
  for (int i = 0; i < 40; ++i) {
    const std::string part(static_cast<size_t>(i * 311), static_cast<char>('a' + i % 26));
    DictWrite w = writing("t", part);
    if (i == 20) {
      ASSERT_EQ(d.touch(a, key_of("t"), DictExpiry::kSet, kFuture, &out), Outcome::kOk);
      EXPECT_EQ(out.version, 21u) << "a change like any other";
    }
    ASSERT_EQ(d.append(a, w, &total, &out), Outcome::kOk);
    all += part;
    ASSERT_EQ(total, all.size());
    ASSERT_EQ(value_of(d, "t"), all) << i;
    ASSERT_EQ(DictAudit(d).run(), "") << i;
  }
  EXPECT_GT(all.size(), 3 * kDictExtentBytes);
  DictEntry e;
  EXPECT_EQ(value_of(d, "t", &e), all);
  EXPECT_EQ(e.expires_ms, kFuture);
  ASSERT_EQ(d.touch(a, key_of("t"), DictExpiry::kClear, 0, &out), Outcome::kOk);
  EXPECT_EQ(value_of(d, "t", &e), all);
  EXPECT_EQ(e.expires_ms, 0);
  DictWrite w = writing("t", "x");
  w.kind = DictKind::kString;
  EXPECT_EQ(d.append(a, w, &total, &out), Outcome::kMismatch);
  w.kind = DictKind::kBytes;
  w.if_version = out.revision + 5;
  EXPECT_EQ(d.append(a, w, &total, &out), Outcome::kMismatch);
  const std::string much(1 << 20, 'm');
  EXPECT_EQ(d.append(a, writing("t", much), &total, &out), Outcome::kTooLarge);
  EXPECT_EQ(value_of(d, "t"), all);
  EXPECT_EQ(DictAudit(d).run(), "");
}

}  // namespace
}  // namespace heddle::shm
