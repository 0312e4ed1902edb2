// Child processes that a test starts, and memory that it shares with them.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <string>
#include <vector>

namespace heddle::test {

inline constexpr int kThrew = 99;

template <typename T>
class SharedWithChildren {
 public:
  SharedWithChildren()
      : value_(new (mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                         0)) T) {}
  ~SharedWithChildren() { munmap(static_cast<void*>(value_), sizeof(T)); }
  SharedWithChildren(const SharedWithChildren&) = delete;
  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

class Children {
 public:
  ~Children() {
    for (const pid_t pid : pids_) kill(pid, SIGKILL);
    wait_all();
  }
  /// `body` gives the exit status.
  pid_t start(const std::function<int()>& body) {
    const pid_t parent = getpid();
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(kThrew);
      try {
        _exit(body());
      } catch (const std::exception& error) {
        std::fprintf(stderr, "child: %s\n", error.what());
      }
      _exit(kThrew);
    }
    pids_.push_back(pid);
    return pid;
  }
  /// The exit statuses in the order of start(); of a signal, 128 and its number.
  std::vector<int> wait_all() {
    std::vector<int> ended;
    for (const pid_t pid : pids_) {
      int status = 0;
      while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
      }
      ended.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    pids_.clear();
    return ended;
  }

 private:
  std::vector<pid_t> pids_;
};

inline double ms_since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count();
}

}  // namespace heddle::test
