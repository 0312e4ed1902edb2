#include "daemon/os/notify.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "tests/support/temp_dir.h"

namespace heddle::os {
namespace {

// The service manager's end.
Fd listen_at(const std::string& address) {
  Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, address.data(), address.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length) != 0) fd.reset();
  return fd;
}

std::string receive(int socket, Fd* passed = nullptr) {
  char text[4096];
  alignas(cmsghdr) char control[64];
  iovec vec{text, sizeof text};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return "";
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    int fd;
    std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
    Fd owned(fd);
    if (passed) *passed = std::move(owned);
  }
  return std::string(text, static_cast<std::size_t>(n));
}

TEST(Notifier, WithoutASocketNothingIsSent) {
  ::unsetenv("NOTIFY_SOCKET");
  Notifier notifier = Notifier::from_environment();
  EXPECT_FALSE(notifier.active());
  EXPECT_FALSE(notifier.ready("x"));
  EXPECT_EQ(notifier.watchdog_ms(), 0);
}

TEST(Notifier, SpeaksOverAPathAndLeavesTheEnvironmentClean) {
  test::TempDir dir;
  const Fd manager = listen_at(dir.file("n"));
  ASSERT_TRUE(manager);
  ::setenv("NOTIFY_SOCKET", dir.file("n").c_str(), 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  Notifier notifier = Notifier::from_environment();
  EXPECT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  EXPECT_EQ(notifier.watchdog_ms(), 3000);
  EXPECT_TRUE(notifier.ready("serving\nFDSTORE=1"));  // no line of its own can be smuggled in
  EXPECT_EQ(receive(manager.get()), "READY=1\nSTATUS=serving FDSTORE=1");
  EXPECT_TRUE(notifier.reloading());
  EXPECT_EQ(receive(manager.get()).rfind("RELOADING=1\nMONOTONIC_USEC=", 0), 0u);
  EXPECT_TRUE(notifier.stopping("bye"));
  EXPECT_EQ(receive(manager.get()), "STOPPING=1\nSTATUS=bye");
  EXPECT_TRUE(notifier.watchdog());
  EXPECT_EQ(receive(manager.get()), "WATCHDOG=1");
}

TEST(Notifier, AbstractSocketAndDescriptorStore) {
  const std::string name = "heddle-test-" + std::to_string(::getpid());
  const Fd manager = listen_at(std::string(1, '\0') + name);
  ASSERT_TRUE(manager);
  ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  Notifier notifier = Notifier::from_environment();
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_TRUE(notifier.store("a7", pipe[0]));
  Fd passed;
  EXPECT_EQ(receive(manager.get(), &passed), "FDSTORE=1\nFDPOLL=0\nFDNAME=a7");
  ASSERT_TRUE(passed);
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(passed.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  ASSERT_TRUE(notifier.unstore("a7"));
  EXPECT_EQ(receive(manager.get()), "FDSTOREREMOVE=1\nFDNAME=a7");
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(Notifier, AManagerThatDoesNotReadIsWaitedForOnce) {
  test::TempDir dir;
  const Fd manager = listen_at(dir.file("n"));
  ::setenv("NOTIFY_SOCKET", dir.file("n").c_str(), 1);
  Notifier notifier = Notifier::from_environment();
  int sent = 0;
  while (notifier.watchdog()) ++sent;
  EXPECT_GT(sent, 0);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(notifier.watchdog());  // 2,000 s if each waited
  while (!receive(manager.get()).empty()) --sent;
  EXPECT_EQ(sent, 0);
  EXPECT_TRUE(notifier.watchdog());
}

TEST(PassedFds, OfAnotherProcessAreLeftAlone) {
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "1", 1);
  EXPECT_TRUE(take_passed_fds().empty());
  EXPECT_EQ(::getenv("LISTEN_FDS"), nullptr);
}

}  // namespace
}  // namespace heddle::os
