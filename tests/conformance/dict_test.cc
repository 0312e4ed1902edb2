// Dicts: the same on every plane.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class DictTest : public ConformanceTest<T> {
 protected:
  Dict make(const DictOptions& options = {}) {
    return this->client().create_dict(this->queue_name(), options).value();
  }
  Dict open() { return this->client().dict(this->queue_name()).value(); }
};
TYPED_TEST_SUITE(DictTest, Planes, PlaneNames);

std::string text_of(Dict& dict, std::string_view key) {
  auto got = dict.get(key);
  return got ? std::string(got->value.text()) : "(" + got.status().to_string() + ")";
}

TYPED_TEST(DictTest, EveryKindOfValueComesBack) {
  Dict dict = this->make();
  const std::string bytes("\0\xff\x80 raw", 8);
  const std::string big(70'000, 'x');
  EXPECT_TRUE(*dict.set("null", nullptr));
  EXPECT_TRUE(*dict.set("bool", true));
  EXPECT_TRUE(*dict.set("int", INT64_MIN));
  EXPECT_TRUE(*dict.set("double", 0.1));
  EXPECT_TRUE(*dict.set("text", "caf\xc3\xa9"));
  EXPECT_TRUE(*dict.set("not utf-8", std::string_view("\xff\xfe")));
  EXPECT_TRUE(*dict.set("bytes", DictInput::bytes(bytes)));
  EXPECT_TRUE(*dict.set("json", DictInput::json(R"({"n": 12345678901234567890, "a": [1, 2]})")));
  EXPECT_TRUE(*dict.set("empty", ""));
  EXPECT_TRUE(*dict.set("big", big));
  EXPECT_TRUE(dict.get("null")->value.is_null());
  EXPECT_EQ(dict.get("bool")->value.boolean(), true);
  EXPECT_EQ(dict.get("int")->value.integer(), INT64_MIN);
  EXPECT_EQ(dict.get("double")->value.number(), 0.1);
  EXPECT_EQ(text_of(dict, "text"), "caf\xc3\xa9");
  EXPECT_EQ(dict.get("not utf-8")->value.type, DictType::kString);
  EXPECT_EQ(text_of(dict, "not utf-8"), "\xff\xfe");
  EXPECT_EQ(dict.get("bytes")->value.type, DictType::kBytes);
  EXPECT_EQ(text_of(dict, "bytes"), bytes);
  EXPECT_EQ(text_of(dict, "json"), R"({"n": 12345678901234567890, "a": [1, 2]})");
  EXPECT_EQ(text_of(dict, "empty"), "");
  EXPECT_EQ(dict.get("empty")->value.type, DictType::kString);
  EXPECT_EQ(text_of(dict, "big"), big);
  EXPECT_EQ(dict.len().value(), 10u);
  EXPECT_TRUE(dict.set("bad", DictInput::json("{")).status().is(Reason::kInvalidArgument));
}

TYPED_TEST(DictTest, RevisionsAndVersionsCount) {
  Dict dict = this->make();
  const DictChanged first = dict.set("a", 1).value();
  EXPECT_EQ(first.mod_revision, 1u);
  EXPECT_EQ(first.revision, 1u);
  EXPECT_EQ(first.version, 1u);
  EXPECT_FALSE(first.existed);
  const DictChanged second = dict.set("a", 2).value();
  EXPECT_EQ(second.mod_revision, 2u);
  EXPECT_EQ(second.create_revision, 1u);
  EXPECT_EQ(second.version, 2u);
  EXPECT_TRUE(second.existed);
  const DictGot got = dict.get("a").value();
  EXPECT_EQ(got.mod_revision, 2u);
  EXPECT_EQ(got.create_revision, 1u);
  EXPECT_EQ(got.version, 2u);
  EXPECT_EQ(got.revision, 2u);
  EXPECT_EQ(got.key, "a");
  EXPECT_TRUE(*dict.erase("a"));
  EXPECT_EQ(dict.revision().value(), 3u);
  EXPECT_EQ(dict.set("a", 3)->version, 1u);
}

TYPED_TEST(DictTest, AMissingKeyIsNotFoundAndNotAFailureOfTheDict) {
  Dict dict = this->make();
  EXPECT_TRUE(dict.get("x").status().is(Reason::kNotFound));
  DictRead read;
  std::byte room[8];
  EXPECT_TRUE(dict.get_into("x", room, &read).is(Reason::kNotFound));
  EXPECT_FALSE(dict.contains("x").value());
  EXPECT_EQ(dict.erase("x")->outcome, DictOutcome::kNotFound);
  EXPECT_TRUE(dict.pop("x").status().is(Reason::kNotFound));
}

TYPED_TEST(DictTest, GetIntoTellsTheRoomItNeeds) {
  Dict dict = this->make();
  dict.set("a", "12345678").value();
  DictRead read;
  std::byte room[16];
  EXPECT_TRUE(dict.get_into("a", std::span(room, 4), &read).is(Reason::kTooLarge));
  EXPECT_EQ(read.length, 8u);
  ASSERT_TRUE(dict.get_into("a", room, &read).ok());
  EXPECT_EQ(read.type, DictType::kString);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(room), read.length), "12345678");
  EXPECT_TRUE(dict.contains("a").value());
}

