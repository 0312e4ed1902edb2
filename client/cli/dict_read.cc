// heddle dict get | keys | items | watch
#include <algorithm>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/dict_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

struct ReadArguments {
  std::string name, prefix, from, to;
  std::vector<std::string> keys;
  std::optional<std::string> path;
  bool raw = false, unsorted = false;
  bool snapshot = false, previous = false;
  std::optional<std::uint64_t> start, max;
  Timeout timeout;
};

int missing_key(const Invocation& run, const std::string& name, const std::string& key,
                const std::string& what) {
  return run.fail(Reason::kNotFound, "dict " + name + ": " + visible(key, 60) + ": " + what,
                  {{"name", name}, {"key", visible(key)}});
}

int get_path(const Invocation& run, Dict& dict, const ReadArguments& given) {
  auto part = dict.get_json(given.keys.front(), *given.path);
  if (part.status().is(Reason::kNotFound)) {
    return missing_key(run, given.name, given.keys.front(), "nothing is at " + *given.path);
  }
  if (!part) return run.fail(part.status());
  if (run.json) {
    run.print({{"path", *given.path}, {"json_text", *part}});
  } else {
    write_value({DictType::kJson, *part}, given.raw);
  }
  return kExitOk;
}

// Several keys: one document or line for each that is there.
int get_keys(const Invocation& run, Dict& dict, const ReadArguments& given) {
  const std::vector<std::string_view> keys(given.keys.begin(), given.keys.end());
  auto entries = dict.get_many(keys);
  if (!entries) return run.fail(entries.status());
  std::string missing;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!(*entries)[i]) {
      if (missing.empty()) missing = given.keys[i];
    } else if (run.json) {
      run.print(entry_json(*(*entries)[i], true));
    } else {
      write_value((*entries)[i]->value, given.raw);
    }
  }
  if (missing.empty()) return kExitOk;
  return missing_key(run, given.name, missing, "no such key");
}

int get_verb(const Invocation& run, const ReadArguments& given) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  if (given.path && given.keys.size() != 1) {
    return run.fail(Status(Reason::kInvalidArgument, "--path goes with one key"));
  }
  if (given.path) return get_path(run, *dict, given);
  if (given.keys.size() != 1) return get_keys(run, *dict, given);
  auto got = dict->get(given.keys.front());
  if (got.status().is(Reason::kNotFound)) {
    return missing_key(run, given.name, given.keys.front(), "no such key");
  }
  if (!got) return run.fail(got.status());
  if (run.json) {
    Json row = entry_json(*got, true);
    row["revision"] = got->revision;
    run.print(row);
  } else {
    write_value(got->value, given.raw);
  }
  return kExitOk;
}

// All that pass, by key; `print` for each.
int each_entry(const Invocation& run, const ReadArguments& given, bool keys_only,
               const std::function<void(const DictEntry&)>& print) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  DictScanOptions options{.prefix = given.prefix,
                          .from = given.from,
                          .to = given.to,
                          .keys_only = keys_only,
                          .page_size = 4096};
  std::vector<DictEntry> all;
  std::string next;
  do {
    auto page = dict->scan(options, next);
    if (!page) return run.fail(page.status());
    for (DictEntry& entry : page->entries) {
      if (given.unsorted) {
        print(entry);
      } else {
        all.push_back(std::move(entry));
      }
    }
    next = page->next;
  } while (!next.empty());
  std::sort(all.begin(), all.end(),
            [](const DictEntry& a, const DictEntry& b) { return a.key < b.key; });
  for (const DictEntry& entry : all) print(entry);
  return kExitOk;
}

int keys_verb(const Invocation& run, const ReadArguments& given) {
  return each_entry(run, given, true, [&](const DictEntry& entry) {
    if (run.json) {
      run.print(entry_json(entry, false));
    } else if (given.raw) {
      std::fwrite(entry.key.data(), 1, entry.key.size(), stdout);
      std::fputc('\0', stdout);
    } else {
      std::printf("%s\n", visible(entry.key).c_str());
    }
  });
}

int items_verb(const Invocation& run, const ReadArguments& given) {
  if (run.json) {
    return each_entry(run, given, false,
                      [&](const DictEntry& entry) { run.print(entry_json(entry, true)); });
  }
  Table table({"KEY", "TYPE", "VALUE", "REVISION", "VERSION", "TTL"});
  const int status = each_entry(run, given, false, [&](const DictEntry& entry) {
    table.add({visible(entry.key, 60), type_name(entry.value.type), value_words(entry.value),
               std::to_string(entry.mod_revision), std::to_string(entry.version),
               entry.ttl ? age_text(*entry.ttl) : "-"});
  });
  if (status == kExitOk) table.print();
  return status;
}

