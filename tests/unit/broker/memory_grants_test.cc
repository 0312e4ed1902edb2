// The byte budget: what is granted, refused, given back, and known to the next broker.
#include "tests/unit/broker/grant_world.h"

namespace heddle::broker {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const std::string kBody(60'000, 'x');

shm::QueueLimits limits() {
  shm::QueueLimits limits;
  limits.max_len = 10'000;
  limits.max_leases = 64;
  limits.max_bytes = 64 * kMiB;
  limits.max_msg_bytes = 4 * kMiB;
  return limits;
}

// Puts until it is refused.
Status fill(GrantWorld& world, uint64_t id, std::string_view body) {
  for (int i = 0; i < 100'000; ++i) {
    if (Status status = world.put(id, body); !status.ok()) return status;
  }
  return Status(Reason::kInternal, "nothing ever refused it");
}

TEST(MemoryGrants, BeginsSmallAndDoubles) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  const ObjectGrant first = world.recorded(1);
  EXPECT_LT(world.grants().used(), 512 * 1024u);
  EXPECT_EQ(world.grants().used(), world.grants().used_by(5));
  uint32_t before = first.extents, changes = 0;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(world.put(1, kBody).ok());
    const uint32_t now = world.recorded(1).extents;
    EXPECT_TRUE(now == before || now == 2 * before) << before << " " << now;
    changes += now != before;
    before = now;
  }
  EXPECT_GE(before, 200u);
  EXPECT_LE(changes, 8u);
  EXPECT_EQ(world.at(1).queue.granted().extents, before);
  EXPECT_LE(world.real_bytes(), world.grants().used());
}

TEST(MemoryGrants, SlotsAreGrantedAsBodiesAre) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  EXPECT_EQ(world.recorded(1).segments, 4u);
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(world.put(1, "small").ok()) << i;
  EXPECT_GE(world.recorded(1).segments, 10'000u / shm::kSlotsPerSegment);
  EXPECT_EQ(world.recorded(1).extents, 2u);
  EXPECT_LE(world.real_bytes(), world.grants().used());
}

TEST(MemoryGrants, AFullQueueAsksForNothing) {
  GrantWorld world;
  shm::QueueLimits four = limits();
  four.max_len = 4 * shm::kSlotsPerSegment;
  ASSERT_TRUE(world.make(1, 5, four).ok());
  world.limit(world.grants().used(), 0);
  GrantWorld::Member& member = world.at(1);
  for (uint32_t i = 0; i < four.max_len; ++i) ASSERT_TRUE(world.put(1, "small").ok()) << i;
  EXPECT_EQ(shm::put(member.queue, member.actor, "more"), shm::Outcome::kFull);
  EXPECT_EQ(shm::get(member.queue, member.actor), "small");
  EXPECT_EQ(shm::put(member.queue, member.actor, "more"), shm::Outcome::kMemoryExhausted);
}

TEST(MemoryGrants, ARunThatIsLongerThanTwiceTheGrantIsGrantedAtOnce) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  ASSERT_TRUE(world.put(1, std::string(3 * kMiB, 'r')).ok());
  EXPECT_GE(world.recorded(1).extents, 48u);
  EXPECT_LT(world.recorded(1).extents, 60u);
}

