// heddle lock run | elect | acquire | release: holding a lock from a shell.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>

#include "client/cli/arguments.h"
#include "client/cli/lock_runner.h"
#include "client/cli/lock_words.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

struct HoldArguments {
  std::string name, lifetime;
  Timeout timeout;
  bool shared = false;
  bool hold = false;
  bool any = false;
  LockMode mode() const { return shared ? LockMode::kShared : LockMode::kExclusive; }
};

struct Held {
  Lock lock;
  Grant grant;
  bool outer = false;  // held by a `heddle lock run` around this one: not ours to release
};

// HEDDLE_LOCKS_HELD: what this command and those around it hold, as "NAME:TOKEN:MODE:PID ...".
constexpr char kHeldVariable[] = "HEDDLE_LOCKS_HELD";

struct OuterHold {
  std::uint64_t token = 0;
  LockMode mode = LockMode::kExclusive;
  int pid = 0;
};

// The innermost one that claims to hold `name`.
std::optional<OuterHold> outer_hold(const std::string& name) {
  const char* value = std::getenv(kHeldVariable);
  std::istringstream words(value != nullptr ? value : "");
  std::optional<OuterHold> found;
  for (std::string word; words >> word;) {
    std::istringstream parts(word);
    std::string held, token, mode, pid;
    std::getline(parts, held, ':');
    std::getline(parts, token, ':');
    std::getline(parts, mode, ':');
    std::getline(parts, pid, ':');
    if (held != name) continue;
    found = OuterHold{.token = std::strtoull(token.c_str(), nullptr, 10),
                      .mode = mode == "shared" ? LockMode::kShared : LockMode::kExclusive,
                      .pid = std::atoi(pid.c_str())};
  }
  return found;
}

// What the environment says is a claim; the broker knows who holds the lock.
bool still_held(const LockInfo& info, const OuterHold& outer) {
  if (info.token != outer.token) return false;
  return std::any_of(info.holders.begin(), info.holders.end(), [&](const LockParty& party) {
    return party.pid == outer.pid && party.mode == outer.mode;
  });
}

// `nests`: what a command around this one holds is as good as our own.
Result<Held> hold(const Invocation& run, const HoldArguments& given, bool nests = false) {
  auto client = run.connect();
  if (!client) return client.status();
  LockOptions options;
  if (given.shared) options.kind = LockKind::kRw;
  if (!given.lifetime.empty()) {
    options.lifetime = given.lifetime == "attached" ? Lifetime::kAttached : Lifetime::kKept;
  }
  auto lock = client->lock(given.name, options);
  // Made for others with another lifetime: that is for them to say.
  if (!lock) return lock.status();
  if (const auto outer = outer_hold(lock->name())) {
    auto info = lock->info();
    if (!info) return info.status();
    if (still_held(*info, *outer)) {
      const bool enough = outer->mode == LockMode::kExclusive || given.shared;
      if (enough && nests) {
        Grant grant{.token = outer->token};
        return Held{std::move(*lock), grant, true};
      }
      return Status(Reason::kDeadlockDetected,
                    std::string("it is held") +
                        (outer->mode == LockMode::kShared ? " shared" : "") +
                        " by the heddle lock run around this command (pid " +
                        std::to_string(outer->pid) + "), which waits for this command to end")
          .with_object("lock " + given.name);
    }
  }
  auto grant = lock->acquire_for(given.timeout.value(), given.mode());
  if (!grant) return Status(grant.status()).with_object("lock " + given.name);
  if (grant->abandoned) {
    std::string who = "session " + std::to_string(grant->previous_session);
    if (grant->previous_pid != 0) who = "pid " + std::to_string(grant->previous_pid);
    run.remark("lock " + given.name + ": abandoned, its last owner (" + who +
               ") died or was forced away while it held it");
  }
  return Held{std::move(*lock), *grant, false};
}

