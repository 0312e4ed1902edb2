// Kills a broker after every step of a call with a request id on something of which one may hold
// several, from its coming to its reply. The next incarnation takes over what is left, the caller
// asks again, and it holds exactly what it knows of.
//
// One pass single-steps the call in a child and keeps an image of the broker's memory whenever that
// has changed. Each image is put back, and a new broker is started on it.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "daemon/broker/core.h"
#include "tests/support/stepper.h"
#include "tests/unit/broker/fake_supervisor.h"

namespace heddle::broker {
namespace {

using objects::LockReply;

constexpr uint16_t kThread = 3;

constexpr uint32_t kPermits = 12;

using shm::LockKind;

struct Case {
  const char* name;
  LockKind kind;
  int before;  // how often the caller has acquired
  bool releases;
  bool signs = true;  // whether it gave ids to what it did before
  uint32_t n = 1;     // permits at a time
};

// All memory that this process shares with a broker after it: what a crash leaves.
class BrokerMemory {
 public:
  using Pages = std::map<std::pair<uint64_t, uint64_t>, std::string>;  // by inode and offset
  static constexpr uint64_t kPage = 4096;

  // The broker keeps its memory out of children; this one is a part of it.
  BrokerMemory() {
    for (const Mapping& one : mappings()) {
      madvise(one.at, one.bytes, MADV_DOFORK);
      inodes_.insert(one.inode);
      each_page(one, [&](char* page, const Key& key) { before_[key] = {page, kPage}; });
    }
  }
  // Only these will be looked at.
  void watch_what_changed() {
    each_known_page([&](char* page, const Key& key) {
      if (!same(page, before_, key)) watched_.emplace_back(page, key);
    });
  }
  Pages image() const {
    Pages pages;
    for (const auto& [page, key] : watched_) pages[key] = {page, kPage};
    return pages;
  }
  void restore(const Pages& pages) const {
    each_known_page([&](char* page, const Key& key) {
      const Pages& from = pages.contains(key) ? pages : before_;
      if (same(page, from, key)) return;
      const auto was = from.find(key);
      was == from.end() ? std::memset(page, 0, kPage)
                        : std::memcpy(page, was->second.data(), kPage);
    });
  }

 private:
  using Key = Pages::key_type;
  struct Mapping {
    char* at = nullptr;
    size_t bytes = 0;
    uint64_t offset = 0, inode = 0;
  };
  static bool same(const char* page, const Pages& pages, const Key& key) {
    static const std::string kZero(kPage, '\0');
    const auto was = pages.find(key);
    return std::memcmp(page, was == pages.end() ? kZero.data() : was->second.data(), kPage) == 0;
  }
  // Those that exist: to look at others would make them.
  template <class Visit>
  static void each_page(const Mapping& one, Visit visit) {
    std::vector<unsigned char> there(one.bytes / kPage);
    if (mincore(one.at, one.bytes, there.data()) != 0) return;
    for (size_t i = 0; i < there.size(); ++i) {
      if (there[i] & 1) visit(one.at + i * kPage, Key{one.inode, one.offset + i * kPage});
    }
  }
  template <class Visit>
  void each_known_page(Visit visit) const {
    for (const Mapping& one : mappings()) {
      if (inodes_.contains(one.inode)) each_page(one, visit);
    }
  }
  static std::vector<Mapping> mappings() {
    std::vector<Mapping> found;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("/memfd:heddle:") == std::string::npos) continue;
      if (line.find("rw-s") == std::string::npos) continue;
      uintptr_t from = 0, to = 0;
      char dash;
      std::string rights, device;
      Mapping one;
      std::istringstream in(line);
      in >> std::hex >> from >> dash >> to >> rights >> one.offset >> device >> std::dec >>
          one.inode;
      one.at = reinterpret_cast<char*>(from);
      one.bytes = to - from;
      found.push_back(one);
    }
    return found;
  }

  std::set<uint64_t> inodes_;
  Pages before_;
  std::vector<std::pair<const char*, Key>> watched_;
};

