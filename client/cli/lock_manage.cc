// heddle lock create | force-release | repair
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/lock_words.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

struct CreateArguments {
  std::string name, kind, on_death;
  bool fair = false;
  std::optional<std::chrono::milliseconds> lock_delay;
  MakingWords making;
};

LockOptions options_of(const CreateArguments& given) {
  LockOptions options;
  if (!given.kind.empty()) {
    options.kind = given.kind == "rw"      ? LockKind::kRw
                   : given.kind == "rlock" ? LockKind::kRlock
                                           : LockKind::kMutex;
  }
  if (!given.on_death.empty()) {
    options.on_owner_death = given.on_death == "poison"   ? OwnerDeath::kPoison
                             : given.on_death == "silent" ? OwnerDeath::kSilent
                                                          : OwnerDeath::kFlag;
  }
  if (given.fair) options.fair = Fairness::kStrict;
  options.lock_delay = given.lock_delay;
  return options;
}

int create(const Invocation& run, const CreateArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  return make_new(run, SyncKind::kLock, given.name, given.making, options_of(given),
                  [&](const LockOptions& options) { return client->lock(given.name, options); });
}

void add_create(CLI::App& lock, Invocation& run) {
  auto given = std::make_shared<CreateArguments>();
  CLI::App* verb = add_verb(lock, "create", "Make a lock; one that agrees is left as it is",
                            "heddle lock create ledger\n"
                            "heddle lock create index --kind rw --on-death poison\n"
                            "heddle lock create shared --mode 0660 --group staff\n"
                            "\n"
                            "A mutex needs none of this: it is made by its first use.");
  add_name(*verb, given->name, "1 to 200 of A-Z a-z 0-9 . _ / -; ~/x is your own");
  add_choice(*verb, "--kind", given->kind, {"mutex", "rlock", "rw"},
             "rlock: its holder may acquire it again; rw: shared too (mutex)");
  add_choice(*verb, "--on-death", given->on_death, {"flag", "silent", "poison"},
             "The next owner is told, is not, or there is none until repair (flag)");
  verb->add_flag("--fair", given->fair, "Strictly in the order of arrival; slower");
  add_duration(*verb, "--lock-delay", given->lock_delay,
               "How long it stays locked after a remote holder is lost (15s)");
  add_making(*verb, given->making);
  verb->callback([given, &run] { run.action = [given, &run] { return create(run, *given); }; });
}

struct ForceArguments {
  std::string name;
  std::optional<std::uint64_t> session;
};

int force(const Invocation& run, SyncKind kind, const ForceArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  const Status status = client->force_release(
      kind, given.name, static_cast<std::uint16_t>(given.session.value_or(0)));
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", given.name}, {"released", true}});
  return kExitOk;
}

int repair(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto lock = client->lock(name, {.presence = Presence::kMust});
  if (!lock) return run.fail(lock.status());
  const Status status = lock->repair();
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", lock->name()}, {"repaired", true}});
  return kExitOk;
}

}  // namespace

void add_force_release(CLI::App& noun, Invocation& run, SyncKind kind, const std::string& example) {
  auto given = std::make_shared<ForceArguments>();
  const std::string line = std::string("heddle ") + noun_of(kind) + " force-release " + example;
  CLI::App* verb = add_verb(
      noun, "force-release", "Take it from whoever holds it",
      line + "\n" + line +
          " --session 7\n"
          "\n"
          "Owner or root only; written to the daemon's log. The loser may still be at work: fence\n"
          "what it writes. Status 8 if nobody holds it.");
  add_name(*verb, given->name, std::string("The ") + noun_of(kind));
  add_count(*verb, "--session", given->session, 1, UINT16_MAX,
            "Only from this one, as who and session ls number them (all)");
  verb->callback([given, kind, &run] {
    run.action = [given, kind, &run] { return force(run, kind, *given); };
  });
}

void add_lock_manage(CLI::App& lock, Invocation& run) {
  add_create(lock, run);
  add_kin(lock, run, SyncKind::kLock, "ledger");
  add_force_release(lock, run, SyncKind::kLock, "ledger");
  auto name = std::make_shared<std::string>();
  CLI::App* verb = add_verb(lock, "repair", "End the poisoned state of a lock",
                            "heddle lock repair ledger\n"
                            "\n"
                            "Owner or root only. Look at what it guards first; the next owner is "
                            "told of the death.");
  add_name(*verb, *name, "The lock");
  verb->callback([name, &run] { run.action = [name, &run] { return repair(run, *name); }; });
}

}  // namespace heddle::cli
