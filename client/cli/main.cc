// heddle: the broker from a shell. Parses, runs one verb, exits with its status.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/command_tree.h"
#include "client/cli/invocation.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

constexpr char kExitCodes[] =
    "Durations: a number with ms, s, m or h; a bare number is seconds; 0 does not wait; without\n"
    "  one the command waits for ever.\n"
    "Exit status: 0 ok, 1 error, 2 usage, 3 partial, 4 not found, 5 empty or timed out,\n"
    "  6 end of stream, 7 full, 8 lease lost, 9 denied, 10 no daemon, 11 closed,\n"
    "  12 producer or peer died, 13 exists with other options, 14 aborted, 130 interrupted;\n"
    "  of lock run, lock elect and sem run: the command's own, 124 not acquired, 125 failed.\n"
    "More: man heddle, heddle NOUN --help, heddle NOUN VERB --help.";

void add_common_everywhere(CLI::App& app, Invocation& run) {
  add_common_options(app, run);
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    add_common_everywhere(*verb, run);
  }
}

void add_everything(CLI::App& root, Invocation& run) {
  const auto& form = root.get_formatter();
  form->label("SUBCOMMAND", "NOUN VERB");
  form->label("Positionals", "Arguments");
  form->label("REQUIRED", "");
  root.footer(kExitCodes);
  root.require_subcommand(1);
  const auto noun = [&root](const std::string& name, const std::string& what) {
    CLI::App* app = root.add_subcommand(name, what);
    app->group("Nouns")->require_subcommand(1);
    app->footer("heddle " + name + " VERB --help tells more, with examples.");
    return app;
  };
  CLI::App* queue = noun("queue", "Named queues: put, get, look, manage");
  add_queue_manage(*queue, run);
  add_queue_put(*queue, run);
  add_queue_get(*queue, run);
  add_queue_settle(*queue, run);
  add_queue_look(*queue, run);
  add_queue_work(*queue, run);
  add_pipe(*noun("pipe", "Named pipes: a bridge for shell pipelines"), run);
  CLI::App* dict = noun("dict", "Named dicts: keys and values, watched and shared");
  add_dict_read(*dict, run);
  add_dict_write(*dict, run);
  add_dict_compute(*dict, run);
  add_dict_dump(*dict, run);
  add_dict_manage(*dict, run);
  add_list(*noun("list", "Named lists: values in a row, shared"), run);
  add_block(*noun("block", "Named blocks: shared memory of fixed size"), run);
  CLI::App* lock = noun("lock", "Named locks: run a command under one, look, manage");
  add_lock_run(*lock, run);
  add_lock_manage(*lock, run);
  add_lock_graph(*lock, run);
  add_sem(*noun("sem", "Named semaphores: so many at once"), run);
  add_event(*noun("event", "Named events: flags to wait for"), run);
  add_barrier(*noun("barrier", "Named barriers: wait for each other"), run);
  add_broker(root, run);
  add_completion(root, run);
  add_common_everywhere(root, run);
  root.set_version_flag("--version", std::string("heddle ") + HEDDLE_VERSION, "Show the version")
      ->group("Everywhere");
}

// The verb that was being typed, for "see heddle queue put --help".
std::string path_of(CLI::App& root) {
  std::string path = "heddle";
  for (CLI::App* app = &root; !app->get_subcommands().empty();) {
    app = app->get_subcommands().front();
    path += " " + app->get_name();
  }
  return path;
}

// The word where a noun or verb was expected after `path`; empty if there is none.
std::string word_after(const std::string& path, const std::vector<std::string>& arguments) {
  auto depth = std::count(path.begin(), path.end(), ' ');
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--plane" || word == "--address" || word == "--runtime-dir") ++i;
    if (word.starts_with("-")) continue;
    if (depth-- == 0) return word;
  }
  return {};
}

// CLI11 speaks of subcommands; people know nouns and verbs.
std::string usage_words(const CLI::ParseError& error, const std::string& path,
                        const std::vector<std::string>& arguments) {
  std::string words = error.what();
  if (error.get_name() == "RequiredError" && words.find("subcommand") != std::string::npos) {
    const std::string word = word_after(path, arguments);
    if (!word.empty()) return (path == "heddle" ? "no noun or verb '" : "no verb '") + word + "'";
    return path == "heddle" ? "say what to do, e.g. heddle queue ls" : "a verb is missing";
  }
  const std::size_t twice = words.find(": At Most 1 required but received");
  if (twice != std::string::npos) return words.substr(0, twice) + " is given more than once";
  const std::string extra = "The following argument was not expected: ";
  const std::string extras = "The following arguments were not expected: ";
  for (const std::string& start : {extra, extras}) {
    if (!words.starts_with(start)) continue;
    const std::string what = words.substr(start.size());
    return what.starts_with("-") ? "no option " + what : "unexpected argument " + what;
  }
  return words;
}

int end_parse(CLI::App& root, const Invocation& run, const CLI::ParseError& error,
              const std::vector<std::string>& arguments) {
  if (error.get_exit_code() == 0) return root.exit(error);  // --help, --version
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  const std::string path = path_of(root);
  const std::string words = usage_words(error, path, arguments) + "; see " + path + " --help";
  Invocation told = run;
  told.json = std::find(arguments.begin(), end, "--json") != end;
  return told.fail(Status(Reason::kInvalidArgument, words));
}

// Takes away what stands after "--" if the verb runs a command: CLI11 would read meaning into it.
std::vector<std::string> arguments_of(int argc, char** argv, Invocation& run) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  const std::vector<std::string> words(arguments.begin(), end);
  const std::string noun = word_after("heddle", words);
  const std::string path = noun + " " + word_after("heddle " + noun, words);
  run.passes_status = runs_command(path) && path != "queue work";
  if (runs_command(path) && end != arguments.end()) {
    run.command.assign(end + 1, arguments.end());
    run.has_command = true;
    arguments.erase(end, arguments.end());
  }
  return arguments;
}

int run_command(int argc, char** argv) {
  CLI::App root(
      "heddle: queues, pipes, dicts, lists and locks that any process on this machine can share",
      "heddle");
  Invocation run;
  add_everything(root, run);
  const std::vector<std::string> arguments = arguments_of(argc, argv, run);
  try {
    // CLI11 takes them from the back.
    root.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return end_parse(root, run, error, arguments);
  }
  const int status = run.action();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fprintf(stderr, "heddle: cannot write to stdout\n");
    return status == kExitOk ? kExitError : status;
  }
  return status;
}

}  // namespace
}  // namespace heddle::cli

int main(int argc, char** argv) {
  try {
    return heddle::cli::run_command(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "heddle: %s\n", error.what());
    return heddle::cli::kExitError;
  }
}
