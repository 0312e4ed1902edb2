// heddle sem | event | barrier: their own verbs.
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/lock_runner.h"
#include "client/cli/lock_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

struct Arguments {
  std::string name, lifetime;
  Timeout timeout;
  std::optional<std::uint64_t> count, take, max;
  bool counting = false;
  MakingWords making;
  std::uint32_t n() const { return static_cast<std::uint32_t>(take.value_or(1)); }
};

std::optional<std::uint32_t> narrow(const std::optional<std::uint64_t>& count) {
  if (!count) return {};
  return static_cast<std::uint32_t>(*count);
}

std::optional<Lifetime> lifetime_of(const std::string& word) {
  if (word.empty()) return {};
  return word == "attached" ? Lifetime::kAttached : Lifetime::kKept;
}

using Deed = int (*)(const Invocation&, const Arguments&);

CLI::App* add_deed(CLI::App& noun, Invocation& run, const std::string& name,
                   const std::string& summary, const std::string& examples,
                   const std::shared_ptr<Arguments>& given, Deed deed, const std::string& what) {
  CLI::App* verb = add_verb(noun, name, summary, examples);
  add_name(*verb, given->name, what);
  verb->callback(
      [given, deed, &run] { run.action = [given, deed, &run] { return deed(run, *given); }; });
  return verb;
}

int create_sem(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  SemaphoreOptions options{.permits = narrow(given.count), .permits_max = narrow(given.max)};
  options.counting = given.counting;
  return make_new(
      run, SyncKind::kSemaphore, given.name, given.making, options,
      [&](const SemaphoreOptions& full) { return client->semaphore(given.name, full); });
}

int run_with_permit(const Invocation& run, const Arguments& given) {
  const Status missing = need_command(run, "heddle sem run " + given.name);
  if (!missing.ok()) return run.fail(missing);
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  SemaphoreOptions options{.permits = narrow(given.count), .lifetime = lifetime_of(given.lifetime)};
  auto sem = client->semaphore(given.name, options);
  if (!sem) return run.fail(sem.status());
  auto grant = sem->acquire_for(given.timeout.value(), given.n());
  if (!grant) return run.fail(Status(grant.status()).with_object("sem " + given.name));
  if (grant->abandoned) run.remark("sem " + given.name + ": a holder died while it held a permit");
  const ErrandEnd end =
      run_errand(run, {.environment = {"HEDDLE_SEM=" + sem->name(),
                                       "HEDDLE_SEM_PERMITS=" + std::to_string(given.n())}});
  const Status released = sem->release(given.n());
  if (!released.ok()) {
    run.remark("sem " + given.name + " was lost while the command ran: " + words_of(released));
  }
  return end.status;
}

// A counting semaphore, opened; for another kind it says why this verb cannot serve it.
Result<Semaphore> open_counting(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return client.status();
  auto info = client->lock_info(SyncKind::kSemaphore, given.name);
  if (!info) return info.status();
  if (!info->counting) {
    return Status(Reason::kInvalidArgument,
                  "the permits of " + given.name +
                      " belong to the processes that hold them and come back as they end; write "
                      "heddle sem run " +
                      given.name + " -- COMMAND, or make it with --counting");
  }
  return client->semaphore(given.name, {.presence = Presence::kMust});
}

int told_value(const Invocation& run, Semaphore& sem) {
  if (!run.json) return kExitOk;
  auto value = sem.value();
  if (!value) return run.fail(value.status());
  run.print({{"name", sem.name()}, {"free", *value}});
  return kExitOk;
}

int acquire_permit(const Invocation& run, const Arguments& given) {
  auto sem = open_counting(run, given);
  if (!sem) return run.fail(sem.status());
  auto grant = sem->acquire_for(given.timeout.value(), given.n());
  if (!grant) return run.fail(Status(grant.status()).with_object("sem " + given.name));
  return told_value(run, *sem);
}

int release_permit(const Invocation& run, const Arguments& given) {
  auto sem = open_counting(run, given);
  if (!sem) return run.fail(sem.status());
  const Status status = sem->release(given.n());
  if (!status.ok()) return run.fail(status);
  return told_value(run, *sem);
}

