// Kills a broker after every step of a put that carries a request id, from the record of the
// request to its reply. The next incarnation takes over what is left, the caller asks again, and
// every message is in the queue exactly once, under the id that the retry answers.
//
// One pass single-steps the put in a child and keeps an image of the catalog, the broker's session
// page and the queue whenever one of them has changed. Each image is put back into the memory that
// the supervisor keeps, and a new broker is started on it.
//
// Fenced puts go the same way, and once more with somebody who shows a newer token to the next
// broker before the first caller asks again: what was put for the old token stands before it, and
// nothing of it comes after.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <unordered_set>

#include "daemon/broker/core.h"
#include "tests/support/stepper.h"
#include "tests/unit/broker/fake_supervisor.h"

namespace heddle::broker {
namespace {

using test::SteppedChild;

constexpr size_t kPage = 4096;
constexpr char kRequest[] = "r-1";

Caller caller() {
  Caller out;
  out.uid = 5;
  out.gid = 100;
  return out;
}

// The parts of one kept memfd that were ever written.
struct Part {
  int fd;
  off_t at;
  std::string bytes;
};
using Image = std::vector<Part>;

struct Case {
  const char* name;
  std::vector<std::string> bodies;
  uint32_t max_len = 0;  // 0: the default
  shm::Overflow overflow = shm::Overflow::kReject;
  int before = 0;         // messages already there
  bool consumed = false;  // a local client takes all before the next broker comes
  uint64_t token = 0;     // of the fence; 0: none
};

// What a killed broker can leave, one image per distinct state, brought back one after the other.
class RequestStates {
 public:
  RequestStates(test::FakeSupervisor& supervisor, std::vector<int> fds)
      : supervisor_(supervisor), fds_(std::move(fds)) {}
  ~RequestStates() {
    for (const auto& [key, fd] : kept_) ::close(fd);
    for (const int fd : copies_) ::close(fd);
  }
  void add(Image image) { images_.push_back(std::move(image)); }
  // After the first broker has gone.
  void settle() {
    for (const auto& [key, fd] : supervisor_.kept()) kept_[key] = ::dup(fd.get());
    for (const int fd : fds_) copies_.push_back(::dup(fd));
    for (Image& image : images_) {
      for (Part& part : image) {
        part.fd = copies_[static_cast<size_t>(std::find(fds_.begin(), fds_.end(), part.fd) -
                                              fds_.begin())];
      }
    }
  }
  size_t size() const { return images_.size(); }
  const Image& image(size_t i) const { return images_[i]; }
  const std::vector<int>& copies() const { return copies_; }
  const std::vector<int>& fds() const { return fds_; }
  void keep_again() {
    supervisor_.kept().clear();
    for (const auto& [key, fd] : kept_) supervisor_.kept()[key] = local::Fd(::dup(fd));
  }

 private:
  test::FakeSupervisor& supervisor_;
  const std::vector<int> fds_;
  std::vector<Image> images_;
  std::map<std::pair<uint8_t, uint64_t>, int> kept_;
  std::vector<int> copies_;
};

class RequestKill : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const char* why;
    if (!test::can_step(&why)) {
      if (std::getenv("CI") != nullptr) FAIL() << why;
      GTEST_SKIP() << why;
    }
    start();
    QueueOptions options{};
    options.given = local::kGivenOverflow | (GetParam().max_len != 0 ? local::kGivenMaxLen : 0);
    options.overflow = static_cast<uint8_t>(GetParam().overflow);
    options.max_len = GetParam().max_len;
    const auto made = core_->open_queue(caller(), "q", options, "", {.create = true});
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    for (int i = 0; i < GetParam().before; ++i) {
      made->queue->put_async(caller(), {{1, "before"}}, 0, [](objects::PutResult) {});
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

  // As a caller does it. `ids` of all messages, or empty when it was refused.
  std::vector<uint64_t> put_with_request(bool* seen) {
    return put_as(kRequest, GetParam().bodies, GetParam().token, seen).ids;
  }
  objects::PutResult put_as(const char* id, const std::vector<std::string>& texts, uint64_t token,
                            bool* seen) {
    const auto ref = core_->find_queue(caller(), "q", Need::kWrite);
    if (!ref.ok()) return {ref.status(), {}};
    std::vector<objects::Body> bodies;
    for (const std::string& body : texts) bodies.push_back({1, body});
    objects::Fence fence;
    if (token != 0) fence = core_->fence_of(caller(), "l", token).value();
    const auto request = core_->begin_request(caller(), *ref, id, bodies.size());
    if (!request.ok()) return {request.status(), {}};
    *seen = request->seen;
    if (request->seen) return {Status(), request->record.ids};
    objects::PutResult put;
    ref->queue->put_async(
        caller(), std::move(bodies), 0, [&](objects::PutResult result) { put = std::move(result); },
        request->record, fence);
    core_->finish_request(*request, put.ids);
    return put;
  }
  // The ids and texts of everything that is in the queue, in order.
  std::vector<std::pair<uint64_t, std::string>> contents() {
    const auto ref = core_->find_queue(caller(), "q", Need::kWrite);
    std::vector<std::pair<uint64_t, std::string>> out;
    for (const auto& item : ref->queue->browse({.body_bytes_max = 16})) {
      out.emplace_back(item.id, item.body);
    }
    return out;
  }

  // Adds the ids of all messages that are not "before", in order, with their bodies checked.
  void drain(std::vector<uint64_t>& ids) {
    const auto ref = core_->find_queue(caller(), "q", Need::kWrite);
    objects::GetParams params;
    params.count_max = 1000;
    ref->queue->get_async(caller(), params, 0, [&](objects::GetResult result) {
      for (const auto& one : result.messages) {
        if (one.body == "before") continue;
        ASSERT_LT(ids.size(), GetParam().bodies.size());
        EXPECT_EQ(one.body.substr(0, 4), GetParam().bodies[ids.size()].substr(0, 4));
        ids.push_back(one.id);
      }
      ref->queue->delivered(result.messages);
    });
  }

  // The memory that outlives the broker, without its doorbell.
  std::vector<int> memory() {
    std::vector<int> fds;
    for (const auto& [key, fd] : supervisor_.kept()) {
      const auto kind = static_cast<local::KeptKind>(key.first);
      if (kind == local::KeptKind::kMemory || kind == local::KeptKind::kCatalog ||
          kind == local::KeptKind::kPage) {
        fds.push_back(fd.get());
      }
    }
    return fds;
  }

  static Image save(const std::vector<int>& fds) {
    Image image;
    for (const int fd : fds) {
      struct stat info;
      fstat(fd, &info);
      for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0 && at < info.st_size;) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        Part part{fd, at, std::string(static_cast<size_t>(end - at), 0)};
        EXPECT_EQ(pread(fd, part.bytes.data(), part.bytes.size(), at), end - at);
        image.push_back(std::move(part));
        at = lseek(fd, end, SEEK_DATA);
      }
    }
    return image;
  }

