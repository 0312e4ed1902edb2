#include "daemon/os/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "daemon/os/clock.h"

namespace heddle::os {

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

bool Loop::add(int fd, std::uint32_t events, OnReady on_ready) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return false;
  watched_[fd] = std::make_shared<OnReady>(std::move(on_ready));
  return true;
}

bool Loop::change(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void Loop::remove(int fd) {
  if (watched_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Loop::TimerId Loop::after_ms(std::int64_t delay_ms, std::function<void()> on_time) {
  timers_.emplace(monotonic_ns() + delay_ms * 1'000'000, Timer{++last_timer_, std::move(on_time)});
  return last_timer_;
}

void Loop::cancel(TimerId id) {
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.id == id) {
      timers_.erase(it);
      return;
    }
  }
}

bool Loop::add_signals(std::initializer_list<int> signals, std::function<void(int)> on_signal) {
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : signals) ::sigaddset(&set, signal);
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return false;
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return false;
  return add(signals_.get(), EPOLLIN, [this, on_signal = std::move(on_signal)](std::uint32_t) {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      on_signal(static_cast<int>(info.ssi_signo));
    }
  });
}

int Loop::next_timeout_ms() const {
  if (timers_.empty()) return -1;
  const std::int64_t left_ns = timers_.begin()->first - monotonic_ns();
  if (left_ns <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((left_ns + 999'999) / 1'000'000, 3'600'000));
}

void Loop::fire_timers() {
  const std::int64_t now = monotonic_ns();
  while (running_ && !timers_.empty() && timers_.begin()->first <= now) {
    const auto node = timers_.extract(timers_.begin());
    node.mapped().on_time();
  }
}

void Loop::run() {
  epoll_event events[16];
  while (running_) {
    const int count = ::epoll_wait(epoll_.get(), events, 16, next_timeout_ms());
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count && running_; ++i) {
      const auto found = watched_.find(events[i].data.fd);
      if (found == watched_.end()) continue;  // removed by a callback before it in this round
      const std::shared_ptr<OnReady> keep_alive = found->second;
      (*keep_alive)(events[i].events);
    }
    fire_timers();
  }
}

}  // namespace heddle::os
