// The borders of a dict: sizes, crowded hashes, memory that is used up, read-only mappings, damaged
// segments, scans, the history.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>

#include "proto/shm/futex.h"
#include "tests/support/watchdog.h"
#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

std::string bytes_of(size_t n, unsigned seed) {
  std::string s(n, '\0');
  std::mt19937 random(seed);
  for (char& c : s) c = static_cast<char>(random());
  return s;
}

/// Keys whose hashes are equal where `mask` is zero begin with the same 24 bits.
std::vector<std::string> crowd(size_t n, unsigned bits) {
  std::vector<std::string> keys;
  uint64_t prefix = 0;
  for (uint64_t i = 0; keys.size() < n; ++i) {
    const std::string key = "crowd " + std::to_string(i);
    const uint64_t high =
        DictHash(key.data(), static_cast<uint32_t>(key.size()), kTestSeed, ~uint64_t{0}).high();
    if (keys.empty()) prefix = high >> (64 - bits);
    if (high >> (64 - bits) == prefix) keys.push_back(key);
  }
  return keys;
}

TEST(DictEdges, EverySizeOfKeyAndValue) {
  DictLimits limits = small_dict();
  limits.max_bytes = 64 << 20;
  limits.max_value_bytes = kDictValueBytesMax;
  DictSegment s(limits);
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  std::vector<size_t> sizes = {0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 200, 1000, 1024, 4000};
  for (size_t n = 5000; n < 300'000; n = n * 3 / 2) sizes.push_back(n);
  for (const size_t n : {32'000ul, 32'720ul, 32'721ul, 65'536ul, 65'537ul, 131'072ul}) {
    sizes.push_back(n);
  }
  for (const size_t key : {0ul, 1ul, 12ul, 100ul, 4096ul}) {
    for (const size_t value : sizes) {
      const std::string k = bytes_of(key, static_cast<unsigned>(key));
      const std::string v = bytes_of(value, static_cast<unsigned>(value));
      ASSERT_EQ(put(d, a, k, v), Outcome::kOk) << key << ", " << value;
      ASSERT_EQ(value_of(d, k), v) << key << ", " << value;
    }
  }
  EXPECT_EQ(DictAudit(d).run(), "");
  EXPECT_EQ(put(d, a, std::string(4097, 'k'), "v"), Outcome::kTooLarge);
  EXPECT_EQ(put(d, a, "k", std::string(kDictValueBytesMax + 1, 'v')), Outcome::kTooLarge);
}

TEST(DictEdges, HundredValuesOfSixteenMebibytes) {
  test::Watchdog dog("large values", 120);
  const int n = long_run() ? 100 : 6;
  DictLimits limits;
  limits.max_bytes = (n + 2) * (kDictValueBytesMax + 4096);
  limits.history = 16;
  DictSegment s(limits);
  DictActor a = s.actor(1);
  const std::string tail = bytes_of(64, 1);
  std::string value(kDictValueBytesMax, 'x');
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < n; ++i) {
      std::memcpy(value.data() + value.size() - 8, &i, sizeof i);
      ASSERT_EQ(put(s.dict(), a, std::string(4096, static_cast<char>('a' + i)), value),
                Outcome::kOk)
          << i;
    }
  }
  std::string room(kDictValueBytesMax, '\0');
  for (int i = 0; i < n; ++i) {
    DictEntry e;
    e.room = reinterpret_cast<std::byte*>(room.data());
    e.room_bytes = room.size();
    const std::string key(4096, static_cast<char>('a' + i));
    ASSERT_EQ(s.dict().get(key_of(key), &e), Outcome::kOk);
    std::memcpy(value.data() + value.size() - 8, &i, sizeof i);
    ASSERT_TRUE(room == value) << i;
  }
  EXPECT_EQ(s.dict().len(), static_cast<uint64_t>(n));
}