void add_sem_run(CLI::App& sem, Invocation& run) {
  auto given = std::make_shared<Arguments>();
  CLI::App* verb = add_deed(
      sem, run, "run", "Hold a permit while a command runs",
      "heddle sem run encoders -n 3 -- ffmpeg ...     # three at once, made by the first\n"
      "heddle sem run encoders --timeout 1m -- ffmpeg ...\n"
      "\n"
      "The command sees HEDDLE_SEM and HEDDLE_SEM_PERMITS. Signals, exit status and what happens\n"
      "when this process is killed: as heddle lock run.",
      given, run_with_permit, "The semaphore; made when it is missing and -n is given");
  show_command(*verb);
  add_count(*verb, "-n,--count", given->count, 1, INT32_MAX, "Permits there are (as it was made)");
  add_count(*verb, "--permits", given->take, 1, INT32_MAX, "Permits to hold (1)");
  add_timeout(*verb, given->timeout, "How long to wait for them (for ever)");
  add_lifetime(*verb, given->lifetime);
}

int event_wait(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto event = client->event(given.name);
  if (!event) return run.fail(event.status());
  const Status status = event->wait(given.timeout.value());
  if (!status.ok()) return run.fail(Status(status).with_object("event " + given.name));
  if (run.json) run.print({{"name", event->name()}, {"set", true}});
  return kExitOk;
}

int turn(const Invocation& run, const Arguments& given, bool set) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto event = client->event(given.name);
  if (!event) return run.fail(event.status());
  const Status status = set ? event->set() : event->clear();
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", event->name()}, {"set", set}});
  return kExitOk;
}

int event_set(const Invocation& run, const Arguments& given) { return turn(run, given, true); }
int event_clear(const Invocation& run, const Arguments& given) { return turn(run, given, false); }

int create_event(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  return make_new(run, SyncKind::kEvent, given.name, given.making, SyncOptions{},
                  [&](const SyncOptions& full) { return client->event(given.name, full); });
}

int create_barrier(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  return make_new(run, SyncKind::kBarrier, given.name, given.making,
                  BarrierOptions{.parties = narrow(given.count)},
                  [&](const BarrierOptions& full) { return client->barrier(given.name, full); });
}

int barrier_wait(const Invocation& run, const Arguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  BarrierOptions options{.parties = narrow(given.count), .lifetime = lifetime_of(given.lifetime)};
  auto barrier = client->barrier(given.name, options);
  if (!barrier) return run.fail(barrier.status());
  auto index = barrier->arrive(given.timeout.value());
  if (!index) return run.fail(Status(index.status()).with_object("barrier " + given.name));
  if (run.json) {
    run.print({{"name", barrier->name()}, {"index", *index}});
  } else if (!run.quiet) {
    std::printf("%u\n", *index);
  }
  return kExitOk;
}

int end_barrier(const Invocation& run, const Arguments& given, bool whole) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto barrier = client->barrier(given.name, {.presence = Presence::kMust});
  if (!barrier) return run.fail(barrier.status());
  const Status status = whole ? barrier->reset() : barrier->abort();
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", barrier->name()}, {"broken", !whole}});
  return kExitOk;
}

int abort_barrier(const Invocation& run, const Arguments& given) {
  return end_barrier(run, given, false);
}
int reset_barrier(const Invocation& run, const Arguments& given) {
  return end_barrier(run, given, true);
}

constexpr char kNaming[] = "1 to 200 of A-Z a-z 0-9 . _ / -; ~/x is your own";

}  // namespace