std::vector<std::string> environment_of(const Held& held, LockMode mode) {
  const std::string& name = held.lock.name();
  const Grant& grant = held.grant;
  const char* outer = std::getenv(kHeldVariable);
  std::string all = outer != nullptr ? outer : "";
  if (!held.outer) {
    all += (all.empty() ? "" : " ") + name + ":" + std::to_string(grant.token) + ":" +
           word_of(mode) + ":" + std::to_string(::getpid());
  }
  return {"HEDDLE_LOCK=" + name, "HEDDLE_LOCK_TOKEN=" + std::to_string(grant.token),
          "HEDDLE_FENCE=" + name + ":" + std::to_string(grant.token),
          std::string(kHeldVariable) + "=" + all,
          std::string("HEDDLE_LOCK_ABANDONED=") + (grant.abandoned ? "1" : "")};
}

int run_under(const Invocation& run, const HoldArguments& given) {
  const Status missing = need_command(run, "heddle lock run " + given.name);
  if (!missing.ok()) return run.fail(missing);
  auto held = hold(run, given, true);
  if (!held) return run.fail(held.status());
  const ErrandEnd end = run_errand(run, {.environment = environment_of(*held, given.mode())});
  if (held->outer) return end.status;
  const Status released = held->lock.release(given.mode());
  if (!released.ok()) {
    run.remark("lock " + given.name + " was lost while the command ran: " + words_of(released));
  }
  return end.status;
}

int run_elected(const Invocation& run, const HoldArguments& given) {
  const Status missing = need_command(run, "heddle lock elect " + given.name);
  if (!missing.ok()) return run.fail(missing);
  auto held = hold(run, given);
  if (!held) return run.fail(held.status());
  Errand errand;
  errand.environment = environment_of(*held, LockMode::kExclusive);
  errand.own_group = true;
  Lock& lock = held->lock;
  const std::uint64_t term = held->grant.token;
  errand.still_wanted = [&lock, term] {
    // In this order: whoever has it next has a token of his own.
    const bool locked = lock.locked().value_or(false);
    const auto token = lock.token();
    return locked && token.ok() && *token == term;
  };
  const ErrandEnd end = run_errand(run, errand);
  if (end.stopped) {
    run.remark("lock " + given.name + " was taken away; the command was stopped");
  } else {
    (void)lock.release();
  }
  return end.status;
}

int g_told[2] = {-1, -1};