TYPED_TEST(DictTest, ConditionsAreValues) {
  Dict dict = this->make();
  EXPECT_EQ(dict.set("a", 1, {.if_present = true})->outcome, DictOutcome::kNotFound);
  const DictChanged made = dict.set("a", 1, {.if_absent = true}).value();
  EXPECT_TRUE(made);
  EXPECT_EQ(dict.set("a", 2, {.if_absent = true})->outcome, DictOutcome::kExists);
  EXPECT_EQ(dict.set("a", 2, {.if_version = 0})->outcome, DictOutcome::kExists);
  const DictChanged late = dict.set("a", 2, {.if_version = made.mod_revision + 7}).value();
  EXPECT_EQ(late.outcome, DictOutcome::kMismatch);
  EXPECT_EQ(late.mod_revision, made.mod_revision);
  EXPECT_EQ(dict.set("a", 2, {.if_value = DictInput(9)})->outcome, DictOutcome::kMismatch);
  EXPECT_TRUE(*dict.set("a", 2, {.if_value = DictInput(1)}));
  const std::uint64_t now = dict.get("a")->mod_revision;
  EXPECT_TRUE(*dict.set("a", 3, {.if_version = now}));
  EXPECT_EQ(dict.erase("a", {.if_version = now})->outcome, DictOutcome::kMismatch);
  EXPECT_TRUE(*dict.erase("a", {.if_version = now + 1}));
}

