#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "proto/shm/futex.h"
#include "tests/unit/shm/pipe_fixture.h"

namespace heddle::shm {
namespace {

class PipeTest : public ::testing::Test {
 protected:
  void use(const PipeOptions& options) {
    segment_ = std::make_unique<PipeSegment>(options);
    near_ = segment_->enter(PipeSide::kA, kOwnerA);
    far_ = segment_->enter(PipeSide::kB, kOwnerB);
    a_ = pipe_actor(kOwnerA);
    b_ = pipe_actor(kOwnerB);
  }
  void SetUp() override { use(small_pipe()); }
  void TearDown() override { EXPECT_STREQ(near_.audit(), nullptr); }

  std::unique_ptr<PipeSegment> segment_;
  Pipe near_, far_;
  PipeActor a_, b_;
};

TEST_F(PipeTest, KeepsMessagesWholeAndInOrderOverManyLaps) {
  std::mt19937 random(1);
  std::deque<std::string> model;
  for (int i = 0; i < 20'000; ++i) {
    const std::string body(random() % 3 == 0 ? random() % 900 : random() % 40, 'a' + i % 26);
    if (random() % 2 != 0) {
      const Outcome outcome = send(near_, a_, body);
      if (outcome == Outcome::kOk) {
        model.push_back(body);
      } else {
        ASSERT_EQ(outcome, Outcome::kFull);
        ASSERT_FALSE(model.empty());
      }
    } else if (model.empty()) {
      ASSERT_EQ(receive(far_, b_), said(Outcome::kEmpty));
    } else {
      ASSERT_EQ(receive(far_, b_, kTry, 1000), model.front());
      model.pop_front();
    }
  }
}

TEST_F(PipeTest, BothDirectionsAreApart) {
  ASSERT_EQ(send(near_, a_, "there"), Outcome::kOk);
  ASSERT_EQ(send(far_, b_, "back"), Outcome::kOk);
  EXPECT_EQ(receive(near_, a_), "back");
  EXPECT_EQ(receive(far_, b_), "there");
}

TEST_F(PipeTest, OneDirectionOnlyUnlessDuplex) {
  PipeOptions options = small_pipe();
  options.duplex = 0;
  use(options);
  EXPECT_EQ(send(far_, b_, "no"), Outcome::kClosed);
  EXPECT_EQ(receive(near_, a_), said(Outcome::kClosed));
  EXPECT_EQ(send(near_, a_, "yes"), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), "yes");
}

TEST_F(PipeTest, TheRingIsFullAtItsCapacity) {
  const std::string body(kPipeCapacityMin / 4 - 8, 'x');  // a quarter with its header
  for (int i = 0; i < 3; ++i) ASSERT_EQ(send(near_, a_, body), Outcome::kOk);
  EXPECT_EQ(send(near_, a_, body), Outcome::kFull) << "the next header has no place";
  EXPECT_EQ(send(near_, a_, std::string(body.size() - 8, 'y')), Outcome::kOk);
  EXPECT_EQ(near_.info(PipeSide::kA).bytes_queued, kPipeCapacityMin - 8);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(receive(far_, b_), body);
}

TEST_F(PipeTest, ATooSmallRoomKeepsTheMessage) {
  ASSERT_EQ(send(near_, a_, "0123456789"), Outcome::kOk);
  Inbox in;
  std::byte small[4];
  in.to = small;
  in.capacity = sizeof small;
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kTooLarge);
  EXPECT_EQ(in.length, 10u);
  EXPECT_EQ(receive(far_, b_), "0123456789");
  EXPECT_EQ(send(near_, a_, std::string(100'001, 'x')), Outcome::kTooLarge);
}

TEST_F(PipeTest, MessagesLargerThanTheRingStreamThrough) {
  std::string body(50'000, '\0');
  std::iota(body.begin(), body.end(), '\0');
  std::thread sender([&] {
    for (int i = 0; i < 50; ++i) EXPECT_EQ(send(near_, a_, body, kForever), Outcome::kOk);
    EXPECT_EQ(send(near_, a_, "end", kForever), Outcome::kOk);
  });
  for (int i = 0; i < 50; ++i) ASSERT_EQ(receive(far_, b_, kForever), body);
  EXPECT_EQ(receive(far_, b_, kForever), "end");
  sender.join();
}

TEST_F(PipeTest, APartialMessageWaitsForTheRest) {
  const std::string body(20'000, 'p');
  std::thread sender([&] { EXPECT_EQ(send(near_, a_, body, kForever), Outcome::kOk); });
  std::string room(body.size(), '\0');
  Inbox in;
  in.to = reinterpret_cast<std::byte*>(room.data());
  in.capacity = room.size();
  Outcome outcome;
  do {
    outcome = far_.receive(b_, &in, kTry);
  } while (outcome == Outcome::kEmpty);
  EXPECT_EQ(outcome, Outcome::kOk);
  EXPECT_EQ(room, body);
  sender.join();
}

TEST_F(PipeTest, WhatItsSenderGaveUpIsDroppedWhole) {
  const std::string body(20'000, 'p');
  EXPECT_EQ(send(near_, a_, body, monotonic_ns() + 1'000'000), Outcome::kTimedOut);
  std::string room(body.size(), '\0');
  Inbox in;
  in.to = reinterpret_cast<std::byte*>(room.data());
  in.capacity = room.size();
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kEmpty);
  EXPECT_GT(in.filled, 0u);
  ASSERT_EQ(send(near_, a_, "next"), Outcome::kOk);
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kOk);
  EXPECT_EQ(room.substr(0, in.length), "next");
}

TEST_F(PipeTest, PartByPartWithoutWaiting) {
  const std::string large(10'000, 'p');
  const PipePart part{large.data(), large.size(), 3};
  std::vector<std::byte> room(large.size());
  Outbox out;
  Inbox in;
  in.to = room.data();
  in.capacity = room.size();
  int rounds = 0;
  Outcome sent, got = Outcome::kEmpty;
  while ((sent = near_.send_part(a_, part, &out)) == Outcome::kFull) {
    EXPECT_GT(out.sent, 0u);
    uint64_t n = 0;
    PipeActor sharer = pipe_actor(kOwnerB);
    EXPECT_EQ(near_.send(sharer, {"x", 1, 3}, kTry, &n), Outcome::kFull) << "it stays taken";
    got = far_.receive(b_, &in, kTry);
    EXPECT_EQ(got, Outcome::kEmpty);
    ++rounds;
  }
  EXPECT_EQ(sent, Outcome::kOk);
  EXPECT_EQ(out.sent, 0u);
  EXPECT_GE(rounds, 2);
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kOk);
  EXPECT_EQ(std::memcmp(room.data(), large.data(), large.size()), 0);
  // Given up, it leaves nothing, and the end is free.
  EXPECT_EQ(near_.send_part(a_, part, &out), Outcome::kFull);
  near_.give_up(a_, &out);
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kEmpty);
  uint64_t n = 0;
  EXPECT_EQ(near_.send(a_, {"next", 4, 3}, kTry, &n), Outcome::kOk);
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kOk);
  EXPECT_EQ(in.length, 4u);
}

TEST_F(PipeTest, AViewGivesUpAPartialMessage) {
  EXPECT_EQ(send(near_, a_, std::string(20'000, 'p'), monotonic_ns() + 1'000'000),
            Outcome::kTimedOut);
  std::string room(20'000, '\0');
  Inbox in;
  in.to = reinterpret_cast<std::byte*>(room.data());
  in.capacity = room.size();
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kEmpty);
  ASSERT_GT(in.filled, 0u);
  ASSERT_EQ(send(near_, a_, "viewed"), Outcome::kOk);
  ASSERT_EQ(send(near_, a_, "next"), Outcome::kOk);
  PipeSpan span;
  ASSERT_EQ(far_.view(b_, kTry, &span), Outcome::kOk);
  far_.consume(b_, span, span.length);
  EXPECT_EQ(far_.receive(b_, &in, kTry), Outcome::kOk);
  EXPECT_EQ(room.substr(0, in.length), "next") << "nothing of the one that was given up";
}

TEST_F(PipeTest, BytesFlow) {
  use(small_pipe(PipeMode::kBytes));
  EXPECT_EQ(send(near_, a_, "hello "), Outcome::kOk);
  EXPECT_EQ(send(near_, a_, "world"), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_, kTry, 8), "hello wo");
  EXPECT_EQ(receive(far_, b_, kTry, 8), "rld");
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEmpty));
  std::string all(1'000'000, '\0');
  std::iota(all.begin(), all.end(), '\0');
  std::thread sender([&] { EXPECT_EQ(send(near_, a_, all, kForever), Outcome::kOk); });
  std::string got;
  while (got.size() < all.size()) got += receive(far_, b_, kForever);
  EXPECT_EQ(got, all);
  sender.join();
}

TEST_F(PipeTest, ATryOfBytesSendsWhatThereIsRoomFor) {
  use(small_pipe(PipeMode::kBytes));
  const std::string body(kPipeCapacityMin + 10, 'x');
  uint64_t sent = 0;
  EXPECT_EQ(near_.send(a_, {body.data(), body.size(), 0}, kTry, &sent), Outcome::kOk);
  EXPECT_EQ(sent, kPipeCapacityMin);
  EXPECT_EQ(near_.send(a_, {body.data(), body.size(), 0}, kTry, &sent), Outcome::kFull);
  EXPECT_EQ(sent, 0u);
  EXPECT_EQ(receive(far_, b_).size(), kPipeCapacityMin);
}

TEST_F(PipeTest, InPlaceOnBothSides) {
  PipeSpan span, seen;
  ASSERT_EQ(near_.reserve(a_, near_.reserve_bytes_max(), kTry, &span), Outcome::kOk);
  EXPECT_EQ(near_.reserve_bytes_max(), kPipeCapacityMin - 16);
  std::memset(span.data, 'r', span.length);
  span.kind = 3;
  EXPECT_EQ(far_.view(b_, kTry, &seen), Outcome::kEmpty);
  near_.commit(a_, span, 100);
  ASSERT_EQ(far_.view(b_, kTry, &seen), Outcome::kOk);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(seen.data), seen.length), std::string(100, 'r'));
  far_.unview(b_);
  ASSERT_EQ(far_.view(b_, kTry, &seen), Outcome::kOk);
  far_.consume(b_, seen, seen.length);
  EXPECT_EQ(far_.view(b_, kTry, &seen), Outcome::kEmpty);
  ASSERT_EQ(near_.reserve(a_, 10, kTry, &span), Outcome::kOk);
  near_.abandon(a_);
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEmpty));
}

