// Lists and blocks: the same on every plane.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

template <typename T>
class ListTest : public ConformanceTest<T> {
 protected:
  List make(const ListOptions& options = {}) {
    return this->client().create_list(this->queue_name(), options).value();
  }
  List open() { return this->client().open_list(this->queue_name()).value(); }
};
TYPED_TEST_SUITE(ListTest, Planes, PlaneNames);

std::string joined(List& list) {
  auto items = list.items();
  if (!items) return "(" + items.status().to_string() + ")";
  std::string all;
  for (const ListItem& item : *items) all += (all.empty() ? "" : " ") + item.value.stored;
  return all;
}

TYPED_TEST(ListTest, ChangesCountIndexLengthAndRevision) {
  List list = this->make();
  EXPECT_EQ(list.revision().value(), 0u);
  EXPECT_EQ(list.len().value(), 0u);
  const ListChanged first = list.append("b").value();
  EXPECT_EQ(first.index, 0u);
  EXPECT_EQ(first.length, 1u);
  EXPECT_EQ(first.revision, 1u);
  EXPECT_EQ(list.append("d")->index, 1u);
  EXPECT_EQ(list.insert(0, "a")->index, 0u);
  EXPECT_EQ(list.insert(-1, "c")->index, 2u);
  EXPECT_EQ(list.insert(99, "e")->index, 4u);
  EXPECT_EQ(joined(list), "a b c d e");
  EXPECT_EQ(list.set(-2, "D")->index, 3u);
  EXPECT_EQ(list.get(3)->value.text(), "D");
  EXPECT_EQ(list.get(3)->revision, 6u);
  EXPECT_EQ(list.get(-5)->value.text(), "a");
  const ListTaken last = list.pop().value();
  EXPECT_EQ(last.item.value.text(), "e");
  EXPECT_EQ(last.index, 4u);
  EXPECT_EQ(last.length, 4u);
  EXPECT_EQ(list.pop(0)->item.value.text(), "a");
  EXPECT_EQ(list.remove(1)->length, 2u);
  EXPECT_EQ(joined(list), "b D");
  EXPECT_EQ(list.revision().value(), 9u);
  EXPECT_EQ(list.clear()->length, 0u);
  EXPECT_EQ(list.len().value(), 0u);
  EXPECT_EQ(joined(list), "");
}