TEST(DictEdges, KeysWithOnePrefix) {
  DictSegment s(small_dict());  // the directory ends at 10 bits
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const std::vector<std::string> keys = crowd(long_run() ? 2000 : 200, 12);
  for (int round = 0; round < 3; ++round) {
    for (const std::string& key : keys) ASSERT_EQ(put(d, a, key, key + "!"), Outcome::kOk);
    for (const std::string& key : keys) ASSERT_EQ(value_of(d, key), key + "!");
    ASSERT_EQ(DictAudit(d).run(), "");
    for (const std::string& key : keys) ASSERT_EQ(drop(d, a, key), Outcome::kOk);
    ASSERT_EQ(d.len(), 0u);
  }
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictEdges, KeysWithOneHash) {
  // The upper half of the hash is taken away altogether: the lower one tells them apart.
  DictSegment s(small_dict(), 0);
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(put(d, a, std::to_string(i), "v"), Outcome::kOk);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(value_of(d, std::to_string(i)), "v");
  EXPECT_EQ(DictAudit(d).run(), "");
  DictCursor cursor;
  std::set<std::string> seen;
  while (!cursor.done) {
    DictScanned page[3];
    std::byte room[4096];
    size_t n;
    uint64_t needed;
    ASSERT_EQ(d.scan(&cursor, page, 3, room, sizeof room, true, &n, &needed), Outcome::kOk);
    for (size_t i = 0; i < n; ++i) {
      ASSERT_TRUE(
          seen.emplace(reinterpret_cast<const char*>(page[i].key), page[i].key_bytes).second);
    }
  }
  EXPECT_EQ(seen.size(), 300u);
}

TEST(DictEdges, UsedUpMemoryIsAValueAndComesBack) {
  DictLimits limits = small_dict();
  limits.max_entries = 100'000;
  DictSegment s(limits);
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  d.memory().header().extents_granted = 24;
  for (int round = 0; round < 4; ++round) {
    int n = 0;
    Outcome outcome = Outcome::kOk;
    for (; outcome == Outcome::kOk; ++n) {
      const std::string value(round % 2 ? 3000 : 100, 'v');
      outcome = put(d, a, "key " + std::to_string(n), value);
    }
    EXPECT_EQ(outcome, Outcome::kMemoryExhausted);
    EXPECT_GT(n, 100) << round;
    ASSERT_EQ(DictAudit(d).run(), "") << round;
    EXPECT_EQ(value_of(d, "key 0").size(), round % 2 ? 3000u : 100u);
    // Erasing still works: the history gives way.
    for (int i = 0; i + 1 < n; ++i) {
      ASSERT_EQ(drop(d, a, "key " + std::to_string(i)), Outcome::kOk) << i << " of " << n;
    }
    ASSERT_EQ(d.len(), 0u);
    ASSERT_EQ(DictAudit(d).run(), "") << round;
    d.memory().header().extents_granted = 24 + 8 * (round + 1);
  }
}

TEST(DictEdges, MemoryOfWhatIsErasedIsUsedAgain) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const std::string large(100'000, 'x');
  uint64_t extents = 0;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 1000; ++i) {
      ASSERT_EQ(put(d, a, std::to_string(i), std::string(64, 'v')), Outcome::kOk);
    }
    ASSERT_EQ(put(d, a, "large", large), Outcome::kOk);
    uint64_t cleared;
    ASSERT_EQ(d.clear(a, &cleared), Outcome::kOk);
    ASSERT_EQ(cleared, 1001u);
    ASSERT_EQ(d.len(), 0u);
    if (round == 2) extents = d.memory().usage().extents;
  }
  EXPECT_LE(d.memory().usage().extents, extents + 1);
  EXPECT_EQ(DictAudit(d).run(), "");
}

uint64_t memory_of(int fd) {
  struct stat s;
  EXPECT_EQ(fstat(fd, &s), 0);
  return static_cast<uint64_t>(s.st_blocks) * 512;
}

