// heddle queue get: a message is written first and acknowledged then, so that what this process
// could not write, or did not live to write, goes back to its place.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

// How soon a getter that goes on for ever sees that nobody reads it any more.
constexpr std::chrono::milliseconds kSlice{250};
// Taken at once when going on for ever: few, because what is taken is kept from others.
constexpr std::size_t kBatch = 16;
constexpr std::chrono::milliseconds kLeaseDefault{60'000};

struct GetArguments {
  std::string name, ack = "auto";
  Timeout timeout;
  std::optional<std::chrono::milliseconds> lease;
  std::optional<std::uint64_t> max;
  bool follow = false;
  bool raw = false;
  bool manual() const { return ack == "manual"; }
};

std::string get_words(const Status& status, const Queue& queue, const GetArguments& given) {
  const std::string subject = "queue " + queue.name() + ": ";
  switch (status.reason()) {
    case Reason::kEmpty:
      return subject + "empty";
    case Reason::kTimedOut:
      return subject + "nothing came within " + given.timeout.text;
    case Reason::kEndOfStream:
      return subject + "end of stream";
    default:
      return words_of(status);
  }
}

// As a line of JSON, or as the body; a lease stands on a line before its body.
std::string output_of(const Invocation& run, const GetArguments& given, const Message& message,
                      const std::string& lease) {
  if (run.json) {
    Json document = {{"id", message.id()},
                     {"message", message_json(message.text(), message.kind())},
                     {"delivery_count", message.delivery_count()}};
    if (!lease.empty()) document["lease"] = lease;
    return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  std::string text = lease.empty() ? "" : lease + "\n";
  text += message.text();
  if (!given.raw && wants_newline(message.kind())) text += '\n';
  return text;
}

bool write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

// Whether whoever read our output is gone. Only a write would tell, and there may be nothing to
// write.
bool reader_is_gone() {
  pollfd out{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

class Getter {
 public:
  Getter(const Invocation& run, const GetArguments& given, Queue& queue)
      : run_(run),
        given_(given),
        queue_(queue),
        progress_(given.follow && !run.quiet && !run.json && ::isatty(STDOUT_FILENO) == 0) {}

  int get_all() {
    const std::uint64_t max = given_.max.value_or(given_.follow ? UINT64_MAX : 1);
    auto wait = given_.timeout.value();
    while (got_ < max) {
      std::vector<Message> messages;
      const Status status = wait_and_take(max - got_, wait, &messages);
      if (status.is(Reason::kInterrupted)) return kBrokenPipe;
      if (!status.ok()) return end(status);
      for (Message& message : messages) {
        const int exit_code = deliver(message);
        if (exit_code != kExitOk) return exit_code;
      }
      if (progress_.due()) progress_.show(queue_.name() + ": " + counted(got_, "message") + " got");
      // Only the first is waited for, unless this goes on.
      if (!given_.follow) wait = std::chrono::nanoseconds::zero();
    }
    return kExitOk;
  }

 private:
  // INTERRUPTED when nobody reads what would be written.
  Status wait_and_take(std::uint64_t max, std::chrono::nanoseconds wait,
                       std::vector<Message>* messages) {
    using std::chrono::steady_clock;
    if (!given_.follow || wait <= kSlice) return take(max, wait, messages);
    const auto start = steady_clock::now();
    for (;;) {
      const auto left = wait == kForever ? wait : wait - (steady_clock::now() - start);
      Status status = take(max, std::min<std::chrono::nanoseconds>(left, kSlice), messages);
      const bool nothing = status.is(Reason::kTimedOut) || status.is(Reason::kEmpty);
      if (!nothing || left <= kSlice) return status;
      if (reader_is_gone()) return Reason::kInterrupted;
    }
  }

  Status take(std::uint64_t max, std::chrono::nanoseconds wait, std::vector<Message>* messages) {
    const auto lease = given_.manual() ? given_.lease.value_or(kLeaseDefault)
                                       : std::chrono::milliseconds::zero();
    if (given_.manual() || max == 1) {
      auto message = queue_.get_for(wait, {.ack = Ack::kManual, .lease = lease});
      if (!message) return message.status();
      messages->push_back(std::move(*message));
      return {};
    }
    auto taken = queue_.get_many(
        wait, {.ack = Ack::kManual, .lease = lease, .max = std::min<std::size_t>(max, kBatch)});
    if (!taken) return taken.status();
    *messages = std::move(*taken);
    return {};
  }

  // kExitOk, or the status with which to end.
  int deliver(Message& message) {
    std::string lease;
    if (given_.manual()) lease = message.lease().to_string();
    if (!write_all(output_of(run_, given_, message, lease))) {
      const int error = errno;
      (void)message.nack(false);
      if (error == EPIPE) return kBrokenPipe;  // whoever read has had enough
      return run_.fail(Status(Reason::kInternal, std::string("cannot write to stdout: ") +
                                                     std::strerror(error) +
                                                     "; the message went back to its place"));
    }
    ++got_;
    if (given_.manual()) {
      (void)message.detach();
      return kExitOk;
    }
    const Status settled = message.ack();
    return settled.ok() ? kExitOk : run_.fail(settled);
  }

  int end(const Status& status) {
    progress_.clear();
    const bool enough = got_ > 0 && !given_.follow && status.outcome();
    const bool finished = given_.follow && status.is(Reason::kEndOfStream);
    if (enough || finished) return kExitOk;
    return run_.fail(status, get_words(status, queue_, given_));
  }

 public:
  static constexpr int kBrokenPipe = 128 + SIGPIPE;

 private:
  const Invocation& run_;
  const GetArguments& given_;
  Queue& queue_;
  Progress progress_;
  std::uint64_t got_ = 0;
};

Status check(const Invocation& run, const GetArguments& given) {
  if (given.lease && !given.manual()) {
    return {Reason::kInvalidArgument,
            "--lease is for --ack manual; otherwise the message is acknowledged once written"};
  }
  if (given.manual() && run.plane == "shm") {
    return {Reason::kUnsupported,
            "--ack manual needs the gRPC plane: a lease over shared memory ends with the process "
            "that took it, and this one ends at once"};
  }
  if (given.raw && run.json) {
    return {Reason::kInvalidArgument, "--raw and --json exclude each other"};
  }
  return {};
}

int get(const Invocation& run, const GetArguments& given) {
  if (const Status wrong = check(run, given); !wrong.ok()) return run.fail(wrong);
  std::signal(SIGPIPE, SIG_IGN);  // seen as EPIPE, when the message can still go back
  int status = kExitOk;
  {
    auto queue = run.open(given.name, given.manual());
    if (!queue) return run.fail(queue.status());
    status = Getter(run, given, *queue).get_all();
  }
  if (status == Getter::kBrokenPipe) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  return status;
}

}  // namespace

void add_queue_get(CLI::App& queue, Invocation& run) {
  auto given = std::make_shared<GetArguments>();
  CLI::App* verb = add_verb(
      queue, "get", "Take a message and write its body",
      "heddle queue get jobs                       # waits for one\n"
      "heddle queue get jobs --timeout 0           # empty: status 5 at once\n"
      "heddle queue get jobs --raw > cat.jpg       # the bytes and nothing else\n"
      "heddle queue get jobs --follow | while read -r job; do ...; done\n"
      "heddle queue get jobs --ack manual          # the lease, then the body\n"
      "heddle queue get jobs -n 10 --json          # up to ten, a line of JSON each");
  add_name(*verb, given->name);
  add_timeout(*verb, given->timeout, "Wait so long for a message; 0 does not wait (for ever)");
  add_count(*verb, "-n,--max", given->max, 1, UINT64_MAX,
            "Up to so many: waits for the first, takes what is there (1)");
  verb->add_flag("-f,--follow", given->follow,
                 "Go on until the stream ends, or nothing came for --timeout");
  verb->add_flag("--raw", given->raw, "Bodies alone; else text and JSON get a newline each");
  add_choice(*verb, "--ack", given->ack, {"auto", "manual"},
             "auto: done once written. manual: leased, for heddle queue ack");
  add_duration(*verb, "--lease", given->lease, "How long a manual lease lasts (60s)");
  verb->callback([given, &run] { run.action = [given, &run] { return get(run, *given); }; });
}

}  // namespace heddle::cli