TEST_F(PipeTest, ManyAtOnce) {
  std::vector<std::string> bodies;
  for (int i = 0; i < 100; ++i) bodies.push_back(std::string(i * 3, 'a' + i % 26));
  std::vector<PipePart> parts;
  for (const auto& body : bodies) parts.push_back({body.data(), body.size(), 3});
  size_t done = 0;
  EXPECT_EQ(near_.send_many(a_, parts.data(), parts.size(), kTry, &done), Outcome::kFull);
  EXPECT_GT(done, 10u);
  for (size_t i = 0; i < done; ++i) EXPECT_EQ(receive(far_, b_), bodies[i]);
  size_t more = 0;
  std::thread sender([&] {
    EXPECT_EQ(near_.send_many(a_, parts.data() + done, parts.size() - done, kForever, &more),
              Outcome::kOk);
  });
  for (size_t i = done; i < bodies.size(); ++i) EXPECT_EQ(receive(far_, b_, kForever), bodies[i]);
  sender.join();
}

TEST_F(PipeTest, AHolderSendsASeries) {
  PipeActor other = pipe_actor(3);
  Pipe shared = segment_->enter(PipeSide::kA, 3);
  ASSERT_EQ(near_.hold(a_, kTry), Outcome::kOk);
  EXPECT_EQ(send(shared, other, "other"), Outcome::kFull);
  EXPECT_EQ(near_.info(PipeSide::kA).sending, kOwnerA);
  EXPECT_EQ(send(near_, a_, "1"), Outcome::kOk);
  EXPECT_EQ(send(near_, a_, "2"), Outcome::kOk);
  near_.let_go(a_);
  EXPECT_EQ(send(shared, other, "other"), Outcome::kOk);
  for (const char* body : {"1", "2", "other"}) EXPECT_EQ(receive(far_, b_), body);
}

