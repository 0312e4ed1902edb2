// Lists and blocks of processes that are killed, and of processes that may only read.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

constexpr uid_t kStranger = 65534;

Client connect_to(const Daemon& daemon) {
  return Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kShm}).value();
}

// As a stranger: what is wrong, as an exit status; 0: nothing.
int read_list_as_stranger(const std::string& runtime_dir) {
  if (::setgid(kStranger) != 0 || ::setuid(kStranger) != 0) return 10;
  auto client = Client::connect({.runtime_dir = runtime_dir, .plane = Plane::kShm});
  if (!client) return 11;
  auto list = client->open_list("readable");
  if (!list) return 12;
  if (list->get(0)->value.integer() != 1 || list->wait_change(1).value() != 1) return 13;
  if (!list->append(2).status().is(Reason::kDenied)) return 14;
  if (!list->wait_change(2, 20ms).status().is(Reason::kTimedOut)) return 15;
  auto block = client->open_block("readable");
  if (!block) return 16;
  std::byte room[1];
  if (!block->read(0, room) || static_cast<char>(room[0]) != 'x') return 17;
  if (!block->write(0, "y").status().is(Reason::kDenied)) return 18;
  if (!block->mend().is(Reason::kDenied) || !block->force().status().is(Reason::kDenied)) return 19;
  const BlockMap map = block->map().value();
  if (map.writable() || static_cast<char>(map.data()[0]) != 'x') return 20;
  void* const page = map.data() - 4096;
  if (::mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0 || errno != EACCES) return 21;
  if (!client->open_list("hidden").status().is(Reason::kNotFound)) return 22;
  return client->delete_list("readable").is(Reason::kDenied) ? 0 : 23;
}

