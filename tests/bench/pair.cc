#include "tests/bench/pair.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>

namespace heddle::bench {
namespace {

constexpr int kSkipped = 77;
constexpr double kIdleEnough = 0.25;  // share of the machine that others may use
constexpr int kIdleTries = 6;

void pin(unsigned wanted) {
  cpu_set_t allowed, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  wanted %= static_cast<unsigned>(CPU_COUNT(&allowed));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0) continue;
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

struct Ticks {
  double busy = 0, all = 0;
};

Ticks machine_ticks() {
  std::ifstream file("/proc/stat");
  std::string cpu;
  file >> cpu;
  Ticks ticks;
  double value = 0;
  for (int column = 0; column < 8 && file >> value; ++column) {
    ticks.all += value;
    if (column != 3 && column != 4) ticks.busy += value;
  }
  return ticks;
}

pid_t start_side(const Side& side) {
  const pid_t parent = getpid();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  pin(side.core);
  try {
    side.body();
  } catch (const std::exception& error) {
    fail(error.what());
  }
  _exit(0);  // no destructors: what the parent made is the parent's
}

}  // namespace

Options parse_options(int argc, char** argv) {
  if (argc < 3) fail("usage: PEER WORK [key=value...]");
  Options options;
  options.peer = argv[1];
  options.work = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = std::min(word.find('='), word.size() - 1);
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (key == "bytes") options.bytes = std::max<size_t>(std::stoul(value), sizeof(Stamp));
    else if (key == "seconds") options.seconds = std::stod(value);
    else if (key == "producers") options.producers = static_cast<unsigned>(std::stoul(value));
    else if (key == "consumers") options.consumers = static_cast<unsigned>(std::stoul(value));
    else if (key == "batch") options.batch = static_cast<unsigned>(std::stoul(value));
    else if (key == "outstanding") options.outstanding = static_cast<unsigned>(std::stoul(value));
    else if (key == "remote") options.remote = static_cast<unsigned>(std::stoul(value));
    else if (key == "slots") options.slots = static_cast<unsigned>(std::stoul(value));
    else if (key == "socket") options.socket = value;
    else if (key == "queue") options.queue = value;
    else fail(word + " is not a key=value that is known");
  }
  if (options.producers + options.consumers > kSidesMax) fail("too many sides");
  return options;
}

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void fail(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  _exit(1);
}

void skip(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  _exit(kSkipped);
}

Shared* Shared::map() {
  void* at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                  0);
  if (at == MAP_FAILED) fail("mmap");
  return new (at) Shared;
}

void run_sides(const std::vector<Side>& sides) {
  std::vector<pid_t> pids;
  for (const Side& side : sides) pids.push_back(start_side(side));
  int worst = 0;
  for (size_t left = pids.size(); left > 0; --left) {
    int status = 0;
    const pid_t ended = waitpid(-1, &status, 0);
    std::erase(pids, ended);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (code == 0 || worst != 0) continue;
    worst = code;
    if (WIFSIGNALED(status)) std::fprintf(stderr, "bench: signal %d\n", WTERMSIG(status));
    for (const pid_t pid : pids) kill(pid, SIGKILL);
  }
  if (worst != 0) _exit(worst);
}

void meet(Shared& shared, unsigned sides) {
  shared.ready.fetch_add(1);
  while (shared.ready.load() < sides) usleep(100);
}

void push_neighbours_away() {
  setsid();
  std::ofstream("/proc/self/autogroup") << "-20";
  setpriority(PRIO_PROCESS, 0, -20);
  for (int attempt = 0; attempt < kIdleTries; ++attempt) {
    const Ticks before = machine_ticks();
    usleep(10'000);
    const Ticks after = machine_ticks();
    if (after.busy - before.busy <= kIdleEnough * (after.all - before.all)) return;
  }
}

void report(const std::vector<Figure>& figures) {
  const char* separator = "{";
  for (const Figure& figure : figures) {
    std::printf("%s\"%s\": %.6g", separator, figure.name, figure.value);
    separator = ", ";
  }
  std::puts("}");
}

void report_samples(Shared& shared) {
  const uint32_t count = std::min(shared.samples, kSamplesMax);
  if (count == 0) fail("no sample was taken");
  float* first = shared.sample_us;
  std::sort(first, first + count);
  report({{"p50_us", first[count / 2]},
          {"p99_us", first[count - 1 - count / 100]},
          {"samples", double(count)}});
}

}  // namespace heddle::bench
