#include "tests/crash/history/actors.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <random>
#include <thread>

namespace heddle::history {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kUntoldNs = 3'000'000'000;
constexpr const char* kNames[kObjects] = {"mutex", "strict", "reentrant", "rw", "permits", "meet"};

LockOptions options_of(Object object) {
  LockOptions options;
  if (object == kStrict) options.fair = Fairness::kStrict;
  if (object == kReentrant) options.kind = LockKind::kRlock;
  if (object == kRw) options.kind = LockKind::kRw;
  return options;
}

class Worker {
 public:
  Worker(const ConnectOptions& to, Archive& archive, Stage& stage, uint32_t process, bool writes)
      : stage_(stage), recorder_(archive, process), random_(process * 7919 + 1) {
    Client client = Client::connect(to).value();
    for (const Object object : {kMutex, kStrict}) {
      if (writes) papers_[object] = client.queue(kNames[object]).value();
    }
    for (const Object object : {kMutex, kStrict, kReentrant, kRw}) {
      locks_[object] = client.lock(kNames[object], options_of(object)).value();
    }
    permits_ = client.semaphore(kNames[kSemaphore]).value();
  }

  void once() {
    const auto object = static_cast<Object>(random_() % kBarrier);
    if (object == kSemaphore)
      permits();
    else
      lock(object);
    usleep(random_() % 200);
  }

 private:
  /// End of an acquire, for the record; false when there is nothing to release.
  bool ended(Record& record, const Result<Grant>& grant) {
    if (grant) {
      Recorder::end(record, End::kOk, grant->token, grant->abandoned);
      token_ = grant->token;
      return true;
    }
    const bool lost = grant.status().is(Reason::kSessionLost);
    const bool outcome = grant.status().is(Reason::kEmpty) || grant.status().is(Reason::kTimedOut);
    if (!outcome && !lost) stage_.complain("acquire: " + grant.status().to_string());
    Recorder::end(record, lost ? End::kLost : End::kNo);
    return false;
  }
  void released(Record& record, const Status& status) {
    if (!status.ok() && !status.is(Reason::kLeaseLost) && !status.is(Reason::kSessionLost)) {
      stage_.complain("release: " + status.to_string());
    }
    Recorder::end(record, status.ok() ? End::kOk : End::kLost);
  }
  void linger() {
    if (random_() % 4 == 0) usleep(random_() % 300);
  }
  AcquireOptions how() {
    AcquireOptions options;
    const unsigned way = random_() % 8;
    if (way < 2) options.timeout = 0ns;
    if (way == 2) options.timeout = 2ms;
    return options;
  }
  static Op op(const AcquireOptions& options) {
    return options.timeout == 0ns ? Op::kTry : Op::kAcquire;
  }

  void lock(Object object) {
    AcquireOptions options = how();
    Mode mode = Mode::kExclusive;
    if (object == kRw && random_() % 3 != 0) {
      mode = random_() % 4 == 0 ? Mode::kUpdate : Mode::kShared;
      options.mode = mode == Mode::kUpdate ? LockMode::kUpdate : LockMode::kShared;
    }
    if (!acquire(object, options, mode)) return;
    if (papers_[object]) write(object);
    const bool twice = object == kReentrant && random_() % 2 == 0 && acquire(object, {}, mode);
    linger();
    if (twice) release(object, mode, options.mode);
    release(object, mode, options.mode);
  }
  /// As whoever holds it believes.
  void write(Object object) {
    for (unsigned n = random_() % 3; n > 0; --n) {
      Record* record = recorder_.call(object, Op::kWrite);
      if (record == nullptr) return;
      const Status status =
          papers_[object].put(std::to_string(token_), Fence{kNames[object], token_}).status();
      if (!status.ok() && !status.is(Reason::kStaleFence)) {
        stage_.complain("write: " + status.to_string());
      }
      Recorder::end(*record, status.ok() ? End::kOk : End::kLost, token_);
      if (random_() % 2 == 0) linger();
    }
  }
  bool acquire(Object object, const AcquireOptions& options, Mode mode) {
    Record* record = recorder_.call(object, op(options), mode);
    return record != nullptr && ended(*record, locks_[object].acquire_with(options));
  }
  void release(Object object, Mode mode, LockMode given) {
    Record* record = recorder_.call(object, Op::kRelease, mode);
    const Status status = locks_[object].release(given);
    if (record != nullptr) released(*record, status);
  }