TEST_F(PipeTest, TheEndComesAfterWhatWasSent) {
  ASSERT_EQ(send(near_, a_, "last"), Outcome::kOk);
  near_.shutdown_write(a_);
  EXPECT_EQ(send(near_, a_, "late"), Outcome::kClosed);
  EXPECT_EQ(receive(far_, b_), "last");
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEndOfStream));
  EXPECT_EQ(send(far_, b_, "still"), Outcome::kOk) << "half-closed only";
  EXPECT_EQ(receive(near_, a_), "still");
  far_.leave(b_);
  EXPECT_EQ(receive(near_, a_), said(Outcome::kEndOfStream));
  EXPECT_EQ(far_.info(PipeSide::kB).state, EndState::kClosed);
}

TEST_F(PipeTest, TheLastUserEndsAnEnd) {
  Pipe shared = segment_->enter(PipeSide::kA, 3);
  PipeActor other = pipe_actor(3);
  near_.leave(a_);
  EXPECT_EQ(send(shared, other, "on"), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), "on");
  shared.leave(other);
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEndOfStream));
  EXPECT_EQ(send(far_, b_, "nobody"), Outcome::kBrokenPipe);
  EXPECT_EQ(segment_->view(PipeSide::kA).enter(4), Outcome::kClosed);
}

