// heddle dict set | del | incr | append | touch | txn | edit
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/dict_words.h"
#include "client/cli/member_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

struct WriteArguments {
  std::string name, key, value, type = "text", by = "1";
  std::optional<std::string> path, least, most;
  bool merge = false, patch = false;
  WriteOptions how;
};

int edited_exit(const Invocation& run, const WriteArguments& given,
                const Result<DictEdited>& edited) {
  if (!edited) return run.fail(edited.status());
  return changed_exit(run, given.name, given.key, edited->changed, {{"json_text", edited->json}});
}

int set_verb(const Invocation& run, const WriteArguments& given) {
  auto options = given.how.options();
  if (!options) return run.fail(options.status());
  const auto read = whole_body(given.value);
  if (!read) return run.fail(read.status());
  const std::string& text = *read;
  const bool in_part = given.path || given.merge || given.patch;
  if (in_part && given.type != "text" && given.type != "json") {
    return run.fail(Status(Reason::kInvalidArgument, "in part only JSON values are changed"));
  }
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  if (in_part) {
    const DictEditOptions edit{.conditions = *options};
    const std::string pointer = given.path.value_or("");
    return edited_exit(run, given,
                       given.patch   ? dict->patch_json(given.key, text, edit)
                       : given.merge ? dict->merge_json(given.key, pointer, text, edit)
                                     : dict->set_json(given.key, pointer, text, edit));
  }
  auto value = value_of(text, given.type);
  if (!value) return run.fail(value.status());
  auto changed = dict->set(given.key, value->input(), *options);
  if (!changed) return run.fail(changed.status());
  return changed_exit(run, given.name, given.key, *changed);
}

int del_verb(const Invocation& run, const WriteArguments& given) {
  auto options = given.how.options();
  if (!options) return run.fail(options.status());
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  if (given.path) {
    return edited_exit(run, given,
                       dict->erase_json(given.key, *given.path, {.conditions = *options}));
  }
  auto changed = dict->erase(given.key, *options);
  if (!changed) return run.fail(changed.status());
  return changed_exit(run, given.name, given.key, *changed);
}

std::optional<std::int64_t> whole_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  auto value = value_of(*text, "int");
  return value ? value->integer() : std::nullopt;
}

std::optional<double> real_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  auto value = value_of(*text, "double");
  return value ? value->number() : std::nullopt;
}

// Why a number was not added to.
std::string not_added(const WriteArguments& given, const DictRead& found, DictType type) {
  if (found.type != DictType::kInt64 && found.type != DictType::kDouble) {
    return std::string("it is of type ") + type_name(found.type) +
           ", no number; heddle dict set --type int writes one";
  }
  if (found.type == DictType::kInt64 && type == DictType::kDouble) {
    return "it is an int, and " + given.by + " is no whole number";
  }
  return "adding " + given.by + " would pass a bound (--least, --most, or what the type holds)";
}

int incremented_exit(const Invocation& run, const WriteArguments& given,
                     const Result<DictChanged>& changed, const Json& now, const DictRead& found,
                     DictType type) {
  if (!changed) return run.fail(changed.status());
  const int status = changed_exit(run, given.name, given.key, *changed, {{"value", now}},
                                  not_added(given, found, type));
  if (status == kExitOk && !run.json) std::printf("%s\n", now.dump().c_str());
  return status;
}

int incr_verb(const Invocation& run, const WriteArguments& given) {
  const auto real = real_of(given.by);
  const bool bounds =
      (!given.least || real_of(given.least)) && (!given.most || real_of(given.most));
  if (!real || !bounds) {
    return run.fail(Status(Reason::kInvalidArgument, "the increment and its bounds are numbers"));
  }
  auto expiry = given.how.options();
  if (!expiry) return run.fail(expiry.status());
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  if (given.path) {
    DictEditOptions edit;
    edit.least = real_of(given.least);
    edit.most = real_of(given.most);
    const auto edited = dict->increment_json(given.key, *given.path, given.by, edit);
    const int status = edited_exit(run, given, edited);
    if (status == kExitOk && !run.json) std::printf("%s\n", edited->json.c_str());
    return status;
  }
  DictIncrementOptions options{.least = real_of(given.least),
                               .most = real_of(given.most),
                               .least_integer = whole_of(given.least),
                               .most_integer = whole_of(given.most)};
  if (given.how.ttl || given.how.never) options.expiry = expiry->expiry;
  // A number that is there says what is added to; else the way the increment is written.
  const auto whole = whole_of(given.by);
  DictType type = whole ? DictType::kInt64 : DictType::kDouble;
  DictRead read;
  std::byte room[8];
  read.type = type;  // of a key that is missing
  (void)dict->get_into(given.key, room, &read);
  if (read.type == DictType::kDouble) type = read.type;
  if (type == DictType::kInt64) {
    std::int64_t now = 0;
    const auto changed = dict->increment(given.key, *whole, &now, options);
    return incremented_exit(run, given, changed, now, read, type);
  }
  double now = 0;
  const auto changed = dict->increment(given.key, *real, &now, options);
  return incremented_exit(run, given, changed, now, read, type);
}

