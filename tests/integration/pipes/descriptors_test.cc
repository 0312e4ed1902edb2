// Descriptors that go with messages of a pipe: they arrive, whoever is killed, and none is left.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <heddle/reasons.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/attach_client.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// A pipe(2): what is written to one end, and whether anybody still has that one open.
struct Tube {
  Tube() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  // What was written; it ends with "." when nobody can write any more, within 10 s.
  std::string all() {
    std::string text;
    for (;;) {
      pollfd one{out.get(), POLLIN, 0};
      char bytes[64];
      if (poll(&one, 1, 10'000) != 1) return text;
      const ssize_t n = read(out.get(), bytes, sizeof bytes);
      if (n <= 0) return text + ".";
      text.append(bytes, static_cast<std::size_t>(n));
    }
  }
  Descriptor out, in;
};

void say(const Descriptor& to, const std::string& text) {
  EXPECT_EQ(write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

class PipeDescriptorsTest : public DaemonFixture {
 protected:
  Client& client() {
    if (!client_) client_ = connect();
    return client_;
  }
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
  }
  PipeEnd end(PipeSide side, const PipeOptions& options = {}) {
    return client().pipe_end("p", side, options).value();
  }
  void TearDown() override {
    client_ = Client();
    DaemonFixture::TearDown();
  }
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
  // Broker and supervisor answer.
  void all_is_well() {
    const pid_t broker = daemon().broker_pid();
    for (int i = 0; i < 20; ++i) {
      const std::string name = "well/" + std::to_string(i);
      EXPECT_TRUE(client().create_pipe(name).ok());
      EXPECT_TRUE(client().delete_pipe(name).ok());
      std::this_thread::sleep_for(10ms);
    }
    EXPECT_EQ(daemon().broker_pid(), broker);
  }
  static Result<std::size_t> lend(PipeEnd& end, const Descriptor& one, const Body& body = "with it",
                                  std::chrono::nanoseconds timeout = 10s) {
    const int fd = one.get();
    return end.send_with(body, {&fd, 1}, timeout);
  }

 private:
  Client client_;
};

TEST_F(PipeDescriptorsTest, BothWaysAndInLargeMessages) {
  PipeEnd a = end(PipeSide::kA, {.capacity = 4096}), b = end(PipeSide::kB);
  const std::string large(100'000, 'L');
  for (auto [from, to] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const std::string& body : {std::string("small"), std::string(), large}) {
      Tube tube;
      const int memory = memfd_create("given", MFD_CLOEXEC);
      say(Descriptor(dup(memory)), "in memory");
      const int fds[] = {tube.in.get(), memory};
      std::thread sender([&] {
        EXPECT_TRUE(from->send("before").ok());
        const auto sent = from->send_with(body, fds);
        EXPECT_EQ(sent.value(), body.size());
        EXPECT_TRUE(from->send("after").ok());
      });
      EXPECT_EQ(to->receive_with()->text(), "before");
      PipeParcel got = to->receive_with().value();
      EXPECT_EQ(to->receive_with()->text(), "after");
      sender.join();
      close(memory);
      tube.in.reset();
      EXPECT_EQ(got.text(), body);
      ASSERT_EQ(got.fds.size(), 2u);
      EXPECT_EQ(got.fds_lost, 0u);
      EXPECT_EQ(fcntl(got.fds[0].get(), F_GETFD), FD_CLOEXEC);
      say(got.fds[0], "here");
      char bytes[16];
      EXPECT_EQ(pread(got.fds[1].get(), bytes, sizeof bytes, 0), 9);
      got.fds.clear();
      EXPECT_EQ(tube.all(), "here.") << "neither broker nor supervisor has it any more";
    }
  }
}

TEST_F(PipeDescriptorsTest, SixteenAtOnceAndWhatDoesNotGo) {
  PipeEnd a = end(PipeSide::kA, {.max_msg_bytes = 100}), b = end(PipeSide::kB);
  std::vector<Tube> tubes(17);
  std::vector<int> fds;
  for (const Tube& tube : tubes) fds.push_back(tube.in.get());
  const Status many = a.send_with("x", fds).status();
  EXPECT_TRUE(many.is(Reason::kInvalidArgument));
  EXPECT_NE(many.to_string().find("limit 16, actual 17"), std::string::npos) << many.to_string();
  EXPECT_EQ(a.send_with(std::string(100, 'x'), std::span(fds).first(16)).value(), 100u);
  EXPECT_TRUE(
      a.send_with(std::string(101, 'x'), std::span(fds).first(1)).status().is(Reason::kTooLarge));
  PipeParcel got = b.receive_with().value();
  EXPECT_EQ(got.bytes.size(), 100u);
  ASSERT_EQ(got.fds.size(), 16u);
  for (std::size_t i = 0; i < 16; ++i) {
    say(got.fds[i], std::to_string(i));
    got.fds[i].reset();
    tubes[i].in.reset();
    EXPECT_EQ(tubes[i].all(), std::to_string(i) + ".");
  }
  EXPECT_EQ(a.send_with("none", {}).value(), 4u);
  EXPECT_TRUE(b.receive_with()->fds.empty());
  const int closed = fds[16];
  tubes[16].in.reset();
  EXPECT_TRUE(a.send_with("x", {&closed, 1}).status().is(Reason::kInvalidArgument));
  PipeEnd bytes = client().pipe_end("bytes", PipeSide::kA, {.mode = PipeMode::kBytes}).value();
  EXPECT_TRUE(lend(bytes, tubes[16].out).status().is(Reason::kUnsupported));
  EXPECT_TRUE(b.receive_with(0ms).status().is(Reason::kEmpty)) << "nothing was sent of these";
}

TEST_F(PipeDescriptorsTest, WhoDoesNotAskForThemClosesThem) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  for (int way = 0; way < 3; ++way) {
    Tube tube;
    ASSERT_TRUE(lend(a, tube.in).ok());
    ASSERT_TRUE(a.send("next").ok());
    tube.in.reset();
    std::byte room[7];
    if (way == 0) {
      EXPECT_EQ(b.receive()->text(), "with it");
    }
    if (way == 1) {
      EXPECT_EQ(b.receive_into(room).value(), 7u);
    }
    if (way == 2) {
      EXPECT_EQ(b.view()->bytes().size(), 7u) << "given up: it stays";
      PipeView view = b.view().value();
      EXPECT_EQ(view.bytes().size(), 7u);
      EXPECT_TRUE(view.consume().ok());
    }
    EXPECT_EQ(b.receive()->text(), "next");
    EXPECT_EQ(tube.all(), ".") << way;
  }
  // Not sent: not kept either.
  PipeEnd full = client().pipe_end("full", PipeSide::kA, {.capacity = 4096}).value();
  while (full.try_send(std::string(100, 'x'))) {
  }
  Tube tube;
  EXPECT_TRUE(lend(full, tube.in, std::string(100, 'x'), 0ms).status().is(Reason::kFull));
  EXPECT_TRUE(lend(full, tube.in, std::string(100, 'x'), 5ms).status().is(Reason::kTimedOut));
  tube.in.reset();
  EXPECT_EQ(tube.all(), ".");
}

TEST_F(PipeDescriptorsTest, TheyOutliveTheBrokerAndItsReceiver) {
  PipeEnd a = end(PipeSide::kA, {.resumable = true});
  Tube first, second;
  ASSERT_TRUE(lend(a, first.in).ok());
  const pid_t child = start([&](Client& mine) {
    PipeEnd b = mine.pipe_end("p", PipeSide::kB).value();
    if (!b.poll().ok()) return false;
    kill(getpid(), SIGKILL);  // before it takes it
    return false;
  });
  EXPECT_TRUE(WIFSIGNALED(ended(child)));
  daemon().kill_broker();
  ASSERT_TRUE(lend(a, second.in, "by the next broker").ok());
  first.in.reset();
  second.in.reset();
  PipeEnd b = end(PipeSide::kB);
  PipeParcel one = b.receive_with().value(), two = b.receive_with().value();
  EXPECT_EQ(two.text(), "by the next broker");
  ASSERT_EQ(one.fds.size(), 1u);
  ASSERT_EQ(two.fds.size(), 1u);
  say(one.fds[0], "1");
  say(two.fds[0], "2");
  one.fds.clear();
  two.fds.clear();
  EXPECT_EQ(first.all(), "1.");
  EXPECT_EQ(second.all(), "2.");
}

TEST_F(PipeDescriptorsTest, AMessageStaysHereWhileTheBrokerIsAway) {
  PipeEnd a = end(PipeSide::kA);
  Client hasty =
      Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 300ms})
          .value();
  PipeEnd b = hasty.pipe_end("p", PipeSide::kB).value();
  Tube tube;
  ASSERT_TRUE(lend(a, tube.in).ok());
  ASSERT_TRUE(a.send("next").ok());
  tube.in.reset();
  const pid_t broker = daemon().broker_pid();
  kill(broker, SIGSTOP);
  const Status away = b.receive_with().status();
  EXPECT_TRUE(away.is(Reason::kBrokerAway)) << away.to_string();
  EXPECT_TRUE(b.poll(0ms).ok());
  EXPECT_TRUE(b.view(0ms).status().is(Reason::kTooLarge));
  kill(broker, SIGCONT);
  PipeParcel got = b.receive_with().value();
  EXPECT_EQ(got.text(), "with it");
  ASSERT_EQ(got.fds.size(), 1u) << "the request that was given up did not take it away";
  say(got.fds[0], "here");
  got.fds.clear();
  EXPECT_EQ(tube.all(), "here.");
  EXPECT_EQ(b.receive()->text(), "next");
}