TYPED_TEST(ListTest, EveryKindOfValueComesBack) {
  List list = this->make();
  const std::string bytes("\0\xff\x80 raw", 8), big(300'000, 'x');
  list.append(nullptr).value();
  list.append(true).value();
  list.append(INT64_MIN).value();
  list.append(0.1).value();
  list.append(std::string_view("\xff\xfe")).value();
  list.append(DictInput::bytes(bytes)).value();
  list.append(DictInput::json(R"({"n": 12345678901234567890})")).value();
  list.append("").value();
  list.append(big).value();
  EXPECT_TRUE(list.append(DictInput::json("{")).status().is(Reason::kInvalidArgument));
  const std::vector<ListItem> all = list.items().value();
  ASSERT_EQ(all.size(), 9u);
  EXPECT_TRUE(all[0].value.is_null());
  EXPECT_EQ(all[1].value.boolean(), true);
  EXPECT_EQ(all[2].value.integer(), INT64_MIN);
  EXPECT_EQ(all[3].value.number(), 0.1);
  EXPECT_EQ(all[4].value, (DictValue{DictType::kString, "\xff\xfe"}));
  EXPECT_EQ(all[5].value, (DictValue{DictType::kBytes, bytes}));
  EXPECT_EQ(all[6].value, (DictValue{DictType::kJson, R"({"n": 12345678901234567890})"}));
  EXPECT_EQ(all[7].value, (DictValue{DictType::kString, ""}));
  EXPECT_EQ(all[8].value.stored, big);
  EXPECT_EQ(list.pop()->item.value.stored, big);
  EXPECT_EQ(all[2].revision, 3u);
}

TYPED_TEST(ListTest, WhatIsNotThereIsNamed) {
  List list = this->make({.max_len = 2, .max_bytes = 100, .max_value_bytes = 60});
  EXPECT_TRUE(list.pop().status().is(Reason::kEmpty));
  const Status none = list.get(0).status();
  EXPECT_TRUE(none.is(Reason::kOutOfRange)) << none.to_string();
  EXPECT_EQ(none.object(), "list " + list.name());
  EXPECT_TRUE(list.append(std::string(61, 'x')).status().is(Reason::kTooLarge));
  list.append(std::string(60, 'x')).value();
  const Status full = list.append(std::string(60, 'x')).status();
  EXPECT_TRUE(full.is(Reason::kFull));
  EXPECT_EQ(full.limit(), 100u);
  list.append("y").value();
  const Status many = list.append("z").status();
  EXPECT_TRUE(many.is(Reason::kFull));
  EXPECT_EQ(many.limit(), 2u);
  EXPECT_TRUE(list.set(2, "z").status().is(Reason::kOutOfRange));
  EXPECT_TRUE(list.remove(-3).status().is(Reason::kOutOfRange));
  EXPECT_EQ(list.len().value(), 2u);
}

TYPED_TEST(ListTest, AChangeMayNameTheRevision) {
  List list = this->make();
  const std::uint64_t revision = list.append("a")->revision;
  list.append("b").value();
  const Status refused = list.set(0, "c", revision).status();
  EXPECT_TRUE(refused.is(Reason::kMismatch));
  EXPECT_EQ(refused.actual(), revision + 1);
  EXPECT_TRUE(list.pop(0, revision).status().is(Reason::kMismatch));
  EXPECT_TRUE(list.clear(revision).status().is(Reason::kMismatch));
  EXPECT_EQ(joined(list), "a b");
  EXPECT_TRUE(list.set(0, "c", revision + 1).ok());
  EXPECT_EQ(joined(list), "c b");
}

TYPED_TEST(ListTest, PagesAreOfOneRevision) {
  List list = this->make();
  for (int i = 0; i < 600; ++i) list.append(i).value();
  ListPage page = list.slice(0, 250).value();
  EXPECT_EQ(page.items.size(), 250u);
  EXPECT_EQ(page.length, 600u);
  std::vector<std::int64_t> seen;
  for (;;) {
    for (const ListItem& item : page.items) seen.push_back(item.value.integer().value());
    const auto next = page.next();
    if (!next) break;
    page = list.slice(*next, 250, page.revision).value();
  }
  ASSERT_EQ(seen.size(), 600u);
  for (int i = 0; i < 600; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
  page = list.slice(-3).value();
  EXPECT_EQ(page.from, 597u);
  EXPECT_EQ(page.items.size(), 3u);
  EXPECT_FALSE(page.next());
  EXPECT_TRUE(list.slice(600)->items.empty());
  EXPECT_EQ(list.slice(-9999, 1)->from, 0u);
  list.append("more").value();
  EXPECT_TRUE(list.slice(0, 10, page.revision).status().is(Reason::kMismatch));
}

TYPED_TEST(ListTest, ItGrowsBeyondItsFirstMemory) {
  List list = this->make({.max_bytes = 64 << 20});
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(list.append(piece).ok()) << i;
  EXPECT_EQ(list.info()->bytes, 20u << 20);
  EXPECT_EQ(list.get(-1)->value.stored, piece);
  EXPECT_EQ(list.items()->size(), 20u);
}

TYPED_TEST(ListTest, WaitingEndsWithAChangeATimeoutOrTheEnd) {
  List list = this->make();
  EXPECT_TRUE(list.wait_change(1, 0s).status().is(Reason::kEmpty));
  EXPECT_TRUE(list.wait_change(1, 30ms).status().is(Reason::kTimedOut));
  std::thread other([&] {
    List again = this->connect().open_list(this->queue_name()).value();
    again.append("x").value();
  });
  EXPECT_EQ(list.wait_change(1).value(), 1u);
  other.join();
  EXPECT_EQ(list.wait_change(1).value(), 1u);
  std::thread end([&] { EXPECT_TRUE(this->connect().delete_list(this->queue_name()).ok()); });
  const Status ended = list.wait_change(2).status();
  EXPECT_TRUE(ended.is(Reason::kClosed)) << ended.to_string();
  end.join();
  EXPECT_TRUE(list.append("x").status().is(Reason::kClosed));
  EXPECT_TRUE(list.get(0).status().is(Reason::kClosed));
}

TYPED_TEST(ListTest, AListIsNeverMadeByItsUse) {
  const Status none = this->client().open_list("nobody/made/it").status();
  EXPECT_TRUE(none.is(Reason::kNotFound));
  EXPECT_NE(none.to_string().find("heddle list create nobody/made/it"), std::string::npos);
  List list = this->make({.max_len = 7});
  EXPECT_TRUE(
      this->client().create_list(this->queue_name()).status().is(Reason::kExistsOtherOptions));
  EXPECT_TRUE(this->client().create_list(this->queue_name(), {.open_existing = true}).ok());
  const Status other = this->client()
                           .create_list(this->queue_name(), {.max_len = 8, .open_existing = true})
                           .status();
  EXPECT_TRUE(other.is(Reason::kExistsOtherOptions));
  EXPECT_NE(other.to_string().find("max_len is 7, asked was 8"), std::string::npos);
  EXPECT_TRUE(
      this->client().create_list("bad", {.max_len = 0}).status().is(Reason::kInvalidArgument));
  const ListInfo info = list.info().value();
  EXPECT_EQ(info.name, this->queue_name());
  EXPECT_EQ(info.options.max_len, 7u);
  EXPECT_EQ(info.options.mode, 0600u);
  EXPECT_EQ(info.uid, ::getuid());
  const auto listed = this->client().lists(this->queue_name()).value();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].object_id, info.object_id);
  List nameless = this->client().create_anonymous_list().value();
  EXPECT_TRUE(nameless.name().starts_with("anon/"));
  EXPECT_TRUE(nameless.append("x").ok());
}

