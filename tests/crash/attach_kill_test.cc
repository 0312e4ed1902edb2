// Kills and stops a client at every border of a system call on its way to its first message, and
// at instructions between them: connecting, HELLO, the session page, the queue's memory, the row
// of its accounts, the put. What it had goes back, nobody else notices, and a message is there
// whole or not at all.
//
// All that others can see of an attaching client is what it does to its socket and to shared
// memory. The first changes at borders only; between two of them points are spread evenly, where
// stores to the memory that is already mapped happen. The put itself is killed after each of its
// instructions elsewhere.
#include <gtest/gtest.h>
#include <heddle/heddle.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/daemon_fixture.h"
#include "tests/support/stepper.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr char kBody[] = "from one that may be killed";

uint64_t points_between() { return std::getenv("HEDDLE_LONG") != nullptr ? 60 : 3; }

class AttachKill : public DaemonFixture {
 protected:
  void SetUp() override {
    const char* why;
    if (!can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    DaemonFixture::SetUp();
    client_ = Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
    queue_ = client_->create_queue("q").value();
    broker_ = daemon().broker_pid();
    others_go_on();
    fds_before_ = broker_fds();
  }
  void TearDown() override {
    queue_.reset();
    client_.reset();
    DaemonFixture::TearDown();
  }

  // What the victim does. 0: all went well.
  int attach_and_put() {
    auto client =
        Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 20s});
    if (!client.ok()) return 1;
    auto queue = client->queue("q");
    if (!queue.ok()) return 2;
    return queue->try_put(kBody).ok() ? 0 : 3;
  }

  // Another one puts and gets as ever; what it finds of the victim's is whole.
  void others_go_on() {
    ASSERT_TRUE(queue_->try_put("mine").ok());
    for (bool mine = false; !mine;) {
      const auto got = queue_->try_get();
      ASSERT_TRUE(got.ok()) << got.status().to_string();
      mine = got->text() == "mine";
      if (!mine) {
        EXPECT_EQ(got->text(), kBody);
        ++from_victims_;
      }
    }
  }
  void broker_answers() {
    const auto info = client_->list();
    ASSERT_TRUE(info.ok()) << info.status().to_string();
  }

  size_t broker_fds() const {
    const std::string dir = "/proc/" + std::to_string(broker_) + "/fd";
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir)) ++n;
    return n;
  }

  void only_we_are_left() {
    uint64_t sessions = 0;
    for (const auto until = std::chrono::steady_clock::now() + 10s;
         std::chrono::steady_clock::now() < until; std::this_thread::sleep_for(2ms)) {
      const auto status = client_->status();
      ASSERT_TRUE(status.ok()) << status.status().to_string();
      sessions = status->sessions;
      if (sessions == 1 && broker_fds() == fds_before_) return;
    }
    FAIL() << sessions << " sessions, " << broker_fds() << " descriptors of the broker, not 1 and "
           << fds_before_;
  }

  // Instructions before each border, the last stretch included.
  std::vector<uint64_t> measure() {
    std::vector<uint64_t> stretches{0};
    SteppedChild child([this] { return attach_and_put(); });
    while (child.step()) {
      ++stretches.back();
      if (child.at_syscall()) stretches.push_back(0);
    }
    return stretches;
  }

  // Runs `at` with the victim at each point; `border` counts both sides of each call.
  template <class At>
  void at_each_point(uint64_t between, At at) {
    const std::vector<uint64_t> stretches = measure();
    for (uint64_t call = 0; call < stretches.size(); ++call) {
      const uint64_t points = std::min(between, stretches[call]);
      for (uint64_t point = 0; point <= points; ++point) {
        SteppedChild child([this] { return attach_and_put(); });
        for (uint64_t i = 0; i < 2 * call; ++i) child.step_to_syscall();
        const uint64_t steps = point == points ? 0 : stretches[call] * (point + 1) / (points + 1);
        for (uint64_t i = 0; i < steps; ++i) child.step();
        if (point == points) child.step_to_syscall();  // inside the call
        ++points_;
        at(child);
        if (HasFatalFailure()) return;
      }
    }
    calls_ = stretches.size() - 1;
  }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::optional<Client> client_;
  std::optional<Queue> queue_;
  pid_t broker_ = 0;
  size_t fds_before_ = 0;
  uint64_t points_ = 0, calls_ = 0, from_victims_ = 0;
};

TEST_F(AttachKill, KilledAnywhereItLeavesNothing) {
  at_each_point(points_between(), [this](SteppedChild& child) {
    child.kill();
    others_go_on();
    if (points_ % 64 == 0) only_we_are_left();
  });
  only_we_are_left();
  EXPECT_EQ(daemon().broker_pid(), broker_) << "the broker did not live through it";
  EXPECT_GT(from_victims_, 0u);
  EXPECT_LT(from_victims_, points_);
  std::printf("shown: attach, killed; of %lu system calls; %lu points, %lu had put, %.2f s\n",
              calls_, points_, from_victims_, seconds());
}

TEST_F(AttachKill, StoppedAnywhereItHoldsNobodyUp) {
  at_each_point(0, [this](SteppedChild& child) {
    others_go_on();
    broker_answers();
    EXPECT_EQ(child.finish(20'000), 0) << "stopped at point " << points_;
  });
  others_go_on();
  EXPECT_EQ(from_victims_, points_ + 1) << "the run that counted the calls put one as well";
  std::printf("shown: attach, stopped; of %lu system calls; %lu points, %.2f s\n", calls_, points_,
              seconds());
}

}  // namespace
}  // namespace heddle::test
