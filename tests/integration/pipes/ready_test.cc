// The descriptor of a pipe's end in event loops: nothing is missed, nothing is left behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

bool readable(int fd, int timeout_ms = 10'000) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, timeout_ms) == 1 && (one.revents & POLLIN) != 0;
}
bool silent(int fd) { return !readable(fd, 0); }

// A thread that was joined may be seen for a moment longer.
bool threads_become(std::size_t n) {
  for (int i = 0; i < 1000; ++i) {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    if (static_cast<std::size_t>(std::distance(begin(tasks), end(tasks))) == n) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

class PipeReadyTest : public DaemonFixture {
 protected:
  Client& client() {
    if (!client_) client_ = connect();
    return client_;
  }
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
  }
  PipeEnd end(PipeSide side, const PipeOptions& options = {}, const char* name = "p") {
    return client().pipe_end(name, side, options).value();
  }
  void TearDown() override {
    client_ = Client();
    DaemonFixture::TearDown();
  }
  // A child with a client of its own; `body` gives whether all went well.
  pid_t start(const std::function<bool(Client&)>& body) {
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      Client mine = connect();
      _exit(getppid() == parent && body(mine) ? 0 : 1);
    }
    return child;
  }
  static int ended(pid_t child) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }

 private:
  Client client_;
};

TEST_F(PipeReadyTest, AMessageMakesItReadableAndEmptyClearsIt) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  EXPECT_TRUE(a.send("before").ok());
  const int fd = b.ready_fd().value();
  EXPECT_EQ(b.ready_fd().value(), fd);
  EXPECT_TRUE(readable(fd)) << "what was there before it was asked for";
  EXPECT_EQ(b.try_receive()->text(), "before");
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(b.try_receive().status().is(Reason::kEmpty));
    ASSERT_TRUE(silent(fd)) << i;
    ASSERT_TRUE(a.send(std::to_string(i)).ok());
    ASSERT_TRUE(readable(fd)) << i;
    ASSERT_EQ(b.try_receive()->text(), std::to_string(i));
  }
  EXPECT_TRUE(a.send("viewed").ok());
  EXPECT_TRUE(b.view().value().consume().ok());
  EXPECT_TRUE(b.view(0ms).status().is(Reason::kEmpty));
  EXPECT_TRUE(silent(fd));
  EXPECT_TRUE(b.poll(1ms).is(Reason::kTimedOut));
  EXPECT_TRUE(silent(fd));
  PipeEnd one_way = end(PipeSide::kA, {.duplex = false}, "one-way");
  EXPECT_TRUE(one_way.ready_fd().status().is(Reason::kClosed));
  EXPECT_TRUE(PipeEnd().ready_fd().status().is(Reason::kInvalidArgument));
}

