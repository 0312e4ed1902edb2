// heddle queue put NAME BODY | - | - --lines
#include <charconv>
#include <memory>
#include <optional>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

constexpr std::size_t kBatchLines = 256;

struct PutArguments {
  std::string name, body, kind, fence_text;
  std::optional<Fence> fence = {};
  Timeout timeout;
  bool lines = false;
  bool producer = false;
};

// The same with the limit that stood in the way, if the plane did not tell.
Status with_limit(Status status, Queue& queue) {
  const bool room = status.is(Reason::kFull) || status.is(Reason::kTimedOut);
  if (!room || status.has_limit()) return status;
  auto info = queue.info();
  if (!info) return status;
  const std::uint64_t size = info->counts.ready + info->counts.returned;
  const std::uint64_t max_len = info->options.max_len.value_or(0);
  const std::uint64_t max_bytes = info->options.max_bytes.value_or(0);
  return size >= max_len ? std::move(status).with_limit(max_len, size)
                         : std::move(status).with_limit(max_bytes, info->counts.bytes);
}

// What the outcome of a put means to the one who typed it.
std::string put_words(const Status& status, const Queue& queue, const Timeout& timeout) {
  const std::string subject = "queue " + queue.name() + ": ";
  const std::string limit = status.has_limit()
                                ? " (limit " + std::to_string(status.limit()) + ", actual " +
                                      std::to_string(status.actual()) + ")"
                                : "";
  switch (status.reason()) {
    case Reason::kFull:
      return subject + "full" + limit;
    case Reason::kTimedOut:
      return subject + "still full after " + timeout.text + limit;
    case Reason::kClosed:
      return subject + "shut down; heddle queue reopen " + queue.name() + " opens it again";
    default:
      return words_of(status);
  }
}

int put_one(const Invocation& run, const PutArguments& given, Queue& queue) {
  auto read = whole_body(given.body);
  if (!read) return run.fail(read.status());
  const std::string& body = *read;
  // Words are text; a stream is bytes, and comes out as the same bytes.
  BodyKind kind = given.body != "-" && is_utf8(body) ? BodyKind::kText : BodyKind::kData;
  if (!given.kind.empty()) kind = kind_of(given.kind);
  const bool json = kind == BodyKind::kJson || kind == BodyKind::kJsonText;
  if (json && !Json::accept(body)) {
    return run.fail(Status(Reason::kInvalidArgument, "the body is not JSON: " + visible(body, 60)));
  }
  const Body one(body.data(), body.size(), kind);
  auto id = given.fence ? queue.put(one, *given.fence, given.timeout.value())
                        : queue.put_for(one, given.timeout.value());
  if (!id) {
    const Status status = with_limit(id.status(), queue);
    return run.fail(status, put_words(status, queue, given.timeout));
  }
  if (run.json) run.print({{"name", queue.name()}, {"id", *id}});
  return kExitOk;
}

// Lines of stdin, each a message, put as they come.
class LinePutter {
 public:
  LinePutter(const Invocation& run, const PutArguments& given, Queue& queue)
      : run_(run), given_(given), queue_(queue), progress_(!run.quiet && !run.json) {}

  int put_all() {
    std::string buffer;
    for (;;) {
      const ssize_t got = read_stdin(buffer);
      if (got < 0) return run_.fail(cannot_read_stdin());
      const bool more = got > 0;
      const std::size_t used = put_lines(buffer, !more);
      if (!status_.ok()) return fail();
      buffer.erase(0, used);
      if (progress_.due()) progress_.show(queue_.name() + ": " + counted(put_, "message") + " put");
      if (!more) break;
    }
    progress_.clear();
    if (run_.json) run_.print({{"name", queue_.name()}, {"put", put_}});
    return kExitOk;
  }

 private:
  // Puts the whole lines of `text`, at the end also one without its newline; how much it used.
  std::size_t put_lines(std::string_view text, bool at_end) {
    std::vector<Body> batch;
    std::size_t used = 0;
    while (used < text.size() && status_.ok()) {
      std::size_t end = text.find('\n', used);
      if (end == std::string_view::npos) {
        if (!at_end) break;
        end = text.size();
      }
      batch.emplace_back(text.substr(used, end - used));
      used = std::min(end + 1, text.size());
      if (batch.size() == kBatchLines) put_batch(batch);
    }
    if (status_.ok()) put_batch(batch);
    return used;
  }

