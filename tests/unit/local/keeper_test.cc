// The broker's side of the keeper protocol against a supervisor played by the test.
#include "proto/local/keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>

namespace heddle::local {
namespace {

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    supervisor_ = Fd(ends[0]);
    broker_ = Fd(ends[1]);
  }
  bool readable(int fd, int wait_ms = 0) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, wait_ms) == 1;
  }
  // Answers one request as the supervisor would.
  void answer(const std::function<void(const Packet&)>& reply) {
    thread_ = std::jthread([this, reply] {
      Packet packet;
      if (receive_keeper(supervisor_.get(), &packet).ok()) reply(packet);
    });
  }
  void ack(const Packet& packet, int error) {
    const AckBody body{error, 0};
    ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kAck, packet.header().sequence,
                            bytes_of(body))
                    .ok());
  }
  Fd supervisor_, broker_;
  std::jthread thread_;
};

TEST_F(KeeperTest, KeepPassesTheDescriptorAndWaitsForTheAcknowledgement) {
  Keeper keeper(std::move(broker_));
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  std::atomic<bool> acked = false;
  answer([&](const Packet& packet) {
    KeepBody body;
    ASSERT_TRUE(packet.read(&body));
    EXPECT_EQ(body.key, 42u);
    EXPECT_EQ(body.kind, 'm');
    EXPECT_EQ(label_of(body), "queue jobs");
    EXPECT_EQ(packet.fd_count(), 1u);
    acked = true;
    ack(packet, 0);
  });
  const IoResult result = keeper.keep(KeptKind::kMemory, 42, pipe[0], "queue jobs");
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_TRUE(acked);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_F(KeeperTest, RefusalCarriesTheErrnoAndTheConversationGoesOn) {
  Keeper keeper(std::move(broker_));
  answer([&](const Packet& packet) { ack(packet, ENOENT); });
  const IoResult result = keeper.drop(KeptKind::kPidfd, 7);
  EXPECT_EQ(result.io, Io::kRefused);
  EXPECT_EQ(result.error, ENOENT);
  thread_.join();
  answer([&](const Packet& packet) { ack(packet, 0); });
  EXPECT_TRUE(keeper.drop(KeptKind::kPidfd, 8).ok());
}

TEST_F(KeeperTest, WhatComesUnaskedDuringARequestIsHandedOutLater) {
  Keeper keeper(std::move(broker_));
  KeeperEvent event;
  EXPECT_FALSE(keeper.next_event(&event));
  answer([&](const Packet& packet) {
    const PingBody ping{9};
    ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kPing, 0, bytes_of(ping)).ok());
    ack(packet, 0);
  });
  EXPECT_TRUE(keeper.drop(KeptKind::kMemory, 1).ok());
  EXPECT_TRUE(readable(keeper.poll_fd()));
  ASSERT_TRUE(keeper.next_event(&event));
  EXPECT_EQ(event.kind, KeeperEvent::Kind::kPing);
  EXPECT_EQ(event.ping, 9u);
  EXPECT_FALSE(keeper.next_event(&event));
  EXPECT_FALSE(readable(keeper.poll_fd()));
}

TEST_F(KeeperTest, StopAndConfigurationArriveAsEvents) {
  Keeper keeper(std::move(broker_));
  const StopBody stop{1234, 0};
  const std::string json = "{\"a\":1}";
  ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kStop, 0, bytes_of(stop)).ok());
  ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kConfig, 0,
                          std::as_bytes(std::span(json.data(), json.size())))
                  .ok());
  ASSERT_TRUE(readable(keeper.poll_fd(), 1000));
  KeeperEvent event;
  ASSERT_TRUE(keeper.next_event(&event));
  EXPECT_EQ(event.kind, KeeperEvent::Kind::kStop);
  EXPECT_EQ(event.drain_ms, 1234u);
  ASSERT_TRUE(keeper.next_event(&event));
  EXPECT_EQ(event.kind, KeeperEvent::Kind::kConfig);
  EXPECT_EQ(event.text, json);
}

TEST_F(KeeperTest, DeathOfTheSupervisorIsOneEventAndEndsEveryRequest) {
  Keeper keeper(std::move(broker_));
  answer([&](const Packet&) { supervisor_.reset(); });
  EXPECT_EQ(keeper.keep(KeptKind::kMemory, 1, 0, "x").io, Io::kClosed);
  EXPECT_TRUE(keeper.gone());
  KeeperEvent event;
  ASSERT_TRUE(readable(keeper.poll_fd()));
  ASSERT_TRUE(keeper.next_event(&event));
  EXPECT_EQ(event.kind, KeeperEvent::Kind::kGone);
  EXPECT_FALSE(keeper.next_event(&event));
  EXPECT_FALSE(readable(keeper.poll_fd()));
  EXPECT_EQ(keeper.drop(KeptKind::kMemory, 1).io, Io::kClosed);
}