int append_verb(const Invocation& run, const WriteArguments& given) {
  auto options = given.how.options();
  if (!options) return run.fail(options.status());
  const auto text = whole_body(given.value);
  if (!text) return run.fail(text.status());
  auto value = value_of(*text, given.type);
  if (!value) return run.fail(value.status());
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  std::size_t length = 0;
  auto changed = dict->append(given.key, value->input(), *options, &length);
  if (!changed) return run.fail(changed.status());
  return changed_exit(run, given.name, given.key, *changed, {{"value_bytes", length}});
}

int touch_verb(const Invocation& run, const WriteArguments& given) {
  auto options = given.how.options();
  if (!options) return run.fail(options.status());
  if (!given.how.ttl && !given.how.never) {
    return run.fail(Status(Reason::kInvalidArgument, "say --ttl D or --persist"));
  }
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  auto changed = dict->touch(given.key, options->expiry);
  if (!changed) return run.fail(changed.status());
  return changed_exit(run, given.name, given.key, *changed);
}

// ---- txn ----

// What the document of a transaction says, and where its texts lie.
struct Transaction {
  std::vector<DictCompare> compares;
  std::vector<DictOperation> then, otherwise;
  std::vector<std::unique_ptr<std::string>> texts;
  std::vector<std::unique_ptr<DictValue>> values;

  std::string_view keep(std::string text) {
    return *texts.emplace_back(std::make_unique<std::string>(std::move(text)));
  }
  DictInput keep(DictValue value) {
    return values.emplace_back(std::make_unique<DictValue>(std::move(value)))->input();
  }
};

Status bad_txn(const std::string& why) {
  return {Reason::kInvalidArgument, "the transaction cannot be read: " + why};
}

Status read_compare(const Json& row, Transaction* out) {
  static constexpr const char* kWhats[] = {"mod_revision", "create_revision", "version", "value"};
  static constexpr const char* kSigns[] = {"=", "!=", "<", ">"};
  auto key = key_from(row);
  if (!key) return key.status();
  DictCompare& compare = out->compares.emplace_back();
  compare.key = out->keep(*std::move(key));
  bool known = false;
  for (std::size_t i = 0; i < std::size(kWhats); ++i) {
    const auto at = row.find(kWhats[i]);
    if (at == row.end() || known) continue;
    compare.what = static_cast<DictCompare::What>(i);
    known = true;
    if (i < 3) {
      if (!at->is_number_unsigned()) return bad_txn(std::string(kWhats[i]) + " is no number");
      compare.number = at->get<std::uint64_t>();
    }
  }
  if (row.contains("data") || row.contains("json_text")) {
    compare.what = DictCompare::What::kValue;
    known = true;
  }
  if (!known) return bad_txn("a compare says neither a revision, a version nor a value");
  if (compare.what == DictCompare::What::kValue) {
    auto value = value_from(row);
    if (!value) return value.status();
    compare.value = out->keep(*std::move(value));
  }
  const std::string sign = row.value("is", "=");
  for (std::size_t i = 0; i < std::size(kSigns); ++i) {
    if (sign != kSigns[i]) continue;
    compare.sign = static_cast<DictCompare::Sign>(i);
    return {};
  }
  return bad_txn("\"is\" is one of = != < >");
}