  void put_batch(std::vector<Body>& batch) {
    if (batch.empty()) return;
    const auto timeout = given_.timeout.value();
    PutManyResult result = given_.fence ? queue_.put_many(batch, *given_.fence, timeout)
                                        : queue_.put_many(batch, timeout);
    put_ += result.done;
    status_ = std::move(result.status);
    batch.clear();
  }

  int fail() {
    progress_.clear();
    status_ = with_limit(std::move(status_), queue_);
    const std::string words = put_words(status_, queue_, given_.timeout) + "; line " +
                              std::to_string(put_ + 1) + " and what follows were not put";
    const int exit_code = run_.fail(status_, words, {{"put", put_}});
    return put_ == 0 ? exit_code : kExitPartial;
  }

  const Invocation& run_;
  const PutArguments& given_;
  Queue& queue_;
  Progress progress_;
  std::uint64_t put_ = 0;
  Status status_;
};

// LOCK:TOKEN; a name has no colon.
Result<Fence> fence_of(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  Fence fence{.lock = text.substr(0, colon)};
  const char* const end = text.data() + text.size();
  const char* const digits = colon == std::string::npos ? end : text.data() + colon + 1;
  const auto [stop, error] = std::from_chars(digits, end, fence.token);
  if (error == std::errc() && stop == end && !fence.lock.empty()) return fence;
  return Status(
      Reason::kInvalidArgument,
      "--fence takes LOCK:TOKEN, such as \"$HEDDLE_FENCE\" under heddle lock run; it is " +
          visible(text, 60));
}

int put(const Invocation& run, PutArguments& given) {
  if (!given.fence_text.empty()) {
    auto fence = fence_of(given.fence_text);
    if (!fence) return run.fail(fence.status());
    given.fence = std::move(*fence);
  }
  if (given.lines && given.body != "-") {
    return run.fail(Status(Reason::kInvalidArgument, "--lines reads stdin: write - as the BODY"));
  }
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  if (!given.producer) {
    return given.lines ? LinePutter(run, given, *queue).put_all() : put_one(run, given, *queue);
  }
  auto opened = queue->producer();
  if (!opened) return run.fail(opened.status());
  // Not closed unless all went well: the end of this process is then the death of a producer.
  auto* producer = new Producer(std::move(*opened));
  const int status =
      given.lines ? LinePutter(run, given, *queue).put_all() : put_one(run, given, *queue);
  if (status != kExitOk) {
    std::fflush(nullptr);
    ::_exit(status);
  }
  const Status closed = producer->close();
  delete producer;
  return closed.ok() ? status : run.fail(closed);
}

}  // namespace

void add_queue_put(CLI::App& queue, Invocation& run) {
  auto given = std::make_shared<PutArguments>();
  CLI::App* verb = add_verb(
      queue, "put", "Put a message",
      "heddle queue put jobs 'resize cat.jpg'\n"
      "heddle queue put jobs '{\"file\":\"cat.jpg\"}' --kind json\n"
      "heddle queue put jobs - < cat.jpg             # stdin, byte for byte\n"
      "ls *.jpg | heddle queue put jobs - --lines    # a message per line\n"
      "heddle queue put jobs now --timeout 0         # full: status 7 at once\n"
      "heddle queue put jobs -- -x                   # a body that looks like an option\n"
      "heddle lock run ledger -- sh -c 'heddle queue put jobs x --fence \"$HEDDLE_FENCE\"'\n"
      "\n"
      "With --fence it is refused, status 14, once somebody else has been granted the lock.");
  add_name(*verb, given->name);
  verb->add_option("BODY", given->body, "The message; - reads stdin")->required()->type_name("");
  verb->add_flag("--lines", given->lines, "Each line of stdin is a message (text)");
  add_choice(*verb, "--kind", given->kind, {"data", "text", "json", "json_text"},
             "What the body is (a word is text, stdin is data)");
  add_timeout(*verb, given->timeout, "Wait so long for room; 0 does not wait (for ever)");
  verb->add_option("--fence", given->fence_text,
                   "Only while TOKEN is the newest of LOCK that was granted or shown here")
      ->type_name("LOCK:TOKEN");
  verb->add_flag("--producer", given->producer,
                 "Register as a producer: consumers can tell the end from a death");
  verb->callback([given, &run] { run.action = [given, &run] { return put(run, *given); }; });
}

}  // namespace heddle::cli
