// heddle pipe create | send | recv | ls | info | delete
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kPieceBytes = 128 * 1024;
constexpr std::uint64_t kShellCapacity = 1 << 20;

struct PipeArguments {
  std::string name, mode, access, group;
  bool one_way = false, resumable = false, progress = false, lines = false;
  std::optional<std::uint64_t> capacity, max_msg_bytes, count;
  Timeout timeout;
};

PipeOptions pipe_options_of(const PipeArguments& given) {
  PipeOptions options;
  if (!given.mode.empty()) {
    options.mode = given.mode == "bytes" ? PipeMode::kBytes : PipeMode::kMessage;
  }
  if (given.one_way) options.duplex = false;
  if (given.resumable) options.resumable = true;
  options.capacity = given.capacity;
  options.max_msg_bytes = given.max_msg_bytes;
  if (!given.access.empty()) {
    options.access = static_cast<std::uint32_t>(std::stoul(given.access, nullptr, 8));
  }
  options.group = given.group;
  return options;
}

// Bytes so far and how fast, on stderr.
class Meter {
 public:
  explicit Meter(bool wanted) : progress_(wanted) {}
  void add(std::size_t bytes) {
    bytes_ += bytes;
    if (!progress_.shown() || !progress_.due()) return;
    const double s = std::chrono::duration<double>(Clock::now() - start_).count();
    const double rate = s > 0 ? static_cast<double>(bytes_) / s : 0;
    char line[96];
    std::snprintf(line, sizeof line, "%.1f MiB, %.1f MiB/s",
                  static_cast<double>(bytes_) / (1 << 20), rate / (1 << 20));
    progress_.show(line);
  }

 private:
  using Clock = std::chrono::steady_clock;
  Progress progress_;
  const Clock::time_point start_ = Clock::now();
  std::uint64_t bytes_ = 0;
};

// The end as a shell uses it: a stream in one direction, unless the pipe was made otherwise.
Result<PipeEnd> shell_end(Client& client, const std::string& name, PipeSide side) {
  auto end = client.pipe_end(name, side, {.create = false});
  if (end || !end.status().is(Reason::kNotFound)) return end;
  return client.pipe_end(name, side,
                         {.mode = PipeMode::kBytes, .duplex = false, .capacity = kShellCapacity});
}

int system_failure(const Invocation& run, const char* what) {
  return run.fail(Status::from_errno(errno, what));
}

// Waits for stdin before it takes room, so that a slow one holds up nobody at this end.
int send_stream(const Invocation& run, PipeEnd& end, const PipeArguments& given) {
  Meter meter(given.progress);
  for (;;) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, -1) < 0 && errno != EINTR)
      return system_failure(run, "waiting for stdin");
    auto room = end.reserve(kPieceBytes, given.timeout.value());
    if (!room) return run.fail(room.status());
    const ssize_t n = ::read(STDIN_FILENO, room->bytes().data(), room->bytes().size());
    if (n == 0) return kExitOk;
    if (n < 0 && errno != EINTR && errno != EAGAIN) return system_failure(run, "reading stdin");
    if (n <= 0) continue;
    if (Status status = room->commit(static_cast<std::size_t>(n)); !status.ok()) {
      return run.fail(status);
    }
    meter.add(static_cast<std::size_t>(n));
  }
}

int send_messages(const Invocation& run, PipeEnd& end, const PipeArguments& given) {
  Meter meter(given.progress);
  std::string text;
  char* line = nullptr;
  std::size_t size = 0;
  int status = kExitOk;
  const int border = given.lines ? '\n' : EOF;
  for (ssize_t n; status == kExitOk;) {
    text.clear();
    if (given.lines) {
      if ((n = ::getdelim(&line, &size, border, stdin)) < 0) break;
      text.assign(line, static_cast<std::size_t>(n));
      if (text.ends_with('\n')) text.pop_back();
    } else {
      char piece[65536];
      while ((n = static_cast<ssize_t>(std::fread(piece, 1, sizeof piece, stdin))) > 0) {
        text.append(piece, static_cast<std::size_t>(n));
      }
    }
    const Body body = is_utf8(text) ? Body(text) : Body(text.data(), text.size());
    auto sent = end.send(body, given.timeout.value());
    if (!sent) status = run.fail(sent.status());
    meter.add(text.size());
    if (!given.lines) break;
  }
  std::free(line);
  return status;
}

