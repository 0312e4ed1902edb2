#include "client/cli/work_crew.h"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "client/cli/child.h"
#include "client/cli/terminal.h"

namespace heddle::cli {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kSlice{250};  // how soon a waiting worker sees that it is to stop
constexpr milliseconds kPause{50};
constexpr milliseconds kBackoffFirst{100};
constexpr milliseconds kBackoffMax{30'000};
constexpr std::size_t kFailedMax = 1024;  // messages held in back-off
constexpr int kTryAgain = 75;             // EX_TEMPFAIL

milliseconds backoff_after(std::uint32_t deliveries) {
  const std::uint32_t doublings = std::min(deliveries > 0 ? deliveries - 1 : 0, 16u);
  return std::min(kBackoffFirst * (1u << doublings), kBackoffMax);
}

std::string ending_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return std::string("killed by signal ") + std::to_string(WTERMSIG(wait_status)) + " (" +
           ::strsignal(WTERMSIG(wait_status)) + ")";
  }
  return "exit " + std::to_string(WEXITSTATUS(wait_status));
}

}  // namespace

WorkCrew::WorkCrew(const Invocation& run, const WorkOptions& options, Queue& queue)
    : run_(run), options_(options), queue_(queue), left_(options.max), workers_(options.parallel) {
  alive_ = workers_.size();
  for (Worker& worker : workers_) {
    worker.thread = std::thread([this, &worker] {
      work(worker);
      --alive_;
    });
  }
}

WorkCrew::~WorkCrew() {
  stop();
  for (Worker& worker : workers_) worker.thread.join();
  tend();
}

void WorkCrew::stop() { stopping_ = true; }

void WorkCrew::interrupt() {
  stopping_ = true;
  interrupted_ = true;
  std::lock_guard lock(mutex_);
  for (const Worker& worker : workers_) {
    if (worker.pid > 0) ::kill(-worker.pid, SIGTERM);
  }
}

void WorkCrew::tend() {
  std::vector<Message> due;
  {
    std::lock_guard lock(mutex_);
    const auto now = steady_clock::now();
    for (Failed& failed : failed_) {
      if (stopping_ || failed.due <= now) due.push_back(std::move(failed.message));
    }
    std::erase_if(failed_, [](const Failed& failed) { return !failed.message.leased(); });
  }
  for (Message& message : due) {
    const std::uint64_t id = message.id();
    note(message.nack(true), &WorkCounts::failed, id);
  }
}

bool WorkCrew::finished() {
  if (alive_ != 0) return false;
  std::lock_guard lock(mutex_);
  return failed_.empty();
}

WorkCounts WorkCrew::counts() {
  std::lock_guard lock(mutex_);
  WorkCounts now = counts_;
  now.running = static_cast<std::uint64_t>(std::count_if(
      workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.pid > 0; }));
  return now;
}

Status WorkCrew::status() {
  std::lock_guard lock(mutex_);
  return status_;
}

void WorkCrew::end_with(const Status& status) {
  std::lock_guard lock(mutex_);
  if (status_.ok()) status_ = status;
  stopping_ = true;
}

void WorkCrew::work(Worker& worker) {
  Message message;
  while (take(&message)) {
    int wait_status = 0;
    if (!run_for(worker, message, &wait_status)) {
      note(message.nack(false), &WorkCounts::released, message.id());
      return;
    }
    settle(std::move(message), wait_status);
  }
}

// Claims one of the messages that may still be taken, and gives it back when none came.
bool WorkCrew::take(Message* message) {
  auto idle_since = steady_clock::now();
  while (!stopping_) {
    std::uint64_t left = left_;
    if (left == 0) return false;
    if (!left_.compare_exchange_weak(left, left - 1)) continue;
    // Asked before the get: what is given back after it would be missed otherwise.
    const bool held = held_ > 0;
    const Status status = queue_.get_into(
        *message, std::min<std::chrono::nanoseconds>(kSlice, options_.idle), {.ack = Ack::kManual});
    if (status.ok()) {
      ++held_;
      return true;
    }
    ++left_;
    if (!more_may_come(status, held)) return false;
    const auto now = steady_clock::now();
    if (held) idle_since = now;
    if (!held && options_.idle != kForever && now - idle_since >= options_.idle) return false;
    if (options_.idle < kPause) std::this_thread::sleep_for(kPause);
  }
  return false;
}

