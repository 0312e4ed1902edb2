// heddle ping | status | ls | session ls | version: the daemon itself.
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/lock_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

const char* plane_name(Plane plane) { return plane == Plane::kGrpc ? "grpc" : "shm"; }

void line(const char* key, const std::string& value) {
  std::printf("%-14s %s\n", key, value.c_str());
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr double kMiB = 1024.0 * 1024;
  char text[64];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / kMiB);
  return text;
}

// The first incarnation came with heddled itself.
std::string restarts_text(std::uint32_t incarnation) {
  if (incarnation <= 1) return "not restarted since heddled started";
  return "restarted " + counted(incarnation - 1, "time") + " since heddled started";
}

int ping(const Invocation& run) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto time = client->ping();
  if (!time) return run.fail(time.status());
  const ConnectionInfo info = client->describe();
  if (run.json) {
    run.print({{"plane", plane_name(info.plane)},
               {"address", info.address},
               {"version", info.broker_version},
               {"round_trip_ns", time->count()}});
  } else if (!run.quiet) {
    std::printf("heddled %s answers over %s at %s in %.3f ms\n", info.broker_version.c_str(),
                plane_name(info.plane), info.address.c_str(),
                static_cast<double>(time->count()) / 1e6);
  }
  return kExitOk;
}

int status(const Invocation& run) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto status = client->status();
  if (!status) return run.fail(status.status());
  const ConnectionInfo info = client->describe();
  if (run.json) {
    run.print({{"version", status->version},
               {"broker_pid", status->pid},
               {"supervisor_pid", status->supervisor_pid},
               {"incarnation", status->incarnation},
               {"uptime_ms", status->uptime.count()},
               {"queues", status->queues},
               {"sessions", status->sessions},
               {"memory_bytes", status->memory_bytes},
               {"memory_bytes_max", status->memory_budget_bytes},
               {"plane", plane_name(info.plane)},
               {"address", info.address}});
    return kExitOk;
  }
  line("version", status->version);
  line("broker", "pid " + std::to_string(status->pid) + ", up " + age_text(status->uptime) +
                     ", " + restarts_text(status->incarnation));
  line("supervisor", "pid " + std::to_string(status->supervisor_pid));
  line("queues", std::to_string(status->queues));
  line("sessions", std::to_string(status->sessions));
  line("memory", bytes_text(status->memory_bytes) + " of " +
                     bytes_text(status->memory_budget_bytes));
  line("reached", std::string("over ") + plane_name(info.plane) + " at " + info.address);
  return kExitOk;
}

int list_sessions(const Invocation& run) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto sessions = client->sessions();
  if (!sessions) return run.fail(sessions.status());
  if (run.json) {
    Json rows = Json::array();
    for (const SessionInfo& session : *sessions) {
      rows.push_back({{"session", session.owner},
                      {"generation", session.generation},
                      {"plane", plane_name(session.plane)},
                      {"pid", session.pid},
                      {"uid", session.uid},
                      {"name", session.name},
                      {"command", session.command},
                      {"attached", session.attached},
                      {"age_ms", session.age.count()}});
    }
    run.print({{"sessions", rows}});
    return kExitOk;
  }
  Table table({"SESSION", "PLANE", "PID", "UID", "OPEN", "AGE", "COMMAND"});
  for (const SessionInfo& session : *sessions) {
    const std::string& command = session.command.empty() ? session.name : session.command;
    table.add({std::to_string(session.owner), plane_name(session.plane),
               session.pid == 0 ? "-" : std::to_string(session.pid), std::to_string(session.uid),
               std::to_string(session.attached), age_text(session.age), visible(command, 60)});
  }
  table.print();
  return kExitOk;
}

// Every object of every kind there is.
// Rows of dicts, lists and blocks.
template <class Info, class Summary>
Status list_members(const char* noun, const Result<std::vector<Info>>& all, Summary summary,
                    Json* rows, Table* table) {
  if (!all) return all.status();
  for (const Info& info : *all) {
    rows->push_back({{"kind", noun},
                     {"name", info.name},
                     {"owner_uid", info.uid},
                     {"attached", info.attached}});
    table->add({noun, info.name, std::to_string(info.uid), std::to_string(info.attached),
                summary(info)});
  }
  return {};
}

