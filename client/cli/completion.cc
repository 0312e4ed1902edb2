// heddle completion bash|zsh|fish
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/command_tree.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

std::string joined(const std::vector<std::string>& words, const std::string& by = " ") {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : by) + word;
  return text;
}

// Quoted for a shell, between single quotes.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// What zsh's _arguments and _describe give a meaning of their own.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::vector<std::string> flags_of(const VerbFacts& facts) {
  std::vector<std::string> flags;
  for (const OptionFacts& option : facts.options) {
    flags.insert(flags.end(), option.flags.begin(), option.flags.end());
  }
  return flags;
}

std::string zsh_option(const OptionFacts& option) {
  const std::string flags = option.flags.size() == 1
                                ? option.flags[0]
                                : "{" + joined(option.flags, ",") + "}";
  std::string rest = "[" + zsh_text(option.description) + "]";
  if (!option.choices.empty()) {
    rest += ":value:(" + joined(option.choices) + ")";
  } else if (option.value == "DIR") {
    rest += ":directory:_files -/";
  } else if (!option.value.empty()) {
    rest += ":" + zsh_text(option.value) + ":";
  }
  return flags + shell_quoted(rest);
}

std::string zsh_function(const std::string& path) {
  std::string name = "_heddle";
  for (const char c : path.empty() ? path : "_" + path) name += c == ' ' ? '_' : c;
  return name;
}

void zsh_verb(const VerbFacts& facts, std::string& out) {
  out += zsh_function(facts.path) + "() {\n";
  if (!facts.verbs.empty()) {
    out += "  local context state state_descr line\n  typeset -A opt_args\n";
  }
  out += "  _arguments -s";
  if (!facts.verbs.empty()) out += " -C";
  for (const OptionFacts& option : facts.options) out += " \\\n    " + zsh_option(option);
  if (!facts.verbs.empty()) {
    out += " \\\n    '1: :(" + joined(facts.verbs) + ")' \\\n    '*:: :->rest'\n";
    out += "  [[ $state == rest ]] || return 0\n  case $words[1] in\n";
    for (const std::string& verb : facts.verbs) {
      const std::string path = facts.path.empty() ? verb : facts.path + " " + verb;
      out += "    " + verb + ") " + zsh_function(path) + " ;;\n";
    }
    out += "  esac\n}\n\n";
    return;
  }
  if (!facts.names_of.empty()) {
    out += " \\\n    '1:" + facts.names_of + ":_heddle_names " + facts.names_of + "'";
  }
  if (!facts.words.empty()) out += " \\\n    '1: :(" + joined(facts.words) + ")'";
  if (runs_command(facts.path)) out += " \\\n    '*::command:_normal'";
  out += "\n}\n\n";
}

int complete(const Invocation&, const CLI::App& root, const std::string& shell) {
  const std::string script = shell == "bash"  ? bash_completion(root)
                             : shell == "zsh" ? zsh_completion(root)
                                              : fish_completion(root);
  std::fputs(script.c_str(), stdout);
  return kExitOk;
}

}  // namespace

std::string bash_completion(const CLI::App& root) {
  std::string out =
      "# bash completion for heddle; made by `heddle completion bash`\n"
      "_heddle() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
      "  local path='' names=0 i flags='' values='' verbs='' noun=''\n"
      "  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${COMP_WORDS[i]} in\n"
      "      --) return ;;\n";
  std::vector<std::string> valued;
  for (const VerbFacts& facts : facts_of(root)) {
    for (const OptionFacts& option : facts.options) {
      for (const std::string& flag : option.flags) {
        const bool known = std::find(valued.begin(), valued.end(), flag) != valued.end();
        if (!option.value.empty() && !known) valued.push_back(flag);
      }
    }
  }
  out += "      " + joined(valued, "|") + ") ((i++)) ;;\n";
  out +=
      "      -*) ;;\n"
      "      *)\n"
      "        case \"$path ${COMP_WORDS[i]}\" in\n";
  std::string paths, cases;
  for (const VerbFacts& facts : facts_of(root)) {
    if (!facts.path.empty()) paths += (paths.empty() ? "" : "|") + shell_quoted(" " + facts.path);
    cases += "    " + shell_quoted(facts.path.empty() ? "" : " " + facts.path) + ")\n      flags=" +
             shell_quoted(joined(flags_of(facts))) + "\n";
    if (!facts.verbs.empty()) cases += "      verbs=" + shell_quoted(joined(facts.verbs)) + "\n";
    if (!facts.words.empty()) cases += "      verbs=" + shell_quoted(joined(facts.words)) + "\n";
    if (!facts.names_of.empty()) cases += "      noun=" + facts.names_of + "\n";
    std::string values;
    for (const OptionFacts& option : facts.options) {
      if (option.choices.empty()) continue;
      values += "        " + joined(option.flags, "|") + ") values=" +
                shell_quoted(joined(option.choices)) + " ;;\n";
    }
    if (!values.empty()) cases += "      case $before in\n" + values + "      esac\n";
    cases += "      ;;\n";
  }
  out += "          " + paths + ") path=\"$path ${COMP_WORDS[i]}\" ;;\n";
  out +=
      "          *) ((names++)) ;;\n"
      "        esac\n"
      "        ;;\n"
      "    esac\n"
      "  done\n"
      "  case $path in\n" +
      cases +
      "  esac\n"
      "  if [[ -n $values ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$values\" -- \"$word\"))\n"
      "  elif [[ $before == --runtime-dir ]]; then\n"
      "    COMPREPLY=($(compgen -d -- \"$word\"))\n"
      "  elif [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n"
      "  elif ((names == 0)) && [[ -n $verbs ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$verbs\" -- \"$word\"))\n"
      "  elif [[ -n $noun ]] && ((names == 0)); then\n"
      "    COMPREPLY=($(compgen -W \"$(heddle $noun ls --names 2>/dev/null)\" -- \"$word\"))\n"
      "  fi\n"
      "}\n"
      "complete -F _heddle heddle\n";
  return out;
}

