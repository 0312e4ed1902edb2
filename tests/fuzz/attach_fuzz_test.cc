// Hostile peers on the attach socket: random packets, descriptors that nobody asked for, clients
// that never read. The broker answers or cuts, stays the same process, and serves others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <vector>

#include "tests/integration/attach_client.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

class AttachFuzz : public DaemonFixture {
 protected:
  size_t broker_fds() {
    size_t n = 0;
    const std::string path = "/proc/" + std::to_string(daemon().broker_pid()) + "/fd";
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path)) ++n;
    return n;
  }
  void expect_healthy(pid_t broker) {
    EXPECT_EQ(daemon().broker_pid(), broker) << daemon().log();
    AttachClient good(runtime_dir());
    ASSERT_TRUE(good.connected());
    ASSERT_TRUE(good.hello());
    ASSERT_TRUE(good.open("healthy", local::kOpenCreate));
    EXPECT_EQ(good.put("x"), shm::Outcome::kOk);
    const local::PacketHeader bye{local::kAttachMagic, 1,
                                  static_cast<uint16_t>(AttachType::kBye), 0, 1};
    EXPECT_TRUE(local::send_packet(good.fd(), bye, {}).ok());
    EXPECT_TRUE(good.receive(AttachType::kDone));
  }
  unsigned seed_ = std::random_device()();
  std::mt19937 random_{seed_};
  unsigned below(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random_); }
};

TEST_F(AttachFuzz, RandomPackets) {
  std::printf("seed %u\n", seed_);
  const pid_t broker = daemon().broker_pid();
  expect_healthy(broker);
  const size_t fds_before = broker_fds();
  local::Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (int round = 0; round < 200; ++round) {
    AttachClient bad(runtime_dir());
    ASSERT_TRUE(bad.connected());
    if (below(2)) (void)bad.hello();
    for (int i = 0; i < 10; ++i) {
      std::vector<std::byte> body(below(4) == 0 ? below(60'000) : below(700));
      for (auto& byte : body) byte = static_cast<std::byte>(below(3) ? 0 : random_());
      local::PacketHeader header{local::kAttachMagic, 1, static_cast<uint16_t>(below(14)), 0,
                                 static_cast<uint32_t>(random_())};
      if (below(20) == 0) header.magic ^= 1u << below(32);
      if (below(20) == 0) header.version = static_cast<uint16_t>(random_());
      const std::vector<int> fds(below(5) == 0 ? below(10) : 0, null.get());
      if (!local::send_packet(bad.fd(), header, body, {}, fds, false).ok()) break;
    }
    // Sometimes a packet whose length lies, below the helper that fills it in.
    local::PacketHeader lie{local::kAttachMagic, 1, 3, static_cast<uint32_t>(random_()), 1};
    (void)!::send(bad.fd(), &lie, below(sizeof lie + 1), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  expect_healthy(broker);
  // Sessions of this very process live on until it ends; connections and stray descriptors do not.
  size_t fds_after = 0;
  for (int i = 0; i < 100; ++i) {
    fds_after = broker_fds();
    if (fds_after <= fds_before + 2 * 200) break;
    ::usleep(20'000);
  }
  EXPECT_LE(fds_after, fds_before + 2 * 200 + 8);  // page and pidfd of each greeted one
}

TEST_F(AttachFuzz, ClientsThatNeverReadAreCutAndOthersServed) {
  const pid_t broker = daemon().broker_pid();
  for (int i = 0; i < 3; ++i) {
    AttachClient silent(runtime_dir());
    ASSERT_TRUE(silent.hello());
    const local::Call call{static_cast<uint32_t>(local::CallMethod::kStatus), 2};
    const local::PacketHeader header{local::kAttachMagic, 1,
                                     static_cast<uint16_t>(AttachType::kCall), 0, 1};
    bool stopped = false;
    for (int sent = 0; sent < 100'000 && !stopped; ++sent) {
      const std::string text = "{}";
      stopped = !local::send_packet(silent.fd(), header, local::bytes_of(call),
                                    std::as_bytes(std::span(text.data(), text.size())), {}, false)
                     .ok();
    }
    EXPECT_TRUE(stopped);  // the broker no longer reads from it
    expect_healthy(broker);
  }
}

TEST_F(AttachFuzz, TruncatedAndEmptyPacketsBeforeHello) {
  const pid_t broker = daemon().broker_pid();
  for (size_t bytes = 0; bytes <= sizeof(local::PacketHeader) + 8; ++bytes) {
    AttachClient bad(runtime_dir());
    const std::string packet(bytes, '\x7f');
    (void)!::send(bad.fd(), packet.data(), packet.size(), MSG_NOSIGNAL);
    EXPECT_FALSE(bad.receive(AttachType::kWelcome));
  }
  expect_healthy(broker);
}

}  // namespace
}  // namespace heddle::test
