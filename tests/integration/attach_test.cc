// Local clients against the real daemon: attach, conflicts, rights, deaths, restarts, deletion.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include <heddle/reasons.h>

#include "tests/integration/attach_client.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

class AttachTest : public DaemonFixture {
 protected:
  std::unique_ptr<AttachClient> client() {
    auto out = std::make_unique<AttachClient>(runtime_dir());
    EXPECT_TRUE(out->connected());
    EXPECT_TRUE(out->hello());
    return out;
  }
};

// A child that runs `work`, says so over a pipe, and waits to be killed.
class Child {
 public:
  explicit Child(const std::function<void()>& work) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      work();
      [[maybe_unused]] auto n = ::write(ends[1], "x", 1);
      while (true) ::pause();
    }
    ::close(ends[1]);
    char byte;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    ::close(ends[0]);
  }
  ~Child() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

TEST_F(AttachTest, OpenCreatesAndTwoClientsShareTheQueue) {
  auto producer = client();
  ASSERT_TRUE(producer->open("jobs", local::kOpenCreate));
  EXPECT_EQ(producer->opened.created, 1);
  auto consumer = client();
  EXPECT_NE(consumer->welcome.owner, producer->welcome.owner);
  ASSERT_TRUE(consumer->open("jobs", 0));
  EXPECT_EQ(consumer->opened.created, 0);
  EXPECT_EQ(producer->put("hello"), shm::Outcome::kOk);
  shm::Taken taken;
  ASSERT_EQ(consumer->take(shm::TakeMode::kAuto, &taken, 5'000), shm::Outcome::kOk);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(taken.data), taken.length), "hello");
}

TEST_F(AttachTest, ConflictNamesTheFieldAndBothValues) {
  auto one = client();
  local::QueueOptionsWire options{};
  options.given = local::kGivenMaxLen;
  options.max_len = 16;
  ASSERT_TRUE(one->open("q", local::kOpenCreate, options));
  EXPECT_EQ(one->opened.options.max_len, 16u);
  options.max_len = 32;
  EXPECT_FALSE(one->open("q", local::kOpenCreate, options));
  EXPECT_EQ(one->failed().reason, static_cast<uint16_t>(Reason::kExistsOtherOptions));
  EXPECT_NE(one->failure().find("max_len is 16, asked was 32"), std::string::npos)
      << one->failure();
  EXPECT_STREQ(one->failed().object, "queue q");
}

TEST_F(AttachTest, MissingQueueAndUnknownVersion) {
  auto one = client();
  EXPECT_FALSE(one->open("nothing", 0));
  EXPECT_EQ(one->failed().reason, static_cast<uint16_t>(Reason::kNotFound));
  AttachClient other(runtime_dir());
  ASSERT_TRUE(other.send(AttachType::kHello, local::Hello{7, 9, 0, 0, "new"}));
  EXPECT_FALSE(other.receive(AttachType::kWelcome));
  EXPECT_EQ(other.failed().reason, static_cast<uint16_t>(Reason::kVersionMismatch));
  EXPECT_EQ(other.failed().actual, 9);
}

TEST_F(AttachTest, MoreMemoryIsGrantedOnceHoweverOftenItIsAskedFor) {
  auto one = client();
  ASSERT_TRUE(one->open("q", local::kOpenCreate));
  const uint64_t id = one->opened.object_id;
  const auto ask = [&](uint32_t extents, uint32_t segments) {
    local::Grow got{};
    EXPECT_TRUE(one->send(AttachType::kGrow, local::Grow{id, extents, segments}));
    EXPECT_TRUE(one->receive(AttachType::kGrown)) << one->failure();
    EXPECT_TRUE(one->packet().read(&got));
    EXPECT_EQ(got.object_id, id);
    const shm::QueueGrant granted = one->queue.granted();
    EXPECT_EQ(granted, (shm::QueueGrant{got.extents, got.segments}));
    return granted;
  };
  const shm::QueueGrant first = ask(0, 0);
  EXPECT_EQ(first.extents, 2u);
  const shm::QueueGrant second = ask(3, 0);
  EXPECT_EQ(second, (shm::QueueGrant{4, first.segments}));
  EXPECT_EQ(ask(3, 0), second) << "the answer was lost, and it is asked again";
  EXPECT_EQ(ask(0, first.segments + 1), (shm::QueueGrant{4, 2 * first.segments}));
  const shm::QueueGrant all = ask(UINT32_MAX, UINT32_MAX);
  EXPECT_LT(all.extents, 20'000u);
  EXPECT_EQ(ask(UINT32_MAX, UINT32_MAX), all);
  ASSERT_TRUE(one->send(AttachType::kGrow, local::Grow{id + 100, 9, 9}));
  EXPECT_FALSE(one->receive(AttachType::kGrown));
  EXPECT_EQ(one->failed().reason, static_cast<uint16_t>(Reason::kNotFound));
  ASSERT_TRUE(one->send(AttachType::kGrow, local::Grow{id, 9, 9}, "and more"));
  EXPECT_FALSE(one->receive(AttachType::kGrown));
  EXPECT_EQ(one->failed().reason, static_cast<uint16_t>(Reason::kInvalidArgument));
}

TEST_F(AttachTest, KilledClientsLeasesComeBackCounted) {
  auto parent = client();
  ASSERT_TRUE(parent->open("q", local::kOpenCreate));
  ASSERT_EQ(parent->put("precious"), shm::Outcome::kOk);
  Child child([this] {
    AttachClient mine(runtime_dir());  // closed again below: the lease is the process's
    shm::Taken taken;
    if (!mine.hello() || !mine.open("q", 0) ||
        mine.take(shm::TakeMode::kLease, &taken, 1'000) != shm::Outcome::kOk) {
      ::_exit(1);
    }
  });
  shm::Taken taken;
  EXPECT_EQ(parent->take(shm::TakeMode::kLease, &taken, 0), shm::Outcome::kEmpty);
  const std::string who = parent->call(local::CallMethod::kWho, R"({"name":"q"})");
  EXPECT_NE(who.find("\"pid\":"), std::string::npos) << who;
  child.kill();
  ASSERT_EQ(parent->take(shm::TakeMode::kLease, &taken, 10'000), shm::Outcome::kOk);
  EXPECT_EQ(taken.count, 1u);
  EXPECT_EQ(parent->queue.ack(parent->actor, taken.ticket), shm::Outcome::kOk);
  EXPECT_EQ(parent->queue.counts().unfinished(), 0u);
}

TEST_F(AttachTest, ClosedConnectionAloneEndsNoSession) {
  auto one = client();
  ASSERT_TRUE(one->open("q", local::kOpenCreate));
  ASSERT_EQ(one->put("x"), shm::Outcome::kOk);
  shm::Taken taken;
  ASSERT_EQ(one->take(shm::TakeMode::kLease, &taken, 0), shm::Outcome::kOk);
  const local::Welcome before = one->welcome;
  one.reset();
  ::usleep(300'000);  // several scans
  AttachClient again(runtime_dir());
  ASSERT_TRUE(again.hello(before.session_id, before.generation));
  EXPECT_EQ(again.welcome.resumed, 1u);
  EXPECT_EQ(again.welcome.owner, before.owner);
  ASSERT_TRUE(again.open("q", 0));
  EXPECT_EQ(again.queue.counts().leased, 1u);
}

TEST_F(AttachTest, KilledBrokerLosesNothing) {
  auto one = client();
  local::QueueOptionsWire options{};
  options.given = local::kGivenMaxLen;
  options.max_len = 100;
  ASSERT_TRUE(one->open("q", local::kOpenCreate, options));
  for (int i = 0; i < 50; ++i) ASSERT_EQ(one->put(std::to_string(i)), shm::Outcome::kOk);
  shm::Taken leased;
  ASSERT_EQ(one->take(shm::TakeMode::kLease, &leased, 0), shm::Outcome::kOk);
  const uint64_t object_id = one->opened.object_id;
  const local::Welcome before = one->welcome;
  daemon().kill_broker();
  ASSERT_EQ(one->put("while away"), shm::Outcome::kOk);
  AttachClient again(runtime_dir());
  ASSERT_TRUE(again.hello(before.session_id, before.generation));
  EXPECT_EQ(again.welcome.resumed, 1u);
  EXPECT_GT(again.welcome.incarnation, before.incarnation);
  ASSERT_TRUE(again.open("q", local::kOpenCreate, options));
  EXPECT_EQ(again.opened.created, 0);
  EXPECT_EQ(again.opened.object_id, object_id);
  EXPECT_EQ(again.queue.counts().ready, 50u);
  EXPECT_EQ(again.queue.counts().leased, 1u);
  EXPECT_EQ(again.queue.ack(again.actor, leased.ticket), shm::Outcome::kOk);
  AttachClient thief(runtime_dir());
  EXPECT_FALSE(thief.hello(before.session_id, before.generation + 1));
  EXPECT_EQ(thief.failed().reason, static_cast<uint16_t>(Reason::kSessionLost));
}

TEST_F(AttachTest, ClientThatDiesWhileTheBrokerIsAwayIsReaped) {
  auto parent = client();
  ASSERT_TRUE(parent->open("q", local::kOpenCreate));
  ASSERT_EQ(parent->put("precious"), shm::Outcome::kOk);
  Child child([this] {
    auto* mine = new AttachClient(runtime_dir());
    shm::Taken taken;
    if (!mine->hello() || !mine->open("q", 0) ||
        mine->take(shm::TakeMode::kLease, &taken, 1'000) != shm::Outcome::kOk) {
      ::_exit(1);
    }
  });
  const pid_t broker = daemon().broker_pid();
  ::kill(broker, SIGSTOP);
  child.kill();
  daemon().kill_broker();
  shm::Taken taken;
  ASSERT_EQ(parent->take(shm::TakeMode::kLease, &taken, 10'000), shm::Outcome::kOk);
  EXPECT_EQ(taken.count, 1u);
}

TEST_F(AttachTest, DeletionIsToldAndEndsOperations) {
  auto one = client();
  auto two = client();
  ASSERT_TRUE(one->open("q", local::kOpenCreate));
  ASSERT_TRUE(two->open("q", 0));
  local::Delete request{};
  request.kind = 1;
  std::strcpy(request.name, "q");
  ASSERT_TRUE(one->send(AttachType::kDelete, request));
  ASSERT_TRUE(one->receive(AttachType::kDone));
  ASSERT_TRUE(two->receive(AttachType::kEvent));
  local::Event event{};
  ASSERT_TRUE(two->packet().read(&event));
  EXPECT_EQ(event.event, static_cast<uint32_t>(local::EventType::kDeleted));
  EXPECT_EQ(event.object_id, two->opened.object_id);
  EXPECT_EQ(two->put("x"), shm::Outcome::kClosed);
  ASSERT_TRUE(one->open("q", local::kOpenCreate));
  EXPECT_NE(one->opened.object_id, event.object_id);
}

TEST_F(AttachTest, ByeEndsTheSessionAndAttachedObjectsGoWithTheLast) {
  auto one = client();
  local::QueueOptionsWire options{};
  options.given = local::kGivenLifetime;
  options.lifetime = static_cast<uint8_t>(local::Lifetime::kAttached);
  ASSERT_TRUE(one->open("temporary", local::kOpenCreate, options));
  const local::PacketHeader bye{local::kAttachMagic, 1, static_cast<uint16_t>(AttachType::kBye),
                                0, 99};
  ASSERT_TRUE(local::send_packet(one->fd(), bye, {}).ok());
  ASSERT_TRUE(one->receive(AttachType::kDone));
  auto two = client();
  EXPECT_FALSE(two->open("temporary", 0));
  EXPECT_EQ(two->failed().reason, static_cast<uint16_t>(Reason::kNotFound));
}

TEST_F(AttachTest, AnotherUserSeesOnlyWhatTheModeAllows) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  for (std::filesystem::path p = runtime_dir(); p != "/" && p != "/tmp"; p = p.parent_path()) {
    ::chmod(p.c_str(), 0755);
  }
  auto owner = client();
  ASSERT_TRUE(owner->open("private", local::kOpenCreate));
  local::QueueOptionsWire options{};
  options.given = local::kGivenMode;
  options.mode = 0644;
  ASSERT_TRUE(owner->open("readable", local::kOpenCreate, options));
  options.mode = 0666;
  ASSERT_TRUE(owner->open("shared", local::kOpenCreate, options));
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(9);
    AttachClient mine(runtime_dir());
    if (!mine.connected() || !mine.hello()) ::_exit(1);
    const auto refused_with = [&mine](Reason reason) {
      return mine.failed().reason == static_cast<uint16_t>(reason);
    };
    if (mine.open("private", 0) || !refused_with(Reason::kNotFound)) ::_exit(2);
    if (mine.open("private", local::kOpenCreate) || !refused_with(Reason::kDenied)) ::_exit(3);
    if (mine.open("readable", 0) || !refused_with(Reason::kUnsupported)) ::_exit(4);
    if (!mine.open("shared", 0) || mine.put("x") != shm::Outcome::kOk) ::_exit(5);
    if (mine.call(local::CallMethod::kList, "{}").find("private") != std::string::npos) ::_exit(6);
    if (mine.call(local::CallMethod::kDescribe, R"({"name":"readable"})").empty()) ::_exit(7);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(AttachTest, SigtermTellsClients) {
  auto one = client();
  daemon().signal(SIGTERM);
  ASSERT_TRUE(one->receive(AttachType::kEvent));
  local::Event event{};
  ASSERT_TRUE(one->packet().read(&event));
  EXPECT_EQ(event.event, static_cast<uint32_t>(local::EventType::kDraining));
  EXPECT_EQ(daemon().stop(), 0);
}

}  // namespace
}  // namespace heddle::test
