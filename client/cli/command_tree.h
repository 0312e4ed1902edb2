// The command line as data: completions and the manual are made from what the parser knows.
#ifndef HEDDLE_CLIENT_CLI_COMMAND_TREE_H_
#define HEDDLE_CLIENT_CLI_COMMAND_TREE_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace heddle::cli {

struct OptionFacts {
  std::vector<std::string> flags;    // "-t", "--timeout"
  std::string value;                 // "DURATION"; empty for a flag
  std::vector<std::string> choices;  // of the value, if it is one of a few words
  std::string description;
  bool everywhere = false;           // every verb has it
};

struct VerbFacts {
  std::string path;  // "queue put"; "queue" for a noun
  std::string summary;
  std::string footer;
  std::string usage;  // "NAME BODY"
  std::vector<OptionFacts> options;
  std::vector<std::string> verbs;  // of a noun
  std::string names_of;            // the noun, if its first argument is one that is there
  std::vector<std::string> words;  // what its first argument may be
};

// Whether the verb at `path` ("queue work") runs what stands after "--".
bool runs_command(const std::string& path);
// Every noun and verb but the hidden ones, the whole command (path "") first.
std::vector<VerbFacts> facts_of(const CLI::App& root);

std::string bash_completion(const CLI::App& root);
std::string zsh_completion(const CLI::App& root);
std::string fish_completion(const CLI::App& root);
// heddle(1), roff.
std::string manual_page(const CLI::App& root);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_COMMAND_TREE_H_
