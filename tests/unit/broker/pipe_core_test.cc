// Pipes in the broker: names, rights, connections, deaths, restarts; without sockets.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <thread>

#include "daemon/broker/core.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/broker/fake_supervisor.h"
#include "tests/unit/shm/pipe_fixture.h"

namespace heddle::broker {
namespace {

using local::PipeRole;
using shm::Outcome;
using shm::PipeActor;
using shm::PipeSide;

// An end as a client has it: mapped once more.
class End {
 public:
  End(const PipeRef& ref, uint16_t owner)
      : object_id(ref.object_id), owner_(owner), segment_(ref.segment) {
    options_.capacity = ref.options.capacity;
    options_.max_msg_bytes = ref.options.max_msg_bytes;
    options_.mode = static_cast<shm::PipeMode>(ref.options.pipe_mode);
    options_.duplex = ref.options.duplex;
    options_.resumable = ref.options.resumable;
    base_ = shm::map_pipe(segment_->fd(), options_);
    EXPECT_NE(base_, nullptr);
    EXPECT_EQ(shm::Pipe::attach(base_, options_, static_cast<PipeSide>(ref.options.side), &pipe_),
              Outcome::kOk);
    actor_.owner = owner;
  }
  ~End() { shm::unmap_pipe(base_, options_); }
  End(const End&) = delete;

  Outcome send(const std::string& body) { return shm::send(pipe_, actor_, body); }
  std::string receive() { return shm::receive(pipe_, actor_); }
  void leave() { pipe_.leave(actor_); }
  // What only the broker may do: a user that never came.
  void forge_user(PipeSide side, uint16_t owner) {
    static_cast<shm::PipeHeader*>(base_)->ends[static_cast<int>(side)].users[7].store(
        shm::user_word(owner, shm::UserState::kUses));
  }

  const uint64_t object_id;

 private:
  const uint16_t owner_;
  const std::shared_ptr<Segment> segment_;
  shm::PipeOptions options_;
  void* base_;
  shm::Pipe pipe_;
  PipeActor actor_;
};

class PipeCoreTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.scan_ms = 20;
    start();
  }
  void TearDown() override { stop(); }

  void start() {
    keeper_ = std::make_unique<local::Keeper>(supervisor_.connect());
    loop_ = std::make_unique<Loop>();
    auto core = Core::start(*loop_, *keeper_, options_);
    ASSERT_TRUE(core.ok()) << core.status().to_string();
    core_ = *std::move(core);
    thread_ = std::thread([this] { loop_->run(); });
  }
  // For the next incarnation it looks as after a kill.
  void stop() {
    if (loop_) loop_->stop();
    if (thread_.joinable()) thread_.join();
    core_.reset();
    keeper_.reset();
    loop_.reset();
    supervisor_.disconnect();
  }

