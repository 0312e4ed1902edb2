// heddle list create | ls | info | delete | append | get | set | insert | pop | slice | remove |
// clear | len | watch
#include <charconv>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/dict_words.h"
#include "client/cli/member_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

struct ListArguments : MemberArguments {
  std::optional<std::uint64_t> max_len, max_bytes, max_value_bytes, revision, max;
  std::int64_t index = -1, from = 0;
  std::optional<std::int64_t> to;
  std::vector<std::string> values;
  std::string type = "text";
  bool raw = false;
  Timeout timeout;
};
using ListGiven = std::shared_ptr<ListArguments>;

Json list_json(const ListInfo& info) {
  return member_json(info,
                     {{"length", info.length}, {"bytes", info.bytes}, {"revision", info.revision}},
                     {{"max_len", info.options.max_len.value_or(0)},
                      {"max_bytes", info.options.max_bytes.value_or(0)},
                      {"max_value_bytes", info.options.max_value_bytes.value_or(0)}});
}

std::vector<std::string> list_cells(const ListInfo& info) {
  return {info.name,
          std::to_string(info.length),
          std::to_string(info.bytes),
          std::to_string(info.revision),
          std::to_string(info.memory_bytes),
          std::to_string(info.attached),
          std::to_string(info.watching)};
}

int create_list(const Invocation& run, const ListArguments& given) {
  ListOptions options;
  given.give(&options);
  options.max_len = given.max_len;
  options.max_bytes = given.max_bytes;
  if (given.max_value_bytes) {
    options.max_value_bytes =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(*given.max_value_bytes, UINT32_MAX));
  }
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto list = client->create_list(given.name, options);
  if (!list) return run.fail(list.status());
  if (run.json) run.print({{"name", list->name()}});
  return kExitOk;
}

int ls_lists(const Invocation& run, const std::string& prefix, bool names_only) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto lists = client->lists(prefix);
  if (!lists) return run.fail(lists.status());
  return print_members(run, *lists, names_only, list_json,
                       {"NAME", "LENGTH", "BYTES", "REVISION", "MEMORY", "ATTACHED", "WATCHING"},
                       list_cells);
}

int show_list(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->list_info(name);
  if (!info) return run.fail(info.status());
  print_member(run, list_json(*info));
  return kExitOk;
}

Result<List> open_list(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return std::move(client).status();
  return client->open_list(name);
}

Json item_json(const ListItem& item, std::uint64_t index) {
  Json row = {{"index", index}};
  row.update(value_json(item.value));
  row["mod_revision"] = item.revision;
  return row;
}

// Of a change: nothing to say, unless as a document.
int list_changed_exit(const Invocation& run, const std::string& name,
                      const Result<ListChanged>& changed) {
  if (!changed) return run.fail(changed.status());
  if (run.json) {
    run.print({{"name", name},
               {"index", changed->index},
               {"length", changed->length},
               {"revision", changed->revision}});
  }
  return kExitOk;
}

// Each value is one change; a revision is asked of the first, and that nobody comes in between.
int append_values(const Invocation& run, const ListArguments& given) {
  std::vector<DictValue> values;
  for (const std::string& text : given.values) {
    auto value = value_of(body_of(text), given.type);
    if (!value) return run.fail(value.status());
    values.push_back(*std::move(value));
  }
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  std::optional<std::uint64_t> revision = given.revision;
  int status = kExitOk;
  for (const DictValue& value : values) {
    auto changed = list->append(value.input(), revision);
    if (revision && changed) revision = changed->revision;
    status = list_changed_exit(run, given.name, changed);
    if (status != kExitOk) break;
  }
  return status;
}

int write_item(const Invocation& run, const ListArguments& given, bool insert) {
  auto value = value_of(body_of(given.values.front()), given.type);
  if (!value) return run.fail(value.status());
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  return list_changed_exit(run, given.name,
                           insert ? list->insert(given.index, value->input(), given.revision)
                                  : list->set(given.index, value->input(), given.revision));
}

int get_item(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  auto item = list->get(given.index);
  if (!item) return run.fail(item.status());
  if (run.json) {
    Json row = value_json(item->value);
    row["mod_revision"] = item->revision;
    run.print(row);
  } else {
    write_value(item->value, given.raw);
  }
  return kExitOk;
}

int pop_item(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  auto taken = list->pop(given.index, given.revision);
  if (!taken) return run.fail(taken.status());
  if (run.json) {
    Json row = item_json(taken->item, taken->index);
    row["length"] = taken->length;
    row["revision"] = taken->revision;
    run.print(row);
  } else {
    write_value(taken->item.value, given.raw);
  }
  return kExitOk;
}

int remove_item(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  return list_changed_exit(run, given.name, list->remove(given.index, given.revision));
}

