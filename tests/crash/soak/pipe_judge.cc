// Connections that end: by a death or cleanly, at the sender or at the receiver, and what the other
// side is told.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/crash/soak/pipe_workers.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// What the other process says about itself, where the judge sees it after its death.
struct Confession {
  std::atomic<std::uint64_t> sent{0};
  std::atomic<bool> closed{false};
};

// Kills this very process after a while, wherever it is then.
void dies_after(std::chrono::microseconds time) {
  std::thread([time] {
    std::this_thread::sleep_for(time);
    kill(getpid(), SIGKILL);
  }).detach();
}

class Judge {
 public:
  Judge(Books& books, Client& client, std::string dir, unsigned seed)
      : books_(books), client_(client), dir_(std::move(dir)), random_(seed) {
    void* memory = mmap(nullptr, sizeof(Confession), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    confession_ = new (memory) Confession;
  }
  ~Judge() { munmap(confession_, sizeof(Confession)); }

  // Each has a pipe of its own: whoever died while it connected must not be met in the next one.
  void round() {
    const std::string name = "soak/round-" + std::to_string(++number_);
    confession_->sent = 0;
    confession_->closed = false;
    auto listener = client_.listen_pipe(name, {.capacity = 4096});
    if (!listener) return books_.complain("listen", listener.status());
    const bool sends = random_() % 2 == 0;
    const bool dies = random_() % 4 != 0;
    const auto life = std::chrono::microseconds(random_() % 30'000);
    const auto messages = random_() % 300;
    const pid_t child = soak_process(books_, dir_, [&](Client& client) {
      if (dies) dies_after(life);
      sends ? other_sends(client, name, messages) : other_receives(client, name, messages);
    });
    auto end = accept(*listener, child);
    if (end) sends ? judge_sender(end, child) : judge_receiver(end, child);
    if (!reaped_) waitpid(child, nullptr, 0);
    reaped_ = false;
    listener->close();
    // Asked again because the broker was killed before it answered, it is gone already.
    Status gone = client_.delete_pipe(name);
    if (!gone.ok() && !gone.is(Reason::kNotFound)) books_.complain("delete", gone);
    ++books_.rounds;
  }

 private:
  // Empty if it died before that.
  PipeEnd accept(PipeListener& listener, pid_t child) {
    for (;;) {
      auto end = listener.accept(20ms);
      if (end) return std::move(*end);
      if (!end.status().is(Reason::kTimedOut)) books_.complain("accept", end.status());
      if (reaped_) return {};
      reaped_ = waitpid(child, nullptr, WNOHANG) == child;
    }
  }

  void other_sends(Client& client, const std::string& name, std::uint64_t messages) {
    auto end = client.connect_pipe(name);
    if (!end) return books_.complain("connect a pipe", end.status());
    for (std::uint64_t i = 1; i <= messages; ++i) {
      std::vector<std::byte> message(sizeof(MessageHead) + i * 37 % 9000);
      write_message({0, 0, i, 0, static_cast<std::uint32_t>(i * 37 % 9000)}, message);
      const auto sent = end->send(Body(message.data(), message.size()));
      if (!sent) return books_.complain("send to the judge", sent.status());
      confession_->sent = i;
    }
    confession_->closed = true;  // from here on a death may come before the end, or after it
    end->close();
  }

  void other_receives(Client& client, const std::string& name, std::uint64_t messages) {
    auto end = client.connect_pipe(name);
    if (!end) return books_.complain("connect a pipe", end.status());
    for (std::uint64_t i = 0; i < messages; ++i) {
      const auto got = end->receive();
      if (!got) return books_.complain("receive from the judge", got.status());
    }
    confession_->closed = true;
    end->close();
  }

  // All that was sent, in order, and then the right end.
  void judge_sender(PipeEnd& end, pid_t child) {
    std::uint64_t got = 0;
    for (;;) {
      auto message = end.receive();
      if (!message) {
        told(message.status(), child);
        break;
      }
      MessageHead head;
      if (const char* wrong = read_message(message->bytes, &head)) {
        return books_.complain("message to the judge", wrong);
      }
      if (head.sequence != ++got) return books_.complain("order", std::to_string(head.sequence));
    }
    // Whoever died in the middle of a message may have sent one more than it said.
    const std::uint64_t said = confession_->sent;
    if (got != said && (got != said + 1 || confession_->closed)) {
      books_.complain("the drain",
                      std::to_string(got) + " came, sent were " + std::to_string(said));
    }
  }

  void judge_receiver(PipeEnd& end, pid_t child) {
    const std::string small(100, 's'), large(9000, 'l');
    for (;;) {
      const auto sent = end.send(random_() % 4 == 0 ? large : small);
      if (sent) continue;
      if (!sent.status().is(Reason::kBrokenPipe)) books_.complain("send", sent.status());
      ++books_.broken_told;
      break;
    }
    told(end.receive().status(), child);
  }

  void told(const Status& status, pid_t child) {
    if (status.is(Reason::kPeerDied)) {
      ++books_.deaths_told;
      if (status.message().find("pid " + std::to_string(child)) == std::string::npos) {
        books_.complain("whose death", status);
      }
    } else if (status.is(Reason::kEndOfStream)) {
      ++books_.clean_ends_told;
      if (!confession_->closed) books_.complain("a death told as a clean end", status);
    } else {
      books_.complain("how it ended", status);
    }
  }

  Books& books_;
  Client& client_;
  const std::string dir_;
  std::mt19937 random_;
  Confession* confession_ = nullptr;
  std::uint64_t number_ = 0;
  bool reaped_ = false;
};

}  // namespace

void soak_judge(Books& books, Client& client, const std::string& dir, unsigned seed) {
  Judge judge(books, client, dir, seed);
  while (!books.over && books.wrong == 0) judge.round();
}

}  // namespace heddle::test
