// Kill soak of pipes: processes share their ends, send and receive in every way, and are killed at
// random; so is the broker. 8 s by default; HEDDLE_LONG=1: 60 s.
//
// What must hold: whatever comes is whole and as it was sent, in order per sender, never twice, and
// never something that its sender took back. What a sender was told is sent comes, except that
// a receiver takes the one with it that it was at. A stream of bytes goes on where the dead left
// it. Who has lost the other side for good is told how. Nobody hangs: the watchdog.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/crash/soak/pipe_workers.h"
#include "tests/support/daemon_fixture.h"
#include "tests/support/watchdog.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class PipeSoakTest : public testing::Test {
 protected:
  struct Worker {
    std::function<pid_t()> start;
    std::atomic<std::uint64_t>* kills;  // null: it is not killed
    pid_t pid;
  };

  void add(std::atomic<std::uint64_t>* kills, std::function<void(Client&, unsigned seed)> work) {
    auto start = [this, work = std::move(work)] {
      const unsigned seed = random_();
      return soak_process(*books_, dir_, [&](Client& client) { work(client, seed); });
    };
    workers_.push_back({start, kills, start()});
  }

  void start_all() {
    Books& books = *books_;
    for (int pipe = 0; pipe < kSoakMessagePipes; ++pipe) {
      PipeBooks& of = books.pipes[pipe];
      for (int i = 0; i < kSoakPipes[pipe].senders; ++i) {
        add(&of.sender_kills, [&books, pipe](Client& client, unsigned seed) {
          soak_send(books, client, pipe, seed);
        });
      }
      for (int i = 0; i < kSoakPipes[pipe].receivers; ++i) {
        add(kSoakPipes[pipe].kills_receivers ? &of.receiver_kills : nullptr,
            [&books, pipe](Client& client, unsigned seed) {
              soak_receive(books, client, pipe, seed);
            });
      }
    }
    add(&books.stream_kills,
        [&books](Client& client, unsigned seed) { soak_send_stream(books, client, seed); });
    add(&books.stream_kills,
        [&books](Client& client, unsigned seed) { soak_receive_stream(books, client, seed); });
    add(nullptr,
        [&books, this](Client& client, unsigned seed) { soak_judge(books, client, dir_, seed); });
  }

  void kill_for(std::chrono::seconds time) {
    const auto end = Clock::now() + time;
    auto next_broker = Clock::now() + 500ms;
    while (Clock::now() < end && books_->wrong == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 20'000));
      Worker& victim = workers_[random_() % workers_.size()];
      if (victim.kills != nullptr) {
        kill_and_reap(victim.pid);
        ++*victim.kills;
        ++client_kills_;
        victim.pid = victim.start();
      }
      if (Clock::now() < next_broker) continue;
      const pid_t broker = daemon_.broker_pid();
      if (broker > 0 && kill(broker, SIGKILL) == 0) ++broker_kills_;
      next_broker = Clock::now() + std::chrono::milliseconds(500 + random_() % 1000);
    }
  }

  void end_all() {
    for (Worker& worker : workers_) {
      if (worker.kills != nullptr) {
        kill_and_reap(worker.pid);
        ++*worker.kills;
      }
    }
    // Whoever lives closes its end, which must not be the last of that side: the rest is there yet.
    Client client = soak_client(dir_);
    std::vector<PipeEnd> kept;
    for (const SoakPipe& pipe : kSoakPipes) {
      kept.push_back(client.pipe_end(pipe.name, PipeSide::kB).value());
    }
    books_->over = true;
    for (Worker& worker : workers_) {
      if (worker.kills == nullptr) waitpid(worker.pid, nullptr, 0);
    }
    for (int pipe = 0; pipe < kSoakMessagePipes; ++pipe) drain(client, kept[pipe], pipe);
    drain_stream(client);
  }

  static void kill_and_reap(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  // What the dead left is received, then what comes after them, then the end.
  void drain(Client& client, PipeEnd& b, int pipe) {
    const std::string name = kSoakPipes[pipe].name;
    SCOPED_TRACE(name);
    PipeEnd a = client.pipe_end(name, PipeSide::kA).value();
    std::thread sender([&] {
      EXPECT_TRUE(a.send(std::string(30'000, 'z')).ok());
      EXPECT_TRUE(a.send("the last").ok());
      a.close();
    });
    Ledger ledger(*books_, pipe, false);
    bool marked = false;
    for (;;) {
      auto message = b.receive();
      if (!message) {
        EXPECT_TRUE(message.status().is(Reason::kEndOfStream)) << message.status().to_string();
        break;
      }
      if (marked) {
        EXPECT_EQ(message->text(), "the last");
      } else if (message->text() == std::string(30'000, 'z')) {
        marked = true;
      } else {
        ledger.enter(message->bytes);
      }
    }
    sender.join();
    EXPECT_TRUE(marked);
    b.close();
    EXPECT_EQ(client.pipe_info(name)->connection_count, 0u);
  }

  void drain_stream(Client& client) {
    PipeEnd b = client.pipe_end(kSoakStream, PipeSide::kB).value();
    PipeEnd a = client.pipe_end(kSoakStream, PipeSide::kA).value();
    const PipeEndInfo info = client.pipe_info(kSoakStream)->connections.at(0).a;
    std::vector<std::byte> rest(10'000);
    write_stream(info.bytes_sent, rest);
    std::thread sender([&] {
      EXPECT_EQ(a.send(Body(rest.data(), rest.size())).value(), rest.size());
      a.close();
    });
    std::uint64_t position = info.bytes_sent - info.bytes_queued;
    for (;;) {
      auto some = b.receive();
      if (!some) {
        EXPECT_TRUE(some.status().is(Reason::kEndOfStream)) << some.status().to_string();
        break;
      }
      EXPECT_TRUE(is_stream(position, some->bytes)) << "at byte " << position;
      position += some->bytes.size();
    }
    sender.join();
    EXPECT_EQ(position, info.bytes_sent + rest.size());
  }

  void judge(int pipe) {
    const PipeBooks& books = books_->pipes[pipe];
    SCOPED_TRACE(kSoakPipes[pipe].name);
    std::uint64_t sent = 0, lost = 0, withdrawn = 0, half = 0, came_back = 0;
    const std::uint64_t numbers = std::min(books.next_number.load(), kSoakMessagesMax);
    for (std::uint64_t number = 0; number < numbers; ++number) {
      const Fate fate = books.fate[number];
      const bool seen = books.seen[number] != 0;
      sent += fate == Fate::kSent;
      lost += fate == Fate::kSent && !seen;
      withdrawn += fate == Fate::kWithdrawn;
      came_back += fate == Fate::kWithdrawn && seen;
      half += fate == Fate::kUnknown && !seen;
    }
    std::printf(
        "%-11s %llu senders and %llu receivers killed; %llu messages sent, %llu received "
        "(%llu larger than 4 KiB, %.1f MiB in all), %llu taken back, %llu cut off, %llu gone "
        "with their receiver\n",
        kSoakPipes[pipe].name, as_printed(books.sender_kills), as_printed(books.receiver_kills),
        as_printed(sent), as_printed(books.received), as_printed(books.received_large),
        static_cast<double>(books.bytes) / (1 << 20), as_printed(withdrawn), as_printed(half),
        as_printed(lost));
    EXPECT_EQ(came_back, 0u);
    EXPECT_LE(lost, books.receiver_kills);
    EXPECT_GT(books.received, 100u);
    EXPECT_GT(books.sender_kills, 0u);
    if (kSoakPipes[pipe].body_bytes_max > 4096) {
      EXPECT_GT(books.received_large, 10u);
    }
  }

  static unsigned long long as_printed(std::uint64_t n) { return n; }

  ~PipeSoakTest() override { munmap(books_, sizeof(Books)); }

  const bool long_run_ = std::getenv("HEDDLE_LONG") != nullptr;
  const std::chrono::seconds time_ = long_run_ ? 60s : 8s;
  Watchdog watchdog_{"pipe soak", static_cast<unsigned>(time_.count()) + 60};
  Daemon daemon_;
  const std::string dir_ = daemon_.runtime_dir();
  Books* const books_ = Books::make();
  std::mt19937 random_{static_cast<unsigned>(getpid())};
  std::vector<Worker> workers_;
  std::uint64_t client_kills_ = 0, broker_kills_ = 0;
};

TEST_F(PipeSoakTest, WhatComesIsWholeWhileEverybodyIsKilled) {
  ASSERT_NE(books_, nullptr);
  {
    Client client = soak_client(dir_);
    for (const SoakPipe& pipe : kSoakPipes) {
      ASSERT_TRUE(client.create_pipe(pipe.name, pipe.options).ok());
    }
    ASSERT_TRUE(client.create_pipe(kSoakStream, kSoakStreamOptions).ok());
  }
  start_all();
  kill_for(time_);
  end_all();
  EXPECT_EQ(books_->wrong, 0u) << books_->why.data();

  std::printf("shown: pipe soak; %llu clients and %llu brokers killed\n", as_printed(client_kills_),
              as_printed(broker_kills_));
  for (int pipe = 0; pipe < kSoakMessagePipes; ++pipe) judge(pipe);
  std::printf("soak/stream %llu killed, %.1f MiB received\n", as_printed(books_->stream_kills),
              static_cast<double>(books_->stream_bytes) / (1 << 20));
  std::printf("rounds      %llu; told: %llu deaths, %llu clean ends, %llu broken pipes\n",
              as_printed(books_->rounds), as_printed(books_->deaths_told),
              as_printed(books_->clean_ends_told), as_printed(books_->broken_told));
  EXPECT_GT(books_->stream_bytes, 1u << 20);
  EXPECT_GT(broker_kills_, 2u);
  EXPECT_GT(books_->deaths_told, 2u);
  EXPECT_GT(books_->clean_ends_told, 0u);
  EXPECT_GT(books_->broken_told, 0u);
  if (long_run_) {
    EXPECT_GE(client_kills_ + broker_kills_, 2000u);
  }
}

}  // namespace
}  // namespace heddle::test