TEST_F(PipeTest, ADeadPeerIsToldFromACleanEnd) {
  ASSERT_EQ(send(near_, a_, "whole"), Outcome::kOk);
  far_.reap(kOwnerA, {77, 9});
  EXPECT_EQ(receive(far_, b_), "whole");
  EXPECT_EQ(receive(far_, b_), said(Outcome::kPeerDied));
  EXPECT_EQ(far_.peer_death().pid, 77u);
  EXPECT_EQ(far_.peer_death().status, 9u);
  EXPECT_EQ(send(far_, b_, "x"), Outcome::kBrokenPipe);
}

TEST_F(PipeTest, OneThatShutItsStreamBeforeItDiedEndedCleanly) {
  near_.shutdown_write(a_);
  far_.reap(kOwnerA, {77, 9});
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEndOfStream));
}

TEST_F(PipeTest, AResumableEndWaitsForTheNext) {
  PipeOptions options = small_pipe();
  options.resumable = 1;
  use(options);
  ASSERT_EQ(send(near_, a_, "first"), Outcome::kOk);
  far_.reap(kOwnerA, {77, 9});
  EXPECT_EQ(receive(far_, b_), "first");
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEmpty));
  EXPECT_EQ(far_.info(PipeSide::kA).state, EndState::kVacant);
  Pipe next = segment_->enter(PipeSide::kA, 7);
  PipeActor a = pipe_actor(7);
  EXPECT_EQ(send(next, a, "second"), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), "second");
  next.leave(a);
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEndOfStream));
}

TEST_F(PipeTest, SleepersAreWokenByWhatTheyWaitFor) {
  std::string got;
  std::thread receiver([&] { got = receive(far_, b_, kForever); });
  while (!near_.has_sleepers()) usleep(1000);
  EXPECT_NE(near_.info(PipeSide::kB).receive_blocked_ms, 0u);
  ASSERT_EQ(send(near_, a_, "wake"), Outcome::kOk);
  receiver.join();
  EXPECT_EQ(got, "wake");
  receiver = std::thread([&] { got = receive(far_, b_, kForever); });
  while (!near_.has_sleepers()) usleep(1000);
  near_.leave(a_);
  receiver.join();
  EXPECT_EQ(got, said(Outcome::kEndOfStream));
}

TEST_F(PipeTest, PollTellsWithoutTaking) {
  EXPECT_EQ(far_.poll(b_, kTry), Outcome::kEmpty);
  EXPECT_EQ(far_.poll(b_, monotonic_ns() + 1'000'000), Outcome::kTimedOut);
  ASSERT_EQ(send(near_, a_, "x"), Outcome::kOk);
  EXPECT_EQ(far_.poll(b_, kTry), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), "x");
  near_.leave(a_);
  EXPECT_EQ(far_.poll(b_, kTry), Outcome::kOk) << "the end of the stream is there to be read";
}