TEST(MemoryGrants, TheLimitIsExactAndTheRefusalNamesIt) {
  GrantWorld world;
  world.limit(8 * kMiB, 0);
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  ASSERT_TRUE(world.make(2, 6, limits()).ok());
  Status refused[2];
  while (refused[0].ok() || refused[1].ok()) {
    for (const uint64_t id : {1, 2}) {
      if (refused[id - 1].ok()) refused[id - 1] = world.put(id, kBody);
      ASSERT_LE(world.grants().used(), 8 * kMiB);
      ASSERT_LE(world.real_bytes(), world.grants().used());
    }
  }
  for (const Status& status : refused) {
    EXPECT_TRUE(status.is(Reason::kMemoryExhausted)) << status.to_string();
    EXPECT_NE(status.message().find("memory_max is reached"), std::string::npos);
    EXPECT_EQ(status.limit(), 8 * kMiB);
    EXPECT_EQ(status.actual(), world.grants().used());
  }
  // To the last extent.
  EXPECT_GT(world.grants().used(), 8 * kMiB - 100'000);
  EXPECT_TRUE(world.make(3, 7, limits()).is(Reason::kMemoryExhausted));
}

TEST(MemoryGrants, OneUserMeetsHisOwnLimitAndRootDoesNot) {
  GrantWorld world;
  world.limit(64 * kMiB, 4 * kMiB);
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  const Status refused = fill(world, 1, kBody);
  EXPECT_TRUE(refused.is(Reason::kMemoryExhausted)) << refused.to_string();
  EXPECT_NE(refused.message().find("memory_per_uid_max is reached"), std::string::npos);
  EXPECT_EQ(refused.limit(), 4 * kMiB);
  EXPECT_EQ(refused.actual(), world.grants().used_by(5));
  EXPECT_TRUE(world.make(2, 5, limits()).is(Reason::kQuota));
  ASSERT_TRUE(world.make(3, 6, limits()).ok());
  EXPECT_TRUE(world.put(3, kBody).ok());
  ASSERT_TRUE(world.make(4, 0, limits()).ok());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(world.put(4, kBody).ok());
}

TEST(MemoryGrants, DeletingGivesBack) {
  GrantWorld world;
  world.limit(8 * kMiB, 0);
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  EXPECT_FALSE(fill(world, 1, kBody).ok());
  world.remove(1);
  EXPECT_EQ(world.grants().used(), 0u);
  EXPECT_EQ(world.grants().used_by(5), 0u);
  ASSERT_TRUE(world.make(2, 5, limits()).ok());
  EXPECT_TRUE(world.put(2, kBody).ok());
  const auto gone = world.grants().grow(1, {100, 0});
  EXPECT_TRUE(gone.status().is(Reason::kClosed)) << gone.status().to_string();
}

TEST(MemoryGrants, WhatIsFreeComesBackAndMayBeGrantedAgain) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  for (int lap = 0; lap < 3; ++lap) {
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(world.put(1, kBody).ok());
    const uint64_t full = world.grants().used();
    world.grants().measure();
    world.empty(1);
    world.grants().measure();  // used until just now
    EXPECT_GT(world.recorded(1).extents, 90u);
    world.grants().measure();
    EXPECT_EQ(world.recorded(1).extents, 2u);
    EXPECT_EQ(world.at(1).queue.granted().extents, 2u);
    EXPECT_GT(world.recorded(1).extents_ever, 90u);
    EXPECT_LT(world.grants().used(), full / 4);
    EXPECT_LE(world.real_bytes(), world.grants().used());
    EXPECT_STREQ(world.at(1).queue.audit(), nullptr);
  }
}

TEST(MemoryGrants, WhoIsAboutToBeRefusedGetsWhatOthersDoNotUse) {
  GrantWorld world;
  world.limit(8 * kMiB, 0);
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  ASSERT_TRUE(world.make(2, 6, limits()).ok());
  EXPECT_FALSE(fill(world, 1, kBody).ok());
  EXPECT_FALSE(world.put(2, std::string(kMiB, 'y')).ok());
  world.empty(1);
  usleep(20'000);  // a squeeze is a look at everything: not at every refusal
  const Status status = world.put(2, std::string(kMiB, 'y'));
  EXPECT_TRUE(status.ok()) << status.to_string();
  EXPECT_LE(world.grants().used(), 8 * kMiB);
}

TEST(MemoryGrants, ALoweredLimitTakesNothingAway) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  ASSERT_TRUE(world.put(1, kBody).ok());
  world.limit(1, 0);
  EXPECT_TRUE(fill(world, 1, kBody).is(Reason::kMemoryExhausted));
  world.limit(0, 0);
  EXPECT_TRUE(world.put(1, kBody).ok());
}

TEST(MemoryGrants, TheNextBrokerKnowsWhatWasGranted) {
  GrantWorld world;
  world.limit(8 * kMiB, 0);
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  ASSERT_TRUE(world.make(2, 6, limits()).ok());
  EXPECT_FALSE(fill(world, 1, kBody).ok());
  const uint64_t used = world.grants().used();
  const ObjectGrant granted = world.recorded(1);
  world.start();
  EXPECT_EQ(world.grants().used(), used);
  EXPECT_EQ(world.recorded(1), granted);
  EXPECT_FALSE(world.put(2, std::string(kMiB, 'y')).ok());
}

