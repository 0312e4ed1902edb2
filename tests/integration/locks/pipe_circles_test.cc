// Circles of waits that go through pipes: found, ended by one victim that loses no message, told
// with the names of all. And what looks like one and is none: wherever somebody may still send or
// receive, seen by the broker or not, nobody is told of a circle.
#include <gtest/gtest.h>
#include <heddle/heddle.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/locks/children.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr int kGotIt = 0, kGaveWay = 1, kWrong = 2;

class PipeCirclesTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
  }
  static void until_locked(Lock& lock) {
    while (!lock.locked().value()) std::this_thread::sleep_for(1ms);
  }
  std::string report() { return connect().lock_report(LockReport::kDeadlocks).value(); }
  void expect_reported(const std::vector<std::string>& words) {
    const std::string text = report();
    for (const std::string& word : words) {
      EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
    }
  }
  void expect_no_report() { EXPECT_EQ(report().find("circle"), std::string::npos) << report(); }
  /// Takes the lock, or gives way; then says which at end a.
  int want_and_say(PipeEnd& end, Lock& lock) {
    const auto grant = lock.acquire_for(20s);
    if (!grant && !grant.status().is(Reason::kDeadlockDetected)) return kWrong;
    end.send(grant ? "got it" : "gave way").value();
    return grant ? kGotIt : kGaveWay;
  }

  /// Holds the ledger and waits for what does not come.
  void receive_in_vain(std::chrono::nanoseconds timeout) {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
    Lock ledger = client.lock("ledger").value();
    ledger.acquire().value();
    const auto got = end.receive(timeout);
    EXPECT_TRUE(got.status().is(Reason::kTimedOut)) << got.status().to_string();
    EXPECT_TRUE(ledger.release().ok());
  }

  Children children_;
};

// Both ways round: the one that began last gives way.
class VictimTest : public PipeCirclesTest, public testing::WithParamInterface<bool> {};

TEST_P(VictimTest, AReceiverHoldsWhatTheSenderNeeds) {
  const bool receiver_last = GetParam();
  const pid_t sender = children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    Lock ledger = client.lock("ledger").value();
    until_locked(ledger);
    if (!receiver_last) std::this_thread::sleep_for(300ms);
    return want_and_say(end, ledger);
  });
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  if (receiver_last) std::this_thread::sleep_for(300ms);
  const auto began = std::chrono::steady_clock::now();
  auto got = end.receive(20s);
  std::printf("the circle was open after %.0f ms\n", ms_since(began));
  const bool gave_way = got.status().is(Reason::kDeadlockDetected);
  EXPECT_EQ(gave_way, receiver_last) << got.status().to_string();
  if (gave_way) {
    const std::string text = got.status().to_string();
    EXPECT_NE(text.find("a circle of 2 waits"), std::string::npos) << text;
    EXPECT_NE(text.find("pipe talk (receive)"), std::string::npos) << text;
    EXPECT_NE(text.find("lock ledger (exclusive)"), std::string::npos) << text;
    EXPECT_NE(text.find("pid " + std::to_string(sender)), std::string::npos) << text;
    EXPECT_NE(text.find("pid " + std::to_string(getpid())), std::string::npos) << text;
    ASSERT_TRUE(ledger.release().ok());
    got = end.receive(20s);
  } else {
    EXPECT_TRUE(ledger.release().ok());
  }
  ASSERT_TRUE(got) << got.status().to_string();
  EXPECT_EQ(got->text(), gave_way ? "got it" : "gave way");
  EXPECT_EQ(children_.wait_all().at(0), gave_way ? kGotIt : kGaveWay);
  expect_reported({"\"pipe\"", "\"talk\"", "\"receive\"", "\"ledger\"", "\"victim\":true"});
}

