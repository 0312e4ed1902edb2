// What a repeated call does, whoever waits, goes or comes too late.
#include "daemon/objects/lock_requests.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace heddle::objects {
namespace {

class LockRequestsTest : public testing::Test {
 protected:
  LockRequestsTest() { caller_.session_id = 7; }

  // A call that waits until end() is called with the number of its run.
  LockRequests::Job job() {
    LockRequests::Job job;
    job.begin = [this](LockDone done) -> std::function<void()> {
      runs_.push_back(std::move(done));
      const size_t run = runs_.size() - 1;
      return [this, run] { cancelled_.push_back(run); };
    };
    job.stands = [this](const LockReply&) { return stands_; };
    job.undo = [this](const LockReply& reply) { undone_.push_back(reply.grant.token); };
    return job;
  }
  void end(size_t run, uint64_t token, Status status = {}) {
    LockReply reply;
    reply.status = std::move(status);
    reply.grant.token = token;
    std::exchange(runs_[run], nullptr)(std::move(reply));
  }
  LockRequests::CallRef call(std::string_view id, uint64_t object_id = 1, char op = 'a') {
    return requests_.start(caller_, {object_id, 0, op, id}, job(), [this](LockReply reply) {
      answers_.push_back(reply.status.ok() ? reply.grant.token : 0);
    });
  }
  using Numbers = std::vector<uint64_t>;

  LockRequests requests_;
  Caller caller_;
  std::vector<LockDone> runs_;
  std::vector<size_t> cancelled_;
  Numbers undone_, answers_;
  bool stands_ = true;
};

TEST_F(LockRequestsTest, ARepeatJoinsAndThenGetsTheSameAnswer) {
  call("a");
  call("a");
  EXPECT_EQ(runs_.size(), 1u);
  end(0, 5);
  EXPECT_EQ(answers_, (Numbers{5, 5}));
  call("a");
  EXPECT_EQ(answers_, (Numbers{5, 5, 5}));
  call("b");          // another id,
  call("a", 2);       // another object,
  call("a", 1, 'c');  // another operation
  caller_.session_id = 8;
  call("a");  // or another session is another call
  EXPECT_EQ(runs_.size(), 5u);
}

TEST_F(LockRequestsTest, AGrantThatDoesNotStandIsAskedForAnew) {
  call("a");
  end(0, 5);
  stands_ = false;
  call("a");
  EXPECT_EQ(runs_.size(), 2u);
  end(1, 6);
  EXPECT_EQ(answers_, (Numbers{5, 6}));
  stands_ = true;
  requests_.released(caller_, 1, 0);
  call("a");
  EXPECT_EQ(runs_.size(), 3u);
}

TEST_F(LockRequestsTest, WhatDidNothingIsNotRemembered) {
  call("a");
  end(0, 0, Status(Reason::kTimedOut));
  call("a");
  EXPECT_EQ(runs_.size(), 2u);
}

TEST_F(LockRequestsTest, TheLastToGoEndsTheWait) {
  const auto first = call("a"), second = call("a");
  EXPECT_TRUE(requests_.cancel(first));
  EXPECT_FALSE(requests_.cancel(first));
  EXPECT_TRUE(cancelled_.empty());
  EXPECT_TRUE(requests_.cancel(second));
  EXPECT_EQ(cancelled_, std::vector<size_t>{0});
  // Too late: it was granted in that moment, to nobody.
  end(0, 5);
  EXPECT_EQ(undone_, Numbers{5});
  EXPECT_TRUE(answers_.empty());
  call("a");
  EXPECT_EQ(runs_.size(), 2u);
  end(1, 6);
  EXPECT_EQ(answers_, Numbers{6});
  EXPECT_EQ(undone_, Numbers{5});
}

TEST_F(LockRequestsTest, WhoGoesBeforeItHasBegunEndsItTheMomentItHas) {
  LockRequests::Job early = job();
  LockRequests::CallRef joined;
  const auto begin = early.begin;
  early.begin = [&](LockDone done) {
    auto cancel = begin(std::move(done));
    joined = call("a");
    return cancel;
  };
  const auto first = requests_.start(caller_, {1, 0, 'a', "a"}, std::move(early), [](LockReply) {});
  EXPECT_EQ(runs_.size(), 1u);  // joined, though its cancellation was not known yet
  EXPECT_TRUE(requests_.cancel(first));
  EXPECT_TRUE(requests_.cancel(joined));
  EXPECT_EQ(cancelled_, std::vector<size_t>{0});
}

TEST_F(LockRequestsTest, AnAnswerWithinTheCall) {
  const LockRequests::Key key{1, 0, 'r', "x"};
  int runs = 0;
  const auto run = [&runs] {
    LockReply reply;
    reply.index = static_cast<uint32_t>(++runs);
    return reply;
  };
  EXPECT_EQ(requests_.once(caller_, key, run).index, 1u);
  EXPECT_EQ(requests_.once(caller_, key, run).index, 1u);
  EXPECT_EQ(requests_.once(caller_, {1, 0, 'r', ""}, run).index, 2u);
  requests_.forget(7);
  EXPECT_EQ(requests_.once(caller_, key, run).index, 3u);
}

TEST_F(LockRequestsTest, RemembersALimitedNumber) {
  for (int i = 0; i < 9; ++i) {
    call("id" + std::to_string(i));
    end(runs_.size() - 1, 1);
  }
  call("id8");
  EXPECT_EQ(runs_.size(), 9u);
  call("id0");
  EXPECT_EQ(runs_.size(), 10u);
  end(9, 1);
  for (uint64_t object = 2; object < 1100; ++object) {
    call("x", object);
    end(runs_.size() - 1, 1);
  }
  const size_t before = runs_.size();
  call("x", 1099);
  EXPECT_EQ(runs_.size(), before);
  call("id8");
  EXPECT_EQ(runs_.size(), before + 1);
}

TEST_F(LockRequestsTest, RefusesWhatItCannotRemember) {
  EXPECT_TRUE(LockRequests::check(caller_, std::string(64, 'x')).ok());
  EXPECT_TRUE(LockRequests::check(caller_, std::string(65, 'x')).is(Reason::kInvalidArgument));
  EXPECT_TRUE(LockRequests::check({}, "x").is(Reason::kInvalidArgument));
  EXPECT_TRUE(LockRequests::check({}, "").ok());
}

}  // namespace
}  // namespace heddle::objects