Status read_operation(const Json& row, std::vector<DictOperation>* branch, Transaction* out) {
  static constexpr std::pair<const char*, DictOperation::What> kWhats[] = {
      {"get", DictOperation::What::kGet},
      {"set", DictOperation::What::kSet},
      {"del", DictOperation::What::kErase}};
  DictOperation& operation = branch->emplace_back();
  bool known = false;
  for (const auto& [word, what] : kWhats) {
    const auto at = row.find(word);
    if (at == row.end() || !at->is_string()) continue;
    operation.what = what;
    operation.key = out->keep(at->get<std::string>());
    known = true;
  }
  if (!known)
    return bad_txn("an operation is {\"get\": KEY}, {\"set\": KEY, ...} or {\"del\": KEY}");
  if (operation.what == DictOperation::What::kSet) {
    auto value = value_from(row);
    if (!value) return value.status();
    operation.value = out->keep(*std::move(value));
    if (row.contains("ttl_ms") && row["ttl_ms"].is_number_unsigned()) {
      operation.options.expiry = std::chrono::milliseconds(row["ttl_ms"].get<std::int64_t>());
    }
  }
  if (row.contains("if_version") && row["if_version"].is_number_unsigned()) {
    operation.options.if_version = row["if_version"].get<std::uint64_t>();
  }
  operation.options.if_absent = row.value("if_absent", false);
  operation.options.if_present = row.value("if_present", false);
  return {};
}

Status read_transaction(const std::string& text, Transaction* out) {
  const Json all = Json::parse(text, nullptr, false);
  if (!all.is_object()) return bad_txn("it is not a JSON object");
  const auto rows = [&all](const char* name) {
    return all.contains(name) && all[name].is_array() ? all[name] : Json::array();
  };
  for (const Json& row : rows("compare")) {
    if (!row.is_object()) return bad_txn("a compare is no object");
    if (Status bad = read_compare(row, out); !bad.ok()) return bad;
  }
  for (const auto& [name, branch] : {std::pair{"then", &out->then}, {"else", &out->otherwise}}) {
    for (const Json& row : rows(name)) {
      if (!row.is_object()) return bad_txn("an operation is no object");
      if (Status bad = read_operation(row, branch, out); !bad.ok()) return bad;
    }
  }
  if (out->then.empty() && out->otherwise.empty()) return bad_txn("it does nothing");
  return {};
}

Json result_json(const DictOperation& asked, const DictOperationResult& result) {
  Json row = {{"key", visible(asked.key)}};
  if (asked.what == DictOperation::What::kGet) {
    if (result.entry) {
      row = entry_json(*result.entry, true);
    } else {
      row["outcome"] = dict_outcome_name(DictOutcome::kNotFound);
    }
    return row;
  }
  row["outcome"] = dict_outcome_name(result.changed.outcome);
  row["mod_revision"] = result.changed.mod_revision;
  return row;
}

int txn_verb(const Invocation& run, const WriteArguments& given) {
  Transaction transaction;
  const auto text = whole_body(given.value);
  if (!text) return run.fail(text.status());
  if (Status bad = read_transaction(*text, &transaction); !bad.ok()) return run.fail(bad);
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  auto done = dict->transact(transaction.compares, transaction.then, transaction.otherwise);
  if (!done) return run.fail(done.status());
  const auto& branch = done->held ? transaction.then : transaction.otherwise;
  if (done->outcome != DictOutcome::kDone) {
    DictChanged refused;
    refused.outcome = done->outcome;
    const std::string key =
        done->refused < branch.size() ? std::string(branch[done->refused].key) : "";
    return changed_exit(run, given.name, key, refused, {{"held", done->held}});
  }
  Json results = Json::array();
  for (std::size_t i = 0; i < done->results.size(); ++i) {
    results.push_back(result_json(branch[i], done->results[i]));
  }
  run.print({{"held", done->held}, {"revision", done->revision}, {"results", results}});
  return kExitOk;
}

// ---- edit ----

struct TempFile {
  std::string path;
  ~TempFile() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

// The status of "$EDITOR file" by way of the shell; -1: it could not be run.
int run_editor(const std::string& path) {
  const char* editor = std::getenv("VISUAL");
  if (editor == nullptr || *editor == '\0') editor = std::getenv("EDITOR");
  if (editor == nullptr || *editor == '\0') editor = "vi";
  const std::string command = std::string(editor) + " \"$1\"";
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), "heddle", path.c_str(), nullptr);
    ::_exit(kExitNotFoundToRun);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

