// heddle lock|sem|event|barrier ls | info | delete | who | waiters
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/lock_words.h"
#include "client/cli/terminal.h"

namespace heddle::cli {

namespace {

struct LsArguments {
  std::string prefix;
  bool names = false;
  bool full = false;
};

std::string plural(SyncKind kind) { return std::string(noun_of(kind)) + "s"; }

Table table_of(SyncKind kind, bool full) {
  std::vector<std::string> headings = {"NAME"};
  if (kind == SyncKind::kLock || kind == SyncKind::kSemaphore) headings.push_back("KIND");
  if (kind == SyncKind::kSemaphore) headings.push_back("PERMITS");
  if (kind == SyncKind::kBarrier) headings.push_back("PARTIES");
  headings.insert(headings.end(), {"OPEN", "LIFETIME", "OWNER", "MODE"});
  if (full) headings.push_back("STATE");
  return Table(std::move(headings));
}

std::vector<std::string> row_of(const LockInfo& info, bool full) {
  std::vector<std::string> row = {info.name};
  if (const std::string variant = variant_of(info); !variant.empty()) row.push_back(variant);
  if (info.kind == SyncKind::kSemaphore || info.kind == SyncKind::kBarrier) {
    row.push_back(std::to_string(info.limit));
  }
  const Json facts = lock_json(info, false);
  row.insert(row.end(), {std::to_string(info.attached), facts["lifetime"].get<std::string>(),
                         std::to_string(info.owner_uid), octal_mode(info.mode)});
  if (full) row.push_back(state_of(info));
  return row;
}

int list(const Invocation& run, SyncKind kind, const LsArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto found = client->locks(kind, given.prefix);
  if (!found) return run.fail(found.status());
  Json rows = Json::array();
  Table table = table_of(kind, given.full);
  for (LockInfo& info : *found) {
    if (given.full) {
      auto looked = client->lock_info(kind, info.name);
      if (looked.status().is(Reason::kNotFound)) continue;  // deleted since
      if (!looked) return run.fail(looked.status());
      info = std::move(*looked);
    }
    if (run.json) rows.push_back(lock_json(info, given.full));
    if (given.names && !run.json) std::printf("%s\n", info.name.c_str());
    table.add(row_of(info, given.full));
  }
  if (run.json) {
    run.print({{plural(kind), rows}});
  } else if (!given.names && !found->empty()) {
    table.print();
  } else if (found->empty() && !given.names) {
    run.remark(given.prefix.empty()
                   ? "there are no " + plural(kind)
                   : "no " + std::string(noun_of(kind)) + " begins with " + given.prefix);
  }
  return kExitOk;
}

int show_info(const Invocation& run, SyncKind kind, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->lock_info(kind, name);
  if (!info) return run.fail(info.status());
  const Json facts = lock_json(*info, true);
  if (run.json) {
    run.print(facts);
    return kExitOk;
  }
  std::printf("%-14s %s\n", "state", state_of(*info).c_str());
  for (const auto& [key, value] : facts.items()) {
    const std::string text = value.is_string()  ? value.get<std::string>()
                             : value.is_array() ? std::to_string(value.size())
                                                : value.dump();
    std::printf("%-14s %s\n", key.c_str(), text.c_str());
  }
  return kExitOk;
}

int remove(const Invocation& run, SyncKind kind, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  const Status status = client->delete_lock(kind, name);
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", name}, {"deleted", true}});
  return kExitOk;
}

int list_parties(const Invocation& run, SyncKind kind, const std::string& name, bool waiters) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->lock_info(kind, name);
  if (!info) return run.fail(info.status());
  const std::vector<LockParty>& parties = waiters ? info->waiters : info->holders;
  if (run.json) {
    Json rows = Json::array();
    for (const LockParty& party : parties) rows.push_back(party_json(party));
    run.print({{"name", info->name}, {waiters ? "waiters" : "holders", rows}});
    return kExitOk;
  }
  if (parties.empty()) {
    run.remark((waiters ? "nobody waits for " : "nobody holds ") + info->name);
    return kExitOk;
  }
  Table table({"SESSION", "THREAD", "PID", "UID", "MODE", "SINCE", "COMMAND"});
  for (const LockParty& party : parties) {
    table.add({std::to_string(party.session), std::to_string(party.thread),
               party.pid == 0 ? "-" : std::to_string(party.pid), std::to_string(party.uid),
               word_of(party.mode), party.since.count() < 0 ? "-" : age_text(party.since),
               visible(party.command, 60)});
  }
  table.print();
  return kExitOk;
}

// A verb that takes a name and no options.
void add_named(CLI::App& noun, Invocation& run, const std::string& verb_name,
               const std::string& summary, const std::string& example, SyncKind kind,
               int (*deed)(const Invocation&, SyncKind, const std::string&)) {
  auto name = std::make_shared<std::string>();
  const std::string line = std::string("heddle ") + noun_of(kind) + " " + verb_name + " " + example;
  CLI::App* verb = add_verb(noun, verb_name, summary, line + "\n" + line + " --json");
  add_name(*verb, *name, std::string("The ") + noun_of(kind));
  verb->callback([name, kind, deed, &run] {
    run.action = [name, kind, deed, &run] { return deed(run, kind, *name); };
  });
}

int list_holders(const Invocation& run, SyncKind kind, const std::string& name) {
  return list_parties(run, kind, name, false);
}

int list_waiters(const Invocation& run, SyncKind kind, const std::string& name) {
  return list_parties(run, kind, name, true);
}

}  // namespace

void add_kin(CLI::App& noun, Invocation& run, SyncKind kind, const std::string& example) {
  const std::string word = noun_of(kind);
  auto given = std::make_shared<LsArguments>();
  CLI::App* ls = add_verb(
      noun, "ls", "List " + plural(kind),
      "heddle " + word + " ls\nheddle " + word + " ls web/ --names\nheddle " + word + " ls -l");
  ls->add_option("PREFIX", given->prefix, "Only names that begin with it")->type_name("");
  ls->add_flag("--names", given->names, "Names alone, one a line");
  ls->add_flag("-l,--long", given->full, "Also its state; asks about each");
  ls->callback([given, kind, &run] {
    run.action = [given, kind, &run] { return list(run, kind, *given); };
  });
  add_named(noun, run, "info", "State and options", example, kind, show_info);
  add_named(noun, run, "delete", "Delete it: holders lose it, who waits is told", example, kind,
            remove);
  if (kind == SyncKind::kLock || kind == SyncKind::kSemaphore) {
    add_named(noun, run, "who", "List who holds it", example, kind, list_holders);
  }
  add_named(noun, run, "waiters", "List who waits for it", example, kind, list_waiters);
}

}  // namespace heddle::cli