class LockRequestKill : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    start();
    LockOptions options{};
    options.given = local::kGivenLockKind;
    options.lock_kind = static_cast<uint8_t>(GetParam().kind);
    if (is_semaphore()) {
      options.given |= local::kGivenCount;
      options.count = kPermits;
    }
    Caller caller;
    caller.uid = 5;
    const auto session = core_->open_session(caller, 0, "test", nullptr);
    session_ = session.value().session_id;
    ASSERT_TRUE(core_->open_lock(caller, object(), "l", options, "", {.create = true}).ok());
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
  static bool is_semaphore() {
    return GetParam().kind == LockKind::kSemaphore || GetParam().kind == LockKind::kCounting;
  }
  static ObjectKind object() { return is_semaphore() ? ObjectKind::kSemaphore : ObjectKind::kLock; }
  static shm::LockMode mode() {
    return GetParam().kind == LockKind::kRw ? shm::LockMode::kShared : shm::LockMode::kExclusive;
  }
  std::shared_ptr<objects::Lock> lock() {
    return core_->find_lock(caller(), object(), "l", Need::kWrite).value().lock;
  }
  // As a service does it.
  LockReply acquire(uint64_t request) {
    LockReply reply;
    const objects::LockAsk ask{
        .mode = mode(), .n = GetParam().n, .thread = kThread, .request = request};
    lock()->start(caller(), ask, 0, [&](LockReply got) { reply = std::move(got); });
    return reply;
  }
  Status release(uint64_t request, uint32_t n) {
    return lock()->release(caller(), mode(), n, kThread, request);
  }
  bool call() {
    constexpr uint64_t kRequest = 4711;
    return GetParam().releases ? release(kRequest, GetParam().n).ok()
                               : acquire(kRequest).status.ok();
  }
  // How much the caller holds; afterwards nothing.
  int give_all_back() {
    if (GetParam().kind == LockKind::kCounting) {
      return static_cast<int>(kPermits - lock()->inspect().free);
    }
    int held = 0;
    while (release(0, 1).ok()) ++held;
    return held;
  }

  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  uint64_t session_ = 0;
};

TEST_P(LockRequestKill, IsDoneOnce) {
  const Case& asked = GetParam();
  const int wanted = (asked.before + (asked.releases ? -1 : 1)) * static_cast<int>(asked.n);
  BrokerMemory memory;
  {
    test::SteppedChild child([this] { return call() ? 0 : 1; });
    ASSERT_EQ(child.finish(10'000), 0);
  }
  memory.watch_what_changed();
  memory.restore({});
  std::set<BrokerMemory::Pages> images;
  uint64_t points = 0;
  BrokerMemory::Pages last;
  {
    test::SteppedChild child([this] { return call() ? 0 : 1; });
    do {
      ++points;
      BrokerMemory::Pages now = memory.image();
      if (now == last) continue;
      images.insert(now);
      last = std::move(now);
    } while (child.step());
  }
  for (const BrokerMemory::Pages& image : images) {
    memory.restore(image);
    stop();
    start();
    ASSERT_TRUE(call());
    // Of what this broker has done itself the answers are remembered elsewhere.
    if (asked.kind == LockKind::kRlock && asked.before != 0) {
      ASSERT_TRUE(call());
    }
    EXPECT_EQ(give_all_back(), wanted);
  }
  std::printf("shown: broker killed in a call for a lock; %s; %zu states, %llu points\n",
              asked.name, images.size(), static_cast<unsigned long long>(points));
  EXPECT_GE(images.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(
    Calls, LockRequestKill,
    testing::Values(
        Case{"FirstEntry", LockKind::kRlock, 0, false},
        Case{"SecondEntry", LockKind::kRlock, 1, false},
        Case{"ThirdEntry", LockKind::kRlock, 2, false},
        Case{"SecondAfterUnsigned", LockKind::kRlock, 1, false, false},
        Case{"LastRelease", LockKind::kRlock, 1, true}, Case{"OneOfTwo", LockKind::kRlock, 2, true},
        Case{"OneOfThreeUnsigned", LockKind::kRlock, 3, true, false},
        Case{"FirstPermit", LockKind::kSemaphore, 0, false},
        Case{"ThirdPermit", LockKind::kSemaphore, 2, false},
        Case{"PermitAfterUnsigned", LockKind::kSemaphore, 1, false, false},
        Case{"ThreeMorePermits", LockKind::kSemaphore, 1, false, true, 3},
        Case{"LastPermitBack", LockKind::kSemaphore, 1, true},
        Case{"OnePermitOfTwo", LockKind::kSemaphore, 2, true},
        Case{"ThreePermitsOfSix", LockKind::kSemaphore, 2, true, true, 3},
        Case{"CountedDown", LockKind::kCounting, 0, false, true, 2},
        Case{"CountedDownAgain", LockKind::kCounting, 1, false, true, 2},
        Case{"CountedUp", LockKind::kCounting, 2, true, true, 2},
        Case{"FirstReader", LockKind::kRw, 0, false}, Case{"ReaderTwice", LockKind::kRw, 1, false},
        Case{"OneOfTwoHolds", LockKind::kRw, 2, true}, Case{"LastHold", LockKind::kRw, 1, true}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace heddle::broker