TYPED_TEST(ListTest, TwoWhoPopNeverTakeTheSame) {
  List list = this->make();
  constexpr int kItems = 400;
  for (int i = 0; i < kItems; ++i) list.append(i).value();
  std::vector<std::int64_t> taken[2];
  std::vector<std::thread> threads;
  for (auto& mine : taken) {
    threads.emplace_back([&] {
      List again = this->connect().open_list(this->queue_name()).value();
      for (;;) {
        auto got = again.pop(0);
        if (!got) {
          EXPECT_TRUE(got.status().is(Reason::kEmpty)) << got.status().to_string();
          return;
        }
        mine.push_back(got->item.value.integer().value());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(std::is_sorted(taken[0].begin(), taken[0].end()));
  EXPECT_TRUE(std::is_sorted(taken[1].begin(), taken[1].end()));
  std::set<std::int64_t> all(taken[0].begin(), taken[0].end());
  all.insert(taken[1].begin(), taken[1].end());
  EXPECT_EQ(all.size(), static_cast<std::size_t>(kItems));
  EXPECT_EQ(taken[0].size() + taken[1].size(), static_cast<std::size_t>(kItems));
}

TYPED_TEST(ListTest, ItIsWhatItWasAfterTheBrokerDied) {
  List list = this->make();
  for (int i = 0; i < 100; ++i) list.append(i).value();
  this->daemon().kill_broker();
  EXPECT_EQ(list.append("after")->revision, 101u);
  EXPECT_EQ(list.get(99)->value.integer(), 99);
  EXPECT_EQ(list.get(-1)->value.text(), "after");
  EXPECT_EQ(this->connect().open_list(this->queue_name())->len().value(), 101u);
}

template <typename T>
class BlockTest : public ConformanceTest<T> {
 protected:
  Block make(std::uint64_t size, BlockOptions options = {}) {
    options.size = size;
    return this->client().create_block(this->queue_name(), options).value();
  }
};
TYPED_TEST_SUITE(BlockTest, Planes, PlaneNames);

std::string text_in(Block& block, std::uint64_t at, std::size_t bytes) {
  std::string text(bytes, '?');
  auto read = block.read(at, std::as_writable_bytes(std::span(text.data(), text.size())));
  return read ? text : "(" + read.status().to_string() + ")";
}

TYPED_TEST(BlockTest, WhatIsWrittenIsReadWithItsVersion) {
  Block block = this->make(10'000);
  EXPECT_EQ(block.size(), 10'000u);
  EXPECT_EQ(block.version().value(), 0u);
  EXPECT_EQ(text_in(block, 0, 4), std::string(4, '\0'));
  EXPECT_EQ(block.write(0, "hello").value(), 1u);
  EXPECT_EQ(block.write(9'995, std::string_view("wor\0d", 5)).value(), 2u);
  EXPECT_EQ(text_in(block, 0, 5), "hello");
  EXPECT_EQ(text_in(block, 9'995, 5), std::string("wor\0d", 5));
  std::byte room[1];
  const BlockRead read = block.read(4, room).value();
  EXPECT_EQ(read.version, 2u);
  EXPECT_FALSE(read.torn);
  EXPECT_EQ(block.info()->version, 2u);
  EXPECT_TRUE(block.read(0, {}).ok());
}

TYPED_TEST(BlockTest, RangesAndVersionsAreChecked) {
  Block block = this->make(100);
  std::byte room[10];
  const Status beyond = block.read(95, room).status();
  EXPECT_TRUE(beyond.is(Reason::kOutOfRange)) << beyond.to_string();
  EXPECT_EQ(beyond.limit(), 100u);
  EXPECT_TRUE(block.write(UINT64_MAX, "x").status().is(Reason::kOutOfRange));
  block.write(0, "a").value();
  const Status other = block.write(0, "b", {.if_version = 0}).status();
  EXPECT_TRUE(other.is(Reason::kMismatch));
  EXPECT_EQ(other.actual(), 1u);
  EXPECT_EQ(block.write(0, "b", {.if_version = 1}).value(), 2u);
}

TYPED_TEST(BlockTest, MappingIsForThisMachine) {
  Block block = this->make(5'000);
  auto map = block.map();
  if (TypeParam::kPlane == Plane::kGrpc) {
    EXPECT_TRUE(map.status().is(Reason::kUnsupported));
    return;
  }
  ASSERT_TRUE(map.ok()) << map.status().to_string();
  EXPECT_EQ(map->size(), 5'000u);
  EXPECT_TRUE(map->writable());
  std::memcpy(map->data() + 10, "stored", 6);
  EXPECT_EQ(text_in(block, 10, 6), "stored");
  EXPECT_EQ(block.version().value(), 0u);
  const BlockMap reader = block.map(true).value();
  EXPECT_FALSE(reader.writable());
  block.write(0, "x").value();
  EXPECT_EQ(static_cast<char>(reader.data()[0]), 'x');
  block = Block();
  EXPECT_EQ(static_cast<char>(map->data()[0]), 'x') << "it outlives the handle";
}

TYPED_TEST(BlockTest, WaitingEndsWithAWriteATimeoutOrTheEnd) {
  Block block = this->make(100);
  EXPECT_TRUE(block.wait_change(0, 0s).status().is(Reason::kEmpty));
  EXPECT_TRUE(block.wait_change(0, 30ms).status().is(Reason::kTimedOut));
  std::thread other([&] {
    Block again = this->connect().open_block(this->queue_name()).value();
    again.write(0, "x").value();
  });
  EXPECT_EQ(block.wait_change(0).value(), 1u);
  other.join();
  std::thread end([&] { EXPECT_TRUE(this->connect().delete_block(this->queue_name()).ok()); });
  const Status ended = block.wait_change(1).status();
  EXPECT_TRUE(ended.is(Reason::kClosed)) << ended.to_string();
  end.join();
  EXPECT_TRUE(block.write(0, "x").status().is(Reason::kClosed));
  EXPECT_TRUE(block.version().status().is(Reason::kClosed));
}

TYPED_TEST(BlockTest, ABlockIsMadeWithItsSizeAndChargedWhole) {
  EXPECT_TRUE(this->client().open_block("nobody/made/it").status().is(Reason::kNotFound));
  EXPECT_TRUE(this->client().create_block("sizeless", {}).status().is(Reason::kInvalidArgument));
  Block block = this->make(1 << 20, {.mode = 0644});
  const BlockInfo info = block.info().value();
  EXPECT_EQ(info.options.size, 1u << 20);
  EXPECT_EQ(info.options.mode, 0644u);
  EXPECT_GE(info.memory_bytes, 1u << 20);
  EXPECT_FALSE(info.torn);
  const Status other =
      this->client().create_block(this->queue_name(), {.size = 8, .open_existing = true}).status();
  EXPECT_TRUE(other.is(Reason::kExistsOtherOptions));
  ASSERT_EQ(this->client().blocks(this->queue_name())->size(), 1u);
  EXPECT_FALSE(block.force().value());
  EXPECT_TRUE(block.mend().ok());
}

TYPED_TEST(BlockTest, WritersAndReadersNeverMix) {
  constexpr std::size_t kBytes = 20'000;
  Block block = this->make(kBytes);
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      Block mine = this->connect().open_block(this->queue_name()).value();
      for (char c = 0; !stop.load(); c = static_cast<char>((c + 1) % 20)) {
        ASSERT_TRUE(mine.write(0, std::string(kBytes, static_cast<char>('a' + 2 * (c / 2) + w))));
      }
    });
  }
  std::uint64_t last = 0;
  for (int i = 0; i < 200; ++i) {
    std::string text(kBytes, '?');
    auto read = block.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    ASSERT_EQ(text.find_first_not_of(text[0]), std::string::npos) << "of two writes";
    ASSERT_GE(read->version, last);
    last = read->version;
  }
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace heddle::test
