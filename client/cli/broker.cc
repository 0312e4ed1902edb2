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
  line("broker", "pid " + std::to_string(status->pid) + ", up " + age_text(status->uptime) + ", " +
                     restarts_text(status->incarnation));
  line("supervisor", "pid " + std::to_string(status->supervisor_pid));
  line("queues", std::to_string(status->queues));
  line("sessions", std::to_string(status->sessions));
  line("memory",
       bytes_text(status->memory_bytes) + " of " + bytes_text(status->memory_budget_bytes));
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

// Rows of `ls`, of any kind.
struct Objects {
  Json rows = Json::array();
  Table table{{"KIND", "NAME", "OWNER", "OPEN", "SUMMARY"}};

  void add(const std::string& noun, const std::string& name, std::uint32_t uid,
           std::uint64_t attached, const std::string& summary) {
    rows.push_back({{"kind", noun}, {"name", name}, {"owner_uid", uid}, {"attached", attached}});
    table.add({noun, name, std::to_string(uid), std::to_string(attached), summary});
  }
  // Of all, `add_one(info)`.
  template <class Info, class AddOne>
  Status add_all(const Result<std::vector<Info>>& all, AddOne add_one) {
    if (!all) return all.status();
    for (const Info& info : *all) add_one(info);
    return {};
  }
};

Status add_members(Client& client, const std::string& prefix, Objects* out) {
  Status status = out->add_all(client.dicts(prefix), [out](const DictInfo& info) {
    out->add("dict", info.name, info.uid, info.attached,
             std::to_string(info.entries) + (info.entries == 1 ? " entry" : " entries"));
  });
  if (!status.ok()) return status;
  status = out->add_all(client.lists(prefix), [out](const ListInfo& info) {
    out->add("list", info.name, info.uid, info.attached, counted(info.length, "element"));
  });
  if (!status.ok()) return status;
  return out->add_all(client.blocks(prefix), [out](const BlockInfo& info) {
    out->add("block", info.name, info.uid, info.attached,
             counted(info.options.size.value_or(0), "byte") + (info.torn ? ", torn" : ""));
  });
}

Status add_locks(Client& client, const std::string& prefix, Objects* out) {
  for (const SyncKind kind : {SyncKind::kLock, SyncKind::kSemaphore, SyncKind::kCondition,
                              SyncKind::kEvent, SyncKind::kBarrier}) {
    Status status = out->add_all(client.locks(kind, prefix), [&](const LockInfo& info) {
      out->add(noun_of(kind), info.name, info.owner_uid, info.attached, variant_of(info));
    });
    if (!status.ok()) return status;
  }
  return {};
}

int list_objects(const Invocation& run, const std::string& prefix) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  Objects all;
  Status status = all.add_all(client->list(prefix), [&all](const QueueInfo& info) {
    all.add("queue", info.name, info.owner_uid, info.attached,
            counted(info.counts.unfinished, "message") + (info.counts.closed ? ", closed" : ""));
  });
  if (status.ok()) {
    status = all.add_all(client->pipes(prefix), [&all](const PipeInfo& info) {
      all.add("pipe", info.name, info.uid, info.connection_count + info.listeners,
              counted(info.connection_count, "connection") +
                  (info.listeners > 0 ? ", " + counted(info.listeners, "listener") : ""));
    });
  }
  if (status.ok()) status = add_members(*client, prefix, &all);
  if (status.ok()) status = add_locks(*client, prefix, &all);
  if (!status.ok()) return run.fail(status);
  if (run.json) {
    run.print({{"objects", all.rows}});
  } else if (!all.rows.empty()) {
    all.table.print();
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
  ls->callback(
      [prefix, &run] { run.action = [prefix, &run] { return list_objects(run, *prefix); }; });
  CLI::App* session = root.add_subcommand("session", "Processes that are connected");
  session->group("Nouns")->require_subcommand(1);
  add_verb(*session, "ls", "List them", "heddle session ls")->callback([&run] {
    run.action = [&run] { return list_sessions(run); };
  });
  add_verb(root, "version", "The version of this command", "heddle version --json")
      ->callback([&run] { run.action = [&run] { return show_version(run); }; });
}

}  // namespace heddle::cli
