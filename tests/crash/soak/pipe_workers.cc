#include "tests/crash/soak/pipe_workers.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

// One sender: its number, what it sent so far, and where it writes its next ones.
class Sender {
 public:
  Sender(Books& books, int pipe, PipeEnd end, unsigned seed)
      : books_(books),
        pipe_(books.pipes[pipe]),
        end_(std::move(end)),
        bytes_max_(kSoakPipes[pipe].body_bytes_max),
        me_(pipe_.next_sender++),
        random_(seed) {}

  bool once() {
    switch (random_() % 8) {
      case 0:
        return in_place();
      case 1:
        return in_a_batch();
      case 2:
        return held();
      case 3:
        return sent(random_() % 2 == 0 ? 0ns : std::chrono::nanoseconds(random_() % 3'000'000));
      default:
        return sent(kForever);
    }
  }

 private:
  // The next message; empty when all numbers are used up.
  std::vector<std::byte> next(std::uint32_t body_bytes, std::uint64_t ahead = 1) {
    const std::uint64_t number = pipe_.next_number++;
    if (number >= kSoakMessagesMax) return {};
    numbers_.push_back(number);
    std::vector<std::byte> message(sizeof(MessageHead) + body_bytes);
    write_message({0, number, sequence_ + ahead, me_, body_bytes}, message);
    return message;
  }
  std::uint32_t size() { return static_cast<std::uint32_t>(random_() % bytes_max_); }
  // The first `done` of those made are in, the others were given up.
  void settle(std::size_t done) {
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      pipe_.fate[numbers_[i]] = i < done ? Fate::kSent : Fate::kWithdrawn;
    }
    sequence_ += done;
    numbers_.clear();
  }
  bool failed(const char* what, const Status& status) {
    books_.complain(what, status);
    return false;
  }

  bool sent(std::chrono::nanoseconds timeout) {
    const std::vector<std::byte> message = next(size());
    if (message.empty()) return false;
    const auto result = end_.send(Body(message.data(), message.size()), timeout);
    settle(result.ok() ? 1 : 0);
    if (result.ok()) {
      return *result == message.size() || failed("send", Status(Reason::kInternal, "a part"));
    }
    const Status& status = result.status();
    if (timeout != kForever && (status.is(Reason::kFull) || status.is(Reason::kTimedOut))) {
      return true;
    }
    return failed("send", status);
  }

  bool in_place() {
    const std::vector<std::byte> message = next(std::min(size(), 1000u));
    if (message.empty()) return false;
    auto room = end_.reserve(message.size());
    if (!room) return failed("reserve", room.status());
    std::memcpy(room->bytes().data(), message.data(), message.size());
    if (random_() % 8 == 0) {
      settle(0);
      return true;
    }
    const Status status = room->commit(message.size());
    settle(1);
    return status.ok() || failed("commit", status);
  }

  bool in_a_batch() {
    std::vector<std::vector<std::byte>> messages;
    for (unsigned i = 0; i < 10; ++i) {
      messages.push_back(next(size() % 500, i + 1));
      if (messages.back().empty()) return false;
    }
    std::vector<Body> bodies;
    for (const auto& one : messages) bodies.emplace_back(one.data(), one.size());
    const PutManyResult result = end_.send_many(bodies);
    settle(result.done);
    return result.status.ok() || failed("send_many", result.status);
  }

  bool held() {
    if (Status status = end_.hold(); !status.ok()) return failed("hold", status);
    const bool good = sent(kForever) && sent(kForever);
    end_.let_go();
    return good;
  }

  Books& books_;
  PipeBooks& pipe_;
  PipeEnd end_;
  const std::uint32_t bytes_max_;
  const std::uint32_t me_;
  std::mt19937 random_;
  std::uint64_t sequence_ = 0;
  std::vector<std::uint64_t> numbers_;
};

// One message by one of the ways to receive; where nothing came in time *got is empty.
Status receive_somehow(PipeEnd& end, std::mt19937& random, std::vector<std::byte>* got) {
  constexpr auto kWait = 50ms;
  got->clear();
  Status status;
  if (random() % 3 == 0) {
    auto view = end.view(kWait);
    if (view) {
      std::vector<std::byte> copy(view->bytes().begin(), view->bytes().end());
      if (random() % 8 == 0) return {};  // it stays for the next
      status = view->consume();
      if (status.ok()) got->swap(copy);
    } else {
      status = view.status();
    }
    if (!status.is(Reason::kTooLarge)) return status;
  } else if (random() % 2 == 0) {
    got->resize(1000);
    const auto length = end.receive_into(*got, kWait);
    got->resize(length.ok() ? *length : 0);
    if (length.ok() || !length.status().is(Reason::kTooLarge)) return length.status();
  }
  auto message = end.receive(kWait);
  if (message) got->swap(message->bytes);
  return message.status();
}