int send_verb(const Invocation& run, const PipeArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto end = shell_end(*client, given.name, PipeSide::kA);
  if (!end) return run.fail(end.status());
  const bool stream = end->options().mode == PipeMode::kBytes;
  return stream ? send_stream(run, *end, given) : send_messages(run, *end, given);
}

bool write_all(const std::byte* data, std::size_t length) {
  while (length > 0) {
    const ssize_t n = ::write(STDOUT_FILENO, data, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    length -= static_cast<std::size_t>(n);
  }
  return true;
}

// How receiving ended: cleanly, or with a word about it.
int received_all(const Invocation& run, const Status& status) {
  return status.is(Reason::kEndOfStream) ? kExitOk : run.fail(status);
}

int recv_stream(const Invocation& run, PipeEnd& end, const PipeArguments& given) {
  Meter meter(given.progress);
  for (;;) {
    auto view = end.view(given.timeout.value());
    if (!view) return received_all(run, view.status());
    const std::size_t n = std::min(view->bytes().size(), kPieceBytes);
    if (!write_all(view->bytes().data(), n)) return system_failure(run, "writing to stdout");
    if (Status status = view->consume(n); !status.ok()) return run.fail(status);
    meter.add(n);
  }
}

int recv_messages(const Invocation& run, PipeEnd& end, const PipeArguments& given) {
  Meter meter(given.progress);
  for (std::uint64_t i = 0; i < given.count.value_or(UINT64_MAX); ++i) {
    auto got = end.receive(given.timeout.value());
    if (!got) return received_all(run, got.status());
    if (run.json) {
      run.print(message_json(got->text(), got->kind));
      continue;
    }
    const std::byte newline{'\n'};
    if (!write_all(got->bytes.data(), got->bytes.size()) ||
        (wants_newline(got->kind) && !write_all(&newline, 1))) {
      return system_failure(run, "writing to stdout");
    }
    meter.add(got->bytes.size());
  }
  return kExitOk;
}

int recv_verb(const Invocation& run, const PipeArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto end = shell_end(*client, given.name, PipeSide::kB);
  if (!end) return run.fail(end.status());
  const bool stream = end->options().mode == PipeMode::kBytes;
  return stream ? recv_stream(run, *end, given) : recv_messages(run, *end, given);
}

int create_pipe(const Invocation& run, const PipeArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  const Status status = client->create_pipe(given.name, pipe_options_of(given));
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", given.name}});
  return kExitOk;
}

int delete_verb(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  const Status status = client->delete_pipe(name);
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", name}, {"deleted", true}});
  return kExitOk;
}

Json end_json(const PipeEndInfo& end) {
  Json users = Json::array();
  for (const PipeUser& user : end.users) {
    users.push_back({{"session", user.session},
                     {"pid", user.pid},
                     {"uid", user.uid},
                     {"command", user.command},
                     {"sending", user.sending},
                     {"receiving", user.receiving}});
  }
  Json out = {{"state", end.state},
              {"users", std::move(users)},
              {"bytes_sent", end.bytes_sent},
              {"bytes_queued", end.bytes_queued},
              {"shut", end.shut}};
  if (end.send_blocked) out["send_blocked_ms"] = end.send_blocked->count();
  if (end.receive_blocked) out["receive_blocked_ms"] = end.receive_blocked->count();
  if (end.died_pid != 0) out["died_pid"] = end.died_pid;
  return out;
}

Json pipe_json(const PipeInfo& info) {
  Json connections = Json::array();
  for (const PipeConnectionInfo& one : info.connections) {
    connections.push_back(
        {{"id", one.id}, {"named", one.named}, {"a", end_json(one.a)}, {"b", end_json(one.b)}});
  }
  char access[8];
  std::snprintf(access, sizeof access, "%04o", info.options.access.value_or(0) & 0777u);
  return {{"name", info.name},
          {"mode", info.options.mode == PipeMode::kBytes ? "bytes" : "message"},
          {"duplex", info.options.duplex.value_or(true)},
          {"capacity", info.options.capacity.value_or(0)},
          {"max_msg_bytes", info.options.max_msg_bytes.value_or(0)},
          {"resumable", info.options.resumable.value_or(false)},
          {"uid", info.uid},
          {"gid", info.gid},
          {"access", access},
          {"listeners", info.listeners},
          {"connection_count", info.connection_count},
          {"connections", std::move(connections)}};
}

std::string end_words(const PipeEndInfo& end) {
  std::string words = end.state;
  for (const PipeUser& user : end.users) {
    words += " " + std::to_string(user.pid) + " (" + visible(user.command, 30) + ")";
  }
  if (end.died_pid != 0) words += ", pid " + std::to_string(end.died_pid) + " died";
  return words;
}

std::string blocked_words(const PipeEndInfo& end) {
  if (end.send_blocked) return "sends for " + age_text(*end.send_blocked);
  if (end.receive_blocked) return "waits for " + age_text(*end.receive_blocked);
  return "-";
}

int ls_verb(const Invocation& run, const std::string& prefix) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto pipes = client->pipes(prefix);
  if (!pipes) return run.fail(pipes.status());
  if (run.json) {
    Json rows = Json::array();
    for (const PipeInfo& info : *pipes) rows.push_back(pipe_json(info));
    run.print(rows);
    return kExitOk;
  }
  Table table({"NAME", "MODE", "CAPACITY", "CONNECTIONS", "LISTENERS", "END A", "END B", "QUEUED"});
  for (const PipeInfo& info : *pipes) {
    const PipeConnectionInfo one =
        info.connections.empty() ? PipeConnectionInfo() : info.connections.front();
    table.add({info.name, info.options.mode == PipeMode::kBytes ? "bytes" : "message",
               std::to_string(info.options.capacity.value_or(0)),
               std::to_string(info.connection_count), std::to_string(info.listeners),
               one.a.state.empty() ? "-" : one.a.state, one.b.state.empty() ? "-" : one.b.state,
               std::to_string(one.a.bytes_queued + one.b.bytes_queued)});
  }
  table.print();
  return kExitOk;
}