void print_event(const Invocation& run, const DictEvent& event) {
  if (run.json) {
    Json row = {{"kind", dict_event_name(event.kind)}, {"revision", event.revision}};
    const bool has_value =
        event.kind == DictEventKind::kPut || event.kind == DictEventKind::kSnapshot;
    if (event.kind != DictEventKind::kSnapshotDone) row.update(entry_json(event.entry, has_value));
    if (event.previous) row["previous"] = value_json(event.previous->value);
    run.print(row);
  } else if (event.kind == DictEventKind::kSnapshotDone) {
    std::printf("%llu %s\n", static_cast<unsigned long long>(event.revision),
                dict_event_name(event.kind));
  } else {
    const bool has_value =
        event.kind == DictEventKind::kPut || event.kind == DictEventKind::kSnapshot;
    std::printf("%llu %s %s%s%s\n", static_cast<unsigned long long>(event.revision),
                dict_event_name(event.kind), visible(event.entry.key, 60).c_str(),
                has_value ? " " : "", has_value ? value_words(event.entry.value).c_str() : "");
  }
  std::fflush(stdout);
}

int watch_verb(const Invocation& run, const ReadArguments& given) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  auto watch = dict->watch({.start_revision = given.start.value_or(0),
                            .prefix = given.prefix,
                            .want_previous = given.previous,
                            .initial_snapshot = given.snapshot});
  if (!watch) return run.fail(watch.status());
  for (std::uint64_t n = 0; n < given.max.value_or(UINT64_MAX); ++n) {
    auto event = watch->next(given.timeout.value());
    if (!event) return run.fail(event.status());
    print_event(run, *event);
    if (std::ferror(stdout)) return kExitError;
  }
  return kExitOk;
}

void add_filter(CLI::App& verb, ReadArguments& given) {
  verb.add_option("--prefix", given.prefix, "Only keys that begin with it");
  verb.add_option("--from", given.from, "Only keys from this one on, by bytes");
  verb.add_option("--to", given.to, "Only keys below this one");
  verb.add_flag("--unsorted", given.unsorted, "As they come, without keeping all of them first");
}

}  // namespace

void add_dict_read(CLI::App& dict, Invocation& run) {
  auto got = std::make_shared<ReadArguments>();
  CLI::App* verb = add_verb(dict, "get", "Write the value of a key",
                            "heddle dict get settings mode\n"
                            "heddle dict get settings user --path /address/city\n"
                            "heddle dict get settings mode --json\n"
                            "\n"
                            "Ends with 4 when there is no such key.");
  add_name(*verb, got->name, "The dict");
  verb->add_option("KEY", got->keys, "The key, or several")->required();
  verb->add_option_function<std::string>(
      "--path", [got](const std::string& path) { got->path = path; },
      "Part of a JSON value: a pointer like /a/b/0");
  verb->add_flag("--raw", got->raw, "The value alone, without a newline");
  verb->callback([got, &run] { run.action = [got, &run] { return get_verb(run, *got); }; });

  auto keys = std::make_shared<ReadArguments>();
  verb = add_verb(dict, "keys", "List keys",
                  "heddle dict keys settings\n"
                  "heddle dict keys users --prefix staff/\n"
                  "heddle dict keys users --raw | xargs -0 -n1 echo");
  add_name(*verb, keys->name, "The dict");
  add_filter(*verb, *keys);
  verb->add_flag("--raw", keys->raw, "As they are, each with a NUL behind it");
  verb->callback([keys, &run] { run.action = [keys, &run] { return keys_verb(run, *keys); }; });

  auto items = std::make_shared<ReadArguments>();
  verb = add_verb(dict, "items", "List keys with their values",
                  "heddle dict items settings\nheddle dict items users --json");
  add_name(*verb, items->name, "The dict");
  add_filter(*verb, *items);
  verb->callback([items, &run] { run.action = [items, &run] { return items_verb(run, *items); }; });

  auto watched = std::make_shared<ReadArguments>();
  verb =
      add_verb(dict, "watch", "Write each change as it happens",
               "heddle dict watch settings\n"
               "heddle dict watch settings --snapshot --json\n"
               "heddle dict watch users --prefix staff/ --from 1201 -n 1\n"
               "\n"
               "A line for each change: its revision, PUT, DELETE, EXPIRE, EVICT or CLEAR, the\n"
               "key and the value. None is missing; who is too slow for the history ends with 1.");
  add_name(*verb, watched->name, "The dict");
  add_count(*verb, "--from", watched->start, 1, UINT64_MAX, "Begin with this change (the next one)",
            "REVISION");
  verb->add_option("--prefix", watched->prefix, "Only keys that begin with it");
  verb->add_flag("--snapshot", watched->snapshot, "First all entries as they are");
  verb->add_flag("--previous", watched->previous, "With --json: what was there before");
  add_count(*verb, "-n,--max", watched->max, 1, UINT64_MAX, "End after so many");
  add_timeout(*verb, watched->timeout, "End with 5 when nothing has changed for so long");
  verb->callback(
      [watched, &run] { run.action = [watched, &run] { return watch_verb(run, *watched); }; });
}

}  // namespace heddle::cli