TEST_P(VictimTest, ASenderHoldsWhatTheReceiverNeeds) {
  const bool sender_last = GetParam();
  SharedWithChildren<std::atomic<int>> received;
  const pid_t receiver = children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
    Lock ledger = client.lock("ledger").value();
    until_locked(ledger);
    if (!sender_last) std::this_thread::sleep_for(300ms);
    const auto grant = ledger.acquire_for(20s);
    for (;; received->fetch_add(1)) {
      const auto got = end.receive(20s);
      if (got.status().is(Reason::kEndOfStream)) break;
      const std::string text(got ? got->text() : "");
      if (text != std::string(5000, 's') && text != std::string(100'000, 'l')) return kWrong;
    }
    return grant ? kGotIt : kGaveWay;
  });
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  const std::string small(5000, 's'), large(100'000, 'l');
  int sent = 0;
  while (end.try_send(small)) ++sent;
  // It needs a quarter of the ring for its first frame, and there is less.
  if (sender_last) std::this_thread::sleep_for(300ms);
  auto last = end.send(sender_last ? large : small, 20s);
  const bool gave_way = last.status().is(Reason::kDeadlockDetected);
  EXPECT_EQ(gave_way, sender_last) << last.status().to_string();
  if (gave_way) {
    const std::string text = last.status().to_string();
    EXPECT_NE(text.find("pipe talk (send)"), std::string::npos) << text;
    EXPECT_NE(text.find("pid " + std::to_string(receiver)), std::string::npos) << text;
    ASSERT_TRUE(ledger.release().ok());
    last = end.send(large, 20s);
  } else {
    EXPECT_TRUE(ledger.release().ok());
  }
  EXPECT_TRUE(last) << last.status().to_string();
  EXPECT_TRUE(end.shutdown_write().ok());
  EXPECT_EQ(children_.wait_all().at(0), gave_way ? kGotIt : kGaveWay);
  EXPECT_EQ(received->load(), sent + 1);
  expect_reported({"\"pipe\"", "\"talk\"", "\"send\"", "\"ledger\""});
}

INSTANTIATE_TEST_SUITE_P(Victims, VictimTest, testing::Bool());

// Whoever holds an end holds it for itself: the others wait for that one.
TEST_F(PipeCirclesTest, OneHoldsTheEndThatTheOtherNeeds) {
  children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    Lock ledger = client.lock("ledger").value();
    if (!end.hold().ok()) return kWrong;
    until_locked(ledger);
    const int outcome = want_and_say(end, ledger);
    end.let_go();
    return outcome;
  });
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
  PipeEnd other = client.pipe_end("talk", PipeSide::kB).value();
  while (end.try_send("before").status().ok()) {
    std::this_thread::sleep_for(1ms);
    ASSERT_TRUE(other.receive(20s));
  }
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  auto sent = end.send("mine", 20s);
  const bool gave_way = sent.status().is(Reason::kDeadlockDetected);
  EXPECT_TRUE(ledger.release().ok());
  if (gave_way) sent = end.send("mine", 20s);
  EXPECT_TRUE(sent) << sent.status().to_string();
  EXPECT_EQ(children_.wait_all().at(0), gave_way ? kGotIt : kGaveWay);
  EXPECT_EQ(other.receive(20s)->text(), gave_way ? "got it" : "gave way");
  EXPECT_EQ(other.receive(20s)->text(), "mine");
  expect_reported({"\"talk\"", "\"send\"", "\"ledger\""});
}

// Also one that is part of no circle.
TEST_F(PipeCirclesTest, TheGraphShowsWaitsAtPipes) {
  SharedWithChildren<std::atomic<bool>> seen;
  children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    while (!seen->load()) std::this_thread::sleep_for(1ms);
    end.send("seen").value();
    return 0;
  });
  std::thread look([&] {
    Client client = connect();
    std::string graph;
    while ((graph = client.lock_report(LockReport::kGraph).value()).find("\"talk\"") ==
           std::string::npos) {
      std::this_thread::sleep_for(5ms);
    }
    EXPECT_NE(graph.find("\"pipe\""), std::string::npos) << graph;
    seen->store(true);
  });
  Client client = connect();
  Lock ledger = client.lock("ledger").value();
  PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
  ASSERT_TRUE(ledger.acquire().ok());
  EXPECT_EQ(end.receive(60s)->text(), "seen");
  look.join();
  EXPECT_EQ(children_.wait_all().at(0), 0);
  expect_no_report();
}

// A thread that never touched a lock, which the session page knows nothing of.
TEST_F(PipeCirclesTest, AnotherThreadOfTheSenderIsEnough) {
  children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    Lock ledger = client.lock("ledger").value();
    until_locked(ledger);
    std::thread sender([&] {
      std::this_thread::sleep_for(500ms);
      end.send("after all").value();
    });
    const auto grant = ledger.acquire_for(20s);
    sender.join();
    return grant ? kGotIt : kGaveWay;
  });
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  const auto got = end.receive(20s);
  ASSERT_TRUE(got) << got.status().to_string();
  EXPECT_EQ(got->text(), "after all");
  EXPECT_TRUE(ledger.release().ok());
  EXPECT_EQ(children_.wait_all().at(0), kGotIt);
  expect_no_report();
}

// A child goes on using what its parent has, and is no user of the end before it does.
TEST_F(PipeCirclesTest, AChildOfTheSenderIsEnough) {
  children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    Lock ledger = client.lock("ledger").value();
    until_locked(ledger);
    Children own;
    own.start([&] {
      std::this_thread::sleep_for(500ms);
      end.send("from the child").value();
      return 0;
    });
    const auto grant = ledger.acquire_for(20s);
    return own.wait_all().at(0) == 0 && grant ? kGotIt : kGaveWay;
  });
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  const auto got = end.receive(20s);
  ASSERT_TRUE(got) << got.status().to_string();
  EXPECT_EQ(got->text(), "from the child");
  EXPECT_TRUE(ledger.release().ok());
  EXPECT_EQ(children_.wait_all().at(0), kGotIt);
  expect_no_report();
}