// Until stdin closes, or a signal comes: which one, or 0. By a handler: gRPC has threads whose
// masks are not ours.
int wait_for_end() {
  if (::pipe2(g_told, O_CLOEXEC) != 0) return 0;
  struct sigaction action {};
  action.sa_handler = [](int number) {
    const auto byte = static_cast<unsigned char>(number);
    (void)!::write(g_told[1], &byte, 1);
  };
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaction(number, &action, nullptr);
  for (;;) {
    pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {g_told[0], POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return 0;
    unsigned char number = 0;
    if (fds[1].revents != 0 && ::read(g_told[0], &number, 1) == 1) return number;
    char ignored[4096];
    if (fds[0].revents != 0 && ::read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return 0;
  }
}

int acquire(const Invocation& run, const HoldArguments& given) {
  if (!given.hold) {
    return run.fail(
        Status(Reason::kInvalidArgument,
               "a lock goes with the process that holds it, so this command would let go of " +
                   given.name + " as it ends; write heddle lock run " + given.name +
                   " -- COMMAND, or heddle lock acquire " + given.name +
                   " --hold, which holds it until its stdin closes"));
  }
  auto held = hold(run, given);
  if (!held) return run.fail(held.status());
  if (run.json) {
    run.print({{"name", held->lock.name()},
               {"token", held->grant.token},
               {"abandoned", held->grant.abandoned},
               {"mode", word_of(given.mode())}});
  } else {
    std::printf("%llu\n", static_cast<unsigned long long>(held->grant.token));
  }
  std::fflush(stdout);
  const int signal = wait_for_end();
  const Status released = held->lock.release(given.mode());
  if (!released.ok()) return run.fail(released);
  return signal == 0 ? kExitOk : 128 + signal;
}

int release(const Invocation& run, const HoldArguments& given) {
  if (!given.any) {
    return run.fail(Status(
        Reason::kInvalidArgument,
        "this command holds nothing: heddle lock run and heddle lock acquire --hold release what "
        "they hold as they end; --any releases the mutex " +
            given.name + " whoever holds it, heddle lock force-release takes any kind away"));
  }
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto lock = client->lock(given.name, {.presence = Presence::kMust});
  if (!lock) return run.fail(lock.status());
  const Status status = lock->release_any();
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", lock->name()}, {"released", true}});
  return kExitOk;
}

void add_hold(CLI::App& verb, HoldArguments& given) {
  add_name(verb, given.name, "The lock; made when it is missing");
  add_timeout(verb, given.timeout, "How long to wait for it (for ever)");
  add_lifetime(verb, given.lifetime);
}

void add_run(CLI::App& lock, Invocation& run) {
  auto given = std::make_shared<HoldArguments>();
  CLI::App* verb = add_verb(
      lock, "run", "Hold a lock while a command runs",
      "heddle lock run backup -- rsync -a /srv /mnt\n"
      "heddle lock run backup --timeout 0 -- ./nightly.sh || echo somebody is at it\n"
      "heddle lock run index --shared -- ./search.sh\n"
      "\n"
      "The command sees HEDDLE_LOCK, HEDDLE_LOCK_TOKEN (one more with each exclusive grant),\n"
      "HEDDLE_FENCE, both of them for heddle queue put --fence, and HEDDLE_LOCK_ABANDONED, 1 if\n"
      "the last owner died holding it.\n"
      "Under another heddle lock run of the same lock it runs at once, under the outer one's "
      "grant;\n"
      "asking for more than that one holds (exclusive under --shared) fails at once.\n"
      "Signals go on to the command. If this process is killed, so is the command.\n"
      "Exit status: that of the command, 128 + n for signal n; 124 not acquired in time,\n"
      "125 any other failure, 126 cannot be run, 127 not found.");
  show_command(*verb);
  add_hold(*verb, *given);
  verb->add_flag("--shared", given->shared, "Beside other shared holders; a lock of kind rw");
  verb->callback([given, &run] { run.action = [given, &run] { return run_under(run, *given); }; });
}

void add_elect(CLI::App& lock, Invocation& run) {
  auto given = std::make_shared<HoldArguments>();
  CLI::App* verb = add_verb(
      lock, "elect", "Run a command only while this process leads",
      "heddle lock elect scheduler -- ./scheduler --primary\n"
      "\n"
      "Waits until it leads, then runs the command. When the lock is taken away or deleted, the\n"
      "command and its process group get TERM, and KILL after 5 seconds. HEDDLE_LOCK_TOKEN is the\n"
      "number of the term: fence what the leader writes with it.\n"
      "Exit status: as heddle lock run.");
  show_command(*verb);
  add_hold(*verb, *given);
  verb->callback(
      [given, &run] { run.action = [given, &run] { return run_elected(run, *given); }; });
}

}  // namespace

void add_lock_run(CLI::App& lock, Invocation& run) {
  add_run(lock, run);
  add_elect(lock, run);
  auto given = std::make_shared<HoldArguments>();
  CLI::App* verb = add_verb(
      lock, "acquire", "Hold a lock until stdin closes; prints its token",
      "heddle lock acquire ledger --hold\n"
      "coproc heddle lock acquire ledger --hold   # bash: exec {COPROC[1]}>&- lets go of it\n"
      "\n"
      "A lock goes with the process that holds it: without --hold there is nothing to acquire.\n"
      "SIGTERM, SIGINT and SIGHUP let go of it too: exit status 128 + n.");
  add_hold(*verb, *given);
  verb->add_flag("--shared", given->shared, "Beside other shared holders; a lock of kind rw");
  verb->add_flag("--hold", given->hold, "Hold it until stdin closes or a signal comes");
  verb->callback([given, &run] { run.action = [given, &run] { return acquire(run, *given); }; });

  auto loosed = std::make_shared<HoldArguments>();
  verb = add_verb(lock, "release", "Release a mutex, whoever holds it",
                  "heddle lock release ledger --any\n"
                  "\n"
                  "Its holder is not asked and not stopped; fence what it writes.");
  add_name(*verb, loosed->name, "The lock");
  verb->add_flag("--any", loosed->any, "Whoever holds it");
  verb->callback([loosed, &run] { run.action = [loosed, &run] { return release(run, *loosed); }; });
}

}  // namespace heddle::cli
