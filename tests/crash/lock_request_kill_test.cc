// Kills a broker after every step of a call with a request id on a reentrant lock, from its coming
// to its reply. The next incarnation takes over what is left, the caller asks again, and the lock
// has exactly the entries that the caller knows of.
//
// One pass single-steps the call in a child and keeps an image of the lock's line whenever it has
// changed. Each image is put back, and a new broker is started on it.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "daemon/broker/core.h"
#include "tests/support/stepper.h"
#include "tests/unit/broker/fake_supervisor.h"

namespace heddle::broker {
namespace {

using objects::LockReply;

constexpr uint16_t kThread = 3;

struct Case {
  const char* name;
  int before;  // entries that the caller has
  bool releases;
  bool signs;  // whether it gave ids to what it did before
};

class LockRequestKill : public testing::TestWithParam<Case> {
 protected:
  using Image = std::string;

  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    start();
    LockOptions options{};
    options.given = local::kGivenLockKind;
    options.lock_kind = static_cast<uint8_t>(shm::LockKind::kRlock);
    Caller caller;
    caller.uid = 5;
    const auto session = core_->open_session(caller, 0, "test", nullptr);
    session_ = session.value().session_id;
    ASSERT_TRUE(
        core_->open_lock(caller, ObjectKind::kLock, "l", options, "", {.create = true}).ok());
    for (int i = 0; i < GetParam().before; ++i) {
      ASSERT_TRUE(acquire(GetParam().signs ? static_cast<uint64_t>(100 + i) : 0).status.ok());
    }
  }
  void TearDown() override { stop(); }

  // Single-threaded, and the loop never runs: what is under test happens in the caller's thread.
  void start() {
    keeper_ = std::make_unique<local::Keeper>(supervisor_.connect());
    loop_ = std::make_unique<Loop>();
    auto core = Core::start(*loop_, *keeper_, options_);
    ASSERT_TRUE(core.ok()) << core.status().to_string();
    core_ = *std::move(core);
  }
  void stop() {
    core_.reset();
    keeper_.reset();
    loop_.reset();
    supervisor_.disconnect();
  }

  Caller caller() {
    Caller caller;
    caller.uid = 5;
    EXPECT_TRUE(core_->enter_session(caller, session_).ok());
    return caller;
  }
  std::shared_ptr<objects::Lock> lock() {
    return core_->find_lock(caller(), ObjectKind::kLock, "l", Need::kWrite).value().lock;
  }
  // As a service does it.
  LockReply acquire(uint64_t request) {
    LockReply reply;
    const objects::LockAsk ask{.thread = kThread, .request = request};
    if (request != 0 && lock()->take_inherited(caller(), ask, &reply.grant)) return reply;
    lock()->start(caller(), ask, 0, [&](LockReply got) { reply = std::move(got); });
    return reply;
  }
  Status release(uint64_t request) {
    return lock()->release(caller(), shm::LockMode::kExclusive, 1, kThread, request);
  }
  bool call() {
    constexpr uint64_t kRequest = 4711;
    return GetParam().releases ? release(kRequest).ok() : acquire(kRequest).status.ok();
  }

  Image save() { return {reinterpret_cast<const char*>(&lock()->view().line()), kLineBytes}; }
  void restore(const Image& image) {
    std::memcpy(static_cast<void*>(&lock()->view().line()), image.data(), kLineBytes);
  }
  // The broker keeps its memory out of children; this one is a part of it.
  static void share() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("/memfd:heddle:") == std::string::npos) continue;
      uintptr_t from = 0, to = 0;
      char dash;
      std::istringstream(line) >> std::hex >> from >> dash >> to;
      madvise(reinterpret_cast<void*>(from), to - from, MADV_DOFORK);
    }
  }

  static constexpr size_t kLineBytes = sizeof(shm::LockLine);
  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  uint64_t session_ = 0;
};

TEST_P(LockRequestKill, IsDoneOnce) {
  const int wanted = GetParam().before + (GetParam().releases ? -1 : 1);
  share();
  std::set<Image> images;
  uint64_t points = 0;
  const shm::LockLine* const line = &lock()->view().line();
  {
    test::SteppedChild child([this] { return call() ? 0 : 1; });
    do {
      ++points;
      images.emplace(reinterpret_cast<const char*>(line), kLineBytes);
    } while (child.step());
  }
  for (const Image& image : images) {
    restore(image);
    stop();
    start();
    ASSERT_TRUE(call());
    // Of what this broker has done itself the answers are remembered elsewhere.
    if (GetParam().before != 0) {
      ASSERT_TRUE(call());
    }
    int entries = 0;
    while (release(0).ok()) ++entries;
    EXPECT_EQ(entries, wanted);
  }
  std::printf("%s: %zu states in %llu steps\n", GetParam().name, images.size(),
              static_cast<unsigned long long>(points));
  EXPECT_GE(images.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(Calls, LockRequestKill,
                         testing::Values(Case{"FirstEntry", 0, false, true},
                                         Case{"SecondEntry", 1, false, true},
                                         Case{"ThirdEntry", 2, false, true},
                                         Case{"SecondAfterUnsigned", 1, false, false},
                                         Case{"LastRelease", 1, true, true},
                                         Case{"OneOfTwo", 2, true, true},
                                         Case{"OneOfThreeUnsigned", 3, true, false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace heddle::broker
