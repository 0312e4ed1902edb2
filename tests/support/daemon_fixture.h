// A heddled of one's own: built, started on temporary directories, stopped, and looked after for
// what it leaves behind.
//
//   class QueueTest : public heddle::test::DaemonFixture {};
//   TEST_F(QueueTest, ...) { connect to runtime_dir() ... }
//
// or, with a configuration or several daemons: Daemon daemon({.config = R"({"drain_ms": 0})"}).
#ifndef HEDDLE_TESTS_SUPPORT_DAEMON_FIXTURE_H_
#define HEDDLE_TESTS_SUPPORT_DAEMON_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "tests/support/temp_dir.h"

namespace heddle::test {

// A program or file of the build under test: built("bin/heddled"). The build directory is
// HEDDLE_BUILD_DIR from the environment, else the one this program was built in.
std::string built(const std::string& path);

class Daemon {
 public:
  struct Options {
    std::string config = "{}";      // the whole configuration file
    std::vector<std::string> args;  // further flags of heddled
  };

  // Starts heddled and waits until it says it is ready. Throws std::runtime_error with its log
  // when it ends before that; a hang is the watchdog's business.
  explicit Daemon(Options options);
  Daemon() : Daemon(Options()) {}
  // Stops it when still running; what it left behind fails the test.
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  std::string runtime_dir() const { return dir_.file("run"); }
  std::string state_dir() const { return dir_.file("state"); }
  std::string config_file() const { return dir_.file("heddled.json"); }
  pid_t pid() const { return pid_; }
  // The heddle-broker of now; 0 while there is none.
  pid_t broker_pid() const;
  std::string log() const;  // what heddled and the broker wrote so far

  void signal(int number) const;
  // SIGKILL to the broker; returns when another one has taken its place and is ready.
  void kill_broker();
  // SIGKILL to heddled alone. Its broker, which is returned, lives on as our child.
  pid_t kill_supervisor();
  // Another heddled in the same directories; returns when it serves.
  void start_again();
  // SIGTERM and wait: heddled's exit status, or 128 + signal. Afterwards no process of it may
  // be there and the runtime directory must be empty but for the pid file: each leftover fails
  // the test.
  int stop();
  // SIGKILL to heddled and everything it started; nothing is checked.
  void kill_all();

 private:
  void start(const Options& options);
  void await_serving(size_t times);
  int reap();
  std::vector<pid_t> descendants() const;

  TempDir dir_;
  pid_t pid_ = 0;
};

class DaemonFixture : public testing::Test {
 protected:
  void SetUp() override { daemon_ = std::make_unique<Daemon>(options()); }
  void TearDown() override { daemon_.reset(); }
  virtual Daemon::Options options() { return {}; }

  Daemon& daemon() { return *daemon_; }
  std::string runtime_dir() const { return daemon_->runtime_dir(); }

 private:
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_SUPPORT_DAEMON_FIXTURE_H_