TEST_F(PipeReadyTest, NothingIsLeftAfterClosing) {
  PipeEnd a = end(PipeSide::kA);
  for (int i = 0; i < 50; ++i) {
    PipeEnd b = end(PipeSide::kB);
    const int fd = b.ready_fd().value();
    EXPECT_TRUE(threads_become(2));
    if (i % 2 == 0) {
      EXPECT_TRUE(a.send("x").ok());
      EXPECT_TRUE(readable(fd));
    }
    PipeEnd other = b.share().value();  // keeps the end
    b.close();
    EXPECT_TRUE(threads_become(1));
    EXPECT_EQ(fcntl(fd, F_GETFD), -1);
    const int again = other.ready_fd().value();
    EXPECT_EQ(readable(again, i % 2 == 0 ? 10'000 : 0), i % 2 == 0);
    other.close();
    EXPECT_TRUE(threads_become(1));
    EXPECT_EQ(fcntl(again, F_GETFD), -1);
    a.close();
    a = end(PipeSide::kA);
  }
}

TEST_F(PipeReadyTest, ALargeMessageInTheMiddle) {
  PipeEnd a = end(PipeSide::kA, {.capacity = 4096}), b = end(PipeSide::kB);
  const int fd = b.ready_fd().value();
  const std::string body(100'000, 'x');
  std::thread sender([&] {
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(a.send(body).ok());
  });
  for (int got = 0; got < 20;) {
    ASSERT_TRUE(readable(fd));
    for (;;) {
      auto message = b.try_receive();
      if (!message) {
        ASSERT_TRUE(message.status().is(Reason::kEmpty)) << message.status().to_string();
        break;
      }
      ASSERT_EQ(message->text(), body);
      ++got;
    }
  }
  sender.join();
}

// Two ends in one loop, one of them a stream of bytes; the broker is killed meanwhile.
TEST_F(PipeReadyTest, ALoopOverTwoEnds) {
  PipeEnd messages = end(PipeSide::kB, {.duplex = false}, "messages");
  PipeEnd bytes = end(PipeSide::kB, {.mode = PipeMode::kBytes, .duplex = false}, "bytes");
  constexpr int kMessages = 20'000;
  constexpr std::size_t kBytes = 5'000'000;
  const pid_t sender = start([&](Client& mine) {
    PipeEnd a = mine.pipe_end("messages", PipeSide::kA).value();
    for (int i = 0; i < kMessages; ++i) {
      if (!a.send(std::to_string(i)).ok()) return false;
    }
    return true;
  });
  const pid_t streamer = start([&](Client& mine) {
    PipeEnd a = mine.pipe_end("bytes", PipeSide::kA).value();
    return a.send(std::string(kBytes, 'b')).ok();
  });
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int which = 0; which < 2; ++which) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = static_cast<std::uint32_t>(which)}};
    const int fd = (which == 0 ? messages : bytes).ready_fd().value();
    ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
  }
  int got = 0;
  std::size_t streamed = 0;
  bool killed = false;
  for (int open = 2; open > 0;) {
    epoll_event events[2];
    const int n = epoll_wait(epoll, events, 2, 20'000);
    ASSERT_GT(n, 0);
    for (int i = 0; i < n; ++i) {
      PipeEnd& one = events[i].data.u32 == 0 ? messages : bytes;
      Result<PipeMessage> message = Reason::kEmpty;
      while ((message = one.try_receive())) {
        if (&one == &bytes) {
          streamed += message->bytes.size();
        } else {
          ASSERT_EQ(message->text(), std::to_string(got));
          ++got;
        }
      }
      if (message.status().is(Reason::kEmpty)) continue;
      EXPECT_TRUE(message.status().is(Reason::kEndOfStream)) << message.status().to_string();
      ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_DEL, one.ready_fd().value(), nullptr), 0);
      --open;
    }
    if (got > kMessages / 4 && !std::exchange(killed, true)) daemon().kill_broker();
  }
  close(epoll);
  EXPECT_EQ(got, kMessages);
  EXPECT_EQ(streamed, kBytes);
  EXPECT_EQ(ended(sender), 0);
  EXPECT_EQ(ended(streamer), 0);
}

TEST_F(PipeReadyTest, TheEndsOfAStreamMakeItReadableForGood) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  int fd = b.ready_fd().value();
  EXPECT_TRUE(b.try_receive().status().is(Reason::kEmpty));
  EXPECT_TRUE(a.shutdown_write().ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(readable(fd));
    EXPECT_TRUE(b.try_receive().status().is(Reason::kEndOfStream));
  }
  PipeEnd d = end(PipeSide::kB, {}, "killed");
  fd = d.ready_fd().value();
  const pid_t child = start([&](Client& mine) {
    PipeEnd c = mine.pipe_end("killed", PipeSide::kA).value();
    (void)c.send("last");
    pause();
    return false;
  });
  EXPECT_TRUE(readable(fd));
  EXPECT_EQ(d.try_receive()->text(), "last");
  EXPECT_TRUE(d.try_receive().status().is(Reason::kEmpty));
  EXPECT_TRUE(silent(fd));
  kill(child, SIGKILL);
  EXPECT_TRUE(readable(fd));
  EXPECT_TRUE(d.try_receive().status().is(Reason::kPeerDied));
  EXPECT_TRUE(readable(fd));
  EXPECT_TRUE(WIFSIGNALED(ended(child)));
  PipeEnd f = end(PipeSide::kB, {}, "deleted");
  fd = f.ready_fd().value();
  EXPECT_TRUE(client().delete_pipe("deleted").ok());
  EXPECT_TRUE(readable(fd));
  EXPECT_TRUE(f.try_receive().status().is(Reason::kClosed));
}

TEST_F(PipeReadyTest, AChildHasOneOfItsOwn) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  const int fd = b.ready_fd().value();
  EXPECT_TRUE(b.try_receive().status().is(Reason::kEmpty));
  const pid_t child = fork();
  if (child == 0) {
    const bool empty = b.try_receive().status().is(Reason::kEmpty);
    const int mine = b.ready_fd().value();
    const bool told = empty && readable(mine);
    const bool got = told && b.try_receive()->text() == "for either";
    b.close();
    _exit(got ? 0 : 1);
  }
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(a.send("for either").ok());
  EXPECT_TRUE(a.send("for either").ok());
  EXPECT_TRUE(readable(fd)) << "the child's does not take the wake away";
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(b.try_receive()->text(), "for either");
  EXPECT_TRUE(b.try_receive().status().is(Reason::kEmpty));
  EXPECT_TRUE(silent(fd));
}

