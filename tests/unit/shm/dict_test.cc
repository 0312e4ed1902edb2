// One thread on a dict: what each operation says and leaves, against a model.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

bool long_run() { return std::getenv("HEDDLE_LONG") != nullptr; }

TEST(Dict, SetGetEraseAndWhatTheySay) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  EXPECT_EQ(value_of(d, "k"), kAbsent);
  EXPECT_EQ(d.revision(), 0u);
  DictWritten w;
  ASSERT_EQ(put(d, a, "k", "one", &w), Outcome::kOk);
  EXPECT_EQ(w.revision, 1u);
  EXPECT_EQ(w.create_revision, 1u);
  EXPECT_EQ(w.version, 1u);
  EXPECT_FALSE(w.existed);
  ASSERT_EQ(put(d, a, "k", "two", &w), Outcome::kOk);
  EXPECT_EQ(w.revision, 2u);
  EXPECT_EQ(w.create_revision, 1u);
  EXPECT_EQ(w.version, 2u);
  EXPECT_TRUE(w.existed);
  DictEntry e;
  EXPECT_EQ(value_of(d, "k", &e), "two");
  EXPECT_EQ(e.mod_revision, 2u);
  EXPECT_EQ(e.create_revision, 1u);
  EXPECT_EQ(e.version, 2u);
  EXPECT_EQ(e.kind, static_cast<uint8_t>(DictKind::kBytes));
  EXPECT_EQ(d.len(), 1u);
  EXPECT_EQ(d.bytes(), 4u);
  ASSERT_EQ(drop(d, a, "k", &w), Outcome::kOk);
  EXPECT_EQ(w.revision, 3u);
  EXPECT_EQ(value_of(d, "k"), kAbsent);
  EXPECT_EQ(drop(d, a, "k", &w), Outcome::kNotFound);
  EXPECT_EQ(d.revision(), 3u);
  EXPECT_EQ(d.len(), 0u);
  ASSERT_EQ(put(d, a, "k", "", &w), Outcome::kOk);
  EXPECT_EQ(w.version, 1u) << "created anew";
  EXPECT_EQ(w.create_revision, 4u);
  EXPECT_EQ(value_of(d, "k"), "");
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(Dict, Conditions) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  DictWritten out;
  DictWrite w;
  w.key = key_of("k");
  w.value = "v1";
  w.bytes = 2;
  w.if_present = true;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kNotFound);
  w.if_present = false;
  w.if_absent = true;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  EXPECT_EQ(d.write(a, w, &out), Outcome::kExists);
  EXPECT_EQ(out.revision, 1u) << "of the entry as it is";
  w.if_absent = false;
  w.if_version = 7;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch);
  w.if_version = 0;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kExists);
  w.if_version = 1;
  w.value = "v2";
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  EXPECT_EQ(out.revision, 2u);
  std::byte room[8];
  DictEntry previous;
  previous.room = room;
  previous.room_bytes = sizeof room;
  w.if_version = kDictAnyVersion;
  w.kind = DictKind::kDeleted;
  w.bytes = 0;
  w.previous = &previous;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kOk);
  EXPECT_EQ(std::memcmp(room, "v2", 2), 0);
  EXPECT_EQ(previous.bytes, 2u);
  EXPECT_EQ(previous.mod_revision, 2u);
  w.if_version = 2;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kNotFound);
  w.kind = DictKind::kList;
  EXPECT_EQ(d.write(a, w, &out), Outcome::kMismatch) << "only a transaction makes one";
  EXPECT_EQ(DictAudit(d).run(), "");
}

struct ModelEntry {
  std::string value;
  uint64_t created, modified, version;
};

/// Random operations on a dict and on a map; all that the dict says is compared.
class Model {
 public:
  Model(Dict& dict, DictActor& a, unsigned seed) : dict_(dict), actor_(a), random_(seed) {}

  void step(const std::string& key, const std::string& value) {
    const auto found = map_.find(key);
    const bool there = found != map_.end();
    DictWritten w;
    switch (random_() % 8) {
      case 0:
      case 1:
        ASSERT_EQ(drop(dict_, actor_, key, &w), there ? Outcome::kOk : Outcome::kNotFound);
        if (!there) return;
        ASSERT_EQ(w.revision, ++revision_);
        map_.erase(found);
        return;
      case 2: {
        DictWrite write;
        write.key = key_of(key);
        write.value = value.data();
        write.bytes = value.size();
        write.if_version = there ? found->second.modified - random_() % 2 : random_() % 2;
        const bool fits = write.if_version == (there ? found->second.modified : 0);
        const Outcome outcome = dict_.write(actor_, write, &w);
        ASSERT_EQ(outcome == Outcome::kOk, fits);
        if (fits) took(key, value, w);
        return;
      }
      case 3:
        ASSERT_EQ(value_of(dict_, key), there ? found->second.value : kAbsent);
        return;
      default:
        ASSERT_EQ(put(dict_, actor_, key, value, &w), Outcome::kOk);
        took(key, value, w);
    }
  }

