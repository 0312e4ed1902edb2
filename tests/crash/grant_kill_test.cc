// Kills the broker after every change that it makes when it grants a queue memory or takes some
// back, between the catalog's record and the header's word as well; and stops a client after every
// change of a put while the broker takes back what the client may be about to claim.
//
// Promised: the next broker counts all that may be backed, header and catalog agree again, nothing
// in use is above the grant, and the queue goes on.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <unordered_set>

#include "tests/support/stepper.h"
#include "tests/unit/broker/grant_world.h"

namespace heddle::broker {
namespace {

using test::SteppedChild;

constexpr uint64_t kId = 1;
constexpr uint64_t kCatalogBytes = sizeof(CatalogHeader) + 64 * sizeof(ObjectRecord);
const std::string kBody(60'000, 'x');

class GrantSteps : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    shm::QueueLimits limits = shm::small_limits();
    limits.max_len = 3000;
    ASSERT_TRUE(world_.make(kId, 5, limits).ok());
    // The broker's mapping is not for its children; here they are the broker.
    ASSERT_EQ(::madvise(base(), world_.at(kId).segment->bytes(), MADV_DOFORK), 0);
    geometry_ = shm::QueueGeometry::of(limits);
    control_ = geometry_.slots_at + 8 * shm::kSlotsPerSegment * sizeof(shm::Slot);
  }

  struct Image {
    std::vector<std::byte> control, catalog, journal;
  };
  Image save() {
    const auto* journal = reinterpret_cast<const std::byte*>(world_.at(kId).journal);
    return {{base(), base() + control_},
            {world_.catalog_base(), world_.catalog_base() + kCatalogBytes},
            {journal, journal + sizeof(shm::JournalLine)}};
  }
  void restore(const Image& image) {
    std::memcpy(base(), image.control.data(), image.control.size());
    std::memcpy(world_.catalog_base(), image.catalog.data(), image.catalog.size());
    std::memcpy(static_cast<void*>(world_.at(kId).journal), image.journal.data(),
                image.journal.size());
  }
  uint64_t hash() {
    uint64_t h = mix(1, world_.catalog_base(), kCatalogBytes);
    h = mix(h, base(), sizeof(shm::QueueHeader));
    h = mix(h, base() + geometry_.segments_at, 32 * sizeof(shm::SegmentControl));
    return mix(h, base() + geometry_.extents_at, 3 * shm::kChunksPerExtent * 8);
  }

  // All states that the memory goes through while `body` runs.
  std::vector<Image> states_of(const std::function<int()>& body) {
    std::vector<Image> images;
    std::unordered_set<uint64_t> seen;
    SteppedChild child(body);
    do {
      if (seen.insert(hash()).second) images.push_back(save());
    } while (child.step());
    return images;
  }

  // Nothing is claimed, or may be, that the catalog does not know.
  void expect_counted() {
    const ObjectGrant recorded = world_.recorded(kId);
    const shm::QueueGrant header = world_.at(kId).queue.granted();
    EXPECT_LE(header.extents, recorded.extents);
    EXPECT_LE(header.segments, recorded.segments);
    EXPECT_LE(world_.at(kId).queue.extents_in_use(), recorded.extents);
    EXPECT_LE(recorded.extents, recorded.extents_ever);
  }
  void expect_agreed() {
    expect_counted();
    const ObjectGrant recorded = world_.recorded(kId);
    EXPECT_EQ(world_.at(kId).queue.granted(),
              (shm::QueueGrant{recorded.extents, recorded.segments}));
    EXPECT_STREQ(world_.at(kId).queue.audit(), nullptr);
    const uint64_t granted = shm::queue_granted_bytes(
        world_.at(kId).limits, {recorded.extents, recorded.segments}, recorded.extents_ever);
    EXPECT_GE(world_.grants().used(), granted);
  }
  // All of the grant can be used, and taken back.
  void expect_usable() {
    world_.empty(kId);
    const uint32_t granted = world_.recorded(kId).extents;
    for (uint32_t i = 0; i < granted && i < 10; ++i) {
      ASSERT_EQ(shm::put(world_.at(kId).queue, world_.at(kId).actor, kBody), shm::Outcome::kOk);
    }
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(world_.put(kId, "small").ok());
    world_.empty(kId);
    world_.grants().measure();
    world_.grants().measure();
    EXPECT_EQ(world_.recorded(kId).extents, 2u);
    expect_agreed();
  }
  void kill_everywhere(const char* what, const std::function<void()>& operation) {
    const std::vector<Image> images = states_of([&] {
      operation();
      return 0;
    });
    ASSERT_GE(images.size(), 2u) << what << " changes nothing";
    for (size_t i = 0; i < images.size(); ++i) {
      SCOPED_TRACE(std::string(what) + ", state " + std::to_string(i));
      restore(images[i]);
      expect_counted();
      world_.start();
      expect_agreed();
      expect_usable();
      if (HasFailure()) return;
    }
    std::printf("shown: %s; %zu states\n", what, images.size());
    restore(images[0]);
    world_.start();
  }

