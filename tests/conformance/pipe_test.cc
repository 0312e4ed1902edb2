// Pipes over the planes that have them: named ends, listeners, how they end.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <numeric>
#include <vector>

#include "tests/conformance/lock_suite.h"

namespace heddle::test {
namespace {

// Which plane each end is on.
template <Plane kA, Plane kB>
struct EndPlanes {
  static constexpr Plane kPlane = kA;
  static constexpr Plane kPlanes[] = {kA, kB};
};
using BothShm = EndPlanes<Plane::kShm, Plane::kShm>;
#ifdef HEDDLE_TEST_GRPC_PLANE
using PipePlanes =
    testing::Types<BothShm, EndPlanes<Plane::kGrpc, Plane::kGrpc>,
                   EndPlanes<Plane::kGrpc, Plane::kShm>, EndPlanes<Plane::kShm, Plane::kGrpc>>;
#else
using PipePlanes = testing::Types<BothShm>;
#endif

struct EndPlaneNames {
  template <typename T>
  static std::string GetName(int) {
    const auto word = [](Plane plane) { return plane == Plane::kShm ? "shm" : "grpc"; };
    return std::string(word(T::kPlanes[0])) + "_" + word(T::kPlanes[1]);
  }
};

template <typename T>
class PipeTest : public LockSuite<T> {
 protected:
  static constexpr bool kRemoteA = T::kPlanes[0] == Plane::kGrpc;
  static constexpr bool kRemoteB = T::kPlanes[1] == Plane::kGrpc;

  void SetUp() override {
    if (kRemoteA || kRemoteB) allow_leaks("gRPC keeps threads and descriptors");
  }
  void TearDown() override {
    for (Client& client : clients_) client = Client();
    for (const int input : inputs_) close(input);
    LockSuite<T>::TearDown();
  }
  static Client connect_to(PipeSide side) {
    return Client::connect({.runtime_dir = LockSuite<T>::daemon().runtime_dir(),
                            .plane = T::kPlanes[static_cast<int>(side)]})
        .value();
  }
  // Whoever has that side of a pipe.
  Client& client_of(PipeSide side) {
    Client& client = clients_[static_cast<int>(side)];
    if (!client) client = connect_to(side);
    return client;
  }
  PipeEnd end(PipeSide side, const PipeOptions& options = {}) {
    return client_of(side).pipe_end(this->name(), side, options).value();
  }
  // Another process, which sends `text` through end a and then waits to be killed. gRPC does not
  // survive a fork, so a remote one is the command.
  pid_t sender(const std::string& text) {
    if (!kRemoteA) {
      return this->start([&] {
        PipeEnd a = connect_to(PipeSide::kA).pipe_end(this->name(), PipeSide::kA).value();
        if (a.send(text).ok()) pause();
        return false;
      });
    }
    int input[2];
    EXPECT_EQ(pipe2(input, O_CLOEXEC), 0);
    const std::string line = text + "\n", runtime_dir = this->daemon().runtime_dir();
    EXPECT_EQ(write(input[1], line.data(), line.size()), static_cast<ssize_t>(line.size()));
    const std::string command = built("bin/heddle"), name = this->name();
    const pid_t child = fork();
    if (child == 0) {
      dup2(input[0], STDIN_FILENO);
      execl(command.c_str(), "heddle", "--runtime-dir", runtime_dir.c_str(), "--plane", "grpc",
            "pipe", "send", name.c_str(), "--lines", nullptr);
      _exit(1);
    }
    close(input[0]);
    inputs_.push_back(input[1]);
    return child;
  }
  PipeEnd end_of(const char* suffix, PipeSide side) {
    return client_of(side).pipe_end(this->name(suffix), side).value();
  }