  static void restore(const std::vector<int>& fds, const Image& image) {
    static const std::string zeros(kPage, 0);
    for (const Part& part : save(fds)) {  // what was written since
      for (size_t at = 0; at < part.bytes.size(); at += kPage) {
        EXPECT_GT(pwrite(part.fd, zeros.data(), kPage, part.at + static_cast<off_t>(at)), 0);
      }
    }
    for (const Part& part : image) {
      EXPECT_EQ(pwrite(part.fd, part.bytes.data(), part.bytes.size(), part.at),
                static_cast<ssize_t>(part.bytes.size()));
    }
  }

  // Everything that a put may write, mapped by this process as well; see watch().
  uint64_t hash() const {
    uint64_t sum = 14695981039346656037ull;
    for (const auto& [base, bytes] : watched_) {
      for (size_t i = 0; i < bytes / 8; ++i) {
        sum = (sum ^ static_cast<const uint64_t*>(base)[i]) * 1099511628211ull;
      }
    }
    return sum;
  }

  // The broker keeps its memory out of children; this one is a part of it. The first pages of each
  // memfd, and all that holds requests, hold everything that a put changes.
  void watch() {
    watched_.clear();
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("/memfd:heddle:") == std::string::npos) continue;
      uintptr_t from = 0, to = 0;
      char dash;
      std::istringstream(line) >> std::hex >> from >> dash >> to;
      madvise(reinterpret_cast<void*>(from), to - from, MADV_DOFORK);
      const bool catalog = line.find("heddle:catalog") != std::string::npos;
      const bool queue = line.find("heddle:q ") != std::string::npos;
      const auto* base = reinterpret_cast<const char*>(from);
      if (catalog) {
        const CatalogSizes sizes;
        const size_t requests = sizeof(CatalogHeader) +
                                uint64_t{sizes.objects_max} * sizeof(ObjectRecord) +
                                uint64_t{sizes.sessions_max} * sizeof(SessionRecord);
        watched_.emplace_back(base + requests, kPage);
        watched_.emplace_back(
            base + Catalog::bytes(sizes) -
                (uint64_t{sizes.fences_max} * sizeof(FenceRecord) + 4095) / 4096 * 4096,
            kPage);
      } else if (queue) {
        watch_queue(base);
      } else {
        watched_.emplace_back(base, kPage);  // a session page
      }
    }
  }
  void watch_queue(const char* base) {
    const auto& header = *reinterpret_cast<const shm::QueueHeader*>(base);
    const shm::QueueGeometry& at = header.geometry;
    watched_.emplace_back(base, sizeof(shm::QueueHeader) / 8 * 8);
    watched_.emplace_back(base + at.rows_at, 4 * sizeof(shm::Row));
    watched_.emplace_back(base + at.segments_at, 4 * sizeof(shm::SegmentControl));
    watched_.emplace_back(base + at.slots_at, 16 * sizeof(shm::Slot));
    watched_.emplace_back(base + at.extents_at, 64);
    watched_.emplace_back(base + at.chunk_words_at, 512);
  }

  objects::PutResult put_with_fence(bool* seen) {
    return put_as(kRequest, GetParam().bodies, GetParam().token, seen);
  }

  // One pass over the put in a child; how many instructions. No broker runs afterwards.
  uint64_t step_through(RequestStates& states) {
    watch();
    uint64_t points = 0;
    std::unordered_set<uint64_t> seen;
    {
      SteppedChild child([this] {
        bool done_before = false;
        return put_with_request(&done_before).size() == GetParam().bodies.size() ? 0 : 1;
      });
      do {
        ++points;
        if (seen.insert(hash()).second) states.add(save(states.fds()));
      } while (child.step());
    }
    stop();
    states.settle();
    return points;
  }
  void bring_back(RequestStates& states, size_t i) {
    states.keep_again();
    restore(states.copies(), states.image(i));
    start();
  }

  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  std::vector<std::pair<const void*, size_t>> watched_;
};