TYPED_TEST(DictTest, PopSetdefaultAndPreviousGiveWhatWasThere) {
  Dict dict = this->make();
  EXPECT_EQ(dict.setdefault("a", "first")->value.text(), "first");
  EXPECT_EQ(dict.setdefault("a", "second")->value.text(), "first");
  const std::string large(9'000, 'y');
  const auto replaced = dict.set("a", large, {.return_previous = true}).value();
  ASSERT_TRUE(replaced.previous);
  EXPECT_EQ(replaced.previous->value.text(), "first");
  EXPECT_EQ(dict.pop("a")->value.text(), large);
  EXPECT_FALSE(dict.contains("a").value());
  EXPECT_FALSE(dict.set("b", 1, {.return_previous = true})->previous);
}

TYPED_TEST(DictTest, ManyAtOnce) {
  Dict dict = this->make();
  std::vector<std::string> keys;
  std::vector<Dict::Pair> pairs;
  for (int i = 0; i < 3'000; ++i) keys.push_back("key/" + std::to_string(i));
  for (int i = 0; i < 3'000; ++i) pairs.push_back({keys[static_cast<std::size_t>(i)], i});
  const auto updated = dict.update(pairs);
  ASSERT_TRUE(updated.status.ok()) << updated.status.to_string();
  EXPECT_EQ(updated.done, pairs.size());
  EXPECT_EQ(dict.len().value(), pairs.size());
  std::vector<std::string_view> asked(keys.begin(), keys.end());
  asked.push_back("missing");
  const auto entries = dict.get_many(asked).value();
  ASSERT_EQ(entries.size(), asked.size());
  EXPECT_FALSE(entries.back());
  for (int i = 0; i < 3'000; ++i) {
    const auto& entry = entries[static_cast<std::size_t>(i)];
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->value.integer(), i);
    EXPECT_EQ(entry->key, keys[static_cast<std::size_t>(i)]);
  }
  auto found = dict.keys().value();
  std::sort(found.begin(), found.end());
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(found, keys);
  EXPECT_EQ(dict.keys("key/29").value().size(), 111u);
  EXPECT_EQ(dict.items("key/299").value().size(), 11u);
  EXPECT_EQ(dict.values("key/2999").value().size(), 1u);
  EXPECT_EQ(dict.clear().value(), pairs.size());
  EXPECT_EQ(dict.len().value(), 0u);
}

TYPED_TEST(DictTest, ScansComeInPagesAndRanges) {
  Dict dict = this->make();
  for (int i = 0; i < 100; ++i) dict.set("k" + std::to_string(100 + i), i).value();
  std::set<std::string> seen;
  std::string next;
  int pages = 0;
  do {
    const DictPage page = dict.scan({.page_size = 7}, next).value();
    EXPECT_LE(page.entries.size(), 7u);
    EXPECT_EQ(page.revision, 100u);
    for (const DictEntry& entry : page.entries) EXPECT_TRUE(seen.insert(entry.key).second);
    if (++pages == 3) dict.set("k150", "changed").value();
    next = page.next;
  } while (!next.empty());
  EXPECT_EQ(seen.size(), 100u);
  EXPECT_GE(pages, 15);
  const DictPage range = dict.scan({.from = "k110", .to = "k120"}).value();
  EXPECT_EQ(range.entries.size(), 10u);
  EXPECT_FALSE(dict.scan({}, "nonsense").ok());
}

TYPED_TEST(DictTest, NumbersAreAddedToWithinTheirBounds) {
  Dict dict = this->make();
  std::int64_t now = 0;
  EXPECT_TRUE(*dict.increment("n", 5, &now));
  EXPECT_EQ(now, 5);
  EXPECT_TRUE(*dict.increment("n", -2, &now, {.least_integer = 0}));
  EXPECT_EQ(now, 3);
  EXPECT_EQ(dict.increment("n", -4, &now, {.least_integer = 0})->outcome, DictOutcome::kMismatch);
  EXPECT_EQ(now, 3);
  EXPECT_EQ(dict.increment("n", INT64_MAX, &now)->outcome, DictOutcome::kMismatch);
  EXPECT_EQ(dict.get("n")->value.integer(), 3);
  double real = 0;
  EXPECT_TRUE(*dict.increment("x", 0.5, &real, {.initial = 1}));
  EXPECT_EQ(real, 1.5);
  EXPECT_EQ(dict.increment("x", 1, &now)->outcome, DictOutcome::kMismatch);
  dict.set("t", "text").value();
  EXPECT_EQ(dict.increment("t", 1, &now)->outcome, DictOutcome::kMismatch);
}

TYPED_TEST(DictTest, TextGrowsAtItsEnd) {
  Dict dict = this->make();
  std::size_t length = 0;
  EXPECT_TRUE(*dict.append("t", "abc", {}, &length));
  EXPECT_TRUE(*dict.append("t", "def", {}, &length));
  EXPECT_EQ(length, 6u);
  EXPECT_EQ(text_of(dict, "t"), "abcdef");
  EXPECT_EQ(dict.append("t", DictInput::bytes("x"))->outcome, DictOutcome::kMismatch);
}

TYPED_TEST(DictTest, EntriesExpireAndSayWhen) {
  Dict dict = this->make();
  DictWatch watch = dict.watch({.want_previous = true}).value();
  dict.set("short", "x", {.expiry = 80ms}).value();
  dict.set("long", "y", {.expiry = std::chrono::system_clock::now() + 1h}).value();
  const auto ttl = dict.get("long")->ttl;
  ASSERT_TRUE(ttl);
  EXPECT_GT(*ttl, 59min);
  EXPECT_TRUE(*dict.touch("long", 10s));
  EXPECT_LE(*dict.get("long")->ttl, 10s);
  EXPECT_TRUE(*dict.persist("long"));
  EXPECT_FALSE(dict.get("long")->ttl);
  std::vector<DictEventKind> kinds;
  for (int i = 0; i < 5; ++i) {
    const DictEvent event = watch.next(10s).value();
    kinds.push_back(event.kind);
    if (event.kind != DictEventKind::kExpire) continue;
    EXPECT_EQ(event.entry.key, "short");
    ASSERT_TRUE(event.previous);
    EXPECT_EQ(event.previous->value.text(), "x");
  }
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), DictEventKind::kExpire), 1);
  EXPECT_TRUE(dict.get("short").status().is(Reason::kNotFound));
}

