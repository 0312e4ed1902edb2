// Names, rights, quotas, sessions, leases and restarts of the broker, without sockets.
#include "daemon/broker/core.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "daemon/os/process.h"
#include "proto/local/outcome_status.h"
#include "tests/unit/broker/fake_supervisor.h"

namespace heddle::broker {
namespace {

using objects::AckMode;
using objects::Delivery;

Caller user(uid_t uid, gid_t gid = 100) {
  Caller caller;
  caller.uid = uid;
  caller.gid = gid;
  return caller;
}

class CoreTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.memory_max = 4ull << 30;
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
  // Nothing is tidied away: for the next incarnation it looks as after a kill.
  void stop() {
    if (loop_) loop_->stop();
    if (thread_.joinable()) thread_.join();
    core_.reset();
    keeper_.reset();
    loop_.reset();
    supervisor_.disconnect();
  }
  void restart() {
    stop();
    start();
  }

  Result<QueueRef> create(const Caller& caller, const std::string& name,
                          QueueOptions options = {}) {
    return core_->open_queue(caller, name, options, "", {.create = true});
  }
  std::shared_ptr<objects::Queue> queue(const std::string& name) {
    const auto ref = core_->find_queue(user(0), name, Need::kRead);
    EXPECT_TRUE(ref.ok()) << ref.status().to_string();
    return ref.ok() ? ref->queue : nullptr;
  }
  static objects::PutResult put(objects::Queue& queue, std::string_view body,
                                int64_t deadline_ns = 0, objects::PutRecord record = {}) {
    std::promise<objects::PutResult> done;
    queue.put_async(
        user(0), {{1, body}}, deadline_ns,
        [&](objects::PutResult result) { done.set_value(std::move(result)); }, std::move(record));
    return done.get_future().get();
  }
  static objects::GetResult get(objects::Queue& queue, const Caller& caller, AckMode ack,
                                int64_t wait_ms = 0, int64_t lease_ns = 0) {
    std::promise<objects::GetResult> done;
    objects::GetParams params;
    params.ack = ack;
    params.lease_ns = lease_ns;
    const int64_t deadline = wait_ms == 0 ? 0 : monotonic_ns() + wait_ms * 1'000'000;
    queue.get_async(caller, params, deadline,
                    [&](objects::GetResult result) { done.set_value(std::move(result)); });
    return done.get_future().get();
  }

