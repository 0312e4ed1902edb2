// heddle queue peek | browse | who | join: looking without taking.
#include <cstdio>
#include <map>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

constexpr std::size_t kExcerptColumns = 40;
constexpr std::size_t kPageRows = 1000;

struct LookArguments {
  std::string name;
  Timeout timeout;
  std::optional<std::uint64_t> after, max, body;
  unsigned states = kAllStates;
  bool raw = false;
};

// A broker that was started anew does not know who took a lease without a session before.
bool uid_known(std::uint32_t uid) { return uid != UINT32_MAX; }
Json uid_json(std::uint32_t uid) { return uid_known(uid) ? Json(uid) : Json(); }
std::string uid_text(std::uint32_t uid) { return uid_known(uid) ? std::to_string(uid) : "-"; }

Json holder_json(const BrowseRow& row) {
  return {{"session", row.owner},
          {"pid", row.pid},
          {"uid", uid_json(row.uid)},
          {"command", row.command}};
}

Json row_json(const BrowseRow& row, bool with_body) {
  Json document = {{"id", row.id},
                   {"state", state_name(row.state)},
                   {"delivery_count", row.delivery_count},
                   {"kind", kind_name(row.kind)},
                   {"bytes", row.length}};
  if (row.state == kLeased) {
    document["holder"] = holder_json(row);
    document["age_ms"] = row.age.count();
  }
  // A body that was cut is bytes: a piece of JSON is not JSON.
  const bool whole = row.body.size() == row.length;
  if (with_body && whole) document["message"] = message_json(row.body, row.kind);
  if (with_body && !whole) document["message"] = {{"data", base64(row.body)}, {"cut", true}};
  return document;
}

std::string holder_text(const BrowseRow& row) {
  if (row.state != kLeased) return "-";
  const std::string who = row.pid == 0 ? "" : std::to_string(row.pid) + " ";
  if (!row.command.empty()) return who + visible(row.command, 26);
  return who.empty() ? "session " + std::to_string(row.owner) : who;
}

Paint state_paint(const std::string& state) {
  if (state == "leased") return Paint::kBusy;
  return state == "buried" ? Paint::kBad : Paint::kGood;
}

int peek(const Invocation& run, const LookArguments& given) {
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  auto row = queue->peek(given.body.value_or(UINT64_MAX));
  if (!row) {
    const std::string words = row.status().is(Reason::kEmpty)
                                  ? "queue " + given.name + ": empty"
                                  : words_of(row.status());
    return run.fail(row.status(), words);
  }
  if (run.json) {
    run.print(row_json(*row, true));
    return kExitOk;
  }
  std::fwrite(row->body.data(), 1, row->body.size(), stdout);
  if (!given.raw && wants_newline(row->kind)) std::fputc('\n', stdout);
  return kExitOk;
}

// Pages by id, so that a long queue needs no more memory here than one page.
Result<std::vector<BrowseRow>> rows_of(Queue& queue, unsigned states, std::uint64_t after,
                                       std::uint64_t max, std::uint64_t body) {
  std::vector<BrowseRow> rows;
  while (rows.size() < max) {
    const std::size_t limit = std::min<std::size_t>(max - rows.size(), kPageRows);
    auto page = queue.browse(
        {.states = states, .after_id = after, .limit = limit, .max_body = body});
    if (!page) return page.status();
    for (BrowseRow& row : *page) rows.push_back(std::move(row));
    if (page->size() < limit) break;
    after = rows.back().id;
  }
  return rows;
}

int browse(const Invocation& run, const LookArguments& given) {
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  const std::uint64_t body = given.body.value_or(run.json ? 0 : kExcerptColumns + 4);
  auto rows = rows_of(*queue, given.states, given.after.value_or(0), given.max.value_or(100), body);
  if (!rows) return run.fail(rows.status());
  if (run.json) {
    Json list = Json::array();
    for (const BrowseRow& row : *rows) list.push_back(row_json(row, given.body.has_value()));
    run.print({{"name", given.name}, {"messages", list}});
    return kExitOk;
  }
  if (rows->empty()) {
    run.remark("queue " + given.name + ": no such messages");
    return kExitOk;
  }
  Table table({"ID", "STATE", "DELIVERIES", "KIND", "BYTES", "AGE", "HOLDER", "BODY"});
  table.paint_column(1, state_paint);
  for (const BrowseRow& row : *rows) {
    table.add({std::to_string(row.id), state_name(row.state), std::to_string(row.delivery_count),
               kind_name(row.kind), std::to_string(row.length),
               row.state == kLeased ? age_text(row.age) : "-", holder_text(row),
               visible(row.body, given.body ? SIZE_MAX : kExcerptColumns)});
  }
  table.print();
  return kExitOk;
}

struct User {
  BrowseRow first;  // of its oldest message
  std::uint64_t leases = 0;
};

// One row for each session that holds messages.
using Users = std::map<std::pair<std::uint16_t, std::int32_t>, User>;