  std::byte* base() { return static_cast<std::byte*>(world_.at(kId).segment->base()); }

  GrantWorld world_;
  shm::QueueGeometry geometry_{};
  uint64_t control_ = 0;

 private:
  static uint64_t mix(uint64_t hash, const std::byte* from, uint64_t bytes) {
    for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
      uint64_t word;
      std::memcpy(&word, from + i, 8);
      hash = (hash ^ word) * 0x9e3779b97f4a7c15;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

TEST_F(GrantSteps, KilledWhileItGrants) {
  kill_everywhere("the first extents", [&] { (void)world_.grants().grow(kId, {3, 0}); });
  kill_everywhere("slot segments", [&] { (void)world_.grants().grow(kId, {0, 5}); });
  kill_everywhere("both", [&] { (void)world_.grants().grow(kId, {20, 9}); });
}

TEST_F(GrantSteps, KilledWhileItGrantsWhatWasTakenBackBefore) {
  ASSERT_TRUE(world_.grants().grow(kId, {16, 0}).ok());
  world_.grants().measure();
  world_.grants().measure();
  ASSERT_EQ(world_.recorded(kId).extents, 2u);
  kill_everywhere("extents again", [&] { (void)world_.grants().grow(kId, {12, 0}); });
}

TEST_F(GrantSteps, KilledWhileItTakesBack) {
  ASSERT_TRUE(world_.put(kId, kBody).ok());
  ASSERT_TRUE(world_.grants().grow(kId, {16, 0}).ok());
  kill_everywhere("taking back", [&] {
    world_.grants().measure();
    world_.grants().measure();
  });
}

// The client has read a grant that the broker then takes back, or has claimed from it.
TEST_F(GrantSteps, AClientThatIsStoppedHasClaimedOrFindsItTaken) {
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(world_.put(kId, kBody).ok());
  ASSERT_TRUE(world_.grants().grow(kId, {12, 0}).ok());
  for (const size_t bytes : {size_t{5000}, size_t{60'000}, size_t{200'000}}) {
    const std::string body(bytes, 'y');
    const Image prepared = save();
    const auto put = [&] {
      return static_cast<int>(shm::put(world_.at(kId).queue, world_.at(kId).actor, body));
    };
    std::vector<uint64_t> stops{0};
    {
      SteppedChild child(put);
      for (uint64_t last = hash(); child.step();) {
        if (hash() != last) stops.push_back(child.steps());
        last = hash();
      }
      // And before the claim: there the word has been read.
      for (uint64_t before = 1; before < stops[1]; before += 7) stops.push_back(before);
    }
    int refused = 0, put_in = 0;
    for (const uint64_t stop : stops) {
      SCOPED_TRACE(std::to_string(bytes) + " bytes, stopped after " + std::to_string(stop));
      restore(prepared);
      SteppedChild child(put);
      while (child.steps() < stop && child.step()) {
      }
      world_.start();
      world_.grants().measure();
      world_.grants().measure();
      expect_counted();
      ASSERT_LT(world_.recorded(kId).extents, 12u);
      const int ended = child.finish(5000);
      ASSERT_TRUE(ended == static_cast<int>(shm::Outcome::kOk) ||
                  ended == static_cast<int>(shm::Outcome::kMemoryExhausted))
          << ended;
      ++(ended == 0 ? put_in : refused);
      expect_agreed();
      if (HasFailure()) return;
    }
    EXPECT_GT(refused, 0);
    EXPECT_GT(put_in, 0);
    std::printf("shown: %zu bytes; %zu stops, %d put, %d refused\n", bytes, stops.size(), put_in,
                refused);
    restore(prepared);
    world_.start();
  }
}

}  // namespace
}  // namespace heddle::broker
