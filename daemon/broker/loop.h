// The broker thread: one epoll set, timers, and work that other threads hand over.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <queue>
#include <unordered_map>
#include <vector>

#include "proto/local/fd.h"

namespace heddle::broker {

int64_t monotonic_ns();

// Threads: post, at and stop from any thread; the rest from the thread that calls run (or before).
class Loop {
 public:
  using Work = std::function<void()>;
  using OnFd = std::function<void(uint32_t events)>;

  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Watches `fd` (not owned) for epoll `events`. False: the kernel refused (errno is set).
  bool watch(int fd, uint32_t events, OnFd on_fd);
  bool change(int fd, uint32_t events);
  void unwatch(int fd);  // before the descriptor is closed; harmless when not watched

  void post(Work work);
  void at(int64_t when_ns, Work work);  // CLOCK_MONOTONIC; in order of time

  void run();   // until stop()
  void stop();  // harmless twice

 private:
  struct Timer {
    int64_t when_ns;
    uint64_t number;
    Work work;
    bool operator>(const Timer& other) const {
      return when_ns != other.when_ns ? when_ns > other.when_ns : number > other.number;
    }
  };
  struct Watch {
    uint64_t token;
    OnFd on_fd;
  };

  void wake();
  void wait_and_dispatch();
  bool take_due(std::vector<Work>* due, int64_t* next_ns);

  local::Fd epoll_;
  local::Fd bell_;
  std::atomic<bool> stopped_{false};
  uint64_t next_token_ = 1;
  std::unordered_map<int, Watch> watches_;
  std::unordered_map<uint64_t, int> fds_by_token_;

  std::mutex mutex_;
  std::vector<Work> posted_;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  uint64_t next_number_ = 0;
  int64_t sleeping_until_ns_ = 0;  // 0: awake
};

}  // namespace heddle::broker
