// Kills or stops whoever connects, accepts or closes at every border of a system call, and kills
// the broker there as well. Nobody else is held up, a connection is there once or not at all, and
// when its users have gone it goes.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <thread>

#include "tests/support/daemon_fixture.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

class PipeMeetKill : public DaemonFixture {
 protected:
  void SetUp() override {
    const char* why;
    if (!can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    DaemonFixture::SetUp();
    client_ = connect();
    listener_ = client_->listen_pipe("p").value();
  }
  Daemon::Options options() override {
    return {.config = R"({"broker_restart_ms_min": 20, "broker_restart_ms_max": 20})", .args = {}};
  }
  void TearDown() override {
    listener_.close();
    client_.reset();
    DaemonFixture::TearDown();
  }
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 20s})
        .value();
  }
  // The operations under test, from the first call to the end of the process's use.
  bool connects() {
    Client mine = connect();
    auto end = mine.connect_pipe("p", 20s);
    return end.ok() && end->send("hello").ok();
  }
  bool accepts() {
    Client mine = connect();
    PipeListener listens = mine.listen_pipe("p").value();
    auto end = listens.accept(20s);
    return end.ok() && end->receive(20s).ok();
  }
  // A connection from here, made while somebody else stands still in the middle of something.
  PipeEnd meet() {
    auto end = client_->connect_pipe("p", 20s);
    EXPECT_TRUE(end.ok()) << end.status().to_string();
    EXPECT_TRUE(end->send("ours").ok());
    return *std::move(end);
  }
  // Accepts all that waits here and gives what came; each connection ends cleanly or by its death.
  std::vector<std::string> drain() {
    std::vector<std::string> came;
    for (;;) {
      auto end = listener_.accept(0ms);
      if (!end.ok()) {
        EXPECT_TRUE(end.status().is(Reason::kEmpty)) << end.status().to_string();
        return came;
      }
      auto got = end->receive(0ms);
      came.emplace_back(got.ok() ? std::string(got->text()) : "");
    }
  }
  void all_gone() {
    PipeInfo info;
    for (int i = 0; i < 1000; ++i) {
      info = client_->pipe_info("p").value();
      if (info.connection_count == 0 && info.listeners == 1) return;
      std::this_thread::sleep_for(10ms);
    }
    FAIL() << info.connection_count << " connections, " << info.listeners << " listeners stay";
  }

  static int stride() { return std::getenv("HEDDLE_LONG") != nullptr ? 1 : 6; }
  // `then(child)` at the first border of `body`, at its second and so on to its end; every
  // `stride`th.
  void at_borders(int stride, const std::function<bool()>& body,
                  const std::function<void(SteppedChild&)>& then) {
    bool ended = false;
    for (int border = 0; !ended && !HasFatalFailure(); border += stride) {
      SCOPED_TRACE("border " + std::to_string(border));
      SteppedChild child([&] { return body() ? 0 : 1; });
      for (int i = 0; i < border && !ended; ++i) ended = !child.step_to_syscall();
      if (!ended) then(child);
      ++points_;
    }
  }

  std::optional<Client> client_;
  PipeListener listener_;
  int points_ = 0;
};

TEST_F(PipeMeetKill, WhoConnectsAtAnyCall) {
  const Watchdog watchdog("a connector killed at any call", 300);
  int whole = 0;
  at_borders(
      1, [this] { return connects(); },
      [&](SteppedChild& child) {
        PipeEnd other = meet();  // the victim stands still
        child.kill();
        int ours = 0, theirs = 0;
        for (const std::string& text : drain()) {
          ours += text == "ours";
          theirs += text == "hello";
        }
        EXPECT_EQ(ours, 1);
        EXPECT_LE(theirs, 1);
        whole += theirs;
        other.close();
        all_gone();
      });
  EXPECT_GT(whole, 0);
  std::printf("points: connect, %d borders, %d messages had been sent\n", points_, whole);
}

TEST_F(PipeMeetKill, WhoAcceptsAtAnyCall) {
  const Watchdog watchdog("an acceptor killed at any call", 300);
  int left = 0;
  PipeEnd waits = meet();
  at_borders(
      1, [this] { return accepts(); },
      [&](SteppedChild& child) {
        PipeEnd other = meet();
        child.kill();
        for (const std::string& text : drain()) {
          EXPECT_EQ(text, "ours");
          ++left;
        }
        waits.close();
        other.close();
        all_gone();
        waits = meet();
      });
  EXPECT_GT(left, points_) << "it never took one along";
  EXPECT_LT(left, 2 * points_) << "it never left one";
  std::printf("points: accept, %d borders, %d connections left to the next\n", points_, left);
}

// The next broker hears of a listener when that one accepts.
TEST_F(PipeMeetKill, TheBrokerWhileSomebodyConnects) {
  const Watchdog watchdog("a broker killed at any call of a connector", 300);
  at_borders(
      stride(), [this] { return connects(); },
      [&](SteppedChild& child) {
        daemon().kill_broker();
        std::string came;
        std::thread acceptor([&] {
          auto end = listener_.accept(20s);
          ASSERT_TRUE(end.ok()) << end.status().to_string();
          came = end->receive(20s)->text();
        });
        EXPECT_EQ(child.finish(20'000), 0) << "the connector did not get through";
        acceptor.join();
        EXPECT_EQ(came, "hello");
        EXPECT_TRUE(drain().empty()) << "two connections for one call";
        all_gone();
      });
  std::printf("points: connect and the broker killed, %d borders\n", points_);
}

TEST_F(PipeMeetKill, TheBrokerWhileSomebodyAccepts) {
  const Watchdog watchdog("a broker killed at any call of an acceptor", 300);
  PipeEnd waits = meet();
  at_borders(
      stride(), [this] { return accepts(); },
      [&](SteppedChild& child) {
        daemon().kill_broker();
        ASSERT_EQ(child.finish(20'000), 0) << "the acceptor did not get through";
        waits.close();
        EXPECT_TRUE(drain().empty()) << "a connection was accepted twice";
        all_gone();
        waits = meet();
      });
  std::printf("points: accept and the broker killed, %d borders\n", points_);
}

}  // namespace
}  // namespace heddle::test
