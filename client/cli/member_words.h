// What the verbs that manage dicts, lists and blocks have in common.
#ifndef HEDDLE_CLIENT_CLI_MEMBER_WORDS_H_
#define HEDDLE_CLIENT_CLI_MEMBER_WORDS_H_

#include <heddle/client.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/invocation.h"
#include "client/cli/terminal.h"

namespace heddle::cli {

// Options of `create` that all of them have.
struct MemberArguments {
  std::string name, lifetime, mode, group;
  bool exclusive = false;

  template <class Options>
  void give(Options* options) const {
    if (!lifetime.empty()) {
      options->lifetime = lifetime == "attached" ? Lifetime::kAttached : Lifetime::kKept;
    }
    if (!mode.empty()) options->mode = static_cast<std::uint32_t>(std::stoul(mode, nullptr, 8));
    options->group = group;
    options->open_existing = !exclusive;
  }
};
void add_member_arguments(CLI::App& verb, MemberArguments& given);

// Facts that all of them have, behind those that are the kind's own.
template <class Info>
Json member_json(const Info& info, Json own, Json options) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", info.options.mode.value_or(0) & 0777u);
  Json out = {{"name", info.name}};
  out.update(own);
  out["memory_bytes"] = info.memory_bytes;
  out["attached"] = info.attached;
  out["watching"] = info.watching;
  out["uid"] = info.uid;
  out["gid"] = info.gid;
  out["mode"] = mode;
  out["options"] = std::move(options);
  if (info.quarantined) out["quarantined"] = true;
  return out;
}
// A document, or a line for each fact.
void print_member(const Invocation& run, const Json& all);

// `heddle NOUN VERB NAME` without more.
void add_simple_verb(CLI::App& noun, Invocation& run, const std::string& verb,
                     const std::string& summary, const std::string& examples,
                     std::function<int(const Invocation&, const std::string&)> act);
// `heddle NOUN ls [PREFIX] [--names]`.
void add_ls_verb(CLI::App& noun, Invocation& run,
                 std::function<int(const Invocation&, const std::string&, bool names)> act);

// What `ls` shows: names, documents, or a table of `headings` with a row of `cells` for each.
template <class Info>
int print_members(const Invocation& run, const std::vector<Info>& all, bool names_only,
                  Json (*document)(const Info&), std::vector<std::string> headings,
                  std::vector<std::string> (*cells)(const Info&)) {
  Table table(std::move(headings));
  Json rows = Json::array();
  for (const Info& info : all) {
    if (run.json) {
      rows.push_back(document(info));
    } else if (names_only) {
      std::printf("%s\n", info.name.c_str());
    } else {
      table.add(cells(info));
    }
  }
  if (run.json) run.print(rows);
  if (!run.json && !names_only) table.print();
  return kExitOk;
}

// Connects, does it, and says that it is deleted.
int delete_verb(const Invocation& run, const std::string& name,
                Status (Client::*erase)(std::string_view));

// A body on the command line; "-" is stdin, whole.
std::string body_of(const std::string& value);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_MEMBER_WORDS_H_
