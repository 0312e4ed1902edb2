// heddle lock graph | deadlocks | orders: who waits for whom, and what came of it.
#include <cstdio>
#include <ctime>
#include <memory>
#include <set>

#include "client/cli/arguments.h"
#include "client/cli/lock_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

Result<Json> report_of(const Invocation& run, LockReport which, const char* list) {
  auto client = run.connect();
  if (!client) return client.status();
  auto text = client->lock_report(which);
  if (!text) return text.status();
  Json document = Json::parse(*text, nullptr, false);
  if (!document.is_object() || !document.contains(list) || !document[list].is_array()) {
    return Status(Reason::kInternal, "the broker's answer is not the JSON it promised");
  }
  return document;
}

std::string word(const Json& row, const char* key) { return row.value(key, std::string()); }

std::string ago(std::int64_t unix_ms) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return age_text(now - std::chrono::milliseconds(unix_ms)) + " ago";
}

std::string party_text(const Json& party) {
  const std::string command = word(party, "command");
  return "pid " + std::to_string(party.value("pid", 0)) +
         (command.empty() ? "" : " (" + visible(command, 60) + ")") + ", thread " +
         std::to_string(party.value("thread", 0));
}

// What an edge of the graph hangs on: a thread of a session.
std::string node_name(const Json& party) {
  return std::to_string(party.value("session", std::uint64_t{0})) + "." +
         std::to_string(party.value("thread", 0));
}

std::string dot_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : visible(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

void print_dot(const Json& edges) {
  std::printf("digraph waits {\n  rankdir=LR;\n  node [shape=box];\n");
  std::set<std::string> told;
  const auto node = [&](const Json& party) {
    const std::string name = node_name(party);
    if (!told.insert(name).second) return;
    std::printf(
        "  %s [label=%s];\n", dot_quoted(name).c_str(),
        dot_quoted("pid " + std::to_string(party.value("pid", 0)) + " " + word(party, "command"))
            .c_str());
  };
  for (const Json& edge : edges) {
    node(edge["waiter"]);
    for (const Json& holder : edge["holders"]) {
      node(holder);
      std::printf("  %s -> %s [label=%s];\n", dot_quoted(node_name(edge["waiter"])).c_str(),
                  dot_quoted(node_name(holder)).c_str(),
                  dot_quoted(word(edge, "kind") + " " + word(edge, "name")).c_str());
    }
  }
  std::printf("}\n");
}

int graph(const Invocation& run, bool dot) {
  auto report = report_of(run, LockReport::kGraph, "edges");
  if (!report) return run.fail(report.status());
  const Json& edges = (*report)["edges"];
  if (run.json && !dot) {
    run.print(*report);
  } else if (dot) {
    print_dot(edges);
  } else {
    for (const Json& edge : edges) {
      const std::chrono::milliseconds age(edge.value("age_ms", std::int64_t{0}));
      std::printf("%s waits %s for %s %s\n", party_text(edge["waiter"]).c_str(),
                  age_text(age).c_str(), word(edge, "kind").c_str(), word(edge, "name").c_str());
      for (const Json& holder : edge["holders"]) {
        std::printf("    held by %s\n", party_text(holder).c_str());
      }
    }
    if (edges.empty()) run.remark("nobody waits for a lock");
  }
  return kExitOk;
}

int deadlocks(const Invocation& run) {
  auto report = report_of(run, LockReport::kDeadlocks, "deadlocks");
  if (!report) return run.fail(report.status());
  if (run.json) {
    run.print(*report);
    return kExitOk;
  }
  const Json& found = (*report)["deadlocks"];
  for (const Json& one : found) {
    std::printf("deadlock %llu, %s\n",
                static_cast<unsigned long long>(one.value("number", std::uint64_t{0})),
                ago(one.value("found_unix_ms", std::int64_t{0})).c_str());
    for (const Json& member : one["circle"]) {
      const std::chrono::milliseconds age(member.value("age_ms", std::int64_t{0}));
      std::printf("    %s waited %s for %s %s (%s)%s\n", party_text(member).c_str(),
                  age_text(age).c_str(), word(member, "kind").c_str(), word(member, "name").c_str(),
                  word(member, "mode").c_str(), member.value("victim", false) ? ": gave way" : "");
    }
  }
  if (found.empty()) run.remark("no deadlock was found since the daemon started");
  return kExitOk;
}

int orders(const Invocation& run) {
  auto report = report_of(run, LockReport::kOrder, "orders");
  if (!report) return run.fail(report.status());
  if (run.json) {
    run.print(*report);
    return kExitOk;
  }
  const Json& found = (*report)["orders"];
  Table table({"FIRST", "SECOND", "BY", "OTHER WAY ROUND BY", "FOUND"});
  for (const Json& one : found) {
    table.add({word(one, "first"), word(one, "second"), visible(word(one, "command"), 40),
               visible(word(one, "other_command"), 40),
               ago(one.value("found_unix_ms", std::int64_t{0}))});
  }
  if (found.empty()) {
    run.remark("no two locks were taken in both orders");
  } else {
    table.print();
  }
  return kExitOk;
}

}  // namespace

void add_lock_graph(CLI::App& lock, Invocation& run) {
  auto dot = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(lock, "graph", "Show who waits for whom",
                            "heddle lock graph\nheddle lock graph --dot | dot -Tsvg > waits.svg");
  verb->add_flag("--dot", *dot, "For graphviz");
  verb->callback([dot, &run] { run.action = [dot, &run] { return graph(run, *dot); }; });
  add_verb(lock, "deadlocks", "Show the last 100 deadlocks that were found",
           "heddle lock deadlocks\n"
           "heddle lock deadlocks --json\n"
           "\n"
           "Each line waits for what the next one holds, the last for what the first one holds.")
      ->callback([&run] { run.action = [&run] { return deadlocks(run); }; });
  add_verb(lock, "orders", "Show locks that were taken in both orders: deadlocks to come",
           "heddle lock orders")
      ->callback([&run] { run.action = [&run] { return orders(run); }; });
}

}  // namespace heddle::cli