TEST_F(PipeDescriptorsTest, ABrokerKilledAgainAndAgainMeanwhile) {
  PipeEnd b = end(PipeSide::kB);
  constexpr int kMessages = 400;
  const pid_t child = start([&](Client& mine) {
    PipeEnd a = mine.pipe_end("p", PipeSide::kA).value();
    for (int i = 0; i < kMessages; ++i) {
      const int memory = memfd_create("given", MFD_CLOEXEC);
      const std::string text = std::to_string(i);
      if (write(memory, text.data(), text.size()) < 0) return false;
      Result<std::size_t> sent = Reason::kQuota;
      while ((sent = a.send_with(text, {&memory, 1})).status().is(Reason::kQuota)) usleep(1000);
      if (!sent.ok()) return false;
      close(memory);
    }
    return true;
  });
  std::size_t lost = 0;
  for (int i = 0; i < kMessages; ++i) {
    if (i % 100 == 50) daemon().kill_broker();
    auto got = b.receive_with();
    ASSERT_TRUE(got.ok()) << got.status().to_string();
    ASSERT_EQ(got->text(), std::to_string(i));
    ASSERT_EQ(got->fds.size() + got->fds_lost, 1u);
    lost += got->fds_lost;
    if (got->fds.empty()) continue;
    char bytes[8];
    const ssize_t n = pread(got->fds[0].get(), bytes, sizeof bytes, 0);
    EXPECT_EQ(std::string(bytes, static_cast<std::size_t>(n)), got->text());
  }
  EXPECT_EQ(ended(child), 0);
  EXPECT_EQ(lost, 0u) << "kill_broker() is called between two messages";
}