 private:
  Client clients_[2];
  std::vector<int> inputs_;  // of senders, open for as long as they live
};
TYPED_TEST_SUITE(PipeTest, PipePlanes, EndPlaneNames);

// By the plane of end a: gRPC does not survive a fork, and a remote end goes with its broker.
class LocalPipeTest : public PipeTest<BothShm> {};
template <typename T>
class LocalEndTest : public PipeTest<T> {};
#ifdef HEDDLE_TEST_GRPC_PLANE
using LocalEnds = testing::Types<BothShm, EndPlanes<Plane::kShm, Plane::kGrpc>>;
using RemoteEnds =
    testing::Types<EndPlanes<Plane::kGrpc, Plane::kGrpc>, EndPlanes<Plane::kGrpc, Plane::kShm>>;
template <typename T>
class RemoteEndTest : public PipeTest<T> {};
TYPED_TEST_SUITE(RemoteEndTest, RemoteEnds, EndPlaneNames);
#else
using LocalEnds = PipePlanes;
#endif
TYPED_TEST_SUITE(LocalEndTest, LocalEnds, EndPlaneNames);

TYPED_TEST(PipeTest, MessagesGoBothWays) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_EQ(a.send("there").value(), 5u);
  EXPECT_EQ(b.send(Body::json("{}")).value(), 2u);
  const PipeMessage got = b.receive().value();
  EXPECT_EQ(got.text(), "there");
  EXPECT_EQ(got.kind, BodyKind::kText);
  EXPECT_EQ(a.receive()->kind, BodyKind::kJson);
  EXPECT_EQ(a.name(), this->name());
  EXPECT_EQ(a.side(), PipeSide::kA);
  EXPECT_TRUE(a.try_receive().status().is(Reason::kEmpty));
  EXPECT_TRUE(a.receive(10ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(PipeEnd().send("x").status().is(Reason::kInvalidArgument));
}

TYPED_TEST(PipeTest, OptionsAreKeptAndCompared) {
  const PipeOptions options{.mode = PipeMode::kBytes, .duplex = false, .capacity = 10'000};
  PipeEnd a = this->end(PipeSide::kA, options);
  EXPECT_EQ(a.options().mode, PipeMode::kBytes);
  EXPECT_EQ(a.options().capacity, 16'384u);
  EXPECT_EQ(a.options().duplex, false);
  EXPECT_TRUE(a.try_receive().status().is(Reason::kClosed)) << "one direction only";
  const auto other = this->client().pipe_end(this->name(), PipeSide::kB, {.duplex = true});
  EXPECT_TRUE(other.status().is(Reason::kExistsOtherOptions));
  EXPECT_NE(other.status().to_string().find("duplex is 0, asked was 1"), std::string::npos)
      << other.status().to_string();
  EXPECT_TRUE(this->client()
                  .pipe_end(this->name("/none"), PipeSide::kA, {.create = false})
                  .status()
                  .is(Reason::kNotFound));
  EXPECT_TRUE(this->client().create_pipe(this->name("/new"), {.exclusive = true}).ok());
  EXPECT_TRUE(this->client()
                  .create_pipe(this->name("/new"), {.exclusive = true})
                  .is(Reason::kExistsOtherOptions));
  EXPECT_TRUE(this->client()
                  .create_pipe(this->name("/short"), {.lifetime = Lifetime::kSession})
                  .is(Reason::kInvalidArgument));
}

TYPED_TEST(PipeTest, AFullRingIsAnOutcome) {
  PipeEnd a = this->end(PipeSide::kA, {.capacity = 4096, .max_msg_bytes = 1000});
  const std::string body(1000, 'x');
  std::size_t sent = 0;
  while (a.try_send(body)) ++sent;
  EXPECT_EQ(sent, 4u);
  const Status full = a.try_send(body).status();
  EXPECT_TRUE(full.is(Reason::kFull));
  EXPECT_NE(full.to_string().find("limit 4096, actual 4032"), std::string::npos)
      << full.to_string();
  EXPECT_TRUE(a.send(body, 10ms).status().is(Reason::kTimedOut));
  const auto large = a.send(std::string(1001, 'x'));
  EXPECT_TRUE(large.status().is(Reason::kTooLarge));
  EXPECT_NE(large.status().to_string().find("1000"), std::string::npos);
}

TYPED_TEST(PipeTest, MessagesLargerThanTheRingComeWhole) {
  PipeEnd a = this->end(PipeSide::kA, {.capacity = 4096});
  std::string body(1'000'000, '\0');
  std::iota(body.begin(), body.end(), '\0');
  std::thread sender([&] {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(a.send(body).value(), body.size());
  });
  PipeEnd b = this->end(PipeSide::kB);
  for (int i = 0; i < 5; ++i) {
    auto got = b.receive();
    ASSERT_TRUE(got.ok());
    ASSERT_EQ(got->text(), body);
  }
  sender.join();
}

TYPED_TEST(PipeTest, APartThatHasComeIsKeptOverATimeout) {
  PipeEnd a = this->end(PipeSide::kA, {.capacity = 4096}), b = this->end(PipeSide::kB);
  const std::string small(10'000, 's'), large(50'000, 'L');
  // Each is given up by its sender after its first frames; the second is larger than the first.
  std::vector<std::byte> room(60'000);
  EXPECT_TRUE(a.send(small, 20ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(b.receive_into(room, 5ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(a.send(large, 20ms).status().is(Reason::kTimedOut));
  EXPECT_TRUE(b.receive_into(room, 5ms).status().is(Reason::kTimedOut));
  // Over gRPC messages come whole or not at all.
  const Reason part = this->kRemoteB ? Reason::kEmpty : Reason::kTooLarge;
  const Status viewed = b.view(0ms).status();
  EXPECT_TRUE(viewed.is(part)) << viewed.to_string();
  const Status narrow = b.receive_into(std::span(room).first(10), 0ms).status();
  EXPECT_TRUE(narrow.is(part));
  if (!this->kRemoteB) {
    EXPECT_NE(narrow.to_string().find("limit 10, actual 50000"), std::string::npos)
        << narrow.to_string();
  }
  std::thread sender([&] { EXPECT_TRUE(a.send(large).ok()); });
  auto got = b.receive();
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->text(), large);
  sender.join();
}

TYPED_TEST(PipeTest, AStreamOfBytes) {
  PipeEnd a = this->end(PipeSide::kA, {.mode = PipeMode::kBytes});
  std::string all(3'000'000, '\0');
  std::iota(all.begin(), all.end(), '\0');
  std::thread sender([&] {
    EXPECT_EQ(a.send(all).value(), all.size());
    a.close();
  });
  PipeEnd b = this->end(PipeSide::kB);
  std::string got;
  for (;;) {
    auto some = b.receive();
    if (!some) {
      EXPECT_TRUE(some.status().is(Reason::kEndOfStream)) << some.status().to_string();
      break;
    }
    got += some->text();
  }
  sender.join();
  EXPECT_EQ(got, all);
}

// The wait for room is longer than any one look around.
TYPED_TEST(PipeTest, ARunOfStreamedBodiesIsSentOnceHoweverLongItWaits) {
  PipeEnd a = this->end(PipeSide::kA, {.mode = PipeMode::kBytes, .capacity = 4096});
  PipeEnd b = this->end(PipeSide::kB);
  const std::vector<std::string> texts = {std::string(9000, 'a'), std::string(9000, 'b')};
  std::thread sender([&] {
    const std::vector<Body> bodies(texts.begin(), texts.end());
    EXPECT_EQ(a.send_many(bodies).done, 2u);
    a.close();
  });
  std::this_thread::sleep_for(1500ms);
  std::string got;
  for (auto some = b.receive(); some; some = b.receive()) got += some->text();
  sender.join();
  EXPECT_EQ(got, texts[0] + texts[1]);
}

TYPED_TEST(PipeTest, ATryDoesNotCountABodyThatIsInInPart) {
  PipeEnd a = this->end(PipeSide::kA, {.mode = PipeMode::kBytes, .capacity = 4096});
  PipeEnd b = this->end(PipeSide::kB);
  const std::string text(9000, 'a');
  const Body body = text;
  const PutManyResult sent = a.send_many({&body, 1}, 0ms);
  EXPECT_EQ(sent.done, 0u);
  EXPECT_TRUE(sent.status.is(Reason::kFull)) << sent.status.to_string();
}

// Over gRPC a run is many requests on their way at once.
TYPED_TEST(PipeTest, LongRunsKeepTheirOrder) {
  for (int round = 0; round < 20; ++round) {
    const std::string name = this->name() + std::to_string(round);
    PipeEnd a = this->client_of(PipeSide::kA).pipe_end(name, PipeSide::kA).value();
    PipeEnd b = this->client_of(PipeSide::kB).pipe_end(name, PipeSide::kB).value();
    std::vector<std::string> texts;
    for (int i = 0; i < 3000; ++i) texts.push_back(std::to_string(i) + std::string(i % 1000, 'x'));
    std::thread sender([&] {
      const std::vector<Body> bodies(texts.begin(), texts.end());
      const PutManyResult sent = a.send_many(bodies);
      EXPECT_EQ(sent.done, texts.size()) << sent.status.to_string();
      a.close();
    });
    size_t in_order = 0;
    for (const std::string& text : texts) {
      auto got = b.receive();
      if (!got || got->text() != text) break;
      ++in_order;
    }
    EXPECT_EQ(in_order, texts.size());
    b.close();
    sender.join();
  }
}

TYPED_TEST(PipeTest, InPlace) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  {
    auto room = a.reserve(100);
    ASSERT_TRUE(room.ok());
    std::memcpy(room->bytes().data(), "in place", 8);
    EXPECT_TRUE(room->commit(8, BodyKind::kText).ok());
    auto given_up = a.reserve(100);
    ASSERT_TRUE(given_up.ok());
    EXPECT_TRUE(a.try_send("it would wait for itself").status().is(Reason::kInvalidArgument));
    EXPECT_TRUE(a.reserve(1, 0ms).status().is(Reason::kInvalidArgument));
  }
  {
    auto view = b.view();
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(view->bytes().size(), 8u);
    EXPECT_EQ(view->kind(), BodyKind::kText);
    EXPECT_TRUE(b.view(0ms).status().is(Reason::kInvalidArgument));
    EXPECT_TRUE(b.try_receive().status().is(Reason::kInvalidArgument));
    EXPECT_EQ(std::memcmp(view->bytes().data(), "in place", 8), 0);
  }
  auto view = b.view();
  ASSERT_TRUE(view.ok()) << "what is not consumed stays";
  EXPECT_TRUE(view->consume().ok());
  EXPECT_TRUE(b.view(0ms).status().is(Reason::kEmpty));
  EXPECT_TRUE(a.reserve(1 << 20).status().is(Reason::kTooLarge));
}

TYPED_TEST(PipeTest, BatchesHoldsAndPolls) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_TRUE(b.poll(10ms).is(Reason::kTimedOut));
  const std::vector<std::string> texts = {"1", "22", "333"};
  std::vector<Body> bodies(texts.begin(), texts.end());
  EXPECT_EQ(a.send_many(bodies).done, 3u);
  EXPECT_TRUE(b.poll().ok());
  for (const std::string& text : texts) EXPECT_EQ(b.receive()->text(), text);
  PipeEnd other = a.share().value();
  ASSERT_TRUE(a.hold().ok());
  const Status held = other.try_send("no").status();
  EXPECT_TRUE(held.is(Reason::kFull));
  EXPECT_NE(held.to_string().find("holds it"), std::string::npos) << held.to_string();
  EXPECT_TRUE(a.send("mine").ok());
  a.let_go();
  EXPECT_TRUE(other.send("yours").ok());
  EXPECT_EQ(b.receive()->text(), "mine");
  EXPECT_EQ(b.receive()->text(), "yours");
}

TYPED_TEST(PipeTest, ItEndsAfterWhatWasSent) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_TRUE(a.send("last").ok());
  EXPECT_TRUE(a.shutdown_write().ok());
  EXPECT_TRUE(a.send("late").status().is(Reason::kClosed));
  EXPECT_EQ(b.receive()->text(), "last");
  EXPECT_TRUE(b.receive().status().is(Reason::kEndOfStream));
  EXPECT_TRUE(b.send("still").ok());
  EXPECT_EQ(a.receive()->text(), "still");
  b.close();
  EXPECT_TRUE(a.receive().status().is(Reason::kEndOfStream));
  PipeEnd c = this->end_of("/2", PipeSide::kA);
  this->end_of("/2", PipeSide::kB).close();
  EXPECT_TRUE(c.send("nobody").status().is(Reason::kBrokenPipe));
}

TYPED_TEST(PipeTest, TheLastOfSeveralHandlesCloses) {
  PipeEnd a = this->end(PipeSide::kA), again = this->end(PipeSide::kA);
  PipeEnd b = this->end(PipeSide::kB);
  a.close();
  EXPECT_TRUE(again.send("on").ok());
  EXPECT_EQ(b.receive()->text(), "on");
  again.close();
  EXPECT_TRUE(b.receive().status().is(Reason::kEndOfStream));
}

TYPED_TEST(PipeTest, AKilledPeerIsToldFromACleanEnd) {
  PipeEnd b = this->end(PipeSide::kB);
  const pid_t child = this->sender("before it died");
  EXPECT_EQ(b.receive()->text(), "before it died");
  kill(child, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(this->ended(child)));
  const Status told = b.receive().status();
  EXPECT_TRUE(told.is(Reason::kPeerDied)) << told.to_string();
  EXPECT_NE(told.to_string().find(std::to_string(child)), std::string::npos) << told.to_string();
}

TYPED_TEST(PipeTest, AResumableEndWaitsForTheNextProcess) {
  PipeEnd b = this->end(PipeSide::kB, {.resumable = true});
  for (const char* text : {"first", "second"}) {
    const pid_t child = this->sender(text);
    EXPECT_EQ(b.receive()->text(), text);
    kill(child, SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(this->ended(child)));
  }
  EXPECT_TRUE(b.receive(50ms).status().is(Reason::kTimedOut));
}

TYPED_TEST(LocalEndTest, AForkedChildUsesTheSameEnd) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_TRUE(a.send("parent").ok());
  EXPECT_EQ(this->in_child([&] { return a.send("child").ok(); }), 0);
  EXPECT_EQ(b.receive()->text(), "parent");
  EXPECT_EQ(b.receive()->text(), "child");
  EXPECT_TRUE(a.send("parent again").ok()) << "the child's end did not close it";
  EXPECT_EQ(b.receive()->text(), "parent again");
}

TYPED_TEST(PipeTest, AListenerServesManyConnections) {
  EXPECT_TRUE(this->client_of(PipeSide::kA)
                  .connect_pipe(this->name(), 10ms)
                  .status()
                  .is(Reason::kTimedOut));
  PipeListener listener = this->client_of(PipeSide::kB).listen_pipe(this->name()).value();
  EXPECT_TRUE(listener.accept(0ms).status().is(Reason::kEmpty));
  EXPECT_TRUE(listener.accept(10ms).status().is(Reason::kTimedOut));
  const int kConnections = this->kRemoteA && this->kRemoteB ? 100 : 200;
  std::thread server([&] {
    std::vector<PipeEnd> ends;
    for (int i = 0; i < kConnections; ++i) {
      ends.push_back(listener.accept(20s).value());
      auto got = ends.back().receive();
      ASSERT_TRUE(got.ok());
      ASSERT_TRUE(ends.back().send(got->text()).ok());
    }
    for (PipeEnd& one : ends) {
      ASSERT_TRUE(one.receive().status().is(Reason::kEndOfStream));
    }
  });
  std::vector<PipeEnd> ends;
  for (int i = 0; i < kConnections; ++i) {
    ends.push_back(this->client_of(PipeSide::kA).connect_pipe(this->name()).value());
    ASSERT_TRUE(ends.back().send(std::to_string(i)).ok());
  }
  for (int i = 0; i < kConnections; ++i) {
    ASSERT_EQ(ends[static_cast<size_t>(i)].receive()->text(), std::to_string(i));
  }
  ends.clear();
  server.join();
}

TYPED_TEST(PipeTest, ADeletedPipeIsClosedForAll) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_TRUE(this->client().delete_pipe(this->name()).ok());
  EXPECT_TRUE(a.send("x").status().is(Reason::kClosed));
  EXPECT_TRUE(b.receive().status().is(Reason::kClosed));
  EXPECT_TRUE(this->client().delete_pipe(this->name()).is(Reason::kNotFound));
}

#ifdef HEDDLE_TEST_GRPC_PLANE
// What is in the ring is kept; a remote end goes, and both are told.
TYPED_TEST(RemoteEndTest, ItGoesWithItsBroker) {
  PipeEnd a = this->end(PipeSide::kA), b = this->end(PipeSide::kB);
  EXPECT_TRUE(a.send("kept").ok());
  this->daemon().kill_broker();
  const Status gone = a.send("x").status();
  EXPECT_TRUE(gone.is(Reason::kBrokerAway)) << gone.to_string();
  EXPECT_NE(gone.to_string().find("open it anew"), std::string::npos) << gone.to_string();
  if (this->kRemoteB) {
    EXPECT_TRUE(b.receive().status().is(Reason::kBrokerAway));
  } else {
    EXPECT_EQ(b.receive()->text(), "kept");
    EXPECT_TRUE(b.receive().status().is(Reason::kPeerDied));
  }
}
#endif

TEST_F(LocalPipeTest, ABrokerKilledInTheMiddleGoesUnnoticed) {
  PipeEnd b = this->end(PipeSide::kB);
  constexpr int kMessages = 200'000;
  const pid_t child = this->start([&] {
    PipeEnd a = this->connect_to(PipeSide::kA).pipe_end(this->name(), PipeSide::kA).value();
    for (int i = 0; i < kMessages; ++i) {
      if (!a.send(std::to_string(i)).ok()) return false;
    }
    return true;
  });
  for (int i = 0; i < kMessages; ++i) {
    if (i == kMessages / 4) this->daemon().kill_broker();
    auto got = b.receive();
    ASSERT_TRUE(got.ok()) << i << ": " << got.status().to_string();
    ASSERT_EQ(got->text(), std::to_string(i));
  }
  EXPECT_EQ(this->ended(child), 0);
  EXPECT_TRUE(b.receive().status().is(Reason::kEndOfStream));
}

}  // namespace
}  // namespace heddle::test