TEST_F(PipeTest, PositionsWrap) {
  const uint64_t near_wrap = kPipePositionMask - 4095;
  auto& header = *reinterpret_cast<PipeHeader*>(segment_->base());
  header.directions[0].send = TurnWord{near_wrap, 0, 0}.encode();
  header.directions[0].receive = TurnWord{near_wrap, 0, 0}.encode();
  for (int i = 0; i < 1000; ++i) {
    const std::string body = std::to_string(i) + std::string(50, '.');
    ASSERT_EQ(send(near_, a_, body), Outcome::kOk);
    ASSERT_EQ(receive(far_, b_, kTry, 1000), body);
  }
  EXPECT_LT(near_.info(PipeSide::kA).bytes_sent, near_wrap);
}

// A sender is stopped between the header of its message and its word, while one that shares its end
// shuts it: the receiver is ahead of the word then.
TEST_F(PipeTest, AReceiverAheadOfAStoppedSenderWaitsForIt) {
  auto& send_word = reinterpret_cast<PipeHeader*>(segment_->base())->directions[0].send;
  const TurnWord before = TurnWord::decode(send_word.load());
  ASSERT_EQ(send(near_, a_, "x"), Outcome::kOk);
  const TurnWord after = TurnWord::decode(send_word.load());
  send_word = TurnWord{before.position, kOwnerA, kTurnBusy}.encode();
  near_.shutdown_write(a_);
  EXPECT_EQ(receive(far_, b_), "x");
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEmpty)) << "more may follow";
  EXPECT_EQ(near_.info(PipeSide::kA).bytes_queued, 0u);
  send_word = TurnWord{after.position, kOwnerA, kTurnShut}.encode();
  EXPECT_EQ(receive(far_, b_), said(Outcome::kEndOfStream));
  send_word = TurnWord{before.position, kOwnerA, kTurnShut}.encode();
  EXPECT_EQ(receive(far_, b_), said(Outcome::kCorrupt)) << "nobody is at it";
  send_word = TurnWord{after.position, kOwnerA, kTurnShut}.encode();
}

TEST_F(PipeTest, EndAOfAConnectionDoesNotComeBack) {
  PipeOptions options = small_pipe();
  options.resumable = 1;
  PipeSegment connection(options);
  Pipe a = connection.enter(PipeSide::kA, kOwnerA), b = connection.enter(PipeSide::kB, kOwnerB);
  PipeActor near = pipe_actor(kOwnerA), far = pipe_actor(kOwnerB);
  ASSERT_EQ(send(a, near, "x"), Outcome::kOk);
  b.reap(kOwnerB, {77, 9}, false);
  EXPECT_EQ(a.info(PipeSide::kB).state, EndState::kVacant);
  EXPECT_EQ(b.enter(kOwnerB), Outcome::kOk);
  b.reap(kOwnerA, {78, 9}, false);
  EXPECT_EQ(receive(b, far), "x");
  EXPECT_EQ(receive(b, far), said(Outcome::kPeerDied));
}

TEST_F(PipeTest, DamageIsAnOutcome) {
  ASSERT_EQ(send(near_, a_, "x"), Outcome::kOk);
  auto& frame = *reinterpret_cast<std::atomic<uint64_t>*>(segment_->base() + kPipeHeaderBytes);
  const uint64_t good = frame.load();
  frame = FrameHeader{0xfffffff0, 0, kFrameThere | kFrameFirst | kFrameLast}.encode();
  EXPECT_EQ(receive(far_, b_), said(Outcome::kCorrupt));
  frame = good;
  EXPECT_EQ(receive(far_, b_), "x");
}