TEST_F(PipeDescriptorsTest, SoManyMayWait) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  Tube tube;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(lend(a, tube.in).ok()) << i;
  const Status full = lend(a, tube.in).status();
  EXPECT_TRUE(full.is(Reason::kQuota));
  EXPECT_NE(full.to_string().find("limit 64, actual 64"), std::string::npos) << full.to_string();
  EXPECT_EQ(b.receive_with()->fds.size(), 1u);
  EXPECT_TRUE(lend(a, tube.in).ok());
  tube.in.reset();
  // Those that are never received go with the connection.
  a.close();
  b.close();
  EXPECT_EQ(tube.all(), ".");
}

TEST_F(PipeDescriptorsTest, OfASenderKilledBeforeItPublishes) {
  PipeEnd b = end(PipeSide::kB, {.capacity = 4096});
  Tube tube;
  const pid_t child = start([&](Client& mine) {
    PipeEnd a = mine.pipe_end("p", PipeSide::kA).value();
    while (a.try_send(std::string(100, 'x'))) {
    }
    (void)lend(a, tube.in, std::string(100, 'x'), 60s);  // lent, and waits for room
    return false;
  });
  const auto blocked = [&] {
    const auto ends = client().pipe_info("p").value().connections;
    return ends.size() == 1 && ends[0].a.send_blocked.has_value();
  };
  while (!blocked()) std::this_thread::sleep_for(5ms);
  kill(child, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(ended(child)));
  tube.in.reset();
  Result<PipeParcel> got = Reason::kEmpty;
  while ((got = b.receive_with())) {
    EXPECT_TRUE(got->fds.empty());
  }
  EXPECT_TRUE(got.status().is(Reason::kPeerDied));
  b.close();
  EXPECT_EQ(tube.all(), ".");
}