TYPED_TEST(DictTest, WhatGoesWithASessionIsGoneWithIt) {
  Dict dict = this->make();
  {
    Client other = this->connect();
    Dict theirs = other.dict(this->queue_name()).value();
    EXPECT_TRUE(*theirs.set("alive", 1, {.session = true}));
    EXPECT_TRUE(*theirs.set("stays", 1));
    EXPECT_NE(dict.get("alive")->session, 0u);
  }
  DictWatch watch = dict.watch({.initial_snapshot = true}).value();
  while (dict.contains("alive").value()) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(dict.contains("stays").value());
}

TYPED_TEST(DictTest, AWatchTellsEachChangeOnceInOrder) {
  Dict dict = this->make();
  dict.set("before", 0).value();
  DictWatch watch = dict.watch({.want_previous = true}).value();
  EXPECT_TRUE(watch.next(0ns).status().is(Reason::kEmpty));
  EXPECT_TRUE(watch.next(20ms).status().is(Reason::kTimedOut));
  dict.set("a", 1).value();
  dict.set("a", 2).value();
  dict.erase("a").value();
  dict.set("b", "x").value();
  dict.clear().value();
  const auto next = [&] { return watch.next(10s).value(); };
  DictEvent event = next();
  EXPECT_EQ(event.kind, DictEventKind::kPut);
  EXPECT_EQ(event.revision, 2u);
  EXPECT_EQ(event.entry.value.integer(), 1);
  EXPECT_FALSE(event.previous);
  event = next();
  EXPECT_EQ(event.entry.value.integer(), 2);
  ASSERT_TRUE(event.previous);
  EXPECT_EQ(event.previous->value.integer(), 1);
  event = next();
  EXPECT_EQ(event.kind, DictEventKind::kDelete);
  EXPECT_EQ(event.entry.key, "a");
  EXPECT_EQ(next().entry.key, "b");
  std::set<std::string> cleared;
  for (int i = 0; i < 2; ++i) {
    event = next();
    EXPECT_EQ(event.kind, DictEventKind::kClear);
    cleared.insert(event.entry.key);
  }
  EXPECT_EQ(cleared, (std::set<std::string>{"before", "b"}));
  EXPECT_EQ(watch.next_revision(), dict.revision().value() + 1);
}

