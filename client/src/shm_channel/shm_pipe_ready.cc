#include "client/src/shm_channel/shm_pipe_ready.h"

#include <signal.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <climits>
#include <utility>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_generation.h"
#include "proto/shm/futex.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

constexpr std::size_t kStackBytes = 256 * 1024;  // many ends may have such a thread

}  // namespace

PipeReady::PipeReady(shm::Pipe pipe, Session& session, bool in_message)
    : generation_(process_generation()),
      pipe_(pipe),
      session_(session),
      fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      in_message_(in_message) {
  watcher_.owner = session.owner();
  watcher_.doorbell_fd = session.doorbell();
  watcher_.patience_ns = kLookEveryNs;
}

Result<std::unique_ptr<PipeReady>> PipeReady::start(shm::Pipe pipe, Session& session,
                                                    bool in_message) {
  std::unique_ptr<PipeReady> ready(new PipeReady(pipe, session, in_message));
  if (!ready->fd_) return Status::from_errno(errno, "eventfd");
  // Signals are for the threads of the program.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  const auto run = [](void* self) -> void* {
    static_cast<PipeReady*>(self)->run();
    return nullptr;
  };
  const int error = ::pthread_create(&ready->thread_, &attributes, run, ready.get());
  ::pthread_attr_destroy(&attributes);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Status::from_errno(error, "pthread_create");
  ready->started_ = true;
  ::pthread_setname_np(ready->thread_, "heddle-ready");
  return ready;
}

PipeReady::~PipeReady() {
  if (!started_ || generation_ != process_generation()) return;
  stop_.store(true);
  clears_.fetch_add(1);
  shm::futex_wake(&clears_, INT_MAX);
  pipe_.nudge_watchers();
  ::pthread_join(thread_, nullptr);
}

void PipeReady::clear(bool in_message) {
  const bool changed = in_message_.exchange(in_message) != in_message;
  {
    std::lock_guard lock(mutex_);
    if (raised_) {
      std::uint64_t count;
      [[maybe_unused]] const auto n = ::read(fd_.get(), &count, sizeof count);
      raised_ = false;
      clears_.fetch_add(1);
      shm::futex_wake(&clears_, INT_MAX);
      return;
    }
  }
  if (changed) pipe_.nudge_watchers();
}

void PipeReady::run() {
  while (!stop_.load()) {
    const std::uint32_t seen = clears_.load();
    bool there = false;
    if (!look(&there)) return;
    if (!there) continue;
    raise();
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (!raised_) break;
      }
      if (stop_.load()) return;
      shm::futex_wait(&clears_, seen, shm::kForever);
    }
  }
}

bool PipeReady::look(bool* there) {
  if (session_.ended()) {
    *there = true;
    return true;
  }
  const Outcome outcome = pipe_.watch(watcher_, in_message_, stop_, shm::kForever);
  if (outcome == Outcome::kInterrupted) return false;
  *there = outcome != Outcome::kEmpty && outcome != Outcome::kTimedOut;
  // Connects again to a broker that was restarted; without one this end goes on.
  if (!*there) (void)session_.look();
  return true;
}

void PipeReady::raise() {
  std::lock_guard lock(mutex_);
  const bool there =
      session_.ended() || pipe_.watch(watcher_, in_message_, stop_, shm::kTry) != Outcome::kEmpty;
  if (!there) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(fd_.get(), &one, sizeof one);
  raised_ = true;
}

}  // namespace heddle::detail
