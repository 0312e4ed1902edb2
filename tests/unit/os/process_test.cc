#include "daemon/os/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace heddle::os {
namespace {

void wait_readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 20'000), 1);
}

TEST(Process, ExitIsSeenOnThePidfd) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(7);
  const Fd pidfd = open_pidfd(child);
  ASSERT_TRUE(pidfd);
  wait_readable(pidfd.get());
  EXPECT_TRUE(pidfd_exited(pidfd.get()));
  Exit exit;
  ASSERT_TRUE(wait_pidfd(pidfd.get(), &exit));
  EXPECT_EQ(exit_text(exit), "exit status 7");
  EXPECT_FALSE(wait_pidfd(pidfd.get(), &exit));
  EXPECT_FALSE(open_pidfd(child));
  EXPECT_EQ(errno, ESRCH);
}

TEST(Process, SignalByPidfdAndReapAny) {
  Exit exit;
  EXPECT_EQ(reap_any(&exit), -1);  // no children
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const Fd pidfd = open_pidfd(child);
  EXPECT_EQ(pidfd_pid(pidfd.get()), child);
  EXPECT_FALSE(pidfd_exited(pidfd.get()));
  EXPECT_FALSE(wait_pidfd(pidfd.get(), &exit));
  EXPECT_EQ(reap_any(&exit), 0);
  ASSERT_TRUE(pidfd_signal(pidfd.get(), SIGKILL));
  wait_readable(pidfd.get());
  EXPECT_EQ(reap_any(&exit), child);
  EXPECT_EQ(exit_text(exit), "signal 9 (Killed)");
}

TEST(Process, PeerOfASocketIsKnown) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  Peer peer;
  ASSERT_TRUE(socket_peer(ends[0], &peer));
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::getuid());
  ASSERT_TRUE(peer.pidfd);
  EXPECT_EQ(pidfd_pid(peer.pidfd.get()), ::getpid());
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Process, FactsNameTheProgram) {
  ProcessFacts facts;
  ASSERT_TRUE(process_facts(::getpid(), &facts));
  EXPECT_EQ(facts.comm, "os_test");
  EXPECT_NE(facts.cmdline.find("os_test"), std::string::npos);
  EXPECT_EQ(facts.uid, ::geteuid());
  EXPECT_FALSE(process_facts(0x7ffffff0, &facts));
  EXPECT_NE(own_executable().find("/os_test"), std::string::npos);
}

}  // namespace
}  // namespace heddle::os