int clear_list(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  return list_changed_exit(run, given.name, list->clear(given.revision));
}

int len_of_list(const Invocation& run, const std::string& name) {
  auto list = open_list(run, name);
  if (!list) return run.fail(list.status());
  auto length = list->len();
  if (!length) return run.fail(length.status());
  if (run.json) {
    run.print({{"name", name}, {"length", *length}});
  } else {
    std::printf("%llu\n", static_cast<unsigned long long>(*length));
  }
  return kExitOk;
}

// The elements that are asked for, all of one revision; *first is the index of the first of them.
Status read_range(List& list, const ListArguments& given, std::vector<ListItem>* out,
                  std::uint64_t* first) {
  constexpr std::size_t kPage = 4096;
  constexpr int kTries = 100;
  for (int tries = 0;; ++tries) {
    out->clear();
    auto page = list.slice(given.from, kPage, given.revision);
    if (page) *first = page->from;
    while (page) {
      const auto length = static_cast<std::int64_t>(page->length);
      std::int64_t end = given.to.value_or(length);
      if (end < 0) end += length;
      for (ListItem& item : page->items) {
        if (static_cast<std::int64_t>(*first + out->size()) >= end) return {};
        out->push_back(std::move(item));
      }
      const auto next = page->next();
      if (!next) return {};
      page = list.slice(*next, kPage, page->revision);
    }
    const bool changed = page.status().is(Reason::kMismatch) && !given.revision;
    if (!changed || tries == kTries) return std::move(page).status();
  }
}

int slice_list(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  std::vector<ListItem> items;
  std::uint64_t index = 0;
  const Status status = read_range(*list, given, &items, &index);
  if (!status.ok()) return run.fail(status);
  for (const ListItem& item : items) {
    if (run.json) {
      run.print(item_json(item, index++));
      continue;
    }
    write_value(item.value, true);
    std::fputc(given.raw ? '\0' : '\n', stdout);
  }
  return kExitOk;
}

int watch_list(const Invocation& run, const ListArguments& given) {
  auto list = open_list(run, given.name);
  if (!list) return run.fail(list.status());
  auto seen = list->revision();
  if (!seen) return run.fail(seen.status());
  std::uint64_t wanted = given.revision.value_or(*seen + 1);
  for (std::uint64_t n = 0; n < given.max.value_or(UINT64_MAX); ++n) {
    auto now = list->wait_change(wanted, given.timeout.value());
    if (!now) return run.fail(now.status());
    if (run.json) {
      run.print({{"name", given.name}, {"revision", *now}});
    } else {
      std::printf("%llu\n", static_cast<unsigned long long>(*now));
    }
    std::fflush(stdout);
    if (std::ferror(stdout)) return kExitError;
    wanted = *now + 1;
  }
  return kExitOk;
}

void add_type(CLI::App& verb, ListArguments& given) {
  add_choice(verb, "--type", given.type, {"text", "int", "double", "bool", "json", "data", "null"},
             "What the value is (text)");
}

void add_if_revision(CLI::App& verb, ListArguments& given) {
  add_count(verb, "--if-revision", given.revision, 0, UINT64_MAX,
            "Only if the list has this revision", "REVISION");
}

void add_index(CLI::App& verb, ListArguments& given, bool required) {
  CLI::Option* index = verb.add_option(
      "INDEX", given.index,
      required ? "From 0; -1 is the last element" : "From 0; -1, the default, is the last element");
  if (required) index->required();
}

CLI::App* add_list_verb(CLI::App& list, Invocation& run, const ListGiven& given,
                        const std::string& name, const std::string& summary,
                        const std::string& examples,
                        int (*act)(const Invocation&, const ListArguments&)) {
  CLI::App* verb = add_verb(list, name, summary, examples);
  add_name(*verb, given->name,
           name == "create" ? "Name: 1-200 of A-Z a-z 0-9 . _ / -; ~/x is your own" : "The list");
  verb->callback(
      [given, act, &run] { run.action = [given, act, &run] { return act(run, *given); }; });
  return verb;
}

void add_list_manage(CLI::App& list, Invocation& run) {
  auto given = std::make_shared<ListArguments>();
  CLI::App* verb =
      add_list_verb(list, run, given, "create", "Make a list; one that agrees is left as it is",
                    "heddle list create events\n"
                    "heddle list create last --max-len 1000 --mode 0640",
                    create_list);
  add_count(*verb, "--max-len", given->max_len, 1, UINT64_MAX, "Elements at most (1000000)");
  add_size(*verb, "--max-bytes", given->max_bytes, "Bytes of all values (256M)");
  add_size(*verb, "--max-value-bytes", given->max_value_bytes, "Bytes of one value (16M)");
  add_member_arguments(*verb, *given);
  add_ls_verb(list, run, ls_lists);
  add_simple_verb(list, run, "info", "Options and figures of a list", "heddle list info events",
                  show_list);
  add_simple_verb(list, run, "len", "How many elements it has", "heddle list len events",
                  len_of_list);
  add_simple_verb(list, run, "delete", "Delete a list with all that is in it",
                  "heddle list delete events", [](const Invocation& run, const std::string& name) {
                    return delete_verb(run, name, &Client::delete_list);
                  });
}