int edit_verb(const Invocation& run, const WriteArguments& given) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  auto got = dict->get(given.key);
  const bool there = got.ok();
  if (!there && !got.status().is(Reason::kNotFound)) return run.fail(got.status());
  if (there && got->value.type != DictType::kJson && got->value.type != DictType::kString) {
    return run.fail(Status(Reason::kInvalidArgument, "only JSON and text can be edited"));
  }
  const bool json = !there || got->value.type == DictType::kJson;
  std::string before = there ? got->value.stored : "";
  if (there && json) {
    const Json parsed = Json::parse(before, nullptr, false);
    if (!parsed.is_discarded()) before = parsed.dump(2) + "\n";
  }
  const char* directory = std::getenv("TMPDIR");
  TempFile file;
  std::string path = std::string(directory != nullptr ? directory : "/tmp") + "/heddle-XXXXXX.json";
  const int fd = ::mkstemps(path.data(), 5);
  if (fd < 0) return run.fail(Status::from_errno(errno, "making a file for the editor"));
  file.path = path;
  const bool written =
      ::write(fd, before.data(), before.size()) == static_cast<ssize_t>(before.size());
  ::close(fd);
  if (!written) return run.fail(Status::from_errno(errno, "writing a file for the editor"));
  if (const int ended = run_editor(path); ended != 0) {
    return run.fail(Status(Reason::kInterrupted, "the editor failed; nothing was written"));
  }
  std::ifstream in(path, std::ios::binary);
  std::string after{std::istreambuf_iterator<char>(in), {}};
  if (after == before) {
    run.remark("dict " + given.name + ": " + given.key + ": unchanged");
    return kExitOk;
  }
  if (json) {
    const Json parsed = Json::parse(after, nullptr, false);
    if (parsed.is_discarded()) {
      file.path.clear();
      return run.fail(
          Status(Reason::kInvalidArgument,
                 "what was written is not JSON; nothing was changed, it is in " + path));
    }
    after = parsed.dump();
  }
  const DictInput value(after, json ? DictType::kJson : DictType::kString);
  auto changed =
      dict->set(given.key, value,
                {.if_version = there ? got->mod_revision : 0, .expiry = DictExpiry::keep()});
  if (!changed || !*changed) file.path.clear();
  if (!changed) return run.fail(changed.status());
  if (!*changed) {
    run.remark("somebody has changed it meanwhile; what you wrote is in " + path);
  }
  return changed_exit(run, given.name, given.key, *changed);
}

using Act = int (*)(const Invocation&, const WriteArguments&);

CLI::App* add_write(CLI::App& dict, Invocation& run, const std::shared_ptr<WriteArguments>& given,
                    const std::string& name, const std::string& summary,
                    const std::string& examples, Act act) {
  CLI::App* verb = add_verb(dict, name, summary, examples);
  add_name(*verb, given->name, "The dict");
  if (name != "txn") verb->add_option("KEY", given->key, "The key")->required();
  verb->callback(
      [given, act, &run] { run.action = [given, act, &run] { return act(run, *given); }; });
  return verb;
}

void add_path(CLI::App& verb, std::optional<std::string>& path) {
  verb.add_option_function<std::string>(
      "--path", [&path](const std::string& text) { path = text; },
      "Part of a JSON value: a pointer like /a/b/0");
}

void add_bound(CLI::App& verb, const std::string& flag, std::optional<std::string>& value,
               const std::string& what) {
  verb.add_option_function<std::string>(
          flag, [&value](const std::string& text) { value = text; }, what)
      ->type_name("N");
}