  static Caller user(uid_t uid) {
    Caller caller;
    caller.uid = uid;
    caller.gid = 100;
    return caller;
  }
  Caller session(uid_t uid = 1000) {
    Caller caller = user(uid);
    const auto opened = core_->open_session(caller, 0, "test", nullptr);
    EXPECT_TRUE(opened.ok());
    EXPECT_TRUE(core_->enter_session(caller, opened->session_id).ok());
    return caller;
  }
  Result<PipeRef> open(const Caller& caller, const std::string& name, PipeRole role,
                       PipeSide side = PipeSide::kA, PipeOptions options = {}) {
    options.role = static_cast<uint8_t>(role);
    options.side = static_cast<uint8_t>(side);
    return core_->open_pipe(caller, name, options, "", {.create = true});
  }
  std::unique_ptr<End> end(const Caller& caller, const std::string& name, PipeSide side) {
    const auto ref = open(caller, name, PipeRole::kEnd, side);
    EXPECT_TRUE(ref.ok()) << ref.status().to_string();
    return std::make_unique<End>(*ref, caller.owner);
  }
  size_t connections(const std::string& name) {
    return core_->describe_pipe(user(0), name)->connections.size();
  }
  void wait_for_connections(const std::string& name, size_t n) {
    for (int i = 0; i < 2000 && connections(name) != n; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_EQ(connections(name), n);
  }

  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  std::thread thread_;
};

TEST_F(PipeCoreTest, NamesRightsAndOptions) {
  const Caller me = session();
  PipeOptions options{};
  options.given = local::kGivenCapacity | local::kGivenPipeMode;
  options.capacity = 5000;
  options.pipe_mode = 1;
  const auto made = open(me, "~/p", PipeRole::kName, PipeSide::kA, options);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_TRUE(made->created);
  EXPECT_EQ(made->name, "uid-1000/p");
  EXPECT_EQ(made->options.capacity, 8192u) << "a power of two";
  EXPECT_FALSE(open(me, "~/p", PipeRole::kName, PipeSide::kA, options)->created);
  options.pipe_mode = 0;
  const auto other = open(me, "~/p", PipeRole::kName, PipeSide::kA, options);
  EXPECT_EQ(other.reason(), Reason::kExistsOtherOptions);
  EXPECT_NE(other.status().to_string().find("mode is bytes, asked was message"), std::string::npos)
      << other.status().to_string();
  EXPECT_EQ(open(me, "sys/p", PipeRole::kName).reason(), Reason::kInvalidName);
  options.capacity = 1;
  EXPECT_EQ(open(me, "small", PipeRole::kName, PipeSide::kA, options).reason(),
            Reason::kInvalidArgument);
  const Caller stranger = session(2000);
  EXPECT_EQ(open(stranger, "uid-1000/p", PipeRole::kEnd).reason(), Reason::kDenied);
  EXPECT_EQ(core_->describe_pipe(stranger, "uid-1000/p").reason(), Reason::kNotFound);
  EXPECT_EQ(core_->delete_pipe(stranger, "uid-1000/p").reason(), Reason::kNotFound);
  EXPECT_EQ(core_->list_pipes(me, "uid-1000/", "", 10).size(), 1u);
  EXPECT_TRUE(core_->delete_pipe(me, "~/p").ok());
  EXPECT_EQ(core_->describe_pipe(me, "~/p").reason(), Reason::kNotFound);
}

TEST_F(PipeCoreTest, TheTwoNamedEndsMeet) {
  const Caller sender = session(), receiver = session();
  const auto a = end(sender, "p", PipeSide::kA);
  EXPECT_EQ(a->send("before anybody is there"), Outcome::kOk);
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(a->object_id, b->object_id);
  EXPECT_EQ(b->receive(), "before anybody is there");
  a->leave();
  EXPECT_EQ(b->receive(), shm::said(Outcome::kEndOfStream));
  b->leave();
  wait_for_connections("p", 0);
}

TEST_F(PipeCoreTest, TheNextSenderDoesNotMixWithAStreamThatEnded) {
  const Caller sender = session(), receiver = session();
  const auto first = end(sender, "p", PipeSide::kA);
  EXPECT_EQ(first->send("first"), Outcome::kOk);
  first->leave();
  const auto second = end(sender, "p", PipeSide::kA);
  EXPECT_NE(first->object_id, second->object_id);
  EXPECT_EQ(second->send("second"), Outcome::kOk);
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(b->receive(), "first");
  EXPECT_EQ(b->receive(), shm::said(Outcome::kEndOfStream));
  b->leave();
  EXPECT_EQ(end(receiver, "p", PipeSide::kB)->receive(), "second");
}

TEST_F(PipeCoreTest, AListenerAcceptsWhoConnects) {
  const Caller server = session(), client = session();
  EXPECT_EQ(open(client, "p", PipeRole::kConnect).reason(), Reason::kEmpty) << "nobody listens";
  const auto hall = open(server, "p", PipeRole::kListen);
  ASSERT_TRUE(hall.ok());
  const auto& page = *static_cast<shm::PipeHall*>(hall->segment->base());
  EXPECT_EQ(page.listenings.load(), 1u);
  EXPECT_EQ(open(server, "p", PipeRole::kAccept).reason(), Reason::kEmpty);
  std::vector<std::unique_ptr<End>> near, far;
  for (int i = 0; i < 50; ++i) {
    const auto ref = open(client, "p", PipeRole::kConnect);
    ASSERT_TRUE(ref.ok()) << ref.status().to_string();
    near.push_back(std::make_unique<End>(*ref, client.owner));
    EXPECT_EQ(near.back()->send(std::to_string(i)), Outcome::kOk);
  }
  EXPECT_EQ(page.arrivals.load(), 50u);
  for (int i = 0; i < 50; ++i) {
    const auto ref = open(server, "p", PipeRole::kAccept);
    ASSERT_TRUE(ref.ok()) << ref.status().to_string();
    far.push_back(std::make_unique<End>(*ref, server.owner));
    EXPECT_EQ(far.back()->receive(), std::to_string(i)) << "the oldest first";
    EXPECT_EQ(far.back()->send("back"), Outcome::kOk);
    EXPECT_EQ(near[static_cast<size_t>(i)]->receive(), "back");
  }
  EXPECT_EQ(open(server, "p", PipeRole::kAccept).reason(), Reason::kEmpty);
  EXPECT_EQ(connections("p"), 50u);
  for (auto& one : near) one->leave();
  for (auto& one : far) one->leave();
  wait_for_connections("p", 0);
}

TEST_F(PipeCoreTest, ADeadSessionIsTold) {
  const Caller sender = session(), receiver = session();
  const auto a = end(sender, "p", PipeSide::kA);
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(a->send("last"), Outcome::kOk);
  core_->end_call_session(sender.session_id, true);
  EXPECT_EQ(b->receive(), "last");
  EXPECT_EQ(b->receive(), shm::said(Outcome::kPeerDied));
  b->leave();
  wait_for_connections("p", 0);
}

TEST_F(PipeCoreTest, ASessionThatEndsInOrderClosesItsEnds) {
  const Caller sender = session(), receiver = session();
  const auto a = end(sender, "p", PipeSide::kA);
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(a->send("last"), Outcome::kOk);
  ASSERT_TRUE(core_->close_session(sender, sender.session_id).ok());
  EXPECT_EQ(b->receive(), "last");
  EXPECT_EQ(b->receive(), shm::said(Outcome::kEndOfStream));
  b->leave();
  wait_for_connections("p", 0);
}

TEST_F(PipeCoreTest, ThePeerIsWhoCameByTheBroker) {
  const Caller sender = session(1001), receiver = session(1002), stranger = session(1003);
  const auto opened = [&](const Caller& caller, PipeSide side) {
    PipeOptions options{};
    options.given = local::kGivenMode;
    options.mode = 0666;
    const auto ref = open(caller, "p", PipeRole::kEnd, side, options);
    EXPECT_TRUE(ref.ok()) << ref.status().to_string();
    return std::make_unique<End>(*ref, caller.owner);
  };
  const auto a = opened(sender, PipeSide::kA);
  EXPECT_EQ(core_->pipe_peer(sender, a->object_id, PipeSide::kA)->user_count, 0u);
  const auto b = opened(receiver, PipeSide::kB);
  const auto peer = core_->pipe_peer(sender, a->object_id, PipeSide::kA);
  ASSERT_TRUE(peer.ok());
  ASSERT_EQ(peer->user_count, 1u);
  EXPECT_EQ(peer->users[0], receiver.owner);
  EXPECT_EQ(core_->pipe_peer(sender, a->object_id, PipeSide::kB).reason(), Reason::kNotFound);
  EXPECT_EQ(core_->pipe_peer(stranger, a->object_id, PipeSide::kA).reason(), Reason::kNotFound);
  b->forge_user(PipeSide::kB, stranger.owner);
  EXPECT_EQ(core_->pipe_peer(sender, a->object_id, PipeSide::kA)->user_count, 1u);
  b->leave();
}

TEST_F(PipeCoreTest, ARestartedBrokerHasThemAgain) {
  const Caller sender = session();
  auto a = end(sender, "p", PipeSide::kA);
  EXPECT_EQ(a->send("over the restart"), Outcome::kOk);
  const uint64_t id = a->object_id;
  ASSERT_TRUE(open(sender, "idle", PipeRole::kName).ok());
  stop();
  EXPECT_EQ(a->send("meanwhile"), Outcome::kOk);
  start();
  EXPECT_EQ(core_->list_pipes(user(0), "", "", 10).size(), 2u);
  const Caller receiver = session();
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(b->object_id, id);
  EXPECT_EQ(b->receive(), "over the restart");
  EXPECT_EQ(b->receive(), "meanwhile");
  a->leave();
  b->leave();
  wait_for_connections("p", 0);
}

// The broker is killed after it did the work and before it answers: the client asks again.
// What is lent is any descriptor; here it is one end of a pipe(2).
TEST_F(PipeCoreTest, WhatIsLentIsForTheOtherEndAlone) {
  const Caller sender = session(), receiver = session(), stranger = session();
  const auto a = end(sender, "p", PipeSide::kA);
  const auto b = end(receiver, "p", PipeSide::kB);
  const uint64_t id = a->object_id;
  int tube[2];
  ASSERT_EQ(pipe2(tube, O_CLOEXEC | O_NONBLOCK), 0);
  const auto lend = [&](uint32_t request) {
    const auto number = core_->lend_to_pipe(sender, {id, request, 0, {}}, local::Fd(dup(tube[1])));
    return number.ok() ? *number : 0;
  };
  const uint64_t first = lend(1), second = lend(2);
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, second);
  EXPECT_EQ(lend(1), first) << "asked again";
  stop();
  start();
  EXPECT_EQ(lend(2), second) << "asked again of the next broker";
  const auto taken = [&](const Caller& caller, uint64_t number, uint8_t side, uint64_t connection) {
    return core_->lent_to_pipe(caller, {connection, number, side, 0, {}}).reason();
  };
  EXPECT_EQ(taken(receiver, first, 1, id), Reason::kOk);
  EXPECT_EQ(taken(receiver, first, 0, id), Reason::kNotFound);
  EXPECT_EQ(taken(receiver, first, 1, id + 1), Reason::kNotFound);
  EXPECT_EQ(taken(sender, first, 0, id), Reason::kNotFound);
  EXPECT_EQ(taken(stranger, first, 1, id), Reason::kNotFound);
  EXPECT_FALSE(core_->forget_lent(stranger, {id, first, 1, 1, {}}).ok());
  EXPECT_TRUE(core_->forget_lent(receiver, {id, first, 1, 1, {}}).ok());
  EXPECT_EQ(taken(receiver, first, 1, id), Reason::kNotFound);
  EXPECT_EQ(taken(receiver, second, 1, id), Reason::kOk);
  close(tube[1]);
  char byte;
  EXPECT_EQ(read(tube[0], &byte, 1), -1) << "the second one is there";
  a->leave();
  b->leave();
  wait_for_connections("p", 0);
  for (int i = 0; i < 2000 && read(tube[0], &byte, 1) < 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // another thread closes it
  }
  EXPECT_EQ(read(tube[0], &byte, 1), 0) << "it went with the connection";
  close(tube[0]);
}

