#include "tests/crash/locks/lock_stage.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cstdio>
#include <cstring>

#include "proto/shm/futex.h"
#include "tests/support/states.h"

namespace heddle::shm {
namespace {

constexpr size_t kJournalBytes = LockWorld::kThreads * sizeof(JournalLine);

void nap() {
  const timespec time{0, 50'000};
  nanosleep(&time, nullptr);
}

bool sleeps_on_futex(pid_t pid) {
  char path[64], text[64] = "";
  std::snprintf(path, sizeof path, "/proc/%d/syscall", static_cast<int>(pid));
  FILE* file = fopen(path, "r");
  if (file == nullptr) return false;
  const bool read = fgets(text, sizeof text, file) != nullptr;
  fclose(file);
  long number = -1;
  return read && std::sscanf(text, "%ld", &number) == 1 && number == SYS_futex;
}

bool has_ended(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

}  // namespace

LockStage::LockStage(const LockScenario& scenario)
    : scenario_(scenario),
      lock_(world_.make(scenario.options, scenario.token_start)),
      victim_(world_.actor(kVictim)),
      other_(world_.actor(kOther)),
      second_(world_.actor(kSecond)),
      shared_(static_cast<Shared*>(mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
  scenario.prepare(lock_, victim_, other_);
  prepared_ = save();
}

LockStage::~LockStage() {
  stop_sleepers();
  munmap(shared_, sizeof(Shared));
}

LockStage::Image LockStage::save() {
  Image image(world_.bytes() + kJournalBytes);
  std::memcpy(image.data(), world_.base(), world_.bytes());
  std::memcpy(image.data() + world_.bytes(), world_.journal(0), kJournalBytes);
  return image;
}

void LockStage::restore(const Image& image) {
  std::memcpy(world_.base(), image.data(), world_.bytes());
  std::memcpy(static_cast<void*>(world_.journal(0)), image.data() + world_.bytes(), kJournalBytes);
  shared_->back = 0;
  shared_->told = 0;
}

uint64_t LockStage::hash() const {
  auto& self = const_cast<LockStage&>(*this);
  uint64_t h = 1;
  const auto mix = [&h](const void* from, size_t bytes) { h = test::mix(h, from, bytes); };
  // `seen` and the journal hold clock readings; the reaper looks at neither.
  LockSegment& segment = self.world_.segment();
  mix(&lock_.line(), 96);
  mix(&segment.header().sleepers, 8);
  for (uint32_t i = 0; i < 8; ++i) {
    mix(&segment.link(i), 8);
    for (const Cell& cell : segment.block(i).cells) mix(&cell, 16);
  }
  return h;
}

void LockStage::start_sleepers() {
  for (size_t i = 0; i < scenario_.sleepers.size(); ++i) {
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(0);
      LockActor a = world_.actor(static_cast<uint16_t>(10 + i));
      scenario_.sleepers[i](lock_, a);
      shared_->back.fetch_add(1);
      _exit(0);
    }
    sleepers_.push_back(pid);
    // Asleep for good, not between two naps of the way in.
    for (int steady = 0; steady < 3 && !has_ended(pid);) {
      nap();
      steady = sleeps_on_futex(pid) ? steady + 1 : 0;
    }
  }
}

size_t LockStage::sleepers_back() const { return shared_->back.load(); }

bool LockStage::wait_for_sleepers(size_t n, int timeout_ms) {
  const int64_t end = monotonic_ns() + int64_t{timeout_ms} * 1'000'000;
  while (sleepers_back() < n) {
    if (monotonic_ns() > end) return false;
    nap();
  }
  return true;
}

void LockStage::stop_sleepers() {
  for (const pid_t pid : sleepers_) {
    kill(pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  for (size_t i = 0; i < sleepers_.size(); ++i) world_.reap(static_cast<uint16_t>(10 + i));
  sleepers_.clear();
}

void LockStage::reap_both() {
  world_.segment().reap([](void*, uint16_t owner) { return owner != kVictim && owner != kSecond; },
                        nullptr);
}

bool LockStage::victim_owns() const {
  const uint64_t word = lock_.line().word.load();
  const uint16_t owner = owner_in(word);
  return (owner == kVictim || owner == kSecond) && (word & (kClaimed | kUpdate)) == 0;
}

std::string LockStage::check(bool owned, bool told_before) {
  std::string wrong;
  if (const char* found = world_.names(kVictim)) wrong += std::string(found) + "; ";
  if (const char* found = world_.names(kSecond)) wrong += std::string(found) + "; ";
  if (scenario_.settle) scenario_.settle(lock_, other_);
  LockActor a = world_.actor(kNewcomer), b = world_.actor(kNewcomer + 1);
  int abandoned = 0;
  wrong += use_fully(lock_, a, b, &abandoned);
  const bool tells = scenario_.options.policy == DeathPolicy::kFlag && owned && !told_before;
  const bool exclusive = lock_.kind() == LockKind::kMutex || lock_.kind() == LockKind::kRlock ||
                         lock_.kind() == LockKind::kRw;
  if (exclusive && scenario_.sleepers.empty() && abandoned != (tells ? 1 : 0)) {
    wrong += "told of a death " + std::to_string(abandoned) + " times; ";
  }
  const uint64_t word = lock_.line().word.load();
  if (holder_in(word) != 0) wrong += "somebody owns it; ";
  for (uint32_t i = 0; i < LockWorld::kBlocks; ++i) {
    const LinkWord link = LinkWord::decode(world_.segment().link(i).load());
    if (link.state == LinkState::kFree) continue;
    for (const Cell& cell : world_.segment().block(i).cells) {
      if (state_in(cell.word.load()) != CellState::kEmpty) wrong += "a cell is left; ";
    }
  }
  world_.segment().destroy(lock_.index());
  for (uint32_t i = 0; i < LockWorld::kBlocks; ++i) {
    if (world_.segment().link(i).load() != 0) wrong += "a block is leaked; ";
  }
  return wrong;
}

}  // namespace heddle::shm
