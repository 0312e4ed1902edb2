#include "client/cli/command_tree.h"

namespace heddle::cli {

namespace {

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> pieces;
  std::size_t start = 0;
  while (start <= text.size()) {
    const std::size_t end = std::min(text.find(by, start), text.size());
    pieces.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return pieces;
}

OptionFacts option_facts(const CLI::Option& option) {
  OptionFacts facts;
  for (const std::string& name : option.get_snames()) facts.flags.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) facts.flags.push_back("--" + name);
  if (option.get_items_expected_max() > 0) facts.value = option.get_type_name();
  if (facts.value.find('|') != std::string::npos) facts.choices = split(facts.value, '|');
  facts.description = option.get_description();
  facts.everywhere = option.get_group() == "Everywhere";
  return facts;
}

VerbFacts facts_of_one(const CLI::App& app, const std::string& path) {
  VerbFacts facts;
  facts.path = path;
  facts.summary = app.get_description();
  facts.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) {
      facts.options.push_back(option_facts(*option));
      continue;
    }
    const std::string name = option->get_name(true);
    const bool many = option->get_items_expected_max() > 1;
    if (facts.usage.empty() && name == "NAME" && !path.ends_with(" create")) {
      facts.names_of = path.substr(0, path.find(' '));
    }
    if (facts.usage.empty() && !option->get_type_name().empty()) {
      facts.words = split(option->get_type_name(), '|');
    }
    facts.usage += (facts.usage.empty() ? "" : " ");
    facts.usage += option->get_required() ? name : "[" + name + "]";
    if (many) facts.usage += "...";
  }
  if (runs_command(path)) facts.usage += " -- COMMAND [ARGUMENT...]";
  return facts;
}

void collect(const CLI::App& app, const std::string& path, std::vector<VerbFacts>& all) {
  const std::size_t mine = all.size();
  all.push_back(facts_of_one(app, path));
  const auto shown = [](const CLI::App* verb) { return !verb->get_group().empty(); };
  for (const CLI::App* verb : app.get_subcommands(shown)) {
    all[mine].verbs.push_back(verb->get_name());
    collect(*verb, path.empty() ? verb->get_name() : path + " " + verb->get_name(), all);
  }
}

}  // namespace

bool runs_command(const std::string& path) {
  return path == "queue work" || path == "dict compute" || path == "lock run" ||
         path == "lock elect" || path == "sem run";
}

std::vector<VerbFacts> facts_of(const CLI::App& root) {
  std::vector<VerbFacts> all;
  collect(root, "", all);
  return all;
}

}  // namespace heddle::cli