TEST(DictEdges, IdleMemoryGoesBackToTheSystem) {
  DictLimits limits = small_dict();
  limits.max_bytes = 64 << 20;
  DictSegment s(limits);
  Dict& d = s.dict();
  DictActor a = s.actor(1), b = s.actor(2);
  const std::string large = bytes_of(1 << 20, 7), small = bytes_of(3000, 8);
  const uint64_t before = memory_of(s.fd());
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) ASSERT_EQ(put(d, a, std::to_string(i), large), Outcome::kOk);
    EXPECT_GT(memory_of(s.fd()), before + (20u << 20));
    for (int i = 0; i < 20; ++i) ASSERT_EQ(put(d, a, std::to_string(i), "v"), Outcome::kOk);
    EXPECT_EQ(d.release_history(b, 1000), 16u);
    uint32_t extents = 0;
    for (uint32_t n; (n = d.memory().trim(b, 7)) != 0;) extents += n;
    EXPECT_GE(extents, 20u * 16);
    EXPECT_LT(memory_of(s.fd()), before + (3u << 20));
    ASSERT_EQ(DictAudit(d).run(), "") << round;
    // What is carved from them next is full of zeros.
    for (int i = 0; i < 200; ++i) ASSERT_EQ(put(d, a, std::to_string(i), small), Outcome::kOk);
    for (int i = 0; i < 200; ++i) ASSERT_EQ(value_of(d, std::to_string(i)), small);
    ASSERT_EQ(DictAudit(d).run(), "") << round;
  }
}

TEST(DictEdges, AReaderStoresNothing) {
  DictSegment s(small_dict());
  DictActor a = s.actor(1);
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(put(s.dict(), a, std::to_string(i), "value " + std::to_string(i)), Outcome::kOk);
  }
  void* base = mmap(nullptr, s.bytes(), PROT_READ, MAP_SHARED, s.fd(), 0);
  ASSERT_NE(base, MAP_FAILED);
  Dict reader;
  ASSERT_EQ(Dict::attach(base, s.bytes(), -1, &reader), Outcome::kOk);
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(value_of(reader, std::to_string(i)), "value " + std::to_string(i));
  }
  EXPECT_EQ(reader.len(), 500u);
  EXPECT_EQ(reader.revision(), 500u);
  EXPECT_EQ(value_of(reader, "none"), kAbsent);
  // It cannot: a store through this mapping ends the process.
  const pid_t pid = fork();
  if (pid == 0) {
    signal(SIGSEGV, SIG_DFL);  // a sanitizer has its own
    static_cast<DictHeader*>(base)->level.store(9);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
  munmap(base, s.bytes());
}

TEST(DictEdges, AttachRefusesOthers) {
  DictSegment s(small_dict());
  Dict d;
  EXPECT_EQ(Dict::attach(s.base(), s.bytes() - 4096, -1, &d), Outcome::kCorrupt);
  auto& h = *reinterpret_cast<DictHeader*>(s.base());
  h.segment.version = 99;
  EXPECT_EQ(Dict::attach(s.base(), s.bytes(), -1, &d), Outcome::kCorrupt);
  h.segment.version = kDictVersion;
  h.geometry.extents += 1;
  EXPECT_EQ(Dict::attach(s.base(), s.bytes(), -1, &d), Outcome::kCorrupt);
}

TEST(DictEdges, AScanMeetsEachKeyOnceWhileTheDictGrows) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  for (int i = 0; i < 300; ++i)
    ASSERT_EQ(put(d, a, "stays " + std::to_string(i), "v"), Outcome::kOk);
  std::map<std::string, int> seen;
  DictCursor cursor;
  for (int round = 0; !cursor.done; ++round) {
    DictScanned page[10];
    std::byte room[600];
    size_t n;
    uint64_t needed;
    ASSERT_EQ(d.scan(&cursor, page, 1 + round % 10, room, sizeof room, true, &n, &needed),
              Outcome::kOk);
    for (size_t i = 0; i < n; ++i) {
      const std::string key(reinterpret_cast<const char*>(page[i].key), page[i].key_bytes);
      ++seen[key];
      if (key[0] == 's') {
        ASSERT_EQ(page[i].entry.bytes, 1u);
        ASSERT_EQ(*page[i].entry.room, std::byte{'v'});
      }
    }
    for (int i = 0; i < 20; ++i) {
      const std::string key = "other " + std::to_string((round * 20 + i) % 1500);
      if (i % 3 == 0)
        drop(d, a, key);
      else
        ASSERT_EQ(put(d, a, key, "w"), Outcome::kOk);
    }
  }
  for (int i = 0; i < 300; ++i) EXPECT_EQ(seen["stays " + std::to_string(i)], 1) << i;
  DictCursor again;
  DictScanned one;
  std::byte little[2];
  size_t n;
  uint64_t needed;
  EXPECT_EQ(d.scan(&again, &one, 1, little, sizeof little, true, &n, &needed), Outcome::kTooLarge);
  EXPECT_GT(needed, 2u);
}

