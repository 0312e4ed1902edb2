// A long stream of bytes through a small ring; the broker is killed in the middle, and for a part
// of the stream there is none. 256 MiB, or 10 GiB with HEDDLE_LONG=1.
#include <gtest/gtest.h>
#include <heddle/heddle.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kPartBytes = 200'000;  // larger than the ring, and no multiple of it

// A checksum that tells an exchange of two words, too.
struct Checksum {
  std::uint64_t sum = 1;
  void add(const std::byte* data, std::size_t bytes) {
    // Whatever the parts are: a word is taken when it is complete.
    for (std::size_t i = 0; i < bytes;) {
      if (filled == 0 && bytes - i >= 8) {
        std::memcpy(&word, data + i, 8);
        i += 8;
      } else {
        std::memcpy(reinterpret_cast<std::byte*>(&word) + filled, data + i++, 1);
        filled = (filled + 1) % 8;
        if (filled != 0) continue;
      }
      sum = (sum ^ word) * 0x9E3779B97F4A7C15 + (sum >> 47);
    }
  }

 private:
  std::uint64_t word = 0;
  std::size_t filled = 0;
};

class PipeStreamTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm, .timeout = 25s})
        .value();
  }

  // The bytes, and behind them their checksum.
  bool send_all(std::uint64_t bytes) {
    PipeEnd end = connect().pipe_end("stream", PipeSide::kA).value();
    std::vector<std::uint64_t> part(kPartBytes / 8);
    std::iota(part.begin(), part.end(), 0x123456789);
    Checksum checksum;
    for (std::uint64_t sent = 0; sent < bytes;) {
      part[sent / kPartBytes % part.size()] += sent;  // no part is as another one
      const std::size_t length = std::min(bytes - sent, kPartBytes);
      checksum.add(reinterpret_cast<const std::byte*>(part.data()), length);
      const auto done = end.send(Body(part.data(), length));
      if (!done || *done != length) return false;
      sent += length;
    }
    return end.send(Body(&checksum.sum, sizeof checksum.sum)).ok();
  }

  // While the supervisor is stopped it cannot start another one.
  void kill_broker_for_now() {
    const pid_t broker = daemon().broker_pid();
    daemon().signal(SIGSTOP);
    ASSERT_EQ(kill(broker, SIGKILL), 0);
    while (!is_dead(broker)) std::this_thread::sleep_for(1ms);
  }
  // Its parent is stopped, so what is left of it stays.
  static bool is_dead(pid_t pid) {
    std::FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
    if (file == nullptr) return true;
    char state = 0;
    const int got = std::fscanf(file, "%*d (%*[^)]) %c", &state);
    std::fclose(file);
    return got != 1 || state == 'Z' || state == 'X';
  }
};

TEST_F(PipeStreamTest, GoesOnWhileTheBrokerIsKilled) {
  const bool long_run = std::getenv("HEDDLE_LONG") != nullptr;
  const std::uint64_t bytes = long_run ? 10'240 * kMiB : 256 * kMiB;
  const Watchdog watchdog("stream", long_run ? 900 : 60);
  PipeEnd end =
      connect()
          .pipe_end("stream", PipeSide::kB, {.mode = PipeMode::kBytes, .capacity = 64 * 1024})
          .value();
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(getppid() == parent && send_all(bytes) ? 0 : 1);
  }
  // Of a quarter to a half there is no broker.
  std::uint64_t received = 0, without_from = 0, without_to = 0;
  Checksum checksum;
  std::vector<std::byte> room(48 * 1024);
  std::vector<std::byte> tail;
  const auto start = std::chrono::steady_clock::now();
  Status status;
  for (;;) {
    const auto length = end.receive_into(room);
    status = length.status();
    if (!status.ok()) break;
    const std::size_t of_stream = std::min<std::uint64_t>(*length, bytes - received);
    checksum.add(room.data(), of_stream);
    tail.insert(tail.end(), room.begin() + static_cast<std::ptrdiff_t>(of_stream),
                room.begin() + static_cast<std::ptrdiff_t>(*length));
    received += of_stream;
    if (without_from == 0 && received >= bytes / 4) {
      kill_broker_for_now();
      without_from = received;
    }
    if (without_to == 0 && received >= bytes / 2) {
      EXPECT_EQ(daemon().broker_pid(), 0);
      without_to = received;
      daemon().signal(SIGCONT);
    }
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  EXPECT_TRUE(status.is(Reason::kEndOfStream)) << status.to_string();
  EXPECT_EQ(received, bytes);
  int ended = -1;
  EXPECT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_EQ(ended, 0);
  daemon().signal(SIGCONT);  // the stream may have ended too early
  std::uint64_t said = 0;
  ASSERT_EQ(tail.size(), sizeof said);
  std::memcpy(&said, tail.data(), sizeof said);
  EXPECT_EQ(checksum.sum, said);
  std::printf("%llu MiB in %.2f s, %llu MiB of them without a broker\n",
              static_cast<unsigned long long>(bytes / kMiB), time.count(),
              static_cast<unsigned long long>((without_to - without_from) / kMiB));
  // The next broker knows the pipe.
  EXPECT_EQ(connect().pipe_info("stream")->name, "stream");
}

}  // namespace
}  // namespace heddle::test
