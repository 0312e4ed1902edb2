// heddle dict create | ls | info | delete | clear
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/dict_words.h"
#include "client/cli/member_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

constexpr const char* kEvictions[] = {"reject", "evict_oldest_write", "evict_lru",
                                      "evict_ttl_first"};
constexpr const char* kTtlWords[] = {"clear", "keep", "default"};

struct DictArguments : MemberArguments {
  std::string eviction, ttl_on_overwrite;
  std::optional<std::uint64_t> max_entries, max_bytes, max_value_bytes, history;
  std::optional<std::chrono::milliseconds> default_ttl;
  bool no_previous = false;
};

template <typename Enum, std::size_t N>
std::optional<Enum> word_in(const char* const (&words)[N], const std::string& word) {
  for (std::size_t i = 0; i < N; ++i) {
    if (word == words[i]) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

DictOptions dict_options_of(const DictArguments& given) {
  DictOptions options;
  options.max_entries = given.max_entries;
  options.max_bytes = given.max_bytes;
  const auto narrow = [](std::uint64_t value) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
  };
  if (given.max_value_bytes) options.max_value_bytes = narrow(*given.max_value_bytes);
  if (given.history) options.history = narrow(*given.history);
  if (given.default_ttl) {
    options.default_ttl_ms = narrow(static_cast<std::uint64_t>(given.default_ttl->count()));
  }
  if (given.no_previous) options.keep_previous = false;
  options.eviction = word_in<DictOptions::Eviction>(kEvictions, given.eviction);
  options.ttl_on_overwrite =
      word_in<DictOptions::TtlOnOverwrite>(kTtlWords, given.ttl_on_overwrite);
  given.give(&options);
  return options;
}

Json dict_json(const DictInfo& info) {
  const DictOptions& options = info.options;
  Json in_force = {{"max_entries", options.max_entries.value_or(0)},
                   {"max_bytes", options.max_bytes.value_or(0)},
                   {"max_value_bytes", options.max_value_bytes.value_or(0)},
                   {"max_key_bytes", options.max_key_bytes.value_or(0)},
                   {"history", options.history.value_or(0)},
                   {"keep_previous", options.keep_previous.value_or(true)},
                   {"default_ttl_ms", options.default_ttl_ms.value_or(0)}};
  if (options.eviction) in_force["eviction"] = kEvictions[static_cast<int>(*options.eviction)];
  if (options.ttl_on_overwrite) {
    in_force["ttl_on_overwrite"] = kTtlWords[static_cast<int>(*options.ttl_on_overwrite)];
  }
  return member_json(info,
                     {{"entries", info.entries},
                      {"bytes", info.bytes},
                      {"revision", info.revision},
                      {"oldest_revision", info.oldest_revision}},
                     std::move(in_force));
}

int create_dict(const Invocation& run, const DictArguments& given) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto dict = client->create_dict(given.name, dict_options_of(given));
  if (!dict) return run.fail(dict.status());
  if (run.json) run.print({{"name", dict->name()}});
  return kExitOk;
}

int delete_dict(const Invocation& run, const std::string& name) {
  return delete_verb(run, name, &Client::delete_dict);
}

int clear_dict(const Invocation& run, const std::string& name) {
  auto dict = open_dict(run, name);
  if (!dict) return run.fail(dict.status());
  auto cleared = dict->clear();
  if (!cleared) return run.fail(cleared.status());
  if (run.json) run.print({{"name", name}, {"cleared", *cleared}});
  run.remark("dict " + name + ": " + std::to_string(*cleared) +
             (*cleared == 1 ? " entry" : " entries") + " cleared");
  return kExitOk;
}

std::vector<std::string> dict_cells(const DictInfo& info) {
  return {info.name,
          std::to_string(info.entries),
          std::to_string(info.bytes),
          std::to_string(info.revision),
          std::to_string(info.memory_bytes),
          std::to_string(info.attached),
          std::to_string(info.watching)};
}

int list_dicts(const Invocation& run, const std::string& prefix, bool names_only) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto dicts = client->dicts(prefix);
  if (!dicts) return run.fail(dicts.status());
  return print_members(run, *dicts, names_only, dict_json,
                       {"NAME", "ENTRIES", "BYTES", "REVISION", "MEMORY", "ATTACHED", "WATCHING"},
                       dict_cells);
}

int show_dict(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->dict_info(name);
  if (!info) return run.fail(info.status());
  print_member(run, dict_json(*info));
  return kExitOk;
}

void add_create_dict(CLI::App& dict, Invocation& run) {
  auto given = std::make_shared<DictArguments>();
  CLI::App* verb = add_verb(dict, "create", "Make a dict; one that agrees is left as it is",
                            "heddle dict create settings\n"
                            "heddle dict create cache --max-entries 10000 --eviction evict_lru\n"
                            "heddle dict create sessions --default-ttl 30m --mode 0640");
  add_name(*verb, given->name, "Name: 1-200 of A-Z a-z 0-9 . _ / -; ~/x is your own");
  add_count(*verb, "--max-entries", given->max_entries, 1, UINT64_MAX, "Entries at most (1000000)");
  add_size(*verb, "--max-bytes", given->max_bytes, "Bytes of all keys and values (256M)");
  add_size(*verb, "--max-value-bytes", given->max_value_bytes, "Bytes of one value (16M)");
  add_count(*verb, "--history", given->history, 1, UINT32_MAX,
            "Changes that can be read back (1024)");
  verb->add_flag("--no-previous", given->no_previous,
                 "Changes do not tell what they replaced: less memory");
  add_duration(*verb, "--default-ttl", given->default_ttl,
               "Entries are gone after so long, unless a write says otherwise");
  add_choice(*verb, "--eviction", given->eviction,
             {"reject", "evict_oldest_write", "evict_lru", "evict_ttl_first"},
             "At a limit: refuse, or which entry goes (reject)");
  add_choice(*verb, "--ttl-on-overwrite", given->ttl_on_overwrite, {"clear", "keep", "default"},
             "What becomes of an expiry when its entry is written again (clear)");
  add_member_arguments(*verb, *given);
  verb->callback(
      [given, &run] { run.action = [given, &run] { return create_dict(run, *given); }; });
}

}  // namespace

void add_dict_manage(CLI::App& dict, Invocation& run) {
  add_create_dict(dict, run);
  add_ls_verb(dict, run, list_dicts);
  add_simple_verb(dict, run, "info", "Options and figures of a dict", "heddle dict info settings",
                  show_dict);
  add_simple_verb(dict, run, "clear", "Erase all entries", "heddle dict clear cache", clear_dict);
  add_simple_verb(dict, run, "delete", "Delete a dict with all that is in it",
                  "heddle dict delete settings", delete_dict);
}

}  // namespace heddle::cli
