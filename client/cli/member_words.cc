#include "client/cli/member_words.h"

#include <cstdio>

namespace heddle::cli {

void add_member_arguments(CLI::App& verb, MemberArguments& given) {
  add_choice(verb, "--lifetime", given.lifetime, {"kept", "attached"},
             "Until deleted, or until nobody has it open (kept)");
  verb.add_option("--mode", given.mode, "Permission bits, like 0660: r reads, w writes (0600)")
      ->check(CLI::IsMember({"0600", "0640", "0644", "0660", "0664", "0666"}));
  verb.add_option("--group", given.group, "Owning group; you must be in it");
  verb.add_flag("--exclusive", given.exclusive, "Fail if it is there");
}

void print_member(const Invocation& run, const Json& all) {
  if (run.json) return run.print(all);
  const auto line = [](const std::string& key, const Json& value) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    std::printf("%-17s %s\n", key.c_str(), text.c_str());
  };
  for (const auto& [key, value] : all.items()) {
    if (!value.is_object()) line(key, value);
  }
  for (const auto& [key, value] : all["options"].items()) line(key, value);
}

void add_simple_verb(CLI::App& noun, Invocation& run, const std::string& verb_name,
                     const std::string& summary, const std::string& examples,
                     std::function<int(const Invocation&, const std::string&)> act) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb = add_verb(noun, verb_name, summary, examples);
  add_name(*verb, *name, "The " + noun.get_name());
  verb->callback([name, act = std::move(act), &run] {
    run.action = [name, act, &run] { return act(run, *name); };
  });
}

void add_ls_verb(CLI::App& noun, Invocation& run,
                 std::function<int(const Invocation&, const std::string&, bool)> act) {
  auto prefix = std::make_shared<std::string>();
  auto names = std::make_shared<bool>(false);
  const std::string command = "heddle " + noun.get_name() + " ls";
  CLI::App* verb = add_verb(noun, "ls", "List " + noun.get_name() + "s",
                            command + "\n" + command + " ~/ --json");
  verb->add_option("PREFIX", *prefix, "Only names that begin with it");
  verb->add_flag("--names", *names, "Names alone, a line each");
  verb->callback([prefix, names, act = std::move(act), &run] {
    run.action = [prefix, names, act, &run] { return act(run, *prefix, *names); };
  });
}

int delete_verb(const Invocation& run, const std::string& name,
                Status (Client::*erase)(std::string_view)) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  const Status status = ((*client).*erase)(name);
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", name}, {"deleted", true}});
  return kExitOk;
}

std::string body_of(const std::string& value) {
  if (value != "-") return value;
  std::string text;
  char piece[65536];
  for (std::size_t n; (n = std::fread(piece, 1, sizeof piece, stdin)) > 0;) text.append(piece, n);
  return text;
}

}  // namespace heddle::cli