// The ticket is no part of the body, whatever the size of the message.
TEST_F(PipeTest, ATicketComesWithItsMessage) {
  const auto send_with = [&](uint64_t ticket, const std::string& body, int64_t deadline_ns) {
    std::string all(reinterpret_cast<const char*>(&ticket), sizeof ticket);
    all += body;
    uint64_t sent = 0;
    return near_.send(a_, {all.data(), all.size(), 3, kFrameAttached}, deadline_ns, &sent);
  };
  for (const size_t bytes : {0, 1, 100, 1000, 2040, 2041, 5000, 100'000}) {
    const std::string body(bytes, 'b');
    std::thread sender([&] {
      EXPECT_EQ(send_with(7 + bytes, body, kForever), Outcome::kOk);
      EXPECT_EQ(send(near_, a_, "next", kForever), Outcome::kOk);
    });
    std::string got(bytes, '-');
    Inbox in;
    in.to = reinterpret_cast<std::byte*>(got.data());
    in.capacity = bytes == 0 ? 0 : bytes - 1;
    if (bytes != 0) {
      ASSERT_EQ(far_.receive(b_, &in, kForever), Outcome::kTooLarge);
      ASSERT_EQ(in.length, bytes);
    }
    in.capacity = bytes;
    ASSERT_EQ(far_.receive(b_, &in, kForever), Outcome::kOk) << bytes;
    EXPECT_EQ(in.length, bytes);
    EXPECT_EQ(in.ticket, 7 + bytes);
    EXPECT_EQ(got, body);
    got.resize(4);
    in = {};
    in.ticket = 99;
    in.to = reinterpret_cast<std::byte*>(got.data());
    in.capacity = 4;
    ASSERT_EQ(far_.receive(b_, &in, kForever), Outcome::kOk);
    EXPECT_EQ(in.ticket, 0u);
    EXPECT_EQ(got, "next");
    sender.join();
  }
  EXPECT_EQ(send_with(1, std::string(100'001, 'x'), kTry), Outcome::kTooLarge);
  ASSERT_EQ(send_with(5, "seen", kTry), Outcome::kOk);
  ASSERT_EQ(send(near_, a_, "next"), Outcome::kOk);
  PipeSpan span;
  ASSERT_EQ(far_.view(b_, kTry, &span), Outcome::kOk);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(span.data), span.length), "seen");
  EXPECT_EQ(span.ticket, 5u);
  far_.consume(b_, span, span.length);
  EXPECT_EQ(receive(far_, b_), "next");
  ASSERT_EQ(send_with(0, "damage", kTry), Outcome::kOk);
  EXPECT_EQ(receive(far_, b_), said(Outcome::kCorrupt));
  EXPECT_EQ(far_.view(b_, kTry, &span), Outcome::kCorrupt);
  EXPECT_EQ(far_.info(PipeSide::kB).receiving, 0) << "it does not keep the word";
}

TEST_F(PipeTest, SharersOfBothEndsPassEachMessageOnce) {
  constexpr int kSharers = 3, kEach = 1000;
  std::vector<std::thread> threads;
  std::atomic<int> left{kSharers};
  std::mutex mutex;
  std::map<std::string, int> seen;
  for (int t = 0; t < kSharers; ++t) {
    threads.emplace_back([&, t] {
      const auto owner = static_cast<uint16_t>(10 + t);
      Pipe pipe = segment_->enter(PipeSide::kA, owner);
      PipeActor a = pipe_actor(owner);
      for (int i = 0; i < kEach; ++i) {
        const std::string body(i % 100 == 0 ? 6000 : i % 40, 'x');
        ASSERT_EQ(send(pipe, a, std::to_string(t * kEach + i) + body, kForever), Outcome::kOk);
      }
      pipe.leave(a);
      if (--left == 0) near_.leave(a_);
    });
    threads.emplace_back([&, t] {
      const auto owner = static_cast<uint16_t>(20 + t);
      Pipe pipe = segment_->enter(PipeSide::kB, owner);
      PipeActor a = pipe_actor(owner);
      for (;;) {
        const std::string body = receive(pipe, a, kForever, 8000);
        if (body == said(Outcome::kEndOfStream)) break;
        std::lock_guard lock(mutex);
        ++seen[body.substr(0, body.find('x'))];
      }
      pipe.leave(a);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), size_t{kSharers * kEach});
  for (const auto& [body, n] : seen) ASSERT_EQ(n, 1) << body;
}

}  // namespace
}  // namespace heddle::shm