TEST(ListBlockReadOnlyTest, AReaderCannotStore) {
  if (::getuid() != 0) GTEST_SKIP() << "it takes root to become somebody else";
  Daemon daemon{{}};
  for (std::string path = daemon.runtime_dir(); path.size() > 4;
       path = path.substr(0, path.rfind('/'))) {
    ::chmod(path.c_str(), 0755);
  }
  Client client = connect_to(daemon);
  List list = client.create_list("readable", {.mode = 0644}).value();
  list.append(1).value();
  client.create_list("hidden").value();
  Block block = client.create_block("readable", {.size = 100, .mode = 0644}).value();
  block.write(0, "x").value();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(read_list_as_stranger(daemon.runtime_dir()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(list.len().value(), 1u);
}

// What the children have done for certain, in memory of ours.
struct Tally {
  std::atomic<std::uint64_t> begun[3], done[3];
  std::atomic<std::uint64_t> torn;
};

std::string whole_text(std::mt19937& random) {
  const std::size_t length = random() % 8 == 0 ? 20'000 + random() % 50'000 : 1 + random() % 300;
  return std::string(length, static_cast<char>('a' + random() % 26));
}
bool is_one_letter(const std::string& text) {
  return !text.empty() && text.find_first_not_of(text[0]) == std::string::npos;
}

[[noreturn]] void change_without_end(const std::string& runtime_dir, int worker, unsigned seed,
                                     Tally* tally) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::mt19937 random(seed);
  Client client = Client::connect({.runtime_dir = runtime_dir, .plane = Plane::kShm}).value();
  List list = client.open_list("soak").value();
  List count = client.open_list("count/" + std::to_string(worker)).value();
  for (;;) {
    switch (random() % 8) {
      case 0:
      case 1:
        (void)list.pop(random() % 2 == 0 ? 0 : -1);
        break;
      case 2:
        tally->begun[worker].fetch_add(1);
        if (count.append(1)) tally->done[worker].fetch_add(1);
        break;
      case 3: {
        auto got = list.get(static_cast<std::int64_t>(random() % 20));
        if (got && !is_one_letter(got->value.stored)) tally->torn.fetch_add(1);
        break;
      }
      case 4:
        (void)list.set(static_cast<std::int64_t>(random() % 20), whole_text(random));
        break;
      case 5:
        if (random() % 20 == 0) (void)list.clear();
        break;
      default:
        (void)list.insert(static_cast<std::int64_t>(random() % 40), whole_text(random));
        break;
    }
  }
}

TEST(ListSoakTest, NothingIsTornOrLostWhenAnybodyIsKilled) {
  Daemon daemon{{}};
  auto* tally = new (::mmap(nullptr, sizeof(Tally), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Tally{};
  Client client = connect_to(daemon);
  List list = client.create_list("soak", {.max_len = 500, .max_bytes = 64 << 20}).value();
  std::vector<pid_t> pids;
  unsigned seed = 1;
  const auto start = [&](int worker) {
    const pid_t child = ::fork();
    if (child == 0) change_without_end(daemon.runtime_dir(), worker, seed, tally);
    ++seed;
    return child;
  };
  for (int w = 0; w < 3; ++w) {
    client.create_list("count/" + std::to_string(w)).value();
    pids.push_back(start(w));
  }
  const bool is_long = std::getenv("HEDDLE_LONG") != nullptr;
  const Watchdog watchdog("list soak", is_long ? 180 : 30);
  const auto end = std::chrono::steady_clock::now() + (is_long ? 120s : 5s);
  std::mt19937 random(7);
  int kills = 0;
  while (std::chrono::steady_clock::now() < end) {
    ::usleep(static_cast<useconds_t>(random() % 60'000));
    // A broker that dies all the time is started again ever later.
    if (++kills % (is_long ? 150 : 12) == 0) daemon.kill_broker();
    const auto w = random() % 3;
    ::kill(pids[w], SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(pids[w], &status, 0), pids[w]);
    ASSERT_TRUE(WIFSIGNALED(status)) << "a worker ended by itself: " << WEXITSTATUS(status);
    pids[w] = start(static_cast<int>(w));
  }
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  EXPECT_GT(kills, 10);
  EXPECT_EQ(tally->torn.load(), 0u);
  for (int w = 0; w < 3; ++w) {
    const auto length = client.open_list("count/" + std::to_string(w))->len().value();
    EXPECT_GE(length, tally->done[w].load());
    EXPECT_LE(length, tally->begun[w].load());
  }
  // It is usable, what stands in it is whole, and its figures fit it.
  list.append("z").value();
  std::uint64_t bytes = 0;
  for (const ListItem& item : list.items().value()) {
    EXPECT_TRUE(is_one_letter(item.value.stored));
    bytes += item.value.stored.size();
  }
  const ListInfo info = list.info().value();
  EXPECT_EQ(info.length, list.items()->size());
  EXPECT_EQ(info.bytes, bytes);
  EXPECT_TRUE(list.clear().ok());
  ::munmap(tally, sizeof(Tally));
}

#ifdef HEDDLE_TEST_GRPC_PLANE
// Only where the broker says that it cannot tell may it be either.
TEST(ListOnceTest, ARemoteAppendHappensOnceOverKilledBrokers) {
  allow_leaks("gRPC keeps threads and descriptors");
  Daemon daemon{{}};
  Client client =
      Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kGrpc}).value();
  List list = client.create_list("once").value();
  std::atomic<bool> stop{false};
  std::thread killer([&] {
    std::mt19937 random(3);
    while (!stop.load()) {
      ::usleep(static_cast<useconds_t>(200'000 + random() % 200'000));
      daemon.kill_broker();
    }
  });
  std::vector<bool> sure;
  const auto end = std::chrono::steady_clock::now() + 3s;
  while (std::chrono::steady_clock::now() < end) {
    const auto number = static_cast<std::int64_t>(sure.size());
    auto changed = list.append(number);
    EXPECT_TRUE(changed.ok() || changed.status().is(Reason::kBrokerAway))
        << changed.status().to_string();
    sure.push_back(changed.ok());
  }
  stop.store(true);
  killer.join();
  std::vector<int> times(sure.size(), 0);
  for (const ListItem& item : list.items().value()) {
    ++times.at(static_cast<std::size_t>(item.value.integer().value()));
  }
  EXPECT_GT(sure.size(), 20u);
  for (std::size_t i = 0; i < sure.size(); ++i) {
    EXPECT_LE(times[i], 1) << i;
    if (sure[i]) {
      EXPECT_EQ(times[i], 1) << i;
    }
  }
}
#endif

// A child that is stopped or killed within a write: writes, until it is caught in one.
pid_t catch_in_write(const std::string& runtime_dir, Block& block, int signal) {
  for (;;) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      Client client = Client::connect({.runtime_dir = runtime_dir, .plane = Plane::kShm}).value();
      Block mine = client.open_block("torn").value();
      const std::string text(mine.size(), 'n');
      for (;;) (void)mine.write(0, text);
    }
    for (int tries = 0; tries < 2000; ++tries) {
      if (!block.info()->writing) continue;
      ::kill(child, signal);
      int status = 0;
      if (signal == SIGKILL) {
        ::waitpid(child, &status, 0);
        // The broker reaps it: then nobody is writing any more.
        while (block.info()->writing) ::usleep(1000);
        if (block.info()->torn) return child;
        break;
      }
      ::waitpid(child, &status, WUNTRACED);
      if (block.info()->writing) return child;
      ::kill(child, SIGCONT);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
}

TEST(BlockDeathTest, WhatADeadWriterLeftIsTold) {
  Daemon daemon{{}};
  Client client = connect_to(daemon);
  constexpr std::size_t kBytes = 4 << 20;
  Block block = client.create_block("torn", {.size = kBytes}).value();
  catch_in_write(daemon.runtime_dir(), block, SIGKILL);
  const BlockInfo torn = block.info().value();
  EXPECT_TRUE(torn.torn);
  EXPECT_EQ(torn.torn_at, 0u);
  EXPECT_EQ(torn.torn_end, kBytes);
  std::byte room[16];
  EXPECT_TRUE(block.read(100, room)->torn);
  block.write(0, "part of it").value();
  EXPECT_TRUE(block.read(100, room)->torn);
  ASSERT_TRUE(block.mend().ok());
  EXPECT_FALSE(block.read(100, room)->torn);
  EXPECT_FALSE(block.info()->torn);
  catch_in_write(daemon.runtime_dir(), block, SIGKILL);
  EXPECT_TRUE(block.read(100, room)->torn);
  block.write(0, std::string(kBytes, 'w')).value();
  EXPECT_FALSE(block.read(100, room)->torn) << "all of it was written";
}

TEST(BlockDeathTest, AFrozenWriterIsNamedAndMayBeForced) {
  Daemon daemon{{}};
  Client client = connect_to(daemon);
  Block block = client.create_block("torn", {.size = 4 << 20}).value();
  const pid_t child = catch_in_write(daemon.runtime_dir(), block, SIGSTOP);
  std::byte room[16];
  const Status busy = block.read(0, room, 20ms).status();
  EXPECT_TRUE(busy.is(Reason::kTimedOut)) << busy.to_string();
  EXPECT_NE(busy.to_string().find("is writing"), std::string::npos);
  EXPECT_TRUE(block.write(0, "x", {.timeout = 20ms}).status().is(Reason::kTimedOut));
  EXPECT_TRUE(block.force().value());
  EXPECT_TRUE(block.read(0, room)->torn);
  EXPECT_TRUE(block.write(0, "x").ok());
  ::kill(child, SIGKILL);
  ::kill(child, SIGCONT);
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace heddle::test
