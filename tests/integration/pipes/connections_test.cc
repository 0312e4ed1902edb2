// One process listens, four others have 250 connections to it each, all of them at once. Each
// connection carries a message there and its checksum back.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr int kProcesses = 4, kEach = 250, kConnections = kProcesses * kEach;
constexpr char kPipe[] = "hall";
// Small rings: a third of the messages goes through them in parts.
const PipeOptions kOptions{.capacity = 4096};

std::uint64_t checksum_of(const std::string& text) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return sum;
}

std::string message_of(int number) {
  std::string text = std::to_string(number) + ":";
  while (text.size() < static_cast<std::size_t>(number * 7 % 6000)) {
    text += static_cast<char>('a' + (text.size() * 31 + static_cast<std::size_t>(number)) % 26);
  }
  return text;
}

class PipeConnectionsTest : public DaemonFixture {
 protected:
  // The limit that connections count against, a little above what is needed here.
  Daemon::Options options() override {
    const std::uint64_t bytes = std::uint64_t{kConnections + 100} * (4096 + 2 * 4096);
    return {.config = R"({"memory_max": )" + std::to_string(bytes) + "}", .args = {}};
  }

  // Each connection costs the supervisor and the broker a descriptor. heddled raises its limit as
  // far as it may; the broker has it from there.
  static bool enough_descriptors() {
    rlimit limit{};
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= 2 * kConnections;
  }

  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 25s})
        .value();
  }

  // Has all of its connections before it uses the first.
  bool use_connections(int process) {
    Client client = connect();
    std::vector<PipeEnd> ends;
    for (int i = 0; i < kEach; ++i) {
      auto end = client.connect_pipe(kPipe, 25s, kOptions);
      if (!end) return said(end.status());
      ends.push_back(std::move(*end));
    }
    for (int i = 0; i < kEach; ++i) {
      const auto sent = ends[i].send(message_of(process * kEach + i));
      if (!sent) return said(sent.status());
    }
    for (int i = 0; i < kEach; ++i) {
      auto answer = ends[i].receive();
      if (!answer) return said(answer.status());
      if (answer->text() != std::to_string(checksum_of(message_of(process * kEach + i)))) {
        return said(Status(Reason::kInternal, "another checksum: " + std::string(answer->text())));
      }
    }
    return true;
  }
  static bool said(const Status& status) {
    std::fprintf(stderr, "client: %s\n", status.to_string().c_str());
    return false;
  }

  std::vector<pid_t> start_clients() {
    std::vector<pid_t> children;
    const pid_t parent = getpid();
    for (int i = 0; i < kProcesses; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent && use_connections(i) ? 0 : 1);
      }
      children.push_back(child);
    }
    return children;
  }
};

TEST_F(PipeConnectionsTest, AThousandToOneListener) {
  if (!enough_descriptors()) GTEST_SKIP() << "the hard limit of descriptors is below 2,000";
  const Watchdog watchdog("a thousand connections", 100);
  Client client = connect();
  PipeListener listener = client.listen_pipe(kPipe, kOptions).value();
  const std::vector<pid_t> children = start_clients();
  std::vector<PipeEnd> ends;
  for (int i = 0; i < kConnections; ++i) {
    auto end = listener.accept(60s);
    ASSERT_TRUE(end.ok()) << i << ": " << end.status().to_string();
    ends.push_back(std::move(*end));
  }
  EXPECT_TRUE(listener.accept(0ms).status().is(Reason::kEmpty));
  const PipeInfo info = client.pipe_info(kPipe).value();
  EXPECT_EQ(info.connection_count, static_cast<std::uint64_t>(kConnections));
  EXPECT_EQ(info.listeners, 1u);

  std::set<std::string> seen;
  std::size_t bytes = 0;
  for (PipeEnd& end : ends) {
    auto message = end.receive();
    ASSERT_TRUE(message.ok()) << message.status().to_string();
    const std::string text(message->text());
    bytes += text.size();
    EXPECT_EQ(text, message_of(std::stoi(text)));
    EXPECT_TRUE(seen.insert(text).second) << "twice: " << text.substr(0, 10);
    EXPECT_TRUE(end.send(std::to_string(checksum_of(text))).ok());
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kConnections));
  for (const pid_t child : children) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  for (PipeEnd& end : ends) {
    const Status status = end.receive().status();
    EXPECT_TRUE(status.is(Reason::kEndOfStream)) << status.to_string();
  }
  ends.clear();
  while (client.pipe_info(kPipe)->connection_count != 0) std::this_thread::sleep_for(10ms);
  std::printf("%d connections of %d processes, %zu bytes of messages\n", kConnections, kProcesses,
              bytes);
}

}  // namespace
}  // namespace heddle::test