void add_sem(CLI::App& sem, Invocation& run) {
  auto made = std::make_shared<Arguments>();
  CLI::App* verb = add_deed(
      sem, run, "create", "Make a semaphore; one that agrees is left as it is",
      "heddle sem create encoders -n 3\nheddle sem create tickets -n 0 --counting --max 100", made,
      create_sem, kNaming);
  add_count(*verb, "-n,--count", made->count, 0, INT32_MAX, "Permits there are at first");
  verb->get_option("--count")->required();
  verb->add_flag("--counting", made->counting,
                 "Permits belong to nobody: they do not come back with a process");
  add_count(*verb, "--max", made->max, 1, INT32_MAX,
            "Of a counting one: a release beyond is refused (no limit)");
  add_making(*verb, made->making);
  add_sem_run(sem, run);
  auto taken = std::make_shared<Arguments>();
  verb = add_deed(sem, run, "acquire", "Take permits of a counting semaphore, for good",
                  "heddle sem acquire tickets\nheddle sem acquire tickets -n 2 --timeout 5s", taken,
                  acquire_permit, "The semaphore");
  add_count(*verb, "-n,--permits", taken->take, 1, INT32_MAX, "How many (1)");
  add_timeout(*verb, taken->timeout, "How long to wait for them (for ever)");
  auto given = std::make_shared<Arguments>();
  verb = add_deed(sem, run, "release", "Give permits to a counting semaphore",
                  "heddle sem release tickets\nheddle sem release tickets -n 10", given,
                  release_permit, "The semaphore");
  add_count(*verb, "-n,--permits", given->take, 1, INT32_MAX, "How many (1)");
  add_kin(sem, run, SyncKind::kSemaphore, "encoders");
  add_force_release(sem, run, SyncKind::kSemaphore, "encoders");
}

void add_event(CLI::App& event, Invocation& run) {
  auto given = std::make_shared<Arguments>();
  const std::string what = "The event; made, and clear, when it is missing";
  CLI::App* verb =
      add_deed(event, run, "wait", "Wait until it is set",
               "heddle event wait ready && ./start.sh\nheddle event wait ready --timeout 30s",
               given, event_wait, what);
  add_timeout(*verb, given->timeout, "How long to wait (for ever); status 5 when it has passed");
  add_deed(event, run, "set", "Set it: who waits goes on, and who comes", "heddle event set ready",
           std::make_shared<Arguments>(), event_set, what);
  add_deed(event, run, "clear", "Clear it: who comes waits", "heddle event clear ready",
           std::make_shared<Arguments>(), event_clear, what);
  auto made = std::make_shared<Arguments>();
  verb =
      add_deed(event, run, "create", "Make an event; its first use does that too",
               "heddle event create ready --mode 0660 --group staff", made, create_event, kNaming);
  add_making(*verb, made->making);
  add_kin(event, run, SyncKind::kEvent, "ready");
}

void add_barrier(CLI::App& barrier, Invocation& run) {
  auto made = std::make_shared<Arguments>();
  CLI::App* verb =
      add_deed(barrier, run, "create", "Make a barrier; one that agrees is left as it is",
               "heddle barrier create start -n 4", made, create_barrier, kNaming);
  add_count(*verb, "-n,--parties", made->count, 1, UINT16_MAX, "How many have to arrive");
  verb->get_option("--parties")->required();
  add_making(*verb, made->making);
  auto given = std::make_shared<Arguments>();
  verb = add_deed(barrier, run, "wait", "Wait until all have arrived; prints a number from 0",
                  "heddle barrier wait start -n 4          # made by the first that arrives\n"
                  "heddle barrier wait start --timeout 1m\n"
                  "\n"
                  "Status 14 if it broke: one of them died, timed out, or it was aborted.",
                  given, barrier_wait, "The barrier; made when it is missing and -n is given");
  add_count(*verb, "-n,--parties", given->count, 1, UINT16_MAX,
            "How many have to arrive (as it was made)");
  add_timeout(*verb, given->timeout, "How long to wait (for ever); then it breaks for all");
  add_lifetime(*verb, given->lifetime);
  add_deed(barrier, run, "abort", "Break it for those who wait and those who come",
           "heddle barrier abort start", std::make_shared<Arguments>(), abort_barrier,
           "The barrier");
  add_deed(barrier, run, "reset", "Make it whole again; who waits is told that it broke",
           "heddle barrier reset start", std::make_shared<Arguments>(), reset_barrier,
           "The barrier");
  add_kin(barrier, run, SyncKind::kBarrier, "start");
}

}  // namespace heddle::cli
