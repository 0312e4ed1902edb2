// Fencing tokens over the end of everything that is in memory.
#include <gtest/gtest.h>
#include <heddle/heddle.h>

#include <memory>
#include <string>

#include "tests/support/daemon_fixture.h"
#include "tests/support/temp_dir.h"

namespace heddle::test {
namespace {

class ColdStartTest : public testing::Test {
 protected:
  void start() {
    daemon_ = std::make_unique<Daemon>(Daemon::Options{.args = {"--state-dir", state_.path()}});
  }
  Client connect() { return Client::connect({.runtime_dir = daemon_->runtime_dir()}).value(); }
  // Of the next grant; no session is left afterwards.
  std::uint64_t next_token(const std::string& name) {
    Client client = connect();
    Lock lock = client.lock(name).value();
    const std::uint64_t token = lock.acquire().value().token;
    EXPECT_TRUE(lock.release().ok());
    return token;
  }

  TempDir state_;
  std::unique_ptr<Daemon> daemon_;
};

TEST_F(ColdStartTest, TokensGoOnExactlyAfterACleanStop) {
  start();
  for (int i = 0; i < 3; ++i) next_token("ledger");
  const std::uint64_t last = next_token("ledger");
  EXPECT_EQ(daemon_->stop(), 0);
  start();
  EXPECT_EQ(next_token("ledger"), last + 1);
  EXPECT_EQ(next_token("ledger"), last + 2);
}

TEST_F(ColdStartTest, TokensAreAboveEveryEarlierOneAfterAKillOfEverything) {
  start();
  std::uint64_t last = next_token("ledger");
  for (int i = 0; i < 3; ++i) {
    {
      Client client = connect();  // goes on where it holds something, with nobody to tell
      Lock lock = client.lock("ledger").value();
      const std::uint64_t before = lock.acquire().value().token;
      EXPECT_GT(before, last);
      daemon_->kill_all();
      EXPECT_TRUE(lock.release().ok());
      for (int n = 0; n < 1000; ++n) {
        last = lock.acquire().value().token;
        EXPECT_TRUE(lock.release().ok());
      }
      EXPECT_EQ(last, before + 1000);
    }
    start();
    const std::uint64_t again = next_token("ledger");
    EXPECT_GT(again, last);
    EXPECT_GT(next_token("another"), last);
    last = next_token("ledger");
    EXPECT_EQ(last, again + 1);
  }
}

TEST_F(ColdStartTest, ClientsThatOutliveACleanStopHarmNobody) {
  start();
  Client client = connect();
  Lock lock = client.lock("ledger").value();
  ASSERT_TRUE(lock.acquire().ok());
  EXPECT_TRUE(lock.release().ok());
  EXPECT_EQ(daemon_->stop(), 0);
  std::uint64_t late = 0;
  for (int n = 0; n < 1000; ++n) {
    late = lock.acquire().value().token;
    EXPECT_TRUE(lock.release().ok());
  }
  start();
  EXPECT_GT(next_token("ledger"), late);
}

}  // namespace
}  // namespace heddle::test