TYPED_TEST(DictTest, AWatchBeginsWhereItIsToldAndFilters) {
  Dict dict = this->make();
  for (int i = 0; i < 10; ++i) dict.set((i % 2 ? "odd/" : "even/") + std::to_string(i), i).value();
  DictWatch watch = dict.watch({.start_revision = 4, .prefix = "odd/"}).value();
  for (const int i : {3, 5, 7, 9}) EXPECT_EQ(watch.next(10s)->entry.value.integer(), i);
  EXPECT_TRUE(watch.next(0ns).status().is(Reason::kEmpty));
  DictWatch again = dict.watch({.prefix = "even/", .initial_snapshot = true}).value();
  std::set<std::int64_t> seen;
  for (;;) {
    const DictEvent event = again.next(10s).value();
    if (event.kind == DictEventKind::kSnapshotDone) break;
    EXPECT_EQ(event.kind, DictEventKind::kSnapshot);
    seen.insert(*event.entry.value.integer());
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{0, 2, 4, 6, 8}));
  dict.set("odd/11", 11).value();
  dict.set("even/12", 12).value();
  EXPECT_EQ(again.next(10s)->entry.value.integer(), 12);
}

TYPED_TEST(DictTest, WhoIsTooSlowIsToldTheOldestRevision) {
  Dict dict = this->make({.history = 16});
  for (int i = 0; i < 100; ++i) dict.set("k", i).value();
  DictWatch watch = dict.watch({.start_revision = 1}).value();
  const Status late = watch.next(10s).status();
  EXPECT_TRUE(late.is(Reason::kOutOfRange)) << late.to_string();
  EXPECT_EQ(late.actual(), 1u);
  EXPECT_EQ(late.limit(), 85u);
  DictWatch from_there = dict.watch({.start_revision = late.limit()}).value();
  EXPECT_EQ(from_there.next(10s)->revision, late.limit());
}

TYPED_TEST(DictTest, ATransactionIsAllOrNothing) {
  Dict dict = this->make();
  dict.set("from", 10).value();
  const std::uint64_t version = dict.get("from")->mod_revision;
  const DictCompare unchanged{.key = "from", .number = version};
  const DictOperation moves[] = {{DictOperation::What::kSet, "from", 7},
                                 {DictOperation::What::kSet, "to", 3},
                                 {DictOperation::What::kGet, "from"}};
  const DictOperation looks[] = {{DictOperation::What::kGet, "from"}};
  DictWatch watch = dict.watch().value();
  const DictTransacted done = dict.transact({&unchanged, 1}, moves, looks).value();
  EXPECT_TRUE(done.held);
  EXPECT_EQ(done.outcome, DictOutcome::kDone);
  ASSERT_EQ(done.results.size(), 3u);
  ASSERT_TRUE(done.results[2].entry);
  EXPECT_EQ(done.results[2].entry->value.integer(), 10);
  EXPECT_EQ(dict.get("from")->mod_revision, done.revision);
  EXPECT_EQ(dict.get("to")->mod_revision, done.revision);
  EXPECT_EQ(watch.next(10s)->revision, done.revision);
  EXPECT_EQ(watch.next(10s)->revision, done.revision);
  const DictTransacted other = dict.transact({&unchanged, 1}, moves, looks).value();
  EXPECT_FALSE(other.held);
  ASSERT_EQ(other.results.size(), 1u);
  EXPECT_EQ(other.results[0].entry->value.integer(), 7);
  const DictOperation refused[] = {{DictOperation::What::kSet, "new", 1},
                                   {DictOperation::What::kSet, "to", 9, {.if_absent = true}}};
  const DictTransacted none = dict.transact({}, refused).value();
  EXPECT_EQ(none.outcome, DictOutcome::kExists);
  EXPECT_EQ(none.refused, 1u);
  EXPECT_FALSE(dict.contains("new").value());
}

