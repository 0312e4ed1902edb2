// The sweep of a dict: everything that has expired goes, in slices, whatever happened before.
#include "daemon/objects/dict_sweep.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/shm/dict_fixture.h"

namespace heddle::objects {
namespace {

using shm::Dict;
using shm::DictActor;
using shm::Outcome;

void put_for(Dict& d, DictActor& a, const std::string& key, int64_t ttl_ms) {
  shm::DictWrite w;
  w.key = shm::key_of(key);
  w.value = "v";
  w.bytes = 1;
  w.expiry = shm::DictExpiry::kSet;
  w.expires_ms = shm::dict_now_ms() + ttl_ms;
  shm::DictWritten out;
  ASSERT_EQ(d.write(a, w, &out), Outcome::kOk);
}

/// Until nothing is left to do now.
void run_all(DictSweep& sweep, DictActor& reaper) {
  for (int i = 0; i < 10'000; ++i) {
    const int64_t now = shm::dict_now_ms();
    if (sweep.run(reaper, now, 16) > now) return;
  }
  FAIL() << "the sweep does not come to rest";
}

class Sweep : public ::testing::Test {
 protected:
  shm::DictSegment segment_{shm::small_dict()};
  Dict& d_ = segment_.dict();
  DictActor a_ = segment_.actor(1), reaper_ = segment_.actor(2);

  void wait_ms(int64_t ms) {
    for (const int64_t until = shm::dict_now_ms() + ms; shm::dict_now_ms() < until;) usleep(1000);
  }
};

TEST_F(Sweep, FollowsTheHistory) {
  DictSweep sweep(d_);
  EXPECT_GT(sweep.run(reaper_, shm::dict_now_ms(), 100), shm::dict_now_ms() + 500) << "unused";
  put_for(d_, a_, "first", 100'000);
  run_all(sweep, reaper_);
  for (int i = 0; i < 10; ++i) put_for(d_, a_, "k" + std::to_string(i), 20);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.walks(), 1u);
  const int64_t next = sweep.run(reaper_, shm::dict_now_ms(), 100);
  EXPECT_LE(next, shm::dict_now_ms() + 24) << "it knows when";
  wait_ms(24);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.gone(), 10u);
  EXPECT_EQ(d_.len(), 1u);
  EXPECT_EQ(sweep.walks(), 1u);
}

TEST_F(Sweep, FindsWhatWasThereBefore) {
  for (int i = 0; i < 300; ++i) put_for(d_, a_, "k" + std::to_string(i), i % 2 ? -5 : 100'000);
  DictSweep sweep(d_);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.gone(), 150u);
  EXPECT_EQ(sweep.waiting(), 150u);
}

TEST_F(Sweep, AHistoryThatWasFasterIsMadeUpFor) {
  put_for(d_, a_, "first", 100'000);
  DictSweep sweep(d_);
  run_all(sweep, reaper_);
  for (int i = 0; i < 100; ++i) put_for(d_, a_, "k" + std::to_string(i), 10);  // 16 are kept
  wait_ms(14);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.walks(), 1u) << "not at once again";
  wait_ms(1020);
  run_all(sweep, reaper_);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.walks(), 2u);
  EXPECT_EQ(d_.len(), 1u);
}

TEST_F(Sweep, ATouchedEntryStays) {
  DictSweep sweep(d_);
  put_for(d_, a_, "k", 10);
  run_all(sweep, reaper_);
  shm::DictWritten out;
  ASSERT_EQ(d_.touch(a_, shm::key_of("k"), shm::DictExpiry::kClear, 0, &out), Outcome::kOk);
  wait_ms(14);
  run_all(sweep, reaper_);
  EXPECT_EQ(sweep.gone(), 0u);
  EXPECT_EQ(d_.len(), 1u);
}

}  // namespace
}  // namespace heddle::objects
