// Kills whoever sends, or receives, a message with a descriptor at every border of a system call,
// from its first look at the pipe to its end. The message is there whole, descriptor included, or
// not at all; when the connection has gone, nobody has the descriptor any more.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>

#include "tests/support/daemon_fixture.h"
#include "tests/support/stepper.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

class LendKill : public DaemonFixture {
 protected:
  void SetUp() override {
    const char* why;
    if (!can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    DaemonFixture::SetUp();
    client_ = connect();
  }
  void TearDown() override {
    client_.reset();
    DaemonFixture::TearDown();
  }
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 20s})
        .value();
  }
  PipeEnd end(Client& client, PipeSide side) {
    return client.pipe_end("p", side, {.resumable = true}).value();
  }
  static bool send(PipeEnd& a, int fd) {
    const auto sent = a.send_with("with it", {&fd, 1});
    return sent.ok();
  }

  // Runs `each(child, tube)` for a victim that runs `body`, killed at its first border, its second
  // and so on, until it gets to its end.
  template <typename Body, typename Each>
  void at_each_border(Body body, Each each) {
    for (bool ended = false; !ended; ++borders_) {
      int tube[2];
      ASSERT_EQ(pipe2(tube, O_CLOEXEC), 0);
      PipeEnd ours = each(-1, tube[1]);
      {
        SteppedChild child([&] {
          close(tube[0]);
          return body(tube[1]) ? 0 : 1;
        });
        for (int i = 0; i < borders_ && !ended; ++i) ended = !child.step_to_syscall();
        child.kill();
      }
      PipeEnd theirs = each(borders_, tube[1]);
      close(tube[1]);
      ours.close();
      theirs.close();
      ASSERT_TRUE(client_->delete_pipe("p").ok());
      pollfd gone{tube[0], POLLIN, 0};
      ASSERT_EQ(poll(&gone, 1, 10'000), 1) << "somebody has it still, border " << borders_;
      char byte;
      ASSERT_EQ(read(tube[0], &byte, 1), 0);
      close(tube[0]);
      if (HasFatalFailure()) return;
    }
  }

  std::optional<Client> client_;
  int borders_ = 0, whole_ = 0;
};

TEST_F(LendKill, TheSenderAtAnyCall) {
  const Watchdog watchdog("a sender killed at any call", 300);
  at_each_border(
      [this](int fd) {
        Client mine = connect();
        PipeEnd a = end(mine, PipeSide::kA);
        return send(a, fd);
      },
      [this](int border, int) {
        PipeEnd b = end(*client_, PipeSide::kB);
        if (border < 0) return b;
        const auto got = b.receive_with(0ms);
        if (!got.ok()) return b;
        EXPECT_EQ(got->text(), "with it");
        EXPECT_EQ(got->fds.size(), 1u);
        ++whole_;
        return b;
      });
  EXPECT_GT(whole_, 0);
  EXPECT_LT(whole_, borders_);
  std::printf("%d borders, %d messages\n", borders_, whole_);
}

TEST_F(LendKill, TheReceiverAtAnyCall) {
  const Watchdog watchdog("a receiver killed at any call", 300);
  at_each_border(
      [this](int) {
        Client mine = connect();
        PipeEnd b = end(mine, PipeSide::kB);
        const auto got = b.receive_with();
        return got.ok() && got->fds.size() == 1;
      },
      [this](int border, int fd) {
        if (border < 0) {
          PipeEnd a = end(*client_, PipeSide::kA);
          EXPECT_TRUE(send(a, fd));
          return a;
        }
        const auto again = client_->pipe_end("p", PipeSide::kB);
        EXPECT_TRUE(again.ok());
        PipeEnd b = *again;
        const auto got = b.receive_with(0ms);
        if (!got.ok()) return b;  // it went with the one that had taken it
        EXPECT_EQ(got->fds.size(), 1u);
        EXPECT_EQ(got->fds_lost, 0u);
        ++whole_;
        return b;
      });
  EXPECT_GT(whole_, 0);
  EXPECT_LT(whole_, borders_);
  std::printf("%d borders, %d messages left to the next\n", borders_, whole_);
}

}  // namespace
}  // namespace heddle::test