TEST_P(RequestKill, ARetryPutsWhatIsNotInAndNothingTwice) {
  RequestStates states(supervisor_, memory());
  const uint64_t points = step_through(states);
  size_t answered = 0, partly = 0;
  for (size_t i = 0; i < states.size() && !HasFailure(); ++i) {
    bring_back(states, i);
    std::vector<uint64_t> found;
    if (GetParam().consumed) drain(found);
    const size_t earlier = found.size();
    bool seen = false;
    const std::vector<uint64_t> ids = put_with_request(&seen);
    answered += seen;
    partly += !seen && earlier > 0;
    drain(found);
    EXPECT_EQ(ids.size(), GetParam().bodies.size()) << "state " << i;
    EXPECT_EQ(found, ids) << "state " << i;
    // Once more, over another restart.
    stop();
    start();
    EXPECT_EQ(put_with_request(&seen), ids) << "state " << i;
    EXPECT_TRUE(seen) << "state " << i;
    drain(found);
    EXPECT_EQ(found, ids) << "state " << i;
    stop();
  }
  start();
  std::printf(
      "shown: broker killed in a request; %s; %llu points, %zu states, %zu answered, %zu gone on "
      "with\n",
      GetParam().name, static_cast<unsigned long long>(points), states.size(), answered, partly);
  EXPECT_GT(states.size(), 10u);
  EXPECT_GT(answered, 0u);
  EXPECT_LT(answered, states.size());
}

class FenceKill : public RequestKill {};

TEST_P(FenceKill, AStaleWriteIsRefusedOrStandsBeforeTheNewerOne) {
  const uint64_t token = GetParam().token;
  RequestStates states(supervisor_, memory());
  step_through(states);
  size_t before = 0, refused = 0;
  for (size_t i = 0; i < states.size() && !HasFailure(); ++i) {
    bring_back(states, i);
    bool seen = false;
    const objects::PutResult newer = put_as("r-2", {"newer"}, token + 1, &seen);
    ASSERT_TRUE(newer.status.ok()) << "state " << i << newer.status.to_string();
    const objects::PutResult stale = put_with_fence(&seen);
    const auto all = contents();
    ASSERT_FALSE(all.empty());
    EXPECT_EQ(all.back().second, "newer") << "state " << i << ": something came after it";
    if (stale.status.ok()) {
      ++before;
      EXPECT_EQ(all.size(), GetParam().bodies.size() + 1) << "state " << i;
      EXPECT_EQ(stale.ids.size(), GetParam().bodies.size()) << "state " << i;
    } else {
      ++refused;
      EXPECT_TRUE(stale.status.is(Reason::kStaleFence)) << stale.status.to_string();
      EXPECT_EQ(all.size(), stale.ids.size() + 1) << "state " << i;
    }
    // The newer token is remembered over one more kill.
    stop();
    start();
    EXPECT_TRUE(put_as("r-3", {"late"}, token, &seen).status.is(Reason::kStaleFence));
    EXPECT_TRUE(put_as("r-4", {"same"}, token + 1, &seen).status.ok());
    stop();
  }
  start();
  std::printf("shown: broker killed in a fenced put; %s; %zu states, %zu before, %zu refused\n",
              GetParam().name, states.size(), before, refused);
  EXPECT_GT(before, 0u);
  EXPECT_GT(refused, 0u);
}

std::string name_of(const testing::TestParamInfo<Case>& p) { return p.param.name; }

const Case kFenced{"fenced", {"aaaa one"}, 0, shm::Overflow::kReject, 0, false, 7};
const Case kFencedTwo{"fenced_two", {"aaaa", "bbbb"}, 0, shm::Overflow::kReject, 0, false, 7};

INSTANTIATE_TEST_SUITE_P(
    Put, RequestKill,
    testing::Values(Case{"small", {"aaaa one"}}, Case{"large", {std::string(5000, 'b')}},
                    Case{"three", {"aaaa", std::string(300, 'b'), "cccc"}},
                    Case{"consumed", {"aaaa", "bbbb"}, 0, shm::Overflow::kReject, 1, true},
                    Case{"drop_oldest", {"aaaa", "bbbb"}, 8, shm::Overflow::kDropOldest, 8},
                    kFenced, kFencedTwo),
    name_of);
INSTANTIATE_TEST_SUITE_P(Put, FenceKill, testing::Values(kFenced, kFencedTwo), name_of);

}  // namespace
}  // namespace heddle::broker