void add_set(CLI::App& dict, Invocation& run) {
  auto given = std::make_shared<WriteArguments>();
  CLI::App* verb = add_write(dict, run, given, "set", "Write the value of a key",
                             "heddle dict set settings mode fast\n"
                             "heddle dict set settings limit 10 --type int --ttl 5m\n"
                             "heddle dict set users ann - --type json < ann.json\n"
                             "heddle dict set users ann '\"Bonn\"' --path /address/city\n"
                             "heddle dict set users ann '{\"phone\":null}' --merge\n"
                             "\n"
                             "Ends with 4, 13 or 14 when a condition did not hold.",
                             set_verb);
  verb->add_option("VALUE", given->value, "The value; - reads it from stdin")->required();
  add_choice(*verb, "--type", given->type,
             {"text", "int", "double", "bool", "null", "json", "data"}, "What it is (text)");
  add_path(*verb, given->path);
  verb->add_flag("--merge", given->merge, "VALUE is a merge patch (RFC 7396)");
  verb->add_flag("--patch", given->patch, "VALUE is a list of operations (RFC 6902)");
  add_conditions(*verb, given->how);
  add_expiry(*verb, given->how);
  verb->add_flag("--session", given->how.session, "It goes when this command ends");
  add_fence(*verb, given->how);
}

}  // namespace

void add_dict_write(CLI::App& dict, Invocation& run) {
  add_set(dict, run);
  auto erased = std::make_shared<WriteArguments>();
  CLI::App* verb = add_write(dict, run, erased, "del", "Erase a key",
                             "heddle dict del settings mode\n"
                             "heddle dict del users ann --path /phone\n"
                             "heddle dict del settings mode --if-version 17",
                             del_verb);
  add_path(*verb, erased->path);
  add_conditions(*verb, erased->how);
  add_fence(*verb, erased->how);

  auto added = std::make_shared<WriteArguments>();
  verb = add_write(dict, run, added, "incr", "Add to a number and write what it is then",
                   "heddle dict incr counts visits\n"
                   "heddle dict incr counts free --least 0 -- -1\n"
                   "heddle dict incr users ann 1 --path /logins\n"
                   "\n"
                   "A key that is missing begins at 0. Ends with 14 at a bound, or when the value\n"
                   "is no number.",
                   incr_verb);
  verb->add_option("BY", added->by, "How much (1)");
  add_path(*verb, added->path);
  add_bound(*verb, "--least", added->least, "Refused below it");
  add_bound(*verb, "--most", added->most, "Refused above it");
  add_duration(*verb, "--ttl", added->how.ttl, "It is gone after so long (as it was)");

  auto appended = std::make_shared<WriteArguments>();
  verb = add_write(dict, run, appended, "append", "Add at the end of a text",
                   "heddle dict append notes today 'one more line'", append_verb);
  verb->add_option("VALUE", appended->value, "What is added; - reads it from stdin")->required();
  add_choice(*verb, "--type", appended->type, {"text", "data"}, "What it is (text)");
  add_conditions(*verb, appended->how);

  auto touched = std::make_shared<WriteArguments>();
  verb = add_write(dict, run, touched, "touch", "Give a key another expiry, or none",
                   "heddle dict touch sessions ann --ttl 30m\n"
                   "heddle dict touch sessions ann --persist",
                   touch_verb);
  add_duration(*verb, "--ttl", touched->how.ttl, "It is gone after so long");
  verb->add_flag("--persist", touched->how.never, "It has no expiry");

  auto transacted = std::make_shared<WriteArguments>();
  verb = add_write(
      dict, run, transacted, "txn", "Several operations at once, if something holds",
      "heddle dict txn bank - < move.json\n"
      "heddle dict txn flags '{\"then\": [{\"set\": \"a\", \"value\": 1}, {\"del\": \"b\"}]}'\n"
      "\n"
      "{\"compare\": [{\"key\": \"a\", \"mod_revision\": 7}, {\"key\": \"b\", \"value\": 1, "
      "\"is\": "
      "\"<\"}],\n"
      " \"then\": [{\"set\": \"a\", \"value\": 2, \"ttl_ms\": 5000}, {\"get\": \"c\"}], \"else\": "
      "[{\"get\": \"a\"}]}\n"
      "One revision, all or nothing. Values as heddle dict items --json has them.",
      txn_verb);
  verb->add_option("DOCUMENT", transacted->value, "What is to be done; - reads it from stdin")
      ->required();

  add_write(dict, run, std::make_shared<WriteArguments>(), "edit",
            "Edit a JSON or text value in $EDITOR",
            "heddle dict edit settings theme\n"
            "\n"
            "Written back only if nobody has changed it meanwhile: else it ends with 14.",
            edit_verb);
}

}  // namespace heddle::cli