bool WorkCrew::more_may_come(const Status& status, bool held) {
  switch (status.reason()) {
    case Reason::kEmpty:
    case Reason::kTimedOut:
    case Reason::kInterrupted:
      return true;
    case Reason::kSessionLost:  // told once; the next call opens a session of its own
      run_.remark(words_of(status));
      return true;
    case Reason::kEndOfStream:
      // What is being worked on, or waits for its next try, may still come back.
      if (held) std::this_thread::sleep_for(kPause);
      return held;
    default:
      end_with(status);
      return false;
  }
}

bool WorkCrew::run_for(Worker& worker, const Message& message, int* wait_status) {
  const std::vector<std::string> environment = {
      "HEDDLE_QUEUE=" + queue_.name(), "HEDDLE_MESSAGE_ID=" + std::to_string(message.id()),
      "HEDDLE_DELIVERY=" + std::to_string(message.delivery_count())};
  const Spawn child = spawn(options_.command, environment, message.text(), options_.child_mask);
  if (child.pid < 0) {
    cannot_run_ = child.error == ENOENT ? kExitNotFoundToRun : kExitCannotRun;
    end_with(Status(Reason::kInternal, "cannot run " + options_.command[0] + ": " +
                                           std::strerror(child.error)));
    return false;
  }
  {
    std::lock_guard lock(mutex_);
    worker.pid = child.pid;
  }
  if (interrupted_) ::kill(-child.pid, SIGTERM);
  // Reaped under the lock, so that nobody sends a signal to a number that is somebody else's.
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOWAIT) < 0 &&
         errno == EINTR) {
  }
  std::lock_guard lock(mutex_);
  ::waitpid(child.pid, wait_status, 0);
  worker.pid = 0;
  return true;
}

void WorkCrew::settle(Message message, int wait_status) {
  const std::uint64_t id = message.id();
  if (wait_status == 0) return note(message.ack(), &WorkCounts::done, id);
  const bool again = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kTryAgain;
  if (again || interrupted_) {
    note(message.nack(false), &WorkCounts::released, id);
    // It comes straight back to whoever asks, us as well: do not spin on it.
    if (again && !stopping_) std::this_thread::sleep_for(kBackoffFirst);
    return;
  }
  const std::string how = "queue " + queue_.name() + ": message " + std::to_string(id) + ": " +
                          ending_of(wait_status);
  const std::uint32_t count = message.delivery_count();
  if (options_.max_deliveries != 0 && count >= options_.max_deliveries) {
    run_.remark(how + "; buried after " +
                (count == 1 ? "1 delivery" : std::to_string(count) + " deliveries") +
                ", heddle queue kick " + queue_.name() + " brings it back");
    return note(message.bury(), &WorkCounts::buried, id);
  }
  retry_later(std::move(message), how);
}

void WorkCrew::retry_later(Message message, const std::string& how) {
  const milliseconds backoff = backoff_after(message.delivery_count());
  const std::string of =
      options_.max_deliveries == 0 ? "" : " of " + std::to_string(options_.max_deliveries);
  run_.remark(how + "; delivery " + std::to_string(message.delivery_count()) + of + ", again in " +
              age_text(backoff));
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      if (failed_.size() < kFailedMax || stopping_) {
        failed_.push_back({std::move(message), steady_clock::now() + backoff});
        return;
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

void WorkCrew::note(const Status& settled, std::uint64_t WorkCounts::* what, std::uint64_t id) {
  if (!settled.ok()) {
    run_.remark("queue " + queue_.name() + ": message " + std::to_string(id) + ": " +
                std::string(settled.message()));
    what = &WorkCounts::lost;
  }
  --held_;
  std::lock_guard lock(mutex_);
  ++(counts_.*what);
}

}  // namespace heddle::cli