TYPED_TEST(DictTest, DocumentsAreChangedInPart) {
  Dict dict = this->make();
  dict.set("doc", DictInput::json(R"({"user":{"name":"Ann","tags":["a","b"]},"n":1})")).value();
  EXPECT_EQ(dict.get_json("doc", "/user/name").value(), "\"Ann\"");
  EXPECT_EQ(dict.get_json("doc", "/user/tags/1").value(), "\"b\"");
  EXPECT_TRUE(dict.get_json("doc", "/nobody").status().is(Reason::kNotFound));
  EXPECT_TRUE(dict.get_json("doc", "no pointer").status().is(Reason::kInvalidArgument));
  EXPECT_TRUE(dict.set_json("doc", "/user/tags/-", "\"c\"")->changed);
  EXPECT_EQ(dict.get_json("doc", "/user/tags").value(), R"(["a","b","c"])");
  EXPECT_EQ(dict.increment_json("doc", "/n", "4")->json, "5");
  EXPECT_FALSE(dict.increment_json("doc", "/n", "4", {.most = 8}).ok());
  EXPECT_TRUE(dict.merge_json("doc", "", R"({"user":{"name":null,"age":3}})")->changed);
  EXPECT_TRUE(dict.erase_json("doc", "/user/tags/0")->changed);
  EXPECT_TRUE(dict.patch_json("doc", R"([{"op":"test","path":"/n","value":5},
                                         {"op":"add","path":"/m","value":true}])")
                  ->changed);
  EXPECT_EQ(text_of(dict, "doc"), R"({"user":{"tags":["b","c"],"age":3},"n":5,"m":true})");
  const Status failed = dict.patch_json("doc", R"([{"op":"test","path":"/n","value":6}])").status();
  EXPECT_TRUE(failed.is(Reason::kInvalidArgument)) << failed.to_string();
  EXPECT_TRUE(dict.erase_json("doc", "/nobody").status().is(Reason::kNotFound));
  EXPECT_TRUE(dict.set_json("made", "/deep/down", "1")->changed);
  EXPECT_EQ(text_of(dict, "made"), R"({"deep":{"down":1}})");
  EXPECT_EQ(dict.set_json("made", "/x", "1", {.conditions = {.if_version = 1}})->changed.outcome,
            DictOutcome::kMismatch);
}

TYPED_TEST(DictTest, OpensAsItWasMadeAndOnlyThen) {
  this->make({.max_entries = 100, .history = 64});
  EXPECT_TRUE(this->client().dict(this->queue_name(), {.history = 64}).ok());
  const Status other = this->client().dict(this->queue_name(), {.history = 65}).status();
  EXPECT_TRUE(other.is(Reason::kExistsOtherOptions));
  EXPECT_NE(other.to_string().find("history is 64, asked was 65"), std::string::npos)
      << other.to_string();
  EXPECT_TRUE(
      this->client().create_dict(this->queue_name()).status().is(Reason::kExistsOtherOptions));
  const Status missing = this->client().dict("nobody/made/this").status();
  EXPECT_TRUE(missing.is(Reason::kNotFound));
  EXPECT_NE(missing.to_string().find("heddle dict create nobody/made/this"), std::string::npos);
  const Status bad = this->client().create_dict("bad", {.max_entries = 0}).status();
  EXPECT_TRUE(bad.is(Reason::kInvalidArgument)) << bad.to_string();
  EXPECT_NE(bad.to_string().find("max_entries"), std::string::npos);
  const DictInfo info = this->client().dict_info(this->queue_name()).value();
  EXPECT_EQ(info.options.max_entries, 100u);
  EXPECT_EQ(info.options.history, 64u);
  EXPECT_EQ(info.options.eviction, DictOptions::Eviction::kReject);
  bool listed = false;
  for (const DictInfo& one : this->client().dicts("test/").value()) {
    listed = listed || one.name == this->queue_name();
  }
  EXPECT_TRUE(listed);
}

TYPED_TEST(DictTest, LimitsAreToldOrKeptByEviction) {
  Dict dict = this->make({.max_entries = 3, .max_bytes = 1000});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(*dict.set(std::to_string(i), i));
  const Status full = dict.set("3", 3).status();
  EXPECT_TRUE(full.is(Reason::kFull)) << full.to_string();
  EXPECT_EQ(full.limit(), 3u);
  EXPECT_TRUE(*dict.set("1", "again"));
  const Status large = dict.set("1", std::string(5000, 'x')).status();
  EXPECT_TRUE(large.is(Reason::kTooLarge)) << large.to_string();
  Dict evicts =
      this->client()
          .create_dict(this->queue_name() + "/evicts",
                       {.max_entries = 8, .eviction = DictOptions::Eviction::kOldestWrite})
          .value();
  DictWatch watch = evicts.watch({.start_revision = 1}).value();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(*evicts.set(std::to_string(i), i));
  EXPECT_LE(evicts.len().value(), 8u);
  int evicted = 0;
  while (auto event = watch.next(evicted < 92 ? 5s : 0ns)) {
    evicted += event->kind == DictEventKind::kEvict;
  }
  EXPECT_GE(evicted, 92);
}