// Closing the last duplicate of such a socket blocks whoever does it.
struct Lingering {
  Lingering() {
    const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    auto* where = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener.get(), where, bytes), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), where, &bytes), 0);
    ours.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(ours.get(), where, bytes), 0);
    peer.reset(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const linger long_one{1, 28};
    EXPECT_EQ(setsockopt(ours.get(), SOL_SOCKET, SO_LINGER, &long_one, sizeof long_one), 0);
    const std::string some(65536, 'x');
    while (send(ours.get(), some.data(), some.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
  }
  Descriptor ours, peer;
};

TEST_F(PipeDescriptorsTest, OneThatLingersHoldsUpNobody) {
  Lingering socket;
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  ASSERT_TRUE(lend(a, socket.ours).ok());
  ASSERT_TRUE(lend(a, socket.ours).ok());
  socket.ours.reset();
  EXPECT_EQ(b.receive()->text(), "with it") << "dropped, the other one goes with the connection";
  b.close();
  a.close();
  all_is_well();
}

TEST_F(PipeDescriptorsTest, UnaskedOnesThatLingerNeither) {
  for (const std::uint32_t magic : {local::kAttachMagic, local::kAttachMagic + 1}) {
    Lingering socket;
    AttachClient stranger(runtime_dir());
    ASSERT_TRUE(stranger.hello());
    const local::PacketHeader header{magic, 1, static_cast<std::uint16_t>(AttachType::kClose), 0,
                                     9};
    const local::Close body{1};
    const int fd = socket.ours.get();
    // Whoever closes it last is the one who waits: not to be this test.
    const pid_t broker = daemon().broker_pid();
    kill(broker, SIGSTOP);
    const bool sent =
        local::send_packet(stranger.fd(), header, local::bytes_of(body), {}, {&fd, 1}).ok();
    socket.ours.reset();
    kill(broker, SIGCONT);
    ASSERT_TRUE(sent);
    all_is_well();
  }
}

TEST_F(PipeDescriptorsTest, AStrangerGetsNone) {
  PipeEnd a = end(PipeSide::kA), b = end(PipeSide::kB);
  Tube tube;
  ASSERT_TRUE(lend(a, tube.in).ok());
  const std::uint64_t id = client().pipe_info("p")->connections.at(0).id;
  AttachClient stranger(runtime_dir());
  ASSERT_TRUE(stranger.hello());
  for (std::uint64_t number = 0; number < 100; ++number) {
    for (std::uint8_t side : {0, 1}) {
      const local::TakeLent take{id, number, side, number % 2 == 0, {}};
      ASSERT_TRUE(stranger.send(AttachType::kTakeLent, take));
      ASSERT_FALSE(stranger.receive(AttachType::kGiven));
      ASSERT_EQ(stranger.failed().reason, static_cast<std::uint16_t>(Reason::kNotFound));
    }
  }
  EXPECT_FALSE(stranger.send(AttachType::kLend, local::Lend{id, 1, 0, {}}) &&
               stranger.receive(AttachType::kLent))
      << "a LEND without a descriptor";
  EXPECT_EQ(b.receive_with()->fds.size(), 1u);
}

}  // namespace
}  // namespace heddle::test