  void permits() {
    const AcquireOptions options = how();
    const uint32_t n = 1 + random_() % 2;
    Record* record = recorder_.call(kSemaphore, op(options), Mode::kExclusive, n);
    if (record == nullptr || !ended(*record, permits_.acquire_with(options, n))) return;
    linger();
    record = recorder_.call(kSemaphore, Op::kRelease, Mode::kExclusive, n);
    const Status status = permits_.release(n);
    if (record != nullptr) released(*record, status);
  }

  Stage& stage_;
  Recorder recorder_;
  std::minstd_rand random_;
  uint64_t token_ = 0;  // of the last grant
  Lock locks_[kObjects];
  Queue papers_[kObjects];
  Semaphore permits_;
};

}  // namespace

void Stage::complain(const std::string& what) {
  if (!wrong.exchange(true)) std::snprintf(why, sizeof why, "%s", what.c_str());
}

ConnectOptions connection(const std::string& runtime_dir, Plane plane) {
  return {.runtime_dir = runtime_dir, .plane = plane, .timeout = 25s};
}

void make_objects(const ConnectOptions& to, std::chrono::milliseconds lock_delay) {
  Client client = Client::connect(to).value();
  for (const Object object : {kMutex, kStrict, kReentrant, kRw}) {
    LockOptions options = options_of(object);
    options.lock_delay = object == kMutex ? 0ms : lock_delay;
    client.lock(kNames[object], options).or_throw();
  }
  for (const Object object : {kMutex, kStrict}) client.create_queue(kNames[object]).or_throw();
  client.semaphore(kNames[kSemaphore], {.permits = kPermits}).or_throw();
  client.barrier(kNames[kBarrier], {.parties = kParties}).or_throw();
}

void work(ConnectOptions to, Archive& archive, Stage& stage, int actor, uint32_t process,
          bool writes) {
  to.on_session = [&stage, process](const SessionEvent& event) {
    if (event.state != SessionState::kLost) return;
    const uint32_t at = stage.losses.fetch_add(1);
    // It may have been lost for as long as nobody told.
    if (at < kLossesMax) stage.lost[at] = {process, now_ns() - kUntoldNs, now_ns()};
  };
  Worker worker(to, archive, stage, process, writes);
  for (int phase; (phase = stage.phase.load()) != Stage::kOver && !stage.wrong.load();) {
    stage.idle[actor].store(phase == Stage::kRest || archive.full());
    if (stage.idle[actor].load())
      usleep(500);
    else
      worker.once();
  }
}

std::vector<History::Written> written(const ConnectOptions& to) {
  Client client = Client::connect(to).value();
  std::vector<History::Written> all;
  for (const Object object : {kMutex, kStrict}) {
    Queue paper = client.queue(kNames[object]).value();
    while (auto message = paper.try_get()) {
      all.push_back({std::stoull(std::string(message->text())), object});
    }
  }
  return all;
}

void take_part(const ConnectOptions& to, Archive& archive, Stage& stage, uint32_t process) {
  Barrier barrier = Client::connect(to).value().barrier(kNames[kBarrier]).value();
  Recorder recorder(archive, process);
  while (Record* record = recorder.call(kBarrier, Op::kArrive)) {
    const Result<std::uint32_t> index = barrier.arrive();
    if (index)
      record->n = *index;
    else if (!index.status().is(Reason::kBrokenBarrier)) {
      stage.complain("arrive: " + index.status().to_string());
    }
    Recorder::end(*record, index ? End::kOk : End::kBroken);
    if (index) stage.generations.fetch_add(1);
    usleep(300);
  }
  pause();
}

bool all_free(const ConnectOptions& to, Stage& stage) {
  Client client = Client::connect(to).value();
  std::string who;
  for (int look = 0; look < 500; ++look) {
    who.clear();
    for (const LockInfo& lock : client.locks(SyncKind::kLock).value()) {
      if (!client.lock_info(SyncKind::kLock, lock.name)->holders.empty()) who = lock.name;
    }
    const LockInfo permits = client.lock_info(SyncKind::kSemaphore, kNames[kSemaphore]).value();
    if (permits.free != kPermits || !permits.holders.empty()) {
      who = std::to_string(permits.free) + " permits of " + std::to_string(kPermits);
    }
    if (who.empty()) return true;
    std::this_thread::sleep_for(10ms);
  }
  stage.complain("while all rest, not free: " + who);
  return false;
}

}  // namespace heddle::history