void add_list_read(CLI::App& list, Invocation& run) {
  auto given = std::make_shared<ListArguments>();
  CLI::App* verb = add_list_verb(list, run, given, "get", "Write the value of an element",
                                 "heddle list get events 0\n"
                                 "heddle list get events -1 --json",
                                 get_item);
  add_index(*verb, *given, true);
  verb->add_flag("--raw", given->raw, "The value alone, without a newline");

  given = std::make_shared<ListArguments>();
  verb = add_list_verb(list, run, given, "slice", "Write elements in a row, all of one revision",
                       "heddle list slice events\n"
                       "heddle list slice events 10 20 --json\n"
                       "heddle list slice events -5\n"
                       "heddle list slice events --raw | xargs -0 -n1 echo",
                       slice_list);
  verb->add_option("FROM", given->from, "The first one (0); below 0 from the end");
  verb->add_option_function<std::int64_t>(
      "TO", [given](std::int64_t to) { given->to = to; },
      "Before this one (the end); below 0 from the end");
  add_if_revision(*verb, *given);
  verb->add_flag("--raw", given->raw, "As they are, each with a NUL behind it");

  given = std::make_shared<ListArguments>();
  verb = add_list_verb(list, run, given, "watch", "Write the revision each time it is another one",
                       "heddle list watch events\n"
                       "heddle list watch events --from 1201 -n 1 --timeout 30s",
                       watch_list);
  add_count(*verb, "--from", given->revision, 1, UINT64_MAX,
            "Wait for this revision first (the next one)", "REVISION");
  add_count(*verb, "-n,--max", given->max, 1, UINT64_MAX, "End after so many");
  add_timeout(*verb, given->timeout, "End with 5 when nothing has changed for so long");
}

void add_list_write(CLI::App& list, Invocation& run) {
  auto given = std::make_shared<ListArguments>();
  CLI::App* verb = add_list_verb(list, run, given, "append", "Add elements at the end",
                                 "heddle list append events started 'second one'\n"
                                 "heddle list append events 42 --type int\n"
                                 "date | heddle list append events -",
                                 append_values);
  verb->add_option("VALUE", given->values, "The value, or several; - is stdin")->required();
  add_type(*verb, *given);
  add_if_revision(*verb, *given);

  const auto writing = [&](const std::string& name, const std::string& summary,
                           const std::string& examples,
                           int (*act)(const Invocation&, const ListArguments&)) {
    auto one = std::make_shared<ListArguments>();
    one->values.resize(1);
    CLI::App* app = add_list_verb(list, run, one, name, summary, examples, act);
    add_index(*app, *one, true);
    app->add_option("VALUE", one->values.front(), "The value; - is stdin")->required();
    add_type(*app, *one);
    add_if_revision(*app, *one);
  };
  writing(
      "set", "Put a value in the place of an element", "heddle list set events -1 done",
      [](const Invocation& run, const ListArguments& one) { return write_item(run, one, false); });
  writing(
      "insert", "Add an element before another one", "heddle list insert events 0 first",
      [](const Invocation& run, const ListArguments& one) { return write_item(run, one, true); });

  given = std::make_shared<ListArguments>();
  verb = add_list_verb(list, run, given, "pop", "Take an element out and write its value",
                       "heddle list pop events\n"
                       "heddle list pop events 0 --raw\n"
                       "\n"
                       "Ends with 5 when the list is empty.",
                       pop_item);
  add_index(*verb, *given, false);
  verb->add_flag("--raw", given->raw, "The value alone, without a newline");
  add_if_revision(*verb, *given);

  given = std::make_shared<ListArguments>();
  verb = add_list_verb(list, run, given, "remove", "Take an element out",
                       "heddle list remove events 3", remove_item);
  add_index(*verb, *given, true);
  add_if_revision(*verb, *given);

  given = std::make_shared<ListArguments>();
  verb = add_list_verb(list, run, given, "clear", "Take all elements out, at once",
                       "heddle list clear events", clear_list);
  add_if_revision(*verb, *given);
}

}  // namespace

void add_list(CLI::App& list, Invocation& run) {
  add_list_manage(list, run);
  add_list_read(list, run);
  add_list_write(list, run);
}

}  // namespace heddle::cli