TEST_F(PipeCoreTest, ARequestThatIsRepeatedFindsItsConnection) {
  const Caller server = session(), client = session();
  ASSERT_TRUE(open(server, "p", PipeRole::kListen).ok());
  const auto ask = [&](const Caller& caller, PipeRole role, uint64_t number) {
    PipeOptions options{};
    options.connection = number;
    const auto ref = open(caller, "p", role, PipeSide::kA, options);
    return ref.ok() ? ref->object_id : 0;
  };
  const uint64_t first = ask(client, PipeRole::kConnect, 1);
  const uint64_t second = ask(client, PipeRole::kConnect, 2);
  EXPECT_NE(first, second);
  EXPECT_EQ(ask(client, PipeRole::kConnect, 1), first);
  stop();
  start();
  EXPECT_EQ(ask(client, PipeRole::kConnect, 2), second);
  EXPECT_EQ(ask(server, PipeRole::kAccept, 7), first);
  stop();
  start();
  EXPECT_EQ(ask(server, PipeRole::kAccept, 7), first);
  EXPECT_EQ(ask(server, PipeRole::kAccept, 8), second);
  EXPECT_EQ(ask(server, PipeRole::kAccept, 9), 0u) << "no third one was made";
  EXPECT_EQ(connections("p"), 2u);
}

