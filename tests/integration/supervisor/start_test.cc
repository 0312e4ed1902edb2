// Starting, refusing to start, stopping.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/os/files.h"
#include "daemon/os/pidfile.h"
#include "tests/integration/supervisor/daemon.h"

namespace heddle::test {
namespace {

mode_t mode_of(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

TEST(Start, SocketsPidFileAndCleanEnd) {
  Heddled daemon;
  daemon.start();
  EXPECT_EQ(mode_of(daemon.file("run")), 0755u);
  EXPECT_EQ(mode_of(daemon.file("state")), 0700u);
  EXPECT_EQ(mode_of(daemon.file("run/grpc.sock")), 0666u);
  EXPECT_EQ(mode_of(daemon.file("run/local.sock")), 0666u);
  std::string pid;
  ASSERT_TRUE(os::read_file(daemon.file("run/heddled.pid"), 32, &pid));
  EXPECT_EQ(pid, std::to_string(daemon.pid()) + "\n");
  EXPECT_EQ(daemon.tell("listeners"),
            "g " + daemon.file("run/grpc.sock") + "\nl " + daemon.file("run/local.sock") + "\n");
  const pid_t broker = daemon.broker_pid();
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait(), 0) << daemon.log();
  EXPECT_TRUE(process_gone(broker));
  EXPECT_EQ(mode_of(daemon.file("run/local.sock")), 0u);
  EXPECT_EQ(mode_of(daemon.file("run/grpc.sock")), 0u);
}

TEST(Start, SecondOneNamesTheFirst) {
  Heddled daemon;
  daemon.start();
  const Ended second = daemon.run(daemon.usual());
  EXPECT_EQ(second.status, 3);
  EXPECT_TRUE(contains(second.err, "already running with pid " + std::to_string(daemon.pid())))
      << second.err;
  const Ended background = daemon.run([&] {
    auto arguments = daemon.usual();
    arguments.push_back("--daemonize");
    return arguments;
  }());
  EXPECT_EQ(background.status, 3);
  EXPECT_EQ(daemon.tell("pid").empty(), false);  // the first one is unharmed
}

TEST(Start, LeftoversOfAKilledDaemonAreNoObstacle) {
  Heddled daemon;
  daemon.start();
  const pid_t broker = daemon.broker_pid();
  daemon.signal(SIGKILL);
  EXPECT_EQ(daemon.wait(), 128 + SIGKILL);
  EXPECT_TRUE(eventually([&] { return process_ended(broker); }));  // it saw the hang-up
  EXPECT_NE(mode_of(daemon.file("run/local.sock")), 0u);
  daemon.start();
}

TEST(Start, UsageAndConfigurationMistakesAreStatusTwo) {
  Heddled daemon;
  Ended ended = daemon.run({"--runtime-dri", "/x"});
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(contains(ended.err, "did you mean --runtime-dir?")) << ended.err;
  daemon.write_config("{\n\"drain_sm\": 1\n}");
  ended = daemon.run(daemon.usual());
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(contains(ended.err, "heddled.json:2: unknown key \"drain_sm\"; did you mean "
                                  "\"drain_ms\"?"))
      << ended.err;
  EXPECT_EQ(daemon.run({"--check-config", "--config", daemon.file("heddled.json")}).status, 2);
  daemon.write_config("{\"listen\": [\"0.0.0.0:1\"]}");
  ended = daemon.run(daemon.usual());
  EXPECT_EQ(ended.status, 2);
  EXPECT_TRUE(contains(ended.err, "needs mutual TLS")) << ended.err;
}

TEST(Start, QuestionsAreAnsweredWithoutStarting) {
  Heddled daemon;
  EXPECT_TRUE(contains(daemon.run({"--help"}).out, "--drain-ms VALUE"));
  EXPECT_EQ(daemon.run({"--version"}).out.rfind("heddled ", 0), 0u);
  Ended ended = daemon.run({"--check-config", "--config", daemon.file("heddled.json")});
  EXPECT_EQ(ended.status, 0);
  EXPECT_TRUE(contains(ended.out, "heddled.json: good"));
  auto arguments = daemon.usual();
  arguments.push_back("--print-config");
  EXPECT_TRUE(contains(daemon.run(arguments).out, "\"drain_ms\": 2000"));
  EXPECT_EQ(mode_of(daemon.file("run")), 0u);
}

TEST(Start, ABrokerThatDiesAtOnceFailsTheStart) {
  Heddled daemon;
  daemon.environment["FAKE_BROKER"] = "die";
  const Ended ended = daemon.run(daemon.usual());
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(contains(ended.err, "exit status 7 before it was ready")) << ended.err;
  daemon.environment["HEDDLE_BROKER"] = "/nonexistent/broker";
  const Ended absent = daemon.run(daemon.usual());
  EXPECT_EQ(absent.status, 1);
  EXPECT_TRUE(contains(absent.err, "/nonexistent/broker: cannot run the broker")) << absent.err;
}

TEST(Start, ABrokerThatIsNeverReadyIsKilled) {
  Heddled daemon;
  daemon.environment["FAKE_BROKER"] = "hang";
  daemon.flags = {"--start-ms-max=150"};
  const Ended ended = daemon.run(daemon.usual());
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(contains(ended.err, "is not ready after 150 ms")) << ended.err;
}

class Background : public ::testing::Test {
 protected:
  Background() {
    daemon_.flags = {"--daemonize", "--log-file", daemon_.file("log")};
  }
  pid_t daemon_pid() {
    std::string text;
    os::read_file(daemon_.file("run/heddled.pid"), 32, &text);
    return std::atoi(text.c_str());
  }
  std::string log() {
    std::string text;
    os::read_file(daemon_.file("log"), 1 << 20, &text);
    return text;
  }
  Heddled daemon_;
};

TEST_F(Background, ParentReturnsWhenItServes) {
  const Ended parent = daemon_.run(daemon_.usual());
  ASSERT_EQ(parent.status, 0) << parent.err << log();
  const pid_t pid = daemon_pid();
  ASSERT_GT(pid, 1);
  EXPECT_NE(::getsid(pid), pid);  // not a session leader
  EXPECT_NE(::getsid(pid), ::getsid(0));
  EXPECT_NE(daemon_.tell("pid"), "");
  char cwd[64] = "";
  EXPECT_EQ(::readlink(("/proc/" + std::to_string(pid) + "/cwd").c_str(), cwd, sizeof cwd), 1);
  EXPECT_TRUE(contains(log(), "serving; broker"));
  ::kill(pid, SIGTERM);
  EXPECT_TRUE(eventually([&] {
    os::PidFile lock;
    pid_t holder;
    std::string why;
    return lock.acquire(daemon_.file("run/heddled.pid"), &holder, &why) ==
           os::PidFile::Outcome::kHeld;
  }));
  EXPECT_TRUE(eventually([&] { return process_gone(pid); }));
}

TEST_F(Background, ASecondStartMeanwhileNamesTheFirst) {
  daemon_.environment["FAKE_BROKER"] = "hang";
  daemon_.flags.push_back("--start-ms-max=1500");
  const pid_t first = daemon_.launch(daemon_.usual());
  EXPECT_TRUE(eventually([&] { return daemon_pid() > 1; }));
  const pid_t named = daemon_pid();
  const Ended second = daemon_.run(daemon_.usual());
  EXPECT_EQ(second.status, 3);
  const std::string tells = "already running with pid ";
  ASSERT_TRUE(contains(second.err, tells)) << second.err;
  const int pid = std::atoi(second.err.c_str() + second.err.find(tells) + tells.size());
  EXPECT_TRUE(pid == named || pid == daemon_pid()) << second.err;  // before its forks, or after
  EXPECT_EQ(daemon_.pid(), first);
  EXPECT_EQ(daemon_.wait(), 1);  // never ready
}

TEST_F(Background, ParentTellsWhyTheStartFailed) {
  daemon_.environment["FAKE_BROKER"] = "die";
  const Ended parent = daemon_.run(daemon_.usual());
  EXPECT_EQ(parent.status, 1);
  EXPECT_TRUE(contains(parent.err, "exit status 7 before it was ready")) << parent.err;
}

TEST(Start, TcpOnLoopbackIsHandedToTheBroker) {
  Heddled daemon;
  daemon.flags = {"--listen=127.0.0.1:0,[::1]:0"};
  daemon.start();
  const std::string listeners = daemon.tell("listeners");
  EXPECT_TRUE(contains(listeners, "t 127.0.0.1:")) << listeners;
  EXPECT_TRUE(contains(listeners, "t [::1]:")) << listeners;
  EXPECT_FALSE(contains(listeners, "127.0.0.1:0\n"));  // the port that was really taken
}

TEST(Start, ConnectGroupNarrowsTheSockets) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give a socket to another group";
  Heddled daemon;
  daemon.flags = {"--connect-group=daemon"};
  daemon.start();
  EXPECT_EQ(mode_of(daemon.file("run/grpc.sock")), 0660u);
  struct stat status;
  ASSERT_EQ(::stat(daemon.file("run/local.sock").c_str(), &status), 0);
  EXPECT_NE(status.st_gid, ::getegid());
}

TEST(Start, SomethingElseInTheSocketsPlaceIsNotRemoved) {
  Heddled daemon;
  std::string why;
  ASSERT_TRUE(os::make_directory(daemon.file("run"), 0755, &why)) << why;
  ASSERT_TRUE(os::write_file_atomically(daemon.file("run/grpc.sock"), "mine", 0600, &why)) << why;
  const Ended ended = daemon.run(daemon.usual());
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(contains(ended.err, "grpc.sock: is in the way and is no socket")) << ended.err;
}

}  // namespace
}  // namespace heddle::test
