// A small epoll loop for single-threaded programs: descriptors, timers, signals.
#ifndef HEDDLE_DAEMON_OS_LOOP_H_
#define HEDDLE_DAEMON_OS_LOOP_H_

#include <signal.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <unordered_map>

#include "proto/local/fd.h"

namespace heddle::os {

using local::Fd;

// All methods from one thread; callbacks may call any of them, also to remove themselves.
class Loop {
 public:
  using OnReady = std::function<void(std::uint32_t epoll_events)>;
  using TimerId = std::uint64_t;  // 0 is never given

  Loop();
  bool ok() const { return static_cast<bool>(epoll_); }

  // Watches `fd` (not owned: remove() it before closing) for EPOLLIN and so on. false: errno.
  bool add(int fd, std::uint32_t events, OnReady on_ready);
  bool change(int fd, std::uint32_t events);
  void remove(int fd);

  TimerId after_ms(std::int64_t delay_ms, std::function<void()> on_time);
  void cancel(TimerId id);  // 0 and timers that have fired are fine

  // Blocks the signals in this thread and hands them out here instead. Once per loop. false: errno.
  bool add_signals(std::initializer_list<int> signals, std::function<void(int)> on_signal);

  void run();  // until stop(); returns at once when stop() was called before
  void stop() { running_ = false; }

 private:
  struct Timer {
    TimerId id;
    std::function<void()> on_time;
  };
  int next_timeout_ms() const;
  void fire_timers();

  Fd epoll_;
  Fd signals_;
  std::unordered_map<int, std::shared_ptr<OnReady>> watched_;
  std::multimap<std::int64_t, Timer> timers_;  // by CLOCK_MONOTONIC ns
  TimerId last_timer_ = 0;
  bool running_ = true;
};

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_LOOP_H_