std::string zsh_completion(const CLI::App& root) {
  std::string out =
      "#compdef heddle\n# zsh completion for heddle; made by `heddle completion zsh`\n\n"
      "_heddle_names() {\n"
      "  local -a found\n"
      "  found=(${(f)\"$(heddle $1 ls --names 2>/dev/null)\"})\n"
      "  compadd -a found\n"
      "}\n\n";
  for (const VerbFacts& facts : facts_of(root)) zsh_verb(facts, out);
  return out + "if [[ $funcstack[1] == _heddle ]]; then\n  _heddle \"$@\"\nelse\n"
               "  compdef _heddle heddle\nfi\n";
}

std::string fish_completion(const CLI::App& root) {
  std::string out =
      "# fish completion for heddle; made by `heddle completion fish`\n"
      "function __heddle_at\n"
      "    # Whether the words so far, options left out, are exactly these.\n"
      "    set -l words (commandline -opc | string match -v -- '-*')\n"
      "    test \"$words[2..-1]\" = \"$argv\"\n"
      "end\n"
      "function __heddle_in\n"
      "    # Whether the words so far begin with these.\n"
      "    set -l words (commandline -opc | string match -v -- '-*')\n"
      "    string match -q -- \"$argv *\" \"$words[2..-1] \"\n"
      "end\n"
      "complete -c heddle -f\n";
  for (const VerbFacts& facts : facts_of(root)) {
    const std::string at = "complete -c heddle -n " + shell_quoted("__heddle_at " + facts.path);
    for (const std::string& verb : facts.verbs) out += at + " -a " + verb + "\n";
    for (const std::string& word : facts.words) out += at + " -a " + word + "\n";
    if (!facts.names_of.empty()) {
      out += at + " -a '(heddle " + facts.names_of + " ls --names 2>/dev/null)'\n";
    }
    for (const OptionFacts& option : facts.options) {
      if (option.everywhere && !facts.path.empty()) continue;
      out += "complete -c heddle";
      if (!option.everywhere) out += " -n " + shell_quoted("__heddle_in " + facts.path);
      for (const std::string& flag : option.flags) {
        out += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
      }
      if (!option.value.empty()) out += " -x";
      if (!option.choices.empty()) out += " -a " + shell_quoted(joined(option.choices));
      out += " -d " + shell_quoted(option.description) + "\n";
    }
  }
  return out;
}

void add_completion(CLI::App& root, Invocation& run) {
  auto shell = std::make_shared<std::string>();
  CLI::App* verb = add_verb(root, "completion", "Write a completion script for a shell",
                            "source <(heddle completion bash)\n"
                            "heddle completion zsh > ~/.zfunc/_heddle\n"
                            "heddle completion fish > ~/.config/fish/completions/heddle.fish");
  add_choice(*verb, "SHELL", *shell, {"bash", "zsh", "fish"}, "The shell")->required();
  verb->callback([shell, &root, &run] {
    run.action = [shell, &root, &run] { return complete(run, root, *shell); };
  });
  // For the packager: what deploy/man/heddle.1 is made with.
  CLI::App* manual = root.add_subcommand("manual", "Write heddle(1)")->group("");
  manual->callback([&root, &run] {
    run.action = [&root] {
      std::fputs(manual_page(root).c_str(), stdout);
      return kExitOk;
    };
  });
}

}  // namespace heddle::cli
