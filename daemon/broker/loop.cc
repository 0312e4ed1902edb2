#include "daemon/broker/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace heddle::broker {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kIdleNs = 60 * kSecondNs;

}  // namespace

int64_t monotonic_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecondNs + now.tv_nsec;
}

Loop::Loop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  watch(bell_.get(), EPOLLIN, [this](uint32_t) {
    uint64_t word;
    [[maybe_unused]] const auto n = ::read(bell_.get(), &word, sizeof word);
  });
}

bool Loop::watch(int fd, uint32_t events, OnFd on_fd) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = next_token_;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return false;
  fds_by_token_[next_token_] = fd;
  watches_[fd] = {next_token_++, std::move(on_fd)};
  return true;
}

bool Loop::change(int fd, uint32_t events) {
  const auto it = watches_.find(fd);
  if (it == watches_.end()) return false;
  epoll_event event{};
  event.events = events;
  event.data.u64 = it->second.token;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void Loop::unwatch(int fd) {
  const auto it = watches_.find(fd);
  if (it == watches_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  fds_by_token_.erase(it->second.token);
  watches_.erase(it);
}

void Loop::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(bell_.get(), &one, sizeof one);
}

void Loop::post(Work work) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(work));
  if (sleeping_until_ns_ != 0) wake();
}

void Loop::at(int64_t when_ns, Work work) {
  std::lock_guard lock(mutex_);
  timers_.push({when_ns, next_number_++, std::move(work)});
  if (sleeping_until_ns_ > when_ns) wake();
}

void Loop::stop() {
  stopped_.store(true);
  wake();
}

// Takes what may run now; false when there is nothing, and then the thread counts as asleep.
bool Loop::take_due(std::vector<Work>* due, int64_t* next_ns) {
  const int64_t now = monotonic_ns();
  std::lock_guard lock(mutex_);
  due->swap(posted_);
  while (!timers_.empty() && timers_.top().when_ns <= now) {
    due->push_back(std::move(const_cast<Timer&>(timers_.top()).work));
    timers_.pop();
  }
  *next_ns = timers_.empty() ? now + kIdleNs : std::min(timers_.top().when_ns, now + kIdleNs);
  sleeping_until_ns_ = due->empty() ? *next_ns : 0;
  return !due->empty();
}

void Loop::wait_and_dispatch() {
  std::vector<Work> due;
  int64_t next_ns;
  const bool busy = take_due(&due, &next_ns);
  for (Work& work : due) work();
  const int64_t wait_ns = busy ? 0 : std::max<int64_t>(0, next_ns - monotonic_ns());
  const timespec timeout{wait_ns / kSecondNs, wait_ns % kSecondNs};
  epoll_event events[64];
  const int n = ::epoll_pwait2(epoll_.get(), events, 64, &timeout, nullptr);
  {
    std::lock_guard lock(mutex_);
    sleeping_until_ns_ = 0;
  }
  for (int i = 0; i < n; ++i) {
    const auto at = fds_by_token_.find(events[i].data.u64);
    if (at == fds_by_token_.end()) continue;  // unwatched by an earlier one of this batch
    const OnFd on_fd = watches_.at(at->second).on_fd;
    on_fd(events[i].events);
  }
}

void Loop::run() {
  while (!stopped_.load()) wait_and_dispatch();
}

}  // namespace heddle::broker