int info_verb(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->pipe_info(name);
  if (!info) return run.fail(info.status());
  if (run.json) {
    run.print(pipe_json(*info));
    return kExitOk;
  }
  std::printf("pipe %s: %s, %s, rings of %llu bytes%s; %s, %s\n", info->name.c_str(),
              info->options.mode == PipeMode::kBytes ? "bytes" : "messages",
              info->options.duplex.value_or(true) ? "both ways" : "a to b",
              static_cast<unsigned long long>(info->options.capacity.value_or(0)),
              info->options.resumable.value_or(false) ? ", resumable" : "",
              counted(info->connection_count, "connection").c_str(),
              counted(info->listeners, "listener").c_str());
  if (info->connections.empty()) return kExitOk;
  Table table({"CONNECTION", "END", "STATE AND USERS", "SENT", "QUEUED", "BLOCKED"});
  for (const PipeConnectionInfo& one : info->connections) {
    for (const auto* end : {&one.a, &one.b}) {
      table.add({std::to_string(one.id), end == &one.a ? "a" : "b", end_words(*end),
                 std::to_string(end->bytes_sent), std::to_string(end->bytes_queued),
                 blocked_words(*end)});
    }
  }
  table.print();
  return kExitOk;
}

void add_create_pipe(CLI::App& pipe, Invocation& run) {
  auto given = std::make_shared<PipeArguments>();
  CLI::App* verb = add_verb(pipe, "create", "Make a pipe; one that agrees is left as it is",
                            "heddle pipe create frames\n"
                            "heddle pipe create backup --mode bytes --one-way --capacity 1M\n"
                            "\n"
                            "A pipe needs none of this: it is made by its first use.");
  add_name(*verb, given->name, "Name: 1-200 of A-Z a-z 0-9 . _ / -; ~/x is your own");
  add_choice(*verb, "--mode", given->mode, {"message", "bytes"},
             "Whole messages, or a stream without borders (message)");
  verb->add_flag("--one-way", given->one_way, "From end a to end b only");
  verb->add_flag("--resumable", given->resumable,
                 "An end whose process was killed waits for the next one");
  add_size(*verb, "--capacity", given->capacity, "Bytes of each ring, a power of two (64K)");
  add_size(*verb, "--max-msg-bytes", given->max_msg_bytes,
           "Largest message; may be larger than the ring (16M)");
  verb->add_option("--access", given->access, "Permission bits, like 0660 (0600)")
      ->check(CLI::IsMember({"0600", "0640", "0644", "0660", "0664", "0666"}));
  verb->add_option("--group", given->group, "Owning group; you must be in it");
  verb->callback(
      [given, &run] { run.action = [given, &run] { return create_pipe(run, *given); }; });
}