  test::FakeSupervisor supervisor_;
  config::Options options_;
  std::unique_ptr<local::Keeper> keeper_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Core> core_;
  std::thread thread_;
};

TEST_F(CoreTest, NamesAreExpandedCheckedAndReserved) {
  const auto mine = create(user(1000), "~/jobs");
  ASSERT_TRUE(mine.ok()) << mine.status().to_string();
  EXPECT_EQ(mine->name, "uid-1000/jobs");
  EXPECT_TRUE(core_->find_queue(user(1000), "uid-1000/jobs", Need::kWrite).ok());
  EXPECT_EQ(create(user(1000), "sys/x").reason(), Reason::kInvalidName);
  EXPECT_EQ(create(user(1000), "/x").reason(), Reason::kInvalidName);
  const auto missing = core_->find_queue(user(1000), "nothing", Need::kRead);
  EXPECT_EQ(missing.reason(), Reason::kNotFound);
  EXPECT_NE(missing.status().to_string().find("heddle queue create"), std::string::npos);
  const auto anonymous = core_->open_queue(user(1000), "", {}, "", {.create = true,
                                                                    .anonymous = true});
  ASSERT_TRUE(anonymous.ok());
  EXPECT_TRUE(anonymous->name.starts_with("anon/"));
}

TEST_F(CoreTest, OtherOptionsNameFieldAndBothValues) {
  QueueOptions options{};
  options.given = local::kGivenMaxLen;
  options.max_len = 10;
  ASSERT_TRUE(create(user(1000), "q", options)->created);
  EXPECT_FALSE(create(user(1000), "q", options)->created);
  EXPECT_TRUE(create(user(1000), "q").ok());  // nothing asked, nothing wrong
  options.max_len = 20;
  const auto other = create(user(1000), "q", options);
  EXPECT_EQ(other.reason(), Reason::kExistsOtherOptions);
  const std::string text = other.status().to_string();
  EXPECT_NE(text.find("max_len is 10"), std::string::npos) << text;
  EXPECT_NE(text.find("20"), std::string::npos) << text;
  options.max_len = 0;
  EXPECT_EQ(create(user(1000), "r", options).reason(), Reason::kInvalidArgument);
}

TEST_F(CoreTest, RightsFollowModeOwnerAndGroup) {
  QueueOptions options{};
  options.given = local::kGivenMode;
  options.mode = 0640;
  ASSERT_TRUE(create(user(1000, 50), "q", options).ok());
  EXPECT_TRUE(core_->find_queue(user(1000, 50), "q", Need::kWrite).ok());
  Caller friendly = user(1001, 60);
  friendly.groups = {50};
  EXPECT_TRUE(core_->find_queue(friendly, "q", Need::kRead).ok());
  EXPECT_EQ(core_->find_queue(friendly, "q", Need::kWrite).reason(), Reason::kDenied);
  EXPECT_EQ(core_->delete_queue(friendly, "q").reason(), Reason::kDenied);
  const Caller stranger = user(1002, 70);
  EXPECT_EQ(core_->find_queue(stranger, "q", Need::kRead).reason(), Reason::kNotFound);
  EXPECT_EQ(core_->delete_queue(stranger, "q").reason(), Reason::kNotFound);
  EXPECT_EQ(create(stranger, "q").reason(), Reason::kDenied);
  EXPECT_TRUE(core_->list(stranger, ObjectKind::kQueue, "", 10, "")->objects.empty());
  EXPECT_EQ(core_->list(friendly, ObjectKind::kQueue, "", 10, "")->objects.size(), 1u);
  EXPECT_TRUE(core_->delete_queue(user(0), "q").ok());
}

TEST_F(CoreTest, QuotaOfObjectsNamesTheLimit) {
  options_.objects_per_uid_max = 2;
  core_->set_options(options_);
  ASSERT_TRUE(create(user(1000), "a").ok());
  ASSERT_TRUE(create(user(1000), "b").ok());
  const auto third = create(user(1000), "c");
  EXPECT_EQ(third.reason(), Reason::kQuota);
  EXPECT_EQ(third.status().limit(), 2u);
  EXPECT_TRUE(create(user(1001), "c").ok());
  ASSERT_TRUE(core_->delete_queue(user(1000), "a").ok());
  EXPECT_TRUE(create(user(1000), "d").ok());
}

TEST_F(CoreTest, MemoryBudgetEndsInAnOutcomeOfPut) {
  ASSERT_TRUE(create(user(0), "q").ok());
  const auto q = queue("q");
  const std::string body(256 * 1024, 'x');
  ASSERT_TRUE(put(*q, body).status.ok());
  options_.memory_max = core_->stats().memory_bytes + (4 << 20);
  core_->set_options(options_);
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    status = put(*q, body).status;
    EXPECT_LE(core_->stats().memory_bytes, options_.memory_max);
  }
  EXPECT_EQ(status.reason(), Reason::kMemoryExhausted) << status.to_string();
  EXPECT_EQ(status.object(), "queue q");
  EXPECT_EQ(status.limit(), options_.memory_max);
  EXPECT_EQ(status.actual(), core_->stats().memory_bytes);
  EXPECT_NE(status.message().find("memory_max is reached"), std::string::npos);
  EXPECT_EQ(create(user(0), "r").reason(), Reason::kMemoryExhausted);
  // In one call, and what went in before is told.
  std::promise<objects::PutResult> many;
  std::vector<objects::Body> bodies(100, {1, std::string_view(body).substr(0, 10'000)});
  q->put_async(user(0), bodies, 0,
               [&](objects::PutResult result) { many.set_value(std::move(result)); });
  const objects::PutResult some = many.get_future().get();
  EXPECT_EQ(some.status.reason(), Reason::kMemoryExhausted) << some.status.to_string();
  EXPECT_LT(some.ids.size(), 100u);
  options_.memory_max = 4ull << 30;
  core_->set_options(options_);
  status = put(*q, body).status;
  EXPECT_TRUE(status.ok()) << status.to_string();
}

TEST_F(CoreTest, GrantsOutliveTheBroker) {
  ASSERT_TRUE(create(user(5), "q").ok());
  const std::string body(60'000, 'x');
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(put(*queue("q"), body).status.ok());
  const uint64_t before = core_->stats().memory_bytes;
  EXPECT_GT(before, 100u * 65'536);
  restart();
  // What is not used may have been given back in between.
  EXPECT_GT(core_->stats().memory_bytes, 100u * 65'536);
  EXPECT_LE(core_->stats().memory_bytes, before);
  ASSERT_TRUE(core_->delete_queue(user(5), "q").ok());
  EXPECT_EQ(core_->stats().memory_bytes, 0u);
}

TEST_F(CoreTest, MemoryThatIsFreeComesBack) {
  ASSERT_TRUE(create(user(5), "q").ok());
  const uint64_t least = core_->stats().memory_bytes;
  const std::string body(60'000, 'x');
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(put(*queue("q"), body).status.ok());
  for (int i = 0; i < 100; ++i) {
    const objects::GetResult got = get(*queue("q"), user(5), AckMode::kAuto);
    ASSERT_TRUE(got.status.ok());
    queue("q")->delivered(got.messages);
  }
  // Control words stay.
  const uint64_t enough = least + 1'000'000;
  while (core_->stats().memory_bytes > enough) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(put(*queue("q"), body).status.ok());
  EXPECT_GT(core_->stats().memory_bytes, enough);
}

// A consumer died right after it had taken a message, and the slot was used again before it was
// repaired: nothing tells any more that the message was taken.
TEST_F(CoreTest, TotalsThatADeathLeftBehindAreSetRight) {
  ASSERT_TRUE(create(user(5), "q").ok());
  ASSERT_TRUE(put(*queue("q"), "x").status.ok());
  stop();
  for (const auto& [key, kept] : supervisor_.kept()) {
    if (key.first != static_cast<uint8_t>(local::KeptKind::kMemory)) continue;
    const int fd = kept.get();
    struct stat info;
    ASSERT_EQ(::fstat(fd, &info), 0);
    const auto bytes = static_cast<size_t>(info.st_size);
    void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(base, MAP_FAILED);
    const uint64_t rows_at = static_cast<shm::QueueHeader*>(base)->geometry.rows_at;
    auto* row = reinterpret_cast<shm::Row*>(static_cast<std::byte*>(base) + rows_at);
    row->bytes_in.fetch_add(1000);
    ::munmap(base, bytes);
  }
  start();
  EXPECT_EQ(queue("q")->counts().bytes, 1001u);
  const objects::GetResult got = get(*queue("q"), user(5), AckMode::kAuto);
  ASSERT_TRUE(got.status.ok());
  queue("q")->delivered(got.messages);
  while (queue("q")->counts().bytes != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(CoreTest, ListsInPages) {
  for (const char* name : {"a/1", "a/2", "a/3", "b/1"}) ASSERT_TRUE(create(user(1), name).ok());
  const auto first = core_->list(user(1), ObjectKind::kQueue, "a/", 2, "");
  ASSERT_EQ(first->objects.size(), 2u);
  const auto second =
      core_->list(user(1), ObjectKind::kQueue, "a/", 2, first->next_page_token);
  ASSERT_EQ(second->objects.size(), 1u);
  EXPECT_EQ(second->objects[0].name, "a/3");
  EXPECT_TRUE(second->next_page_token.empty());
}

TEST_F(CoreTest, WaitingGetsAreServedInOrderAndCancelLosesNothing) {
  ASSERT_TRUE(create(user(0), "q").ok());
  const auto q = queue("q");
  std::vector<std::string> got;
  std::mutex mutex;
  const auto wait_for = [&](const std::string& who) {
    return q->get_async(user(0), {}, shm::kForever, [&, who](objects::GetResult result) {
      std::lock_guard lock(mutex);
      got.push_back(who + ":" + (result.status.ok() ? result.messages[0].body
                                                    : std::string(reason_name(
                                                          result.status.reason()))));
      q->delivered(result.messages);
    });
  };
  const auto first = wait_for("first");
  const auto second = wait_for("second");
  const auto third = wait_for("third");
  EXPECT_EQ(q->waiting_callers(), 3u);
  q->cancel(second);
  EXPECT_TRUE(put(*q, "x").status.ok());
  EXPECT_TRUE(put(*q, "y").status.ok());
  EXPECT_TRUE(put(*q, "z").status.ok());
  std::lock_guard lock(mutex);
  EXPECT_EQ(got, (std::vector<std::string>{"second:INTERRUPTED", "first:x", "third:y"}));
  EXPECT_EQ(q->counts().ready, 1u);
  EXPECT_EQ(q->waiting_callers(), 0u);
}

TEST_F(CoreTest, UndeliveredGoesBackUncountedToItsPlace) {
  ASSERT_TRUE(create(user(0), "q").ok());
  const auto q = queue("q");
  ASSERT_TRUE(put(*q, "one").status.ok());
  ASSERT_TRUE(put(*q, "two").status.ok());
  auto taken = get(*q, user(0), AckMode::kAuto);
  ASSERT_EQ(taken.messages.at(0).body, "one");
  q->undelivered(taken.messages[0]);
  taken = get(*q, user(0), AckMode::kAuto);
  EXPECT_EQ(taken.messages.at(0).body, "one");
  EXPECT_EQ(taken.messages.at(0).count, 1u);  // still the first
  q->delivered(taken.messages);
  EXPECT_EQ(q->counts().size(), 1u);
}

TEST_F(CoreTest, TimeOutEmptyFullAndJoinAreOutcomes) {
  QueueOptions options{};
  options.given = local::kGivenMaxLen;
  options.max_len = 2;
  ASSERT_TRUE(create(user(0), "q", options).ok());
  const auto q = queue("q");
  EXPECT_EQ(get(*q, user(0), AckMode::kAuto).status.reason(), Reason::kEmpty);
  EXPECT_EQ(get(*q, user(0), AckMode::kAuto, 30).status.reason(), Reason::kTimedOut);
  ASSERT_TRUE(put(*q, "a").status.ok());
  ASSERT_TRUE(put(*q, "b").status.ok());
  const auto full = put(*q, "c");
  EXPECT_EQ(full.status.reason(), Reason::kFull);
  EXPECT_EQ(full.status.limit(), 2u);
  EXPECT_EQ(full.status.actual(), 2u);
  std::promise<objects::PutResult> waiting;
  q->put_async(user(0), {{1, "c"}}, shm::kForever,
               [&](objects::PutResult result) { waiting.set_value(std::move(result)); });
  const auto taken = get(*q, user(0), AckMode::kManual);
  EXPECT_TRUE(waiting.get_future().get().status.ok());  // a lease made room
  std::promise<objects::JoinResult> joined;
  q->join_async(user(0), monotonic_ns() + 30'000'000,
                [&](objects::JoinResult result) { joined.set_value(std::move(result)); });
  const auto unfinished = joined.get_future().get();
  EXPECT_EQ(unfinished.status.reason(), Reason::kTimedOut);
  EXPECT_EQ(unfinished.unfinished, 3u);
  EXPECT_EQ(unfinished.holders.size(), 1u);
  EXPECT_TRUE(q->ack(user(0), taken.messages.at(0).ticket).ok());
}

TEST_F(CoreTest, LeaseExpiresIsExtendedAndLateAckIsLost) {
  ASSERT_TRUE(create(user(0), "q").ok());
  const auto q = queue("q");
  ASSERT_TRUE(put(*q, "x").status.ok());
  const auto taken = get(*q, user(0), AckMode::kManual, 0, 40'000'000);
  ASSERT_EQ(taken.messages.size(), 1u);
  const auto ticket = taken.messages[0].ticket;
  EXPECT_EQ(q->browse({}).at(0).state, std::string("leased"));
  EXPECT_TRUE(q->extend(user(0), ticket, 80'000'000).ok());
  EXPECT_EQ(q->ack(user(7), ticket).reason(), Reason::kDenied);
  const auto again = get(*q, user(0), AckMode::kManual, 5'000);  // until it has expired
  ASSERT_EQ(again.messages.size(), 1u);
  EXPECT_EQ(again.messages[0].count, 2u);
  EXPECT_EQ(q->ack(user(0), ticket).reason(), Reason::kLeaseLost);
  shm::Ticket parsed;
  ASSERT_TRUE(objects::parse_lease_name(objects::lease_name(again.messages[0].ticket), &parsed));
  EXPECT_TRUE(q->ack(user(0), parsed).ok());
  EXPECT_EQ(q->counts().unfinished(), 0u);
}

TEST_F(CoreTest, SessionOwnsItsLeasesAndItsEndGivesThemBack) {
  ASSERT_TRUE(create(user(5), "q").ok());
  Caller caller = user(5);
  std::promise<void> ended;
  const auto session =
      core_->open_session(caller, 2'000'000'000, "test", [&] { ended.set_value(); });
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE(core_->enter_session(caller, session->session_id).ok());
  Caller other = user(6);
  EXPECT_EQ(core_->enter_session(other, session->session_id).reason(), Reason::kSessionLost);
  const auto ref = core_->find_queue(caller, "q", Need::kWrite);
  ASSERT_TRUE(put(*ref->queue, "x").status.ok());
  const auto taken = get(*ref->queue, caller, AckMode::kManual);
  ASSERT_EQ(taken.messages.size(), 1u);
  EXPECT_EQ(taken.messages[0].lease_ends_ns, 0);
  EXPECT_EQ(ref->queue->ack(user(5), taken.messages[0].ticket).reason(), Reason::kDenied);
  ASSERT_TRUE(core_->close_session(caller, session->session_id).ok());
  ended.get_future().get();
  EXPECT_EQ(ref->queue->counts().returned, 1u);
  EXPECT_EQ(core_->renew_session(caller, session->session_id).reason(), Reason::kSessionLost);
}

// A call that waits when its session ends, or comes in after that with what it knew before.
TEST_F(CoreTest, AnEndedSessionLeasesAndWaitsForNothing) {
  ASSERT_TRUE(create(user(5), "q").ok());
  Caller caller = user(5);
  const auto session = core_->open_session(caller, 0, "", nullptr);
  ASSERT_TRUE(core_->enter_session(caller, session->session_id).ok());
  const auto ref = core_->find_queue(caller, "q", Need::kWrite);
  std::promise<objects::GetResult> got;
  std::promise<objects::JoinResult> joined;
  ref->queue->get_async(caller, {.ack = AckMode::kManual}, shm::kForever,
                        [&](objects::GetResult result) { got.set_value(std::move(result)); });
  ASSERT_TRUE(core_->close_session(user(5), session->session_id).ok());
  EXPECT_EQ(got.get_future().get().status.reason(), Reason::kSessionLost);
  ASSERT_TRUE(put(*ref->queue, "x").status.ok());
  EXPECT_EQ(get(*ref->queue, caller, AckMode::kManual).status.reason(), Reason::kSessionLost);
  EXPECT_EQ(ref->queue->counts().ready, 1u);
  ref->queue->join_async(caller, shm::kForever,
                         [&](objects::JoinResult result) { joined.set_value(std::move(result)); });
  EXPECT_EQ(joined.get_future().get().status.reason(), Reason::kSessionLost);
}

TEST_F(CoreTest, OnNextAcksThePreviousOne) {
  ASSERT_TRUE(create(user(5), "q").ok());
  Caller caller = user(5);
  const auto q = queue("q");
  EXPECT_EQ(get(*q, caller, AckMode::kOnNext).status.reason(), Reason::kInvalidArgument);
  const auto session = core_->open_session(caller, 0, "", nullptr);
  ASSERT_TRUE(core_->enter_session(caller, session->session_id).ok());
  ASSERT_TRUE(put(*q, "x").status.ok());
  ASSERT_TRUE(put(*q, "y").status.ok());
  EXPECT_EQ(get(*q, caller, AckMode::kOnNext).messages.at(0).body, "x");
  EXPECT_EQ(q->counts().unfinished(), 2u);
  EXPECT_EQ(get(*q, caller, AckMode::kOnNext).messages.at(0).body, "y");
  EXPECT_EQ(q->counts().unfinished(), 1u);
}

TEST_F(CoreTest, EndOfStreamWaitsForWhatOthersHold) {
  ASSERT_TRUE(create(user(0), "q").ok());
  const auto q = queue("q");
  ASSERT_TRUE(put(*q, "x").status.ok());
  const auto taken = get(*q, user(0), AckMode::kManual);
  ASSERT_TRUE(q->shutdown(false).ok());
  EXPECT_EQ(put(*q, "y").status.reason(), Reason::kClosed);
  EXPECT_EQ(get(*q, user(1), AckMode::kAuto, 20).status.reason(), Reason::kTimedOut);
  ASSERT_TRUE(q->nack(user(0), taken.messages.at(0).ticket, false).ok());
  const auto again = get(*q, user(1), AckMode::kAuto, 1'000);
  ASSERT_EQ(again.messages.size(), 1u);
  q->delivered(again.messages);
  EXPECT_EQ(get(*q, user(1), AckMode::kAuto).status.reason(), Reason::kEndOfStream);
  ASSERT_TRUE(q->reopen().ok());
  EXPECT_TRUE(put(*q, "z").status.ok());
}

TEST_F(CoreTest, RestartKeepsMessagesSessionsAndExplicitLeases) {
  ASSERT_TRUE(create(user(5), "q").ok());
  Caller caller = user(5);
  const auto session = core_->open_session(caller, 0, "", nullptr);
  ASSERT_TRUE(core_->enter_session(caller, session->session_id).ok());
  auto q = queue("q");
  for (const char* body : {"a", "b", "c", "d"}) ASSERT_TRUE(put(*q, body).status.ok());
  const auto of_session = get(*q, caller, AckMode::kManual).messages.at(0);
  const auto sessionless = get(*q, user(5), AckMode::kManual).messages.at(0);
  const auto in_flight = get(*q, user(5), AckMode::kAuto).messages.at(0);
  q.reset();
  restart();
  q = queue("q");
  const auto counts = q->counts();
  EXPECT_EQ(counts.leased, 2u);    // a and b stay with their holders
  EXPECT_EQ(counts.returned, 1u);  // the reply for c was never written
  EXPECT_EQ(counts.ready, 1u);
  EXPECT_EQ(core_->enter_session(caller, session->session_id).ok(), true);
  const auto resumed = core_->resume_session(user(5), session->token, nullptr);
  ASSERT_TRUE(resumed.ok()) << resumed.status().to_string();
  EXPECT_EQ(resumed->session_id, session->session_id);
  EXPECT_EQ(core_->resume_session(user(6), session->token, nullptr).reason(),
            Reason::kSessionLost);
  EXPECT_TRUE(q->ack(caller, of_session.ticket).ok());
  EXPECT_TRUE(q->ack(user(5), sessionless.ticket).ok());
  EXPECT_EQ(get(*q, user(5), AckMode::kAuto).messages.at(0).body, "c");
  EXPECT_EQ(core_->stats().incarnation, 2u);
}

TEST_F(CoreTest, DamagedSegmentIsQuarantinedAloneAtRestart) {
  const auto bad = create(user(5), "bad");
  ASSERT_TRUE(create(user(5), "good").ok());
  const uint64_t id = bad->object_id;
  ASSERT_TRUE(put(*queue("good"), "x").status.ok());
  stop();
  char garbage[256] = {1};
  const auto& fd = supervisor_.kept().at({static_cast<uint8_t>(local::KeptKind::kMemory), id});
  ASSERT_EQ(::pwrite(fd.get(), garbage, sizeof garbage, 0), 256);
  start();
  EXPECT_EQ(core_->find_queue(user(5), "bad", Need::kRead).reason(), Reason::kCorrupt);
  EXPECT_EQ(queue("good")->counts().ready, 1u);
  EXPECT_EQ(core_->stats().quarantined, 1u);
  EXPECT_TRUE(core_->delete_queue(user(5), "bad").ok());
  EXPECT_TRUE(create(user(5), "bad").ok());
}

TEST_F(CoreTest, MemoryWithoutARecordIsDroppedAndItsIdNotReused) {
  const auto q = create(user(5), "q");
  stop();
  auto& kept = supervisor_.kept();
  const auto memory = static_cast<uint8_t>(local::KeptKind::kMemory);
  kept[{memory, 77}] = local::Fd(::dup(kept.at({memory, q->object_id}).get()));
  start();
  EXPECT_GT(create(user(5), "r")->object_id, 77u);
  stop();
  EXPECT_FALSE(kept.contains({memory, 77}));
}

TEST_F(CoreTest, RequestIdIsPutOnceOverRestarts) {
  const auto ref = create(user(5), "q");
  auto request = core_->begin_request(user(5), *ref, "r-1", 1);
  ASSERT_TRUE(request.ok());
  EXPECT_FALSE(request->seen);
  const auto ids = put(*ref->queue, "x", 0, request->record).ids;
  core_->finish_request(*request, ids);
  restart();
  const auto again = core_->begin_request(
      user(5), *core_->find_queue(user(5), "q", Need::kWrite), "r-1", 1);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->seen);
  EXPECT_EQ(again->record.ids, ids);
}

TEST_F(CoreTest, ARequestThatFoundNoRoomIsForgotten) {
  QueueOptions options{};
  options.given = local::kGivenMaxLen | local::kGivenOverflow;
  options.max_len = 1;
  options.overflow = static_cast<uint8_t>(shm::Overflow::kReject);
  const auto ref = create(user(5), "q", options);
  ASSERT_TRUE(put(*ref->queue, "x").status.ok());
  for (int round = 0; round < 2; ++round) {
    auto request = core_->begin_request(user(5), *ref, "r-1", 1);
    ASSERT_TRUE(request.ok() && !request->seen);
    const auto result = put(*ref->queue, "y", 0, request->record);
    EXPECT_TRUE(result.status.is(Reason::kFull));
    core_->finish_request(*request, result.ids);
  }
  EXPECT_EQ(core_->begin_request(user(5), *ref, "r-2", 33).reason(), Reason::kInvalidArgument);
}

TEST_F(CoreTest, ProducersOfRemoteSessionsKeepTheirNumbersOverRestarts) {
  QueueOptions options{};
  options.given = local::kGivenEos;
  options.eos = static_cast<uint8_t>(shm::Eos::kLastProducer);
  ASSERT_TRUE(create(user(5), "q", options).ok());
  const auto session = core_->open_session(user(5), 0, "", nullptr);
  ASSERT_TRUE(session.ok());
  Caller caller = user(5);
  ASSERT_TRUE(core_->enter_session(caller, session->session_id).ok());
  const uint64_t big = shm::kProducerKeyMax - 7;
  for (const uint64_t key : {uint64_t{1}, uint64_t{1}, big}) {
    ASSERT_TRUE(queue("q")->register_producer(caller, key).ok());
  }
  EXPECT_EQ(queue("q")->register_producer(caller, shm::kProducerKeyMax + 1).reason(),
            Reason::kInvalidArgument);
  restart();
  const auto q = queue("q");
  EXPECT_EQ(q->counts().producers, 2u);
  ASSERT_TRUE(q->register_producer(caller, big).ok());  // the answer was lost, asked again
  EXPECT_EQ(q->counts().producers, 2u);
  EXPECT_TRUE(q->unregister_producer(caller, 1).ok());
  EXPECT_TRUE(q->unregister_producer(caller, 1).ok());
  EXPECT_EQ(q->counts().producers, 1u);
  EXPECT_FALSE(q->counts().closed);
  restart();
  EXPECT_TRUE(queue("q")->unregister_producer(caller, big).ok());
  EXPECT_TRUE(queue("q")->counts().closed);
}

TEST_F(CoreTest, ALeaseWithoutASessionNamesWhoTookIt) {
  ASSERT_TRUE(create(user(5), "q").ok());
  auto q = queue("q");
  Caller first = user(5), second = user(6);
  first.pid = 77;
  second.pid = 78;
  second.command = std::make_shared<const std::string>("grpcurl -d @");
  for (const Caller& caller : {first, second, second}) {
    ASSERT_EQ(put(*q, "x").ids.size(), 1u);
    ASSERT_TRUE(get(*q, caller, AckMode::kManual).status.ok());
  }
  const auto rows = q->browse({});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].holder.uid, 5u);
  EXPECT_EQ(rows[0].holder.pid, 77);
  EXPECT_EQ(rows[2].holder.command, "grpcurl -d @");
  EXPECT_EQ(rows[2].holder.session_id, 0u);
  const auto holders = q->holders();
  ASSERT_EQ(holders.size(), 2u);
  EXPECT_EQ(holders[1].owner.uid, 6u);
  EXPECT_EQ(holders[1].owner.pid, 78);
  EXPECT_EQ(holders[1].leases, 2u);
  q.reset();
  restart();  // who took them went with the broker
  EXPECT_EQ(queue("q")->holders().at(0).owner.uid, static_cast<uid_t>(-1));
  EXPECT_EQ(queue("q")->holders().at(0).owner.pid, 0);
}

TEST(OutcomeStatus, TooLargeNamesTheLimitThatWasMet) {
  shm::QueueLimits limits;
  limits.max_bytes = 1000;
  limits.max_msg_bytes = 5000;
  const local::OutcomeFacts facts{.queue = "q", .limits = limits, .body_bytes = 2000};
  const Status status = local::outcome_status(shm::Outcome::kTooLarge, facts);
  EXPECT_EQ(status.limit(), 1000u);
  EXPECT_EQ(status.actual(), 2000u);
  EXPECT_NE(status.to_string().find("max_bytes"), std::string::npos);
  EXPECT_EQ(status.to_string().find("max_msg_bytes"), std::string::npos);
}

TEST_F(CoreTest, SessionsOfOneUserAreLimited) {
  stop();
  options_.sessions_per_uid_max = 2;
  start();
  std::vector<uint64_t> ids;
  for (int i = 0; i < 2; ++i) {
    const auto session = core_->open_session(user(5), 0, "", nullptr);
    ASSERT_TRUE(session.ok());
    ids.push_back(session->session_id);
  }
  const auto more = core_->open_session(user(5), 0, "", nullptr);
  EXPECT_EQ(more.reason(), Reason::kQuota);
  EXPECT_EQ(more.status().limit(), 2u);
  EXPECT_EQ(more.status().actual(), 2u);
  EXPECT_EQ(more.status().object(), "uid 5");
  EXPECT_TRUE(core_->open_session(user(6), 0, "", nullptr).ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(core_->open_session(user(0), 0, "", nullptr).ok());
  restart();
  EXPECT_EQ(core_->open_session(user(5), 0, "", nullptr).reason(), Reason::kQuota);
  EXPECT_TRUE(core_->close_session(user(5), ids[0]).ok());
  EXPECT_TRUE(core_->open_session(user(5), 0, "", nullptr).ok());
}

TEST_F(CoreTest, MemoryOfOneUserIsLimited) {
  stop();
  options_.memory_per_uid_max = 8 << 20;
  start();
  const std::string body(100'000, 'x');
  const auto fill = [&](const Caller& caller, const std::string& name) {
    const auto ref = create(caller, name);
    EXPECT_TRUE(ref.ok()) << ref.status().to_string();
    Status last;
    for (int i = 0; i < 400 && last.ok(); ++i) {
      last = put(*ref->queue, body).status;
      EXPECT_LE(core_->stats().memory_bytes, options_.memory_per_uid_max);
    }
    return last;
  };
  const Status refused = fill(user(5), "q");
  EXPECT_EQ(refused.reason(), Reason::kMemoryExhausted) << refused.to_string();
  EXPECT_EQ(refused.object(), "queue q");
  EXPECT_EQ(refused.limit(), options_.memory_per_uid_max);
  EXPECT_EQ(refused.actual(), core_->stats().memory_bytes);
  EXPECT_NE(refused.message().find("memory_per_uid_max is reached"), std::string::npos);
  const auto more = create(user(5), "r");
  EXPECT_EQ(more.reason(), Reason::kQuota) << more.status().to_string();
  EXPECT_EQ(more.status().limit(), options_.memory_per_uid_max);
  EXPECT_EQ(more.status().actual(), core_->stats().memory_bytes);
  EXPECT_TRUE(create(user(6), "other").ok());
  EXPECT_TRUE(put(*queue("other"), body).status.ok());
  ASSERT_TRUE(core_->delete_queue(user(5), "q").ok());
  EXPECT_TRUE(create(user(5), "r").ok());
}

TEST_F(CoreTest, DeletedQueueEndsThoseWhoWait) {
  ASSERT_TRUE(create(user(5), "q").ok());
  const auto q = queue("q");
  std::promise<objects::GetResult> done;
  q->get_async(user(5), {}, shm::kForever,
               [&](objects::GetResult result) { done.set_value(std::move(result)); });
  ASSERT_TRUE(core_->delete_queue(user(5), "q").ok());
  EXPECT_EQ(done.get_future().get().status.reason(), Reason::kClosed);
  EXPECT_EQ(put(*q, "x").status.reason(), Reason::kClosed);
}

TEST_F(CoreTest, OwnerNumbersRestBeforeTheyComeBack) {
  std::set<uint16_t> seen;
  for (int i = 0; i < 50; ++i) {
    const auto session = core_->open_session(user(5), 0, "", nullptr);
    ASSERT_TRUE(session.ok());
    EXPECT_TRUE(seen.insert(session->owner).second) << session->owner;
    ASSERT_TRUE(core_->close_session(user(5), session->session_id).ok());
  }
}

TEST_F(CoreTest, WithoutASupervisorNothingNewIsMadeAndTheRestServed) {
  ASSERT_TRUE(create(user(5), "q").ok());
  supervisor_.disconnect();
  const auto refused = create(user(5), "r");
  EXPECT_EQ(refused.reason(), Reason::kDaemonUnreachable);
  EXPECT_NE(refused.status().to_string().find("restart"), std::string::npos);
  EXPECT_TRUE(put(*queue("q"), "x").status.ok());
}

}  // namespace
}  // namespace heddle::broker