TEST(DictEdges, IncrementRefusesToPassItsBounds) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  int64_t n = 10;
  EXPECT_EQ(d.increment(a, key_of("n"), 5, 0, 20, &n), Outcome::kOk);
  EXPECT_EQ(n, 15) << "a missing one begins as it is told";
  EXPECT_EQ(d.increment(a, key_of("n"), 6, 0, 20, &n), Outcome::kMismatch);
  EXPECT_EQ(n, 15);
  EXPECT_EQ(d.increment(a, key_of("n"), -15, 0, 20, &n), Outcome::kOk);
  EXPECT_EQ(n, 0);
  EXPECT_EQ(d.increment(a, key_of("n"), INT64_MAX, 0, INT64_MAX, &n), Outcome::kOk);
  EXPECT_EQ(d.increment(a, key_of("n"), 1, INT64_MIN, INT64_MAX, &n), Outcome::kMismatch);
  double x = 1.5;
  EXPECT_EQ(d.increment(a, key_of("x"), 0.25, 0, 2, &x), Outcome::kOk);
  EXPECT_EQ(x, 1.75);
  EXPECT_EQ(d.increment(a, key_of("n"), 1.0, 0, 2, &x), Outcome::kMismatch) << "not a double";
  ASSERT_EQ(put(d, a, "s", "text"), Outcome::kOk);
  EXPECT_EQ(d.increment(a, key_of("s"), 1, 0, 20, &n), Outcome::kMismatch);
}

struct Watched {
  std::string key, value, previous;
  uint8_t kind;
};

Outcome read_change(const Dict& d, uint64_t revision, Watched* out) {
  std::byte key[kDictKeyBytesMax], value[128], previous[128];
  DictChange c;
  c.key_room = key;
  c.entry.room = value;
  c.entry.room_bytes = sizeof value;
  c.previous.room = previous;
  c.previous.room_bytes = sizeof previous;
  const Outcome outcome = d.read_change(revision, &c);
  if (outcome != Outcome::kOk) return outcome;
  *out = {std::string(reinterpret_cast<char*>(key), c.key_bytes),
          std::string(reinterpret_cast<char*>(value), c.entry.bytes),
          c.had_previous ? std::string(reinterpret_cast<char*>(previous), c.previous.bytes) : "-",
          c.entry.kind};
  return outcome;
}

TEST(DictEdges, TheHistoryTellsEveryChangeAndWhatItReplaced) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  ASSERT_EQ(put(d, a, "k", "1"), Outcome::kOk);
  ASSERT_EQ(put(d, a, "k", "2"), Outcome::kOk);
  ASSERT_EQ(drop(d, a, "k"), Outcome::kOk);
  Watched w;
  ASSERT_EQ(read_change(d, 2, &w), Outcome::kOk);
  EXPECT_EQ(w.key + "=" + w.value + " was " + w.previous, "k=2 was 1");
  ASSERT_EQ(read_change(d, 3, &w), Outcome::kOk);
  EXPECT_EQ(w.kind, static_cast<uint8_t>(DictKind::kDeleted));
  EXPECT_EQ(w.previous, "2");
  EXPECT_EQ(read_change(d, 4, &w), Outcome::kEmpty);
  EXPECT_EQ(d.oldest_revision(), 1u);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(put(d, a, "l", std::to_string(i)), Outcome::kOk);
  EXPECT_EQ(read_change(d, 3, &w), Outcome::kOutOfRange);
  EXPECT_EQ(d.revision(), 103u);
  EXPECT_EQ(d.oldest_revision(), 88u);
  EXPECT_EQ(read_change(d, 88, &w), Outcome::kOk);
  EXPECT_EQ(w.value + " was " + w.previous, "84 was 83") << "older than the ring itself";
  EXPECT_EQ(d.release_history(a, 4), 4u);
  EXPECT_EQ(d.oldest_revision(), 92u);
  EXPECT_EQ(read_change(d, 91, &w), Outcome::kOutOfRange);
  ASSERT_EQ(put(d, a, "l", "end"), Outcome::kOk);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictEdges, AWatcherSleepsUntilTheChange) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  EXPECT_EQ(d.wait_change(a, 1, monotonic_ns() + 20'000'000), Outcome::kTimedOut);
  const pid_t pid = fork();
  if (pid == 0) {
    DictActor b;
    b.owner = 2;
    if (d.enter(b) != Outcome::kOk) _exit(1);
    for (int i = 0; i < 50; ++i) {
      usleep(1000);
      if (put(d, b, "k", std::to_string(i)) != Outcome::kOk) _exit(2);
    }
    d.leave(b);
    _exit(0);
  }
  Watched w;
  for (uint64_t r = 1; r <= 50; ++r) {
    ASSERT_EQ(d.wait_change(a, r, kForever), Outcome::kOk);
    ASSERT_EQ(read_change(d, r, &w), Outcome::kOk);
    ASSERT_EQ(w.value, std::to_string(r - 1));
  }
  int status = 1;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

