// A thread that holds a lock and waits at a pipe: what it tells, and how it is called off.
#include <string>
#include <thread>

#include "proto/shm/futex.h"
#include "proto/shm/wait_note.h"
#include "tests/unit/shm/pipe_fixture.h"

namespace heddle::shm {
namespace {

class PipeToldTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_STREQ(near_.audit(), nullptr); }

  PipeSegment segment_{small_pipe()};
  Pipe near_ = segment_.enter(PipeSide::kA, kOwnerA);
  Pipe far_ = segment_.enter(PipeSide::kB, kOwnerB);
  PipeActor a_ = pipe_actor(kOwnerA), b_ = pipe_actor(kOwnerB);
};

// A thread that holds a lock, or none, at a pipe.
struct Holder {
  explicit Holder(PipeActor* at, bool holds = true) : actor(at) {
    hands.owner = at->owner;
    hands.journal = &line;
    hands.look = [](void*) { return true; };
    at->patience_ns = 50'000'000;
    at->holding_context = holds ? &hands : nullptr;
    at->holding = [](void* own) { return static_cast<LockActor*>(own); };
  }
  uint64_t told() const {
    while (line.waiting_on.load() == 0) usleep(500);
    return line.waiting_on.load();
  }
  bool call_off(uint64_t word) {
    return line.waiting_on.compare_exchange_strong(word, word | kWaitCancelled);
  }
  PipeActor* actor;
  JournalLine line{};
  LockActor hands;
};

TEST_F(PipeToldTest, OneThatHoldsALockTellsThatItReceives) {
  Holder holder(&b_);
  std::string got;
  std::thread receiver([&] { got = receive(far_, b_, monotonic_ns() + 20'000'000'000); });
  const uint64_t word = holder.told();
  usleep(120'000);
  EXPECT_EQ(holder.told(), word) << "one wait, whatever the patience";
  EXPECT_EQ(WaitWord::decode(word).what, WaitFor::kReceiveAtB);
  EXPECT_EQ(WaitWord::decode(word).object, 1u);
  EXPECT_EQ(WaitWord::decode(word).encode(), word);
  PipeObstacle obstacle = far_.obstacle(false, holder.line.waiting_room.load(), b_.owner);
  EXPECT_TRUE(obstacle.waits);
  EXPECT_EQ(obstacle.turn_of, 0);
  ASSERT_TRUE(holder.call_off(word));
  near_.wake_waiters();
  receiver.join();
  EXPECT_EQ(got, said(Outcome::kInterrupted));
  EXPECT_EQ(holder.line.waiting_on.load(), 0u);
  // What came before it was woken is received, not left and not lost.
  receiver = std::thread([&] { got = receive(far_, b_, monotonic_ns() + 20'000'000'000); });
  const uint64_t next = holder.told();
  EXPECT_NE(next, word);
  ASSERT_EQ(send(near_, a_, "in time"), Outcome::kOk);
  (void)holder.call_off(next);
  near_.wake_waiters();
  receiver.join();
  EXPECT_EQ(got, "in time");
  EXPECT_EQ(holder.line.waiting_on.load(), 0u);
  EXPECT_FALSE(far_.obstacle(false, 0, b_.owner).seen == obstacle.seen);
}

TEST_F(PipeToldTest, WhoHoldsNothingTellsNothing) {
  Holder nothing(&b_, false);
  EXPECT_EQ(receive(far_, b_, monotonic_ns() + 20'000'000), said(Outcome::kTimedOut));
  EXPECT_EQ(nothing.hands.waits, 0u);
  Holder holder(&b_);
  EXPECT_EQ(receive(far_, b_, monotonic_ns() + 20'000'000), said(Outcome::kTimedOut));
  EXPECT_EQ(holder.hands.waits, 1u);
  EXPECT_EQ(holder.line.waiting_on.load(), 0u);
}

TEST_F(PipeToldTest, OneThatHoldsALockTellsHowMuchRoomItNeeds) {
  while (send(near_, a_, std::string(1000, 'f')) == Outcome::kOk) {
  }
  Holder holder(&a_);
  Outcome outcome = Outcome::kOk;
  const auto begin = [&](size_t bytes) {
    return std::thread([&, bytes] {
      outcome = send(near_, a_, std::string(bytes, 'x'), monotonic_ns() + 20'000'000'000);
    });
  };
  std::thread sender = begin(1500);
  uint64_t word = holder.told();
  EXPECT_EQ(WaitWord::decode(word).what, WaitFor::kSendAtA);
  const uint64_t room = holder.line.waiting_room.load();
  EXPECT_EQ(room, frame_bytes(1500) + kFrameHeaderBytes);
  EXPECT_TRUE(near_.obstacle(true, room, a_.owner).waits);
  EXPECT_FALSE(near_.obstacle(true, 8, a_.owner).waits) << "for that there is room";
  ASSERT_TRUE(holder.call_off(word));
  far_.wake_waiters();
  sender.join();
  EXPECT_EQ(outcome, Outcome::kInterrupted);
  // A large one is called off before its first frame, or not at all.
  sender = begin(50'000);
  word = holder.told();
  ASSERT_TRUE(holder.call_off(word));
  far_.wake_waiters();
  sender.join();
  EXPECT_EQ(outcome, Outcome::kInterrupted);
  std::string got;
  while ((got = receive(far_, b_)) == std::string(1000, 'f')) {
  }
  EXPECT_EQ(got, said(Outcome::kEmpty)) << "a part of what was called off";
  const uint32_t told = holder.hands.waits;
  sender = begin(50'000);
  while (near_.info(PipeSide::kA).bytes_queued < 3000) usleep(500);
  usleep(20'000);
  EXPECT_EQ(holder.line.waiting_on.load(), 0u);
  EXPECT_EQ(receive(far_, b_, kForever), std::string(50'000, 'x'));
  sender.join();
  EXPECT_EQ(outcome, Outcome::kOk);
  EXPECT_EQ(holder.hands.waits, told);
}

TEST_F(PipeToldTest, OneThatWaitsForItsTurnTellsSo) {
  PipeActor other = pipe_actor(7);
  Pipe shared = segment_.enter(PipeSide::kA, 7);
  ASSERT_EQ(shared.hold(other, kTry), Outcome::kOk);
  Holder holder(&a_);
  Outcome outcome = Outcome::kInterrupted;
  std::thread sender([&] { outcome = send(near_, a_, "after", monotonic_ns() + 20'000'000'000); });
  (void)holder.told();
  const uint64_t room = holder.line.waiting_room.load();
  EXPECT_EQ(near_.obstacle(true, room, a_.owner).turn_of, 7);
  EXPECT_FALSE(near_.obstacle(true, room | kWaitHasTurn, 7).waits) << "it holds it, and has room";
  shared.let_go(other);
  sender.join();
  EXPECT_EQ(outcome, Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), "after");
  near_.shutdown_write(a_);
  EXPECT_FALSE(far_.obstacle(false, 0, b_.owner).waits) << "the end of the stream is there";
}

}  // namespace
}  // namespace heddle::shm