// Two processes share the other end, and one of them waits for nothing.
TEST_F(PipeCirclesTest, AnotherUserOfTheOtherEndIsEnough) {
  for (const bool waits : {true, false}) {
    children_.start([&, waits] {
      Client client = connect();
      PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
      Lock ledger = client.lock("ledger").value();
      until_locked(ledger);
      if (waits) return ledger.acquire_for(20s) ? kGotIt : kGaveWay;
      std::this_thread::sleep_for(500ms);
      end.send("from the other").value();
      return kGotIt;
    });
  }
  Client client = connect();
  PipeEnd end = client.pipe_end("talk", PipeSide::kB).value();
  Lock ledger = client.lock("ledger").value();
  while (end.peer().value().size() < 2) std::this_thread::sleep_for(1ms);
  ASSERT_TRUE(ledger.acquire().ok());
  const auto got = end.receive(20s);
  ASSERT_TRUE(got) << got.status().to_string();
  EXPECT_TRUE(ledger.release().ok());
  EXPECT_EQ(children_.wait_all(), (std::vector<int>{kGotIt, kGotIt}));
  expect_no_report();
}

// Nobody is there yet, or the same process is at both ends: somebody may come, or be forked.
TEST_F(PipeCirclesTest, AnEndThatNobodyOrOneselfUsesIsNoCircle) {
  receive_in_vain(300ms);
  Client client = connect();
  PipeEnd near = client.pipe_end("own", PipeSide::kA).value();
  PipeEnd far = client.pipe_end("own", PipeSide::kB).value();
  Lock ledger = client.lock("ledger").value();
  ASSERT_TRUE(ledger.acquire().ok());
  EXPECT_TRUE(far.receive(300ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(ledger.release().ok());
  expect_no_report();
}

// Who asks holds a lock until the answer comes, and had another one just before, which the one that
// is asked takes: looked at with the hands of different moments it would be a circle.
TEST_F(PipeCirclesTest, AskingUnderALockIsNoCircle) {
  constexpr int kPairs = 4, kRounds = 150;
  const auto now_and_then = [](std::minstd_rand& random) {
    if (random() % 2 == 0) std::this_thread::sleep_for(3ms);  // so that waits are told
  };
  for (int i = 0; i < kPairs; ++i) {
    const std::string name = "ask-" + std::to_string(i);
    children_.start([=, this] {
      Client client = connect();
      PipeEnd end = client.pipe_end(name, PipeSide::kB).value();
      Lock shared = client.lock("shared").value();
      std::minstd_rand random(static_cast<unsigned>(i + 1));
      for (;;) {
        const auto asked = end.receive(60s);
        if (asked.status().is(Reason::kEndOfStream)) return kGotIt;
        asked.status().or_throw();
        shared.acquire().value();
        now_and_then(random);
        shared.release().or_throw();
        end.send(asked->text()).value();
      }
    });
    children_.start([=, this] {
      Client client = connect();
      PipeEnd end = client.pipe_end(name, PipeSide::kA).value();
      Lock shared = client.lock("shared").value(), order = client.lock("order").value();
      std::minstd_rand random(static_cast<unsigned>(i + 100));
      for (int round = 0; round < kRounds; ++round) {
        order.acquire().value();
        shared.acquire().value();
        end.send(std::to_string(round)).value();
        now_and_then(random);
        shared.release().or_throw();
        if (end.receive(60s).value().text() != std::to_string(round)) return kWrong;
        order.release().or_throw();
      }
      return kGotIt;
    });
  }
  for (const int ended : children_.wait_all()) EXPECT_EQ(ended, kGotIt);
  expect_no_report();
}

class ReportOnlyTest : public PipeCirclesTest {
 protected:
  Daemon::Options options() override {
    return {.config = R"({"deadlock_policy": "report_only"})", .args = {}};
  }
};

TEST_F(ReportOnlyTest, TheCircleIsToldOfAndStands) {
  children_.start([&] {
    Client client = connect();
    PipeEnd end = client.pipe_end("talk", PipeSide::kA).value();
    Lock ledger = client.lock("ledger").value();
    until_locked(ledger);
    return ledger.acquire_for(20s) ? kGotIt : kGaveWay;
  });
  receive_in_vain(2s);
  EXPECT_EQ(children_.wait_all().at(0), kGotIt);
  expect_reported({"\"talk\"", "\"receive\"", "\"ledger\"", "\"victim\":false"});
  EXPECT_EQ(report().find("\"victim\":true"), std::string::npos);
}

}  // namespace
}  // namespace heddle::test