void add_bridge(CLI::App& pipe, Invocation& run) {
  auto sends = std::make_shared<PipeArguments>();
  CLI::App* verb = add_verb(pipe, "send", "Send stdin through end a",
                            "tar c . | heddle pipe send backup\n"
                            "tail -f log | heddle pipe send lines --lines\n"
                            "\n"
                            "A pipe that is missing is made: a stream from a to b. Ends with 0 at\n"
                            "the end of stdin, 11 when nobody is left to receive.");
  add_name(*verb, sends->name, "The pipe");
  verb->add_flag("--lines", sends->lines, "A pipe of messages: each line is one");
  verb->add_flag("--progress", sends->progress, "How much and how fast, on a terminal");
  add_timeout(*verb, sends->timeout, "Give up when there was no room for so long");
  verb->callback([sends, &run] { run.action = [sends, &run] { return send_verb(run, *sends); }; });

  auto receives = std::make_shared<PipeArguments>();
  verb = add_verb(pipe, "recv", "Write to stdout what comes out of end b",
                  "heddle pipe recv backup | tar x\n"
                  "heddle pipe recv frames -n 1\n"
                  "\n"
                  "Ends with 0 when the sender has closed, 12 when it was killed: what came is\n"
                  "then not all of it.");
  add_name(*verb, receives->name, "The pipe");
  add_count(*verb, "-n,--count", receives->count, 1, UINT32_MAX,
            "A pipe of messages: so many at most (all)");
  verb->add_flag("--progress", receives->progress, "How much and how fast, on a terminal");
  add_timeout(*verb, receives->timeout, "Give up when nothing came for so long");
  verb->callback(
      [receives, &run] { run.action = [receives, &run] { return recv_verb(run, *receives); }; });
}

void add_look(CLI::App& pipe, Invocation& run) {
  auto prefix = std::make_shared<std::string>();
  CLI::App* verb = add_verb(pipe, "ls", "List pipes",
                            "heddle pipe ls\n"
                            "heddle pipe ls ~/ --json");
  verb->add_option("PREFIX", *prefix, "Only names that begin with it");
  verb->callback([prefix, &run] { run.action = [prefix, &run] { return ls_verb(run, *prefix); }; });

  auto name = std::make_shared<std::string>();
  verb = add_verb(pipe, "info", "Both ends of a pipe's connections, and who waits",
                  "heddle pipe info backup");
  add_name(*verb, *name, "The pipe");
  verb->callback([name, &run] { run.action = [name, &run] { return info_verb(run, *name); }; });

  auto doomed = std::make_shared<std::string>();
  verb = add_verb(pipe, "delete", "Delete a pipe; whoever uses it finds it closed",
                  "heddle pipe delete backup");
  add_name(*verb, *doomed, "The pipe");
  verb->callback(
      [doomed, &run] { run.action = [doomed, &run] { return delete_verb(run, *doomed); }; });
}

}  // namespace

void add_pipe(CLI::App& pipe, Invocation& run) {
  add_create_pipe(pipe, run);
  add_bridge(pipe, run);
  add_look(pipe, run);
}

}  // namespace heddle::cli