PipeEndInfo stream_info(Books& books, Client& client) {
  auto info = client.pipe_info(kSoakStream);
  if (info.ok() && info->connections.size() == 1) return info->connections[0].a;
  books.complain("info of the stream",
                 info.ok() ? Status(Reason::kInternal, "not one connection") : info.status());
  return {};
}

}  // namespace

Client soak_client(const std::string& dir) {
  return Client::connect({.runtime_dir = dir, .plane = Plane::kShm, .timeout = 25s}).value();
}

pid_t soak_process(Books& books, const std::string& dir, const std::function<void(Client&)>& work) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  auto client = Client::connect({.runtime_dir = dir, .plane = Plane::kShm, .timeout = 25s});
  if (client) {
    work(*client);
  } else {
    books.complain("connect", client.status());
  }
  _exit(0);
}

void soak_send(Books& books, Client& client, int pipe, unsigned seed) {
  auto end = client.pipe_end(kSoakPipes[pipe].name, PipeSide::kA, kSoakPipes[pipe].options);
  if (!end) return books.complain("open end a", end.status());
  Sender sender(books, pipe, std::move(*end), seed);
  while (sender.once()) {
  }
}

void soak_receive(Books& books, Client& client, int pipe, unsigned seed) {
  auto end = client.pipe_end(kSoakPipes[pipe].name, PipeSide::kB, kSoakPipes[pipe].options);
  if (!end) return books.complain("open end b", end.status());
  std::mt19937 random(seed);
  Ledger ledger(books, pipe, kSoakPipes[pipe].receivers == 1);
  std::vector<std::byte> got;
  while (!books.over) {
    const Status status = receive_somehow(*end, random, &got);
    if (!got.empty()) ledger.enter(got);
    if (status.ok() || status.is(Reason::kTimedOut)) continue;
    return books.complain("receive", status);
  }
}

void soak_send_stream(Books& books, Client& client, unsigned seed) {
  auto end = client.pipe_end(kSoakStream, PipeSide::kA, kSoakStreamOptions);
  if (!end) return books.complain("open the stream's end a", end.status());
  std::mt19937 random(seed);
  std::vector<std::byte> part(20'000);
  for (std::uint64_t position = stream_info(books, client).bytes_sent;;) {
    const auto some = std::span(part).first(1 + random() % part.size());
    write_stream(position, some);
    if (random() % 4 == 0) {
      auto room = end->reserve(std::min<std::size_t>(some.size(), 4096));
      if (!room) return books.complain("reserve in the stream", room.status());
      std::copy_n(some.begin(), room->bytes().size(), room->bytes().begin());
      const std::size_t length = room->bytes().size();
      if (Status bad = room->commit(length); !bad.ok()) return books.complain("commit", bad);
      position += length;
      continue;
    }
    const bool waits = random() % 2 == 0;
    const auto sent = end->send(Body(some.data(), some.size()), waits ? kForever : 1ms);
    if (sent) position += *sent;
    if (!sent && (waits || !sent.status().is(Reason::kTimedOut))) {
      return books.complain("send in the stream", sent.status());
    }
  }
}

void soak_receive_stream(Books& books, Client& client, unsigned seed) {
  auto end = client.pipe_end(kSoakStream, PipeSide::kB, kSoakStreamOptions);
  if (!end) return books.complain("open the stream's end b", end.status());
  std::mt19937 random(seed);
  std::vector<std::byte> part(9'000);
  const PipeEndInfo from = stream_info(books, client);
  for (std::uint64_t position = from.bytes_sent - from.bytes_queued;;) {
    std::size_t length = 0;
    if (random() % 4 == 0) {
      auto view = end->view();
      if (!view) return books.complain("view of the stream", view.status());
      length = 1 + random() % view->bytes().size();
      const auto some = view->bytes().first(length);
      if (!is_stream(position, some)) return books.complain("stream", std::to_string(position));
      if (Status bad = view->consume(length); !bad.ok()) return books.complain("consume", bad);
    } else {
      const auto got = end->receive_into(std::span(part).first(1 + random() % part.size()));
      if (!got) return books.complain("receive from the stream", got.status());
      length = *got;
      if (!is_stream(position, std::span(part).first(length))) {
        return books.complain("stream", std::to_string(position));
      }
    }
    position += length;
    books.stream_bytes += length;
  }
}

}  // namespace heddle::test