Status list_members(Client& client, const std::string& prefix, Json* rows, Table* table) {
  const auto entries = [](const DictInfo& info) {
    return std::to_string(info.entries) + (info.entries == 1 ? " entry" : " entries");
  };
  const auto elements = [](const ListInfo& info) { return counted(info.length, "element"); };
  const auto state = [](const BlockInfo& info) {
    return counted(info.options.size.value_or(0), "byte") + (info.torn ? ", torn" : "");
  };
  Status status = list_members("dict", client.dicts(prefix), entries, rows, table);
  if (status.ok()) status = list_members("list", client.lists(prefix), elements, rows, table);
  if (status.ok()) status = list_members("block", client.blocks(prefix), state, rows, table);
  return status;
}

int list_objects(const Invocation& run, const std::string& prefix) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto queues = client->list(prefix);
  if (!queues) return run.fail(queues.status());
  Json rows = Json::array();
  Table table({"KIND", "NAME", "OWNER", "OPEN", "SUMMARY"});
  for (const QueueInfo& info : *queues) {
    rows.push_back({{"kind", "queue"},
                    {"name", info.name},
                    {"owner_uid", info.owner_uid},
                    {"attached", info.attached}});
    table.add({"queue", info.name, std::to_string(info.owner_uid), std::to_string(info.attached),
               counted(info.counts.unfinished, "message") +
                   (info.counts.closed ? ", closed" : "")});
  }
  if (Status bad = list_members(*client, prefix, &rows, &table); !bad.ok()) return run.fail(bad);
  for (const SyncKind kind : {SyncKind::kLock, SyncKind::kSemaphore, SyncKind::kCondition,
                              SyncKind::kEvent, SyncKind::kBarrier}) {
    auto locks = client->locks(kind, prefix);
    if (locks.status().is(Reason::kUnsupported)) break;  // on this plane
    if (!locks) return run.fail(locks.status());
    for (const LockInfo& info : *locks) {
      rows.push_back({{"kind", noun_of(kind)},
                      {"name", info.name},
                      {"owner_uid", info.owner_uid},
                      {"attached", info.attached}});
      table.add({noun_of(kind), info.name, std::to_string(info.owner_uid),
                 std::to_string(info.attached), variant_of(info)});
    }
  }
  if (run.json) {
    run.print({{"objects", rows}});
  } else if (!rows.empty()) {
    table.print();
  } else {
    run.remark(prefix.empty() ? "there is nothing yet; heddle queue create NAME makes a queue"
                              : "nothing begins with " + prefix);
  }
  return kExitOk;
}

int show_version(const Invocation& run) {
  if (run.json) {
    run.print({{"version", HEDDLE_VERSION}, {"library", version()}});
    return kExitOk;
  }
  std::printf("heddle %s\n", HEDDLE_VERSION);
  if (std::string(version()) != HEDDLE_VERSION) std::printf("libheddle %s\n", version());
  return kExitOk;
}

}  // namespace

void add_broker(CLI::App& root, Invocation& run) {
  add_verb(root, "ping", "Ask whether the daemon answers, and how fast",
           "heddle ping && echo up\nheddle ping --plane grpc")
      ->callback([&run] { run.action = [&run] { return ping(run); }; });
  add_verb(root, "status", "The daemon: processes, uptime, memory",
           "heddle status\nheddle status --json")
      ->callback([&run] { run.action = [&run] { return status(run); }; });
  auto prefix = std::make_shared<std::string>();
  CLI::App* ls = add_verb(root, "ls", "List every object you may see", "heddle ls\nheddle ls web/");
  ls->add_option("PREFIX", *prefix, "Only names that begin with it")->type_name("");
  ls->callback([prefix, &run] {
    run.action = [prefix, &run] { return list_objects(run, *prefix); };
  });
  CLI::App* session = root.add_subcommand("session", "Processes that are connected");
  session->group("Nouns")->require_subcommand(1);
  add_verb(*session, "ls", "List them", "heddle session ls")->callback([&run] {
    run.action = [&run] { return list_sessions(run); };
  });
  add_verb(root, "version", "The version of this command", "heddle version --json")
      ->callback([&run] { run.action = [&run] { return show_version(run); }; });
}

}  // namespace heddle::cli