TEST_F(KeeperTest, BatchesAreReadToTheLast) {
  Keeper keeper(std::move(broker_));
  answer([&](const Packet& packet) {
    for (std::uint32_t more : {1u, 0u}) {
      const BatchBody batch{2, more};
      const KeepBody entries[2] = {keep_body('m', more * 2, "a"), keep_body('p', more * 2 + 1, "")};
      const int fds[2] = {0, 1};
      ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kBatch, packet.header().sequence,
                              bytes_of(batch), std::as_bytes(std::span(entries)), fds)
                      .ok());
    }
  });
  std::vector<std::uint64_t> keys;
  ASSERT_TRUE(keeper
                  .return_all([&](Kept kept) {
                    EXPECT_TRUE(kept.fd);
                    keys.push_back(kept.key);
                  })
                  .ok());
  EXPECT_EQ(keys, (std::vector<std::uint64_t>{2, 3, 0, 1}));
}

TEST_F(KeeperTest, ABatchWithFewerDescriptorsThanEntriesEndsIt) {
  Keeper keeper(std::move(broker_));
  answer([&](const Packet& packet) {
    const BatchBody batch{2, 0};
    const KeepBody entries[2] = {keep_body('m', 1, ""), keep_body('m', 2, "")};
    const int fds[1] = {0};
    ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kBatch, packet.header().sequence,
                            bytes_of(batch), std::as_bytes(std::span(entries)), fds)
                    .ok());
  });
  EXPECT_EQ(keeper.return_all([](Kept) {}).io, Io::kMalformed);
  EXPECT_TRUE(keeper.gone());
}

std::size_t open_fds() {
  std::size_t count = 0;
  for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST_F(KeeperTest, EveryDescriptorOfABadPacketIsClosed) {
  Packet packet;
  const int fds[3] = {0, 1, 2};
  const std::size_t before = open_fds();
  const auto send_raw = [&](std::span<const std::byte> bytes) {
    iovec vec{const_cast<std::byte*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)];
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(part), fds, sizeof fds);
    ASSERT_GE(::sendmsg(supervisor_.get(), &message, MSG_NOSIGNAL), 0);
  };
  PacketHeader good{kKeeperMagic, kKeeperVersion, 'K', sizeof(PacketHeader), 1};
  PacketHeader magic = good, version = good, length = good;
  magic.magic ^= 1;
  version.version = 99;
  length.length = 17;
  for (const PacketHeader& bad : {magic, version, length}) {
    send_raw(bytes_of(bad));
    EXPECT_EQ(receive_keeper(broker_.get(), &packet).io, Io::kMalformed);
    EXPECT_EQ(open_fds(), before);
  }
  send_raw(bytes_of(good).subspan(0, 5));
  EXPECT_EQ(receive_keeper(broker_.get(), &packet).io, Io::kMalformed);
  const std::vector<std::byte> huge(kPacketBytesMax + 1);
  send_raw(huge);
  EXPECT_EQ(receive_keeper(broker_.get(), &packet).io, Io::kTruncated);
  EXPECT_EQ(open_fds(), before);
  send_raw(bytes_of(good));
  EXPECT_TRUE(receive_keeper(broker_.get(), &packet).ok());
  EXPECT_EQ(packet.fd_count(), 3u);
  { const Fd taken = packet.take_fd(1); }
  packet.clear();
  EXPECT_EQ(open_fds(), before);
}

TEST_F(KeeperTest, ABatchOfAllTheDescriptorsThatTheKernelAllows) {
  const std::vector<int> fds(kPacketFdsMax, 0);
  ASSERT_TRUE(send_keeper(supervisor_.get(), KeeperType::kBatch, 1, {}, {}, fds).ok());
  Packet packet;
  ASSERT_TRUE(receive_keeper(broker_.get(), &packet).ok());
  EXPECT_EQ(packet.fd_count(), kPacketFdsMax);
  const std::vector<int> too_many(kPacketFdsMax + 1, 0);
  EXPECT_EQ(send_keeper(supervisor_.get(), KeeperType::kBatch, 1, {}, {}, too_many).error,
            EMSGSIZE);
}

TEST(KeeperSocket, AnythingButASeqpacketSocketIsRefused) {
  ::unsetenv(kKeeperFdVariable);
  EXPECT_FALSE(Keeper::socket_from_environment());
  for (const char* text : {"", "0", "x", "3x", "99999", "-1"}) {
    ::setenv(kKeeperFdVariable, text, 1);
    EXPECT_FALSE(Keeper::socket_from_environment()) << text;
    EXPECT_EQ(::getenv(kKeeperFdVariable), nullptr);
  }
}

}  // namespace
}  // namespace heddle::local