// The broker was killed between the two.
TEST(MemoryGrants, TheCatalogIsAheadOfTheHeader) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(world.put(1, kBody).ok());
  auto& header = *static_cast<shm::QueueHeader*>(world.at(1).segment->base());
  const uint32_t granted = world.recorded(1).extents;
  header.extents_granted.store(granted - 5);
  header.segments_granted.store(1);
  const uint64_t used = world.grants().used();
  world.start();
  EXPECT_EQ(world.grants().used(), used);
  EXPECT_EQ(world.at(1).queue.granted(), (shm::QueueGrant{granted, 4}));
}

TEST(MemoryGrants, WhatAClientGrantedItselfIsCounted) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  auto& header = *static_cast<shm::QueueHeader*>(world.at(1).segment->base());
  for (const bool restarted : {false, true}) {
    const uint64_t before = world.grants().used();
    header.extents_granted.fetch_add(100);
    header.segments_granted.fetch_add(10);
    restarted ? world.start() : world.grants().measure();
    EXPECT_GE(world.grants().used(), before + 100 * shm::kExtentBytes);
    EXPECT_EQ(world.recorded(1).extents, header.extents_granted.load());
    EXPECT_EQ(world.recorded(1).segments, header.segments_granted.load());
  }
  header.extents_granted.store(UINT32_MAX);
  header.segments_granted.store(UINT32_MAX);
  world.grants().measure();
  const shm::QueueGrant most = shm::queue_largest_grant(limits());
  EXPECT_EQ(world.recorded(1).segments, most.segments);
  EXPECT_GE(world.grants().used(), most.segments * 16'384ull);
}

TEST(MemoryGrants, MemoryBeyondAnyGrantIsCounted) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  const uint64_t at = shm::QueueGeometry::of(limits()).area_at + 10 * shm::kExtentBytes;
  ASSERT_EQ(::fallocate(world.at(1).segment->fd(), 0, static_cast<off_t>(at), 8 * kMiB), 0);
  world.grants().measure();
  EXPECT_GE(world.grants().used(), 8 * kMiB);
  EXPECT_GE(world.grants().used(), world.real_bytes());
}

TEST(MemoryGrants, AnEndFindsRoomWhateverTheBudgetSays) {
  GrantWorld world;
  ASSERT_TRUE(world.make(1, 5, limits()).ok());
  world.limit(world.grants().used(), 0);
  EXPECT_TRUE(fill(world, 1, "small").is(Reason::kMemoryExhausted));
  GrantWorld::Member& member = world.at(1);
  EXPECT_FALSE(member.queue.reserve_used());
  EXPECT_EQ(member.queue.shutdown(member.actor, false), shm::Outcome::kOk);
  EXPECT_TRUE(member.queue.reserve_used());
  EXPECT_EQ(member.queue.reopen(member.actor), shm::Outcome::kOk);
  // That segment is in the chain now, and fills up.
  EXPECT_TRUE(fill(world, 1, "small").is(Reason::kMemoryExhausted));
  EXPECT_EQ(member.queue.shutdown(member.actor, false), shm::Outcome::kMemoryExhausted);
  EXPECT_FALSE(world.grants().grow(1, {0, member.queue.granted().segments + 1}).ok());
  ASSERT_TRUE(world.grants().grow(1, {0, member.queue.granted().segments + 1}, true).ok());
  EXPECT_EQ(member.queue.shutdown(member.actor, false), shm::Outcome::kOk);
  EXPECT_LE(world.real_bytes(), world.grants().used());
}

TEST(MemoryGrants, ChargesGoWithWhatTheyAreFor) {
  MemoryGrants grants;
  grants.set_limits(1000, 600);
  auto one = grants.take(5, 500);
  ASSERT_TRUE(one.ok());
  EXPECT_TRUE(grants.take(5, 101).status().is(Reason::kQuota));
  EXPECT_TRUE(grants.take(6, 501).status().is(Reason::kMemoryExhausted));
  {
    const MemoryCharge anyway = grants.found(6, 5000);
    EXPECT_EQ(grants.used(), 5500u);
    EXPECT_TRUE(grants.take(7, 1).status().is(Reason::kMemoryExhausted));
  }
  MemoryCharge moved = *std::move(one);
  EXPECT_EQ(grants.used(), 500u);
  moved = MemoryCharge();
  EXPECT_EQ(grants.used(), 0u);
  EXPECT_EQ(grants.used_by(5), 0u);
}

}  // namespace
}  // namespace heddle::broker
