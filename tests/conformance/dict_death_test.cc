// Dicts of processes that are killed, and of processes that may only read.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

constexpr uid_t kStranger = 65534;

// Descriptors of segments that this process has, other than the session page.
std::vector<int> segment_fds() {
  std::vector<int> found;
  DIR* all = ::opendir("/proc/self/fd");
  while (const dirent* one = ::readdir(all)) {
    char target[256] = {};
    const std::string path = std::string("/proc/self/fd/") + one->d_name;
    if (::readlink(path.c_str(), target, sizeof target - 1) > 0 &&
        std::string(target).find("memfd:heddle:readable") != std::string::npos) {
      found.push_back(std::atoi(one->d_name));
    }
  }
  ::closedir(all);
  return found;
}

// The first mapping of the dict: where it is, and how.
bool mapping_of_dict(void** base, std::string* rights) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:heddle:readable") == std::string::npos) continue;
    *base = reinterpret_cast<void*>(std::stoull(line, nullptr, 16));
    *rights = line.substr(line.find(' ') + 1, 4);
    return true;
  }
  return false;
}

// As a stranger: what is wrong, as an exit status; 0: nothing.
int read_as_stranger(const std::string& runtime_dir) {
  for (const int fd : segment_fds()) ::close(fd);  // of the process that was forked
  if (::setgid(kStranger) != 0 || ::setuid(kStranger) != 0) return 10;
  auto client = Client::connect({.runtime_dir = runtime_dir, .plane = Plane::kShm});
  if (!client) return 11;
  auto dict = client->dict("readable");
  if (!dict) return 12;
  if (dict->get("a")->value.integer() != 1) return 13;
  DictWatch watch = dict->watch({.start_revision = 1}).value();
  if (watch.next(std::chrono::seconds(10))->entry.key != "a") return 14;
  if (!dict->set("a", 2).status().is(Reason::kDenied)) return 15;
  if (!dict->increment("a", 1).status().is(Reason::kDenied)) return 16;
  void* base = nullptr;
  std::string rights;
  if (!mapping_of_dict(&base, &rights) || rights != "r--s") return 17;
  // Neither can the mapping be made writable, nor another one with any descriptor that we have.
  if (::mprotect(base, 4096, PROT_READ | PROT_WRITE) == 0 || errno != EACCES) return 18;
  const auto fds = segment_fds();
  if (fds.empty()) return 19;
  for (const int fd : fds) {
    if (::mmap(nullptr, 4096, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED) return 20;
    const std::string again = "/proc/self/fd/" + std::to_string(fd);
    if (::open(again.c_str(), O_RDWR) >= 0) return 21;
  }
  return client->delete_dict("readable").is(Reason::kDenied) ? 0 : 22;
}

TEST(DictReadOnlyTest, AReaderCannotStore) {
  if (::getuid() != 0) GTEST_SKIP() << "it takes root to become somebody else";
  Daemon daemon{{}};
  const std::string directory = daemon.runtime_dir();
  for (std::string path = directory; path.size() > 4; path = path.substr(0, path.rfind('/'))) {
    ::chmod(path.c_str(), 0755);
  }
  Client client = Client::connect({.runtime_dir = directory, .plane = Plane::kShm}).value();
  Dict dict = client.create_dict("readable", {.mode = 0644}).value();
  dict.set("a", 1).value();
  client.create_dict("hidden").value();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(read_as_stranger(directory));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(dict.get("a")->value.integer(), 1);
}

// --- soak ---

constexpr int kWorkers = 4, kKeys = 64;

// What the workers have done for certain, in memory of ours.
struct Books {
  std::atomic<std::int64_t> begun[kWorkers], done[kWorkers];
  std::atomic<std::int64_t> torn;
};

std::string checked_value(std::mt19937& random) {
  const std::size_t length = random() % 8 == 0 ? 20'000 + random() % 100'000 : random() % 300;
  std::string text(length, static_cast<char>('a' + random() % 26));
  return std::to_string(length) + ":" + text;
}

bool is_whole(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view body = text.substr(colon + 1);
  return std::to_string(body.size()) == text.substr(0, colon) &&
         body.find_first_not_of(body.empty() ? 'a' : body[0]) == std::string_view::npos;
}

[[noreturn]] void work(const std::string& runtime_dir, int worker, unsigned seed, Plane plane,
                       Books* books) {
  std::mt19937 random(seed);
  Client client = Client::connect({.runtime_dir = runtime_dir, .plane = plane}).value();
  Dict dict = client.dict("soak").value();
  const std::string own = "count/" + std::to_string(worker);
  for (;;) {
    const std::string key = "k" + std::to_string(random() % kKeys);
    switch (random() % 8) {
      case 0:
        (void)dict.erase(key);
        break;
      case 1: {
        books->begun[worker].fetch_add(1);
        auto changed = dict.increment(own, 1);
        if (changed && *changed) books->done[worker].fetch_add(1);
        break;
      }
      case 2: {
        const std::string both = checked_value(random);
        const DictOperation pair[] = {{DictOperation::What::kSet, "left", both},
                                      {DictOperation::What::kSet, "right", both}};
        (void)dict.transact({}, pair);
        break;
      }
      case 3:
        (void)dict.set(key, checked_value(random),
                       {.expiry = std::chrono::milliseconds(1 + random() % 50)});
        break;
      case 4:
        (void)dict.set(key, checked_value(random), {.session = true});
        break;
      case 5: {
        auto got = dict.get(key);
        if (got && !is_whole(got->value.text())) books->torn.fetch_add(1);
        break;
      }
      default:
        (void)dict.set(key, checked_value(random));
        break;
    }
  }
}

pid_t start_worker(const std::string& runtime_dir, int worker, unsigned seed, Plane plane,
                   Books* books) {
  const pid_t child = ::fork();
  if (child == 0) work(runtime_dir, worker, seed, plane, books);
  return child;
}

TEST(DictSoakTest, NothingIsTornOrLostWhenAnybodyIsKilled) {
  Daemon daemon{{}};
  auto* books = new (::mmap(nullptr, sizeof(Books), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Books{};
  Client client =
      Client::connect({.runtime_dir = daemon.runtime_dir(), .plane = Plane::kShm}).value();
  Dict dict = client.create_dict("soak", {.history = 1 << 16}).value();
  std::vector<pid_t> pids;
  std::vector<std::int64_t> slack(kWorkers, 0);
  unsigned seed = 1;
  for (int w = 0; w < kWorkers; ++w) {
    pids.push_back(start_worker(daemon.runtime_dir(), w, seed++, Plane::kShm, books));
  }
  std::atomic<bool> stop{false};
  std::thread watcher([&] {
    DictWatch watch = dict.watch({.start_revision = 1}).value();
    std::uint64_t last = 0;
    std::string left;
    while (!stop.load()) {
      auto event = watch.next(50ms);
      if (!event && event.status().is(Reason::kTimedOut)) continue;
      if (!event && event.status().is(Reason::kOutOfRange)) {
        last = event.status().limit() - 1;  // slower than four writers: it may begin again
        watch = dict.watch({.start_revision = last + 1}).value();
        continue;
      }
      ASSERT_TRUE(event.ok()) << event.status().to_string();
      ASSERT_TRUE(event->revision == last + 1 || event->revision == last)
          << event->revision << " after " << last;
      last = event->revision;
      if (event->kind != DictEventKind::kPut) continue;
      if (event->entry.key == "left") left = event->entry.value.stored;
      ASSERT_TRUE(event->entry.key != "right" || left == event->entry.value.stored);
      ASSERT_TRUE(event->entry.key[0] != 'k' || is_whole(event->entry.value.text()));
    }
  });
  const bool is_long = std::getenv("HEDDLE_LONG") != nullptr;
  const auto end = std::chrono::steady_clock::now() + (is_long ? 120s : 6s);
  std::mt19937 random(7);
  int kills = 0;
  while (std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    if (++kills % 12 == 0) daemon.kill_broker();
    const auto w = static_cast<std::size_t>(random() % kWorkers);
    ::kill(pids[w], SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(pids[w], &status, 0), pids[w]);
    ASSERT_TRUE(WIFSIGNALED(status)) << "a worker ended by itself: " << WEXITSTATUS(status);
    pids[w] = start_worker(daemon.runtime_dir(), static_cast<int>(w), seed++, Plane::kShm, books);
  }
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(books->torn.load(), 0);
  for (int w = 0; w < kWorkers; ++w) {
    auto got = dict.get("count/" + std::to_string(w));
    const std::int64_t count = got ? got->value.integer().value_or(-1) : 0;
    EXPECT_GE(count, books->done[w].load());
    EXPECT_LE(count, books->begun[w].load());
  }
  // It is usable, and what stands in it is whole.
  EXPECT_TRUE(*dict.set("after", 1));
  for (const DictEntry& entry : dict.items("k").value()) {
    EXPECT_TRUE(is_whole(entry.value.text())) << entry.key;
  }
  EXPECT_EQ(dict.get("left")->value.stored, dict.get("right")->value.stored);
  stop.store(true);
  watcher.join();
  ::munmap(books, sizeof(Books));
}

}  // namespace
}  // namespace heddle::test