/// Whatever stands in the segment, every function ends and stays inside it.
TEST(DictEdges, ADamagedSegmentHarmsNobody) {
  test::Watchdog dog("damaged", long_run() ? 1200 : 60);
  const int rounds = long_run() ? 3000 : 60;
  DictLimits limits = small_dict();
  limits.max_entries = 300;
  limits.max_bytes = 1 << 20;
  for (int round = 0; round < rounds; ++round) {
    DictSegment s(limits);
    Dict& d = s.dict();
    DictActor a = s.actor(1), b = s.actor(2);
    std::mt19937_64 random(static_cast<unsigned>(round));
    for (int i = 0; i < 200; ++i) put(d, a, std::to_string(i), std::string(random() % 200, 'v'));
    put(d, a, "large", std::string(100'000, 'l'));
    const DictGeometry& g = d.memory().geometry();
    const uint64_t places[][2] = {{128 + 40 + 80, 512},
                                  {g.history_at, g.history * 16},
                                  {g.nodes_at, uint64_t{16} << g.levels_max},
                                  {g.rows_at, 2 * sizeof(DictRow)},
                                  {g.groups_at, 256},
                                  {g.controls_at, 20 * sizeof(DictExtent)},
                                  {g.area_at + kDictExtentBytes, 12 * kDictExtentBytes}};
    for (int i = 0; i < 300; ++i) {
      const auto& place = places[random() % 7];
      auto* at = s.base() + place[0] + random() % place[1] / 8 * 8;
      uint64_t word;
      std::memcpy(&word, at, 8);
      if (round % 2)
        word = random();
      else
        word ^= uint64_t{1} << random() % 64;
      if (at >= s.base() + 256) std::memcpy(at, &word, 8);
      if (i % 30 != 0) continue;
      const std::string key = std::to_string(random() % 250);
      DictEntry e;
      std::byte room[4096];
      e.room = room;
      e.room_bytes = sizeof room;
      d.get(key_of(key), &e, i % 60 ? &a : nullptr);
      put(d, a, key, "new");
      drop(d, b, key);
    }
    d.memory().header().extents_granted = g.extents;
    DictCursor cursor;
    DictScanned page[8];
    static std::byte room[1 << 16];
    size_t n = 1;
    uint64_t needed;
    for (int i = 0; i < 50 && !cursor.done; ++i) {
      d.scan(&cursor, page, 8, room, sizeof room, true, &n, &needed);
    }
    d.len();
    for (uint64_t r = 150; r < 210; ++r) {
      DictChange c;
      c.key_room = room;
      c.entry.room = room + 8192;
      c.entry.room_bytes = 8192;
      d.read_change(r, &c);
    }
    d.reap(b, 1);
    d.oldest_revision();
    d.release_history(b, 100);
  }
}

}  // namespace
}  // namespace heddle::shm
