// The service manager's side, played by the test: notifications, the watchdog, the descriptor
// store across the supervisor's own death, socket activation.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>

#include "daemon/os/files.h"
#include "tests/integration/supervisor/daemon.h"

namespace heddle::test {
namespace {

using local::Fd;

Fd bound(const std::string& path, int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof name.sun_path - 1);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) fd.reset();
  return fd;
}

class Manager : public ::testing::Test {
 protected:
  Manager() : socket_(bound(daemon_.file("notify"), SOCK_DGRAM)) {
    daemon_.environment["NOTIFY_SOCKET"] = daemon_.file("notify");
  }

  // The manager reads all the time: its socket holds ten datagrams, then the daemon waits.
  std::string said() {
    std::lock_guard lock(mutex_);
    read_all();
    return said_;
  }
  void forget_said() {
    std::lock_guard lock(mutex_);
    read_all();
    said_.clear();
  }
  std::size_t stored_count() {
    std::lock_guard lock(mutex_);
    read_all();
    return store_.size();
  }

  // Reads what has arrived, keeping the store as the real manager does. Under the mutex.
  void read_all() {
    while (true) {
      char text[4096];
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
      iovec vec{text, sizeof text};
      msghdr message{};
      message.msg_iov = &vec;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (n < 0) return;
      std::string line(text, static_cast<std::size_t>(n));
      const std::size_t at = line.find("FDNAME=");
      const std::string name = at == std::string::npos ? "" : line.substr(at + 7);
      if (contains(line, "FDSTOREREMOVE=1")) {
        std::erase_if(store_, [&](const auto& entry) { return entry.first == name; });
      } else if (const cmsghdr* part = CMSG_FIRSTHDR(&message)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
        store_.emplace_back(name, Fd(fd));
      }
      said_ += line + "\n";
    }
  }
  bool hears(const std::string& text) {
    return eventually([&] { return contains(said(), text); });
  }
  bool stored(const std::string& name) {
    std::lock_guard lock(mutex_);
    read_all();
    return std::any_of(store_.begin(), store_.end(),
                       [&](const auto& entry) { return entry.first == name; });
  }
  void restart_with_store() {
    daemon_.passed_fds.clear();
    forget_said();
    for (const auto& [name, fd] : store_) daemon_.passed_fds.emplace_back(name, fd.get());
    daemon_.start();
  }

  Heddled daemon_;
  Fd socket_;
  std::vector<std::pair<std::string, Fd>> store_;
  std::string said_;
  std::mutex mutex_;
  std::jthread reader_{[this](std::stop_token stop) {
    while (!stop.stop_requested()) {
      said();
      ::usleep(1'000);
    }
  }};
};

TEST_F(Manager, HearsReadyStatusReloadAndStop) {
  daemon_.start();
  EXPECT_TRUE(hears("READY=1\nSTATUS=serving; broker "));
  daemon_.tell("status");
  EXPECT_TRUE(hears("; fake says hello"));
  forget_said();
  daemon_.signal(SIGHUP);
  EXPECT_TRUE(hears("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_TRUE(hears("READY=1"));
  daemon_.write_config("{");
  forget_said();
  daemon_.signal(SIGHUP);
  EXPECT_TRUE(hears("READY=1\nSTATUS=reload failed: "));
  daemon_.signal(SIGTERM);
  EXPECT_TRUE(hears("STOPPING=1"));
  EXPECT_EQ(daemon_.wait(), 0);
}

TEST_F(Manager, WatchdogIsFedOnlyWhileTheBrokerAnswers) {
  daemon_.environment["WATCHDOG_USEC"] = "150000";
  daemon_.start();
  EXPECT_TRUE(hears("WATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1"));
  daemon_.tell("mute");
  ASSERT_TRUE(eventually([&] { return contains(daemon_.log(), "does not answer"); }));
  forget_said();
  ::usleep(300'000);
  EXPECT_FALSE(contains(said(), "WATCHDOG=1")) << said();
}

TEST_F(Manager, KeptDescriptorsSurviveTheDeathOfTheSupervisor) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep 5 five"), "ok");
  EXPECT_EQ(daemon_.tell("keep 6 six"), "ok");
  EXPECT_EQ(daemon_.tell("keep 7 seven"), "ok");
  EXPECT_EQ(daemon_.tell("drop 6"), "ok 0");
  EXPECT_EQ(daemon_.tell("keep 8 eight"), "ok");
  for (int life = 0; life < 2; ++life) {
    const pid_t broker = daemon_.broker_pid();
    EXPECT_TRUE(stored("index") && stored("grpc") && stored("local"));
    EXPECT_EQ(stored_count(), 6u);
    daemon_.signal(SIGKILL);
    EXPECT_EQ(daemon_.wait(), 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] { return process_ended(broker); }));
    restart_with_store();
    EXPECT_EQ(daemon_.tell("count"), "3");
    EXPECT_EQ(daemon_.tell("read 5"), "five");
    EXPECT_EQ(daemon_.tell("read 7"), "seven");
    EXPECT_EQ(daemon_.tell("read 8"), "eight");
  }
  const std::size_t before = stored_count();
  EXPECT_EQ(daemon_.tell("drop 7"), "ok 0");
  EXPECT_EQ(stored_count(), before - 1);
}

TEST_F(Manager, ClientsThatConnectDuringARestartWait) {
  daemon_.start();
  struct stat before, after;
  ASSERT_EQ(::lstat(daemon_.file("run/local.sock").c_str(), &before), 0);
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait(), 0);
  const Fd client(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, daemon_.file("run/local.sock").c_str(), sizeof name.sun_path - 1);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(::send(client.get(), "pid", 3, 0), 3);
  restart_with_store();
  char text[32];
  EXPECT_GT(::recv(client.get(), text, sizeof text, 0), 0);
  ASSERT_EQ(::lstat(daemon_.file("run/local.sock").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(Manager, WhatHasNoRecordIsThrownAway) {
  daemon_.start();
  EXPECT_EQ(daemon_.tell("keep 5 five"), "ok");
  daemon_.signal(SIGKILL);
  EXPECT_EQ(daemon_.wait(), 128 + SIGKILL);
  {
    std::lock_guard lock(mutex_);
    store_.emplace_back("k77", Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  }
  restart_with_store();
  EXPECT_EQ(daemon_.tell("count"), "1");
  EXPECT_TRUE(hears("FDSTOREREMOVE=1\nFDNAME=k77"));
  EXPECT_FALSE(stored("k77"));
}

TEST_F(Manager, SocketActivationIsAccepted) {
  std::string why;
  ASSERT_TRUE(os::make_directory(daemon_.file("run"), 0755, &why)) << why;
  const Fd grpc = bound(daemon_.file("run/grpc.sock"), SOCK_STREAM);
  const Fd local = bound(daemon_.file("run/local.sock"), SOCK_SEQPACKET);
  ASSERT_EQ(::listen(grpc.get(), 5), 0);
  ASSERT_EQ(::listen(local.get(), 5), 0);
  struct stat before, after;
  ASSERT_EQ(::lstat(daemon_.file("run/local.sock").c_str(), &before), 0);
  daemon_.passed_fds = {{"heddled.socket", grpc.get()}, {"heddled.socket", local.get()}};
  daemon_.start();
  ASSERT_EQ(::lstat(daemon_.file("run/local.sock").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_FALSE(stored("local"));  // the manager has it already
}

}  // namespace
}  // namespace heddle::test