TEST_F(PipeCoreTest, DeletingAPipeEndsItsConnections) {
  const Caller sender = session(), receiver = session();
  const auto a = end(sender, "p", PipeSide::kA);
  const auto b = end(receiver, "p", PipeSide::kB);
  EXPECT_EQ(a->send("lost with it"), Outcome::kOk);
  ASSERT_TRUE(core_->delete_pipe(sender, "p").ok());
  EXPECT_EQ(a->send("late"), Outcome::kClosed);
  EXPECT_EQ(b->receive(), shm::said(Outcome::kClosed));
  stop();
  size_t memories = 0;
  for (const auto& [key, fd] : supervisor_.kept()) {
    memories += key.first == static_cast<uint8_t>(local::KeptKind::kMemory);
  }
  EXPECT_EQ(memories, 0u);
  start();
}

TEST_F(PipeCoreTest, ConnectionsCountAgainstTheMemoryOfTheDaemon) {
  stop();
  options_.memory_max = 1'000'000;
  start();
  const Caller sender = session();
  std::vector<std::unique_ptr<End>> ends;
  Reason reason = Reason::kOk;
  for (int i = 0; i < 100 && reason == Reason::kOk; ++i) {
    const auto ref = open(sender, "p", PipeRole::kEnd);
    reason = ref.reason();
    if (!ref.ok()) break;
    ends.push_back(std::make_unique<End>(*ref, sender.owner));
    ends.back()->leave();
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
  }
  EXPECT_EQ(reason, Reason::kMemoryExhausted);
  EXPECT_GT(ends.size(), 3u);
}

}  // namespace
}  // namespace heddle::broker