Users users_of(const std::vector<BrowseRow>& rows) {
  Users users;
  for (const BrowseRow& row : rows) {
    User& user = users[{row.owner, row.pid}];
    if (user.leases++ == 0) user.first = row;
    user.first.age = std::max(user.first.age, row.age);
  }
  return users;
}

void print_users(const std::vector<BrowseRow>& rows) {
  Table table({"PID", "UID", "LEASES", "OLDEST", "AGE", "COMMAND"});
  for (const auto& [key, user] : users_of(rows)) {
    table.add({user.first.pid == 0 ? "-" : std::to_string(user.first.pid), uid_text(user.first.uid),
               std::to_string(user.leases), std::to_string(user.first.id), age_text(user.first.age),
               user.first.command.empty() ? "session " + std::to_string(user.first.owner)
                                          : visible(user.first.command, 60)});
  }
  table.print();
}

Json users_json(const std::vector<BrowseRow>& rows) {
  Json list = Json::array();
  for (const auto& [key, user] : users_of(rows)) {
    Json row = holder_json(user.first);
    row["leases"] = user.leases;
    row["oldest_id"] = user.first.id;
    row["age_ms"] = user.first.age.count();
    list.push_back(row);
  }
  return list;
}

int who(const Invocation& run, const LookArguments& given) {
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  auto rows = rows_of(*queue, kLeased, 0, UINT64_MAX, 0);
  if (!rows) return run.fail(rows.status());
  auto counts = queue->counts();
  if (!counts) return run.fail(counts.status());
  if (run.json) {
    run.print({{"name", given.name},
               {"holders", users_json(*rows)},
               {"producers", counts->producers}});
    return kExitOk;
  }
  if (rows->empty()) {
    run.remark("queue " + given.name + ": nobody holds a message; " +
               counted(counts->producers, "producer") + " registered");
    return kExitOk;
  }
  print_users(*rows);
  return kExitOk;
}

int join(const Invocation& run, const LookArguments& given) {
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  const JoinReport report = queue->join_for(given.timeout.value());
  if (report.status.ok()) {
    if (run.json) run.print({{"name", given.name}, {"unfinished", 0}});
    return kExitOk;
  }
  if (!report.status.is(Reason::kTimedOut)) return run.fail(report.status);
  auto counts = queue->counts();
  const std::uint64_t unfinished = counts ? counts->unfinished : 0;
  const int exit_code =
      run.fail(Status(report.status).with_object("queue " + given.name),
               "queue " + given.name + ": " + std::to_string(unfinished) + " unfinished",
               {{"unfinished", unfinished}, {"holders", users_json(report.holders)}});
  if (!run.json && !run.quiet && !report.holders.empty()) print_users(report.holders);
  return exit_code;
}

using Look = int (*)(const Invocation&, const LookArguments&);

CLI::App* add_look(CLI::App& queue, Invocation& run, const std::shared_ptr<LookArguments>& given,
                   const std::string& name, const std::string& summary,
                   const std::string& examples, Look look) {
  CLI::App* verb = add_verb(queue, name, summary, examples);
  add_name(*verb, given->name);
  verb->callback([given, look, &run] {
    run.action = [given, look, &run] { return look(run, *given); };
  });
  return verb;
}

}  // namespace

void add_queue_look(CLI::App& queue, Invocation& run) {
  auto peeked = std::make_shared<LookArguments>();
  CLI::App* verb = add_look(queue, run, peeked, "peek", "Write the next message without taking it",
                            "heddle queue peek jobs\nheddle queue peek jobs --json", peek);
  verb->add_flag("--raw", peeked->raw, "The body alone, without a newline");
  add_count(*verb, "--body", peeked->body, 0, UINT64_MAX, "At most so many bytes of it (all)",
            "BYTES");

  auto browsed = std::make_shared<LookArguments>();
  verb = add_look(queue, run, browsed, "browse", "List messages with their state and holder",
                  "heddle queue browse jobs\n"
                  "heddle queue browse jobs --state leased,buried\n"
                  "heddle queue browse jobs --after 17 -n 10 --body 1000 --json",
                  browse);
  add_states(*verb, browsed->states, "Only these states (all)");
  add_count(*verb, "--after", browsed->after, 0, UINT64_MAX, "Only messages after this id", "ID");
  add_count(*verb, "-n,--max", browsed->max, 1, UINT64_MAX, "At most so many (100)");
  add_count(*verb, "--body", browsed->body, 0, UINT64_MAX, "Show so many bytes of each body",
            "BYTES");

  add_look(queue, run, std::make_shared<LookArguments>(), "who",
           "Who holds messages of a queue, and since when",
           "heddle queue who jobs", who);
  auto joined = std::make_shared<LookArguments>();
  verb = add_look(queue, run, joined, "join", "Wait until every message has been acknowledged",
                  "heddle queue join jobs\nheddle queue join jobs --timeout 10s", join);
  add_timeout(*verb, joined->timeout, "Wait so long, then tell who holds what (for ever)");
}

}  // namespace heddle::cli