// Two processes share the receiving end, each with a loop of its own.
TEST_F(PipeReadyTest, TwoReceiversShareAnEnd) {
  constexpr int kMessages = 20'000;
  PipeEnd a = end(PipeSide::kA, {}), back = end(PipeSide::kA, {}, "back");
  PipeEnd counts = end(PipeSide::kB, {}, "back");
  PipeEnd b = end(PipeSide::kB);
  const auto receive_all = [](PipeEnd& from) {
    int got = 0;
    const int fd = from.ready_fd().value();
    for (;;) {
      if (!readable(fd)) return -1;
      Result<PipeMessage> message = Reason::kEmpty;
      while ((message = from.try_receive())) ++got;
      if (message.status().is(Reason::kEndOfStream)) return got;
      if (!message.status().is(Reason::kEmpty)) return -1;
    }
  };
  const pid_t child = start([&](Client& mine) {
    PipeEnd shares = mine.pipe_end("p", PipeSide::kB).value();
    PipeEnd tell = mine.pipe_end("back", PipeSide::kA).value();
    if (!tell.send("here").ok()) return false;
    return tell.send(std::to_string(receive_all(shares))).ok();
  });
  EXPECT_EQ(counts.receive()->text(), "here");
  std::thread sender([&] {
    for (int i = 0; i < kMessages; ++i) EXPECT_TRUE(a.send("m").ok());
    EXPECT_TRUE(a.shutdown_write().ok());
  });
  const int mine = receive_all(b);
  sender.join();
  const int theirs = std::stoi(std::string(counts.receive()->text()));
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(mine + theirs, kMessages) << mine << " here, " << theirs << " there";
}

// A blocked receiver beside one that sleeps in a loop and does not take what has come. Whoever is
// not woken for a message sleeps until the next one, or until the broker looks: 20 times a second.
TEST_F(PipeReadyTest, ALoopThatDoesNotReceiveKeepsNobodyAsleep) {
  constexpr int kMessages = 3000;
  PipeEnd a = end(PipeSide::kA), idle = end(PipeSide::kB), busy = idle.share().value();
  const int fd = idle.ready_fd().value();
  std::atomic<int> got{0};
  std::thread receiver([&] {
    for (; got < kMessages; ++got) ASSERT_EQ(busy.receive()->text(), std::to_string(got));
  });
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(a.send(std::to_string(i)).ok());
    while (got <= i) std::this_thread::yield();
    EXPECT_TRUE(idle.poll(0ms).is(Reason::kEmpty));  // its thread looks again
    std::this_thread::sleep_for(20us);
  }
  receiver.join();
  EXPECT_TRUE(idle.try_receive().status().is(Reason::kEmpty));
  EXPECT_TRUE(silent(fd));
}

// The thread has seen a message that is taken before it could say so.
TEST_F(PipeReadyTest, WhatWasTakenDoesNotMakeItReadable) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  const int fd = b.ready_fd().value();
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(a.send("x").ok());
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(i % 200 * 250);
    while (std::chrono::steady_clock::now() < until) {
    }
    ASSERT_TRUE(b.try_receive().ok());
    ASSERT_TRUE(b.try_receive().status().is(Reason::kEmpty));
    std::this_thread::sleep_for(20us);
    ASSERT_TRUE(silent(fd)) << i;
  }
}

TEST_F(PipeReadyTest, NoWakeIsLostInAHundredThousandMessages) {
  const Watchdog watchdog("a hundred thousand messages", 100);
  constexpr int kMessages = 100'000;
  PipeEnd b = end(PipeSide::kB, {.capacity = 4096});
  const pid_t child = start([&](Client& mine) {
    PipeEnd a = mine.pipe_end("p", PipeSide::kA).value();
    std::uint32_t random = 1;
    for (int i = 0; i < kMessages; ++i) {
      if (!a.send(std::to_string(i)).ok()) return false;
      random = random * 1664525 + 1013904223;
      // Now and then it waits until the receiver has surely gone to sleep, or is about to.
      for (std::uint32_t spin = random >> 22; random % 4 == 0 && spin > 0; --spin) {
        asm volatile("" ::: "memory");
      }
      if (random % 512 == 1) std::this_thread::sleep_for(std::chrono::microseconds(random >> 24));
    }
    return true;
  });
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, b.ready_fd().value(), &event), 0);
  int got = 0;
  for (bool open = true; open;) {
    ASSERT_EQ(epoll_wait(epoll, &event, 1, 20'000), 1) << "asleep after " << got;
    Result<PipeMessage> message = Reason::kEmpty;
    while ((message = b.try_receive())) {
      ASSERT_EQ(message->text(), std::to_string(got++));
    }
    open = message.status().is(Reason::kEmpty);
    EXPECT_TRUE(open || message.status().is(Reason::kEndOfStream));
  }
  close(epoll);
  EXPECT_EQ(got, kMessages);
  EXPECT_EQ(ended(child), 0);
}

}  // namespace
}  // namespace heddle::test
