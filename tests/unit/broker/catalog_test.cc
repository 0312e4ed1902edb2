// The catalog after a kill at every instruction of every kind of write: what is found is the state
// before or the state after, and the write can be done again.
#include "daemon/broker/catalog.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <set>
#include <string>

namespace heddle::broker {
namespace {

const CatalogSizes kSizes{8, 65'536, 4, 8, 8};

class Memory {
 public:
  Memory() : bytes_(Catalog::bytes(kSizes)) {
    base_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
  ~Memory() { ::munmap(base_, bytes_); }
  void* base() const { return base_; }
  std::unique_ptr<Catalog> attach() const {
    auto catalog = Catalog::attach(base_, bytes_);
    EXPECT_TRUE(catalog.ok()) << catalog.status().to_string();
    return catalog.ok() ? *std::move(catalog) : nullptr;
  }
  // The parts that a few writes can touch; the rest of the session table stays zero.
  static constexpr size_t kHead = sizeof(CatalogHeader) + 8 * sizeof(ObjectRecord) + 16 * 128;
  static constexpr size_t kTail = 12'288;
  size_t tail_at() const { return bytes_ - kTail; }
  bool same(const Memory& other) const {
    return std::memcmp(base_, other.base_, kHead) == 0 &&
           std::memcmp(at(tail_at()), other.at(tail_at()), kTail) == 0;
  }
  void copy(const Memory& other) {
    std::memcpy(base_, other.base_, kHead);
    std::memcpy(at(tail_at()), other.at(tail_at()), kTail);
  }

 private:
  char* at(size_t offset) const { return static_cast<char*>(base_) + offset; }
  size_t bytes_;
  void* base_;
};

ObjectEntry object(uint64_t id, const std::string& name, uint32_t max_len) {
  ObjectEntry entry{};
  entry.object_id = id;
  entry.options.max_len = max_len;
  std::memcpy(entry.name, name.data(), name.size());
  return entry;
}

SessionEntry session(uint64_t id, int pid) {
  SessionEntry entry{};
  entry.session_id = id;
  entry.pid = pid;
  return entry;
}

// What a reader believes, as text.
std::string view(const Catalog& catalog) {
  std::set<std::string> lines;
  catalog.each_object([&](uint32_t, ObjectState state, const ObjectEntry& entry) {
    lines.insert("object " + std::to_string(entry.object_id) + " " + entry.name + " " +
                 std::to_string(entry.options.max_len) + " " +
                 std::to_string(static_cast<int>(state)));
  });
  catalog.each_session(
      [&](uint16_t owner, SessionState state, uint32_t generation, const SessionEntry& entry) {
        lines.insert("session " + std::to_string(owner) + " " + std::to_string(generation) + " " +
                     std::to_string(entry.pid) + " " + std::to_string(static_cast<int>(state)));
      });
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// What is known of a request after the broker's death.
std::string requests_view(Catalog& catalog) {
  catalog.end_all_requests();
  const auto found = catalog.begin_request(1, 7, "again", 3);
  std::string text = std::to_string(static_cast<int>(found.state));
  for (const uint64_t id : found.ids) text += " " + std::to_string(id);
  return text;
}

using Write = std::function<void(Catalog&)>;

// Runs `write` in a child, one instruction at a time; calls `each` for every new state.
int step_through(const Memory& memory, const Write& write, const std::function<void()>& each) {
  auto catalog = memory.attach();
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    write(*catalog);
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  Memory last;
  last.copy(memory);
  int steps = 0;
  while (steps < 200'000) {
    if (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) break;
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) break;
    if (WSTOPSIG(status) == SIGSTOP) break;
    ++steps;
    if (memory.same(last)) continue;
    last.copy(memory);
    each();
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return steps;
}

void expect_atomic(const Write& prepare, const Write& write,
                   const std::function<std::string(Catalog&)>& look) {
  Memory memory;
  Catalog::format(memory.base(), kSizes);
  prepare(*memory.attach());
  Memory scratch;
  scratch.copy(memory);
  const std::string before = look(*scratch.attach());
  scratch.copy(memory);
  write(*scratch.attach());
  const std::string after = look(*scratch.attach());
  ASSERT_NE(before, after);
  int states = 0, befores = 0;
  const int steps = step_through(memory, write, [&] {
    ++states;
    scratch.copy(memory);
    const std::string seen = look(*scratch.attach());
    befores += seen == before;
    EXPECT_TRUE(seen == before || seen == after) << "state " << states << ":\n" << seen;
    if (seen != before) return;
    scratch.copy(memory);
    write(*scratch.attach());  // the half-written record is in nobody's way
    EXPECT_EQ(look(*scratch.attach()), after) << "state " << states;
  });
  EXPECT_GT(steps, 10);
  EXPECT_GT(states, 0);
  std::printf("shown: catalog, killed; a record; %d points, %d states, %d before the commit\n",
              steps, states, befores);
}

uint32_t slot_of(const Catalog& catalog, uint64_t id) {
  uint32_t found = 0;
  catalog.each_object([&](uint32_t slot, ObjectState, const ObjectEntry& entry) {
    if (entry.object_id == id) found = slot;
  });
  return found;
}

void two_objects(Catalog& catalog) {
  for (const char* name : {"one", "two"}) {
    ASSERT_TRUE(catalog.add_object(object(catalog.new_object_id(), name, 10)).ok());
  }
}

TEST(CatalogStepKill, AddObject) {
  expect_atomic(
      two_objects, [](Catalog& c) { (void)c.add_object(object(9, "three", 30)); },
      [](Catalog& c) { return view(c); });
}

TEST(CatalogStepKill, UpdateObject) {
  expect_atomic(
      two_objects, [](Catalog& c) { (void)c.update_object(slot_of(c, 2), object(2, "two", 99)); },
      [](Catalog& c) { return view(c); });
}

TEST(CatalogStepKill, RemoveObject) {
  expect_atomic(
      two_objects, [](Catalog& c) { c.remove_object(slot_of(c, 1)); },
      [](Catalog& c) { return view(c); });
}

LockEntry lock(uint64_t id, const std::string& name) {
  LockEntry entry{};
  entry.object_id = id;
  std::memcpy(entry.name, name.data(), name.size());
  return entry;
}

std::string locks_view(Catalog& c) {
  std::string text;
  c.each_lock([&](uint32_t slot, const LockEntry& entry) {
    text += std::to_string(slot) + " " + std::to_string(entry.object_id) + " " + entry.name + "\n";
  });
  return text;
}

TEST(CatalogStepKill, AddLock) {
  expect_atomic([](Catalog& c) { (void)c.add_lock(lock(7, "first")); },
                [](Catalog& c) { (void)c.add_lock(lock(8, "second")); }, locks_view);
}

TEST(CatalogStepKill, RemoveLock) {
  const auto two = [](Catalog& c) {
    (void)c.add_lock(lock(7, "first"));
    (void)c.add_lock(lock(8, "second"));
  };
  expect_atomic(two, [](Catalog& c) { c.remove_lock(0); }, locks_view);
}

TEST(CatalogStepKill, AddSession) {
  expect_atomic([](Catalog& c) { c.add_session(3, c.next_generation(3), session(3, 42)); },
                [](Catalog& c) { c.add_session(5, c.next_generation(5), session(5, 43)); },
                [](Catalog& c) {
                  // The generation may have moved on already; that harms nobody.
                  std::string text = view(c);
                  const size_t at = text.find("session 5 ");
                  return at == std::string::npos ? text : text.erase(at + 10, 1);
                });
}

TEST(CatalogStepKill, RemoveSession) {
  expect_atomic([](Catalog& c) { c.add_session(3, c.next_generation(3), session(3, 42)); },
                [](Catalog& c) { c.remove_session(3); }, [](Catalog& c) { return view(c); });
}

TEST(CatalogStepKill, NoteRequest) {
  expect_atomic([](Catalog& c) { c.note_request(c.begin_request(1, 7, "again", 3).number, 11); },
                [](Catalog& c) { c.note_request(1, 12); }, requests_view);
}

TEST(CatalogStepKill, EndRequest) {
  expect_atomic([](Catalog& c) { c.note_request(c.begin_request(1, 7, "again", 3).number, 11); },
                [](Catalog& c) { c.end_request(1, true); }, requests_view);
}

std::string fences_view(Catalog& c) {
  std::string text;
  for (const char* lock : {"first", "second"}) {
    text += std::to_string(c.raise_fence(7, lock, 1).value()) + " ";
  }
  return text;
}

TEST(CatalogStepKill, FirstFence) {
  expect_atomic([](Catalog& c) { (void)c.raise_fence(7, "first", 5); },
                [](Catalog& c) { (void)c.raise_fence(7, "second", 6); }, fences_view);
}

TEST(CatalogStepKill, RaiseFence) {
  expect_atomic([](Catalog& c) { (void)c.raise_fence(7, "first", 5); },
                [](Catalog& c) { (void)c.raise_fence(7, "first", 6); }, fences_view);
}

TEST(Catalog, RemembersFencesOfObjectsThatAreThere) {
  Memory memory;
  Catalog::format(memory.base(), kSizes);
  auto catalog = memory.attach();
  EXPECT_EQ(catalog->raise_fence(7, "a", 5).value(), 5u);
  EXPECT_EQ(catalog->raise_fence(7, "a", 3).value(), 5u);
  EXPECT_EQ(catalog->raise_fence(8, "a", 3).value(), 3u);
  catalog = memory.attach();
  EXPECT_EQ(catalog->raise_fence(7, "a", 4).value(), 5u);
  catalog->keep_fences_of([](uint64_t id) { return id == 7; });
  EXPECT_EQ(catalog->raise_fence(8, "a", 1).value(), 1u);
  catalog->remove_fences(7);
  catalog = memory.attach();
  EXPECT_EQ(catalog->raise_fence(7, "a", 2).value(), 2u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_TRUE(catalog->raise_fence(9, std::to_string(i), 1).ok());
  }
  EXPECT_EQ(catalog->raise_fence(9, "one more", 1).reason(), Reason::kQuota);
}

TEST(Catalog, RefusesForeignMemory) {
  Memory memory;
  EXPECT_EQ(Catalog::attach(memory.base(), Catalog::bytes(kSizes)).reason(), Reason::kCorrupt);
  Catalog::format(memory.base(), kSizes);
  EXPECT_EQ(Catalog::attach(memory.base(), Catalog::bytes(kSizes) - 4096).reason(),
            Reason::kCorrupt);
  static_cast<CatalogHeader*>(memory.base())->version = 99;
  const auto other = Catalog::attach(memory.base(), Catalog::bytes(kSizes));
  EXPECT_EQ(other.reason(), Reason::kVersionMismatch);
  EXPECT_EQ(other.status().actual(), 99u);
}

TEST(Catalog, IsFullAtItsLimit) {
  Memory memory;
  Catalog::format(memory.base(), kSizes);
  auto catalog = memory.attach();
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(catalog->add_object(object(catalog->new_object_id(), "x", 1)).ok());
  }
  const auto more = catalog->add_object(object(catalog->new_object_id(), "y", 1));
  EXPECT_EQ(more.reason(), Reason::kQuota);
  EXPECT_EQ(more.status().limit(), 8u);
}

TEST(Catalog, OldRequestsAreForgottenInOrder) {
  Memory memory;
  Catalog::format(memory.base(), kSizes);
  auto catalog = memory.attach();
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    const auto request = catalog->begin_request(1, 7, id, 1);
    EXPECT_EQ(request.state, RequestState::kFree);
    catalog->note_request(request.number, 1);
    catalog->end_request(request.number, true);
  }
  catalog = memory.attach();
  EXPECT_EQ(catalog->begin_request(1, 7, "e", 1).state, RequestState::kDone);
  EXPECT_EQ(catalog->begin_request(1, 8, "e", 1).state, RequestState::kFree);  // another uid
  EXPECT_EQ(catalog->begin_request(1, 7, "a", 1).state, RequestState::kFree);  // long gone
}

TEST(Catalog, ARequestCutOffGoesOnBehindWhatIsIn) {
  Memory memory;
  Catalog::format(memory.base(), kSizes);
  auto catalog = memory.attach();
  const auto first = catalog->begin_request(1, 7, "r", 3);
  EXPECT_EQ(catalog->begin_request(1, 7, "r", 3).state, RequestState::kStarted);
  catalog->note_request(first.number, 40);
  catalog->note_request(first.number, 40);  // again = no change
  catalog = memory.attach();
  catalog->end_all_requests();
  const auto second = catalog->begin_request(1, 7, "r", 3);
  EXPECT_EQ(second.state, RequestState::kPartly);
  EXPECT_EQ(second.ids, std::vector<uint64_t>{40});
  EXPECT_EQ(catalog->request_object(second.number), 1u);
  catalog->note_request(second.number, 41);
  catalog->note_request(second.number, 44);
  catalog->end_request(second.number, true);
  const auto third = catalog->begin_request(1, 7, "r", 3);
  EXPECT_EQ(third.state, RequestState::kDone);
  EXPECT_EQ(third.ids, (std::vector<uint64_t>{40, 41, 44}));
  EXPECT_EQ(catalog->request_object(third.number), 0u);
}

}  // namespace
}  // namespace heddle::broker