TYPED_TEST(DictTest, ADeletedDictIsClosed) {
  Dict dict = this->make();
  dict.set("a", 1).value();
  DictWatch watch = dict.watch().value();
  ASSERT_TRUE(this->client().delete_dict(this->queue_name()).ok());
  EXPECT_TRUE(dict.get("a").status().is(Reason::kClosed)) << dict.get("a").status().to_string();
  EXPECT_TRUE(dict.set("a", 1).status().is(Reason::kClosed));
  EXPECT_TRUE(watch.next(20s).status().is(Reason::kClosed));
  EXPECT_TRUE(this->client().dict(this->queue_name()).status().is(Reason::kNotFound));
  Dict fresh = this->make();
  EXPECT_EQ(fresh.len().value(), 0u);
}

// The read-modify-write race: shown, and solved twice.
TYPED_TEST(DictTest, IncrementsOfManyAreNotLost) {
  Dict dict = this->make();
  dict.set("race", 0).value();
  dict.set("doc", DictInput::json(R"({"n":0})")).value();
  constexpr int kThreads = 10, kTimes = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      Client client = this->connect();
      Dict mine = client.dict(this->queue_name()).value();
      for (int i = 0; i < kTimes; ++i) {
        const std::int64_t seen = *mine.get("race")->value.integer();
        std::this_thread::yield();
        mine.set("race", seen + 1).value();
        EXPECT_TRUE(*mine.increment("counted", 1));
        EXPECT_TRUE(mine.increment_json("doc", "/n", "1")->changed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(dict.get("counted")->value.integer(), kThreads * kTimes);
  EXPECT_EQ(dict.get_json("doc", "/n").value(), std::to_string(kThreads * kTimes));
  EXPECT_LE(*dict.get("race")->value.integer(), kThreads * kTimes);
}

TYPED_TEST(DictTest, AStaleFenceIsRefused) {
  Dict dict = this->make();
  Client near =
      Client::connect({.runtime_dir = this->daemon().runtime_dir(), .plane = Plane::kShm}).value();
  Lock office = near.lock(this->queue_name() + "/office").value();
  auto first = office.guard().value();
  const Fence old = first.fence();
  EXPECT_TRUE(*dict.set("a", "one", {.fence = old}));
  EXPECT_TRUE(first.release().ok());
  const Fence now = office.guard().value().fence();
  const Status stale = dict.set("a", "late", {.fence = old}).status();
  EXPECT_TRUE(stale.is(Reason::kStaleFence)) << stale.to_string();
  EXPECT_TRUE(*dict.set("a", std::string(100'000, 'x'), {.fence = now}));
  EXPECT_EQ(dict.get("a")->value.text().size(), 100'000u);
  EXPECT_EQ(dict.set("a", 1, {.if_absent = true, .fence = now})->outcome, DictOutcome::kExists);
  EXPECT_TRUE(dict.erase("a", {.fence = old}).status().is(Reason::kStaleFence));
  EXPECT_TRUE(*dict.erase("a", {.fence = now}));
}

// Values far beyond the memory that was granted at first, also by the broker.
TYPED_TEST(DictTest, MemoryGrowsAsItIsNeeded) {
  Dict dict = this->make({.max_bytes = 256u << 20});
  const std::string large(3 << 20, 'v');
  for (int i = 0; i < 12; ++i) {
    auto set = dict.set("large" + std::to_string(i), large);
    ASSERT_TRUE(set.ok()) << set.status().to_string();
  }
  EXPECT_EQ(dict.get("large11")->value.stored, large);
  EXPECT_EQ(dict.info()->oldest_revision, 1u) << "the history had to make room";
}

// --- with a broker that is killed ---

template <typename T>
class DictRestartTest : public ConformanceTest<T> {};
TYPED_TEST_SUITE(DictRestartTest, Planes, PlaneNames);

TYPED_TEST(DictRestartTest, EntriesOutliveTheBroker) {
  Dict dict = this->client().create_dict("kept", {.history = 64}).value();
  for (int i = 0; i < 500; ++i) dict.set("k" + std::to_string(i), i).value();
  this->daemon().kill_broker();
  EXPECT_EQ(dict.get("k499")->value.integer(), 499);
  EXPECT_EQ(dict.len().value(), 500u);
  EXPECT_TRUE(*dict.set("k500", 500));
  EXPECT_TRUE(this->client().dict("kept", {.history = 64}).ok());
  EXPECT_TRUE(
      this->client().dict("kept", {.history = 65}).status().is(Reason::kExistsOtherOptions));
  EXPECT_TRUE(this->client().delete_dict("kept").ok());
}

TYPED_TEST(DictRestartTest, AWatchGoesOnExactlyWhereItWas) {
  Dict dict = this->client().create_dict("watched", {.history = 100'000}).value();
  DictWatch watch = dict.watch().value();
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> written{0};
  std::thread writer([&] {
    Client near =
        Client::connect({.runtime_dir = this->daemon().runtime_dir(), .plane = Plane::kShm})
            .value();
    Dict mine = near.dict("watched").value();
    for (std::int64_t i = 1; !stop.load() && i < 90'000; ++i) {
      mine.set("k" + std::to_string(i % 7), i).value();
      written.store(i);
      if (i % 16 == 0) std::this_thread::sleep_for(1ms);
    }
  });
  std::thread killer([&] {
    for (int i = 0; i < 3; ++i) {
      std::this_thread::sleep_for(300ms);
      this->daemon().kill_broker();
    }
    stop.store(true);
  });
  std::int64_t seen = 0;
  std::uint64_t revision = 0;
  bool good = true;
  while (good) {
    auto event = watch.next(100ms);
    if (!event) {
      if (!event.status().is(Reason::kTimedOut)) {
        ADD_FAILURE() << event.status().to_string();
        good = false;
      }
      if (stop.load() && seen >= written.load()) break;
      continue;
    }
    good = *event->entry.value.integer() == seen + 1 &&
           (revision == 0 || event->revision == revision + 1);
    EXPECT_TRUE(good) << "change " << *event->entry.value.integer() << " after " << seen;
    seen = *event->entry.value.integer();
    revision = event->revision;
  }
  stop.store(true);
  writer.join();
  killer.join();
  EXPECT_EQ(seen, written.load());
  EXPECT_GT(seen, 0);
}

// Each increment counts once, whatever becomes of replies.
TYPED_TEST(DictRestartTest, IncrementsCountOnceWhileTheBrokerIsKilled) {
  Dict dict = this->client().create_dict("once").value();
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> made{0}, unknown{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Client client = this->connect();
      Dict mine = client.dict("once").value();
      const std::string own = "n" + std::to_string(t);
      while (!stop.load()) {
        auto changed = mine.increment(own, 1);
        if (changed && *changed) {
          ++made;
        } else {
          ++unknown;
        }
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    std::this_thread::sleep_for(200ms);
    this->daemon().kill_broker();
  }
  std::this_thread::sleep_for(200ms);
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  std::int64_t counted = 0;
  for (int t = 0; t < 3; ++t)
    counted += dict.get("n" + std::to_string(t))->value.integer().value_or(0);
  EXPECT_GE(counted, made.load());
  EXPECT_LE(counted, made.load() + unknown.load());
  EXPECT_GT(made.load(), 0);
}

}  // namespace
}  // namespace heddle::test