  void check() {
    DictAudit audit(dict_);
    ASSERT_EQ(audit.run(), "");
    ASSERT_EQ(audit.entries().size(), map_.size());
    ASSERT_EQ(dict_.revision(), revision_);
    for (const auto& [key, e] : map_) {
      const auto found = audit.entries().find(key);
      ASSERT_NE(found, audit.entries().end());
      ASSERT_EQ(found->second.value, e.value);
      ASSERT_EQ(found->second.create_revision, e.created);
      ASSERT_EQ(found->second.mod_revision, e.modified);
      ASSERT_EQ(found->second.version, e.version);
      DictEntry entry;
      ASSERT_EQ(value_of(dict_, key, &entry), e.value);
      ASSERT_EQ(entry.mod_revision, e.modified);
    }
  }

  std::map<std::string, ModelEntry>& map() { return map_; }
  std::mt19937& random() { return random_; }

 private:
  void took(const std::string& key, const std::string& value, const DictWritten& w) {
    ASSERT_EQ(w.revision, ++revision_);
    auto [at, fresh] = map_.try_emplace(key, ModelEntry{value, revision_, 0, 0});
    at->second.value = value;
    at->second.modified = revision_;
    ++at->second.version;
    ASSERT_EQ(w.version, at->second.version);
    ASSERT_EQ(w.create_revision, at->second.created);
  }

  Dict& dict_;
  DictActor& actor_;
  std::mt19937 random_;
  std::map<std::string, ModelEntry> map_;
  uint64_t revision_ = 0;
};

TEST(Dict, AsAMapUnderRandomOperations) {
  const int steps = long_run() ? 2'000'000 : 60'000;
  for (const unsigned keys : {5u, 100u, 3000u}) {
    DictLimits limits = small_dict();
    limits.max_entries = 4000;
    // Then the last level overflows.
    const uint64_t mask = keys == 3000 ? 0xff0000ffffffffff : ~uint64_t{0};
    DictSegment s(limits, mask);
    DictActor a = s.actor(1);
    Model model(s.dict(), a, keys);
    for (int i = 0; i < steps; ++i) {
      const auto n = model.random()() % keys;
      model.step("key " + std::to_string(n), std::string(model.random()() % 100, 'a' + i % 26));
      ASSERT_FALSE(HasFatalFailure()) << "step " << i << " of " << keys << " keys";
      if (i % (steps / 8) == 0) model.check();
      ASSERT_FALSE(HasFatalFailure()) << "step " << i << " of " << keys << " keys";
    }
    model.check();
  }
}

TEST(Dict, ManyThreads) {
  const int steps = long_run() ? 500'000 : 10'000;
  DictSegment s(small_dict());
  Dict& d = s.dict();
  std::vector<std::thread> threads;
  std::atomic<uint64_t> changes{0}, wrong{0};
  for (uint16_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      DictActor a;
      a.owner = 1;
      a.thread = t;
      if (d.enter(a) != Outcome::kOk) return;
      std::mt19937 random(t);
      for (int i = 0; i < steps; ++i) {
        const std::string key = "key " + std::to_string(random() % 60);
        Outcome outcome = Outcome::kOk;
        if (random() % 3 == 0) {
          const std::string value = value_of(d, key, nullptr, t % 2 ? &a : nullptr);
          wrong += value != kAbsent && value != std::string(key.size() * 8, key.back());
          continue;
        }
        if (random() % 4 == 0)
          outcome = drop(d, a, key);
        else
          outcome = put(d, a, key, std::string(key.size() * 8, key.back()));
        changes += outcome == Outcome::kOk;
        wrong += outcome != Outcome::kOk && outcome != Outcome::kNotFound;
      }
      d.leave(a);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(d.revision(), changes.load());
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(Dict, ACounterThatTenIncrement) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  const int turns = 500;
  std::vector<std::thread> threads;
  for (uint16_t t = 0; t < 10; ++t) {
    threads.emplace_back([&, t] {
      DictActor a;
      a.owner = 1;
      a.thread = t;
      if (d.enter(a) != Outcome::kOk) return;
      for (int i = 0; i < turns; ++i) {
        int64_t n = 0;
        d.increment(a, key_of("n"), 1, 0, INT64_MAX, &n);
      }
      d.leave(a);
    });
  }
  for (std::thread& t : threads) t.join();
  DictActor a = s.actor(2);
  int64_t n = 0;
  EXPECT_EQ(d.increment(a, key_of("n"), 0, 0, INT64_MAX, &n), Outcome::kOk);
  EXPECT_EQ(n, 10 * turns);
}

}  // namespace
}  // namespace heddle::shm
