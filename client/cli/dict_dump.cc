// heddle dict dump | load: a snapshot as lines of JSON, and back.
//
// A dump is one line about the dict, a line for each entry, a line for each change that came while
// they were read, and a last line. Applied in this order it is exactly the dict at the revision
// that the last line names.
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/dict_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

constexpr int kDumpVersion = 1;

struct DumpArguments {
  std::string name, file;
  bool clear = false, partial = false;
};

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin && file != stdout) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// "entries 1200 of 5000 (24%)", on a terminal.
class Bar {
 public:
  explicit Bar(bool wanted, std::uint64_t total) : progress_(wanted), total_(total) {}
  void add() {
    ++done_;
    if (!progress_.shown() || !progress_.due()) return;
    constexpr std::uint64_t kWidth = 30;
    const std::uint64_t filled = total_ == 0 ? 0 : std::min(kWidth, done_ * kWidth / total_);
    std::string line = "[" + std::string(filled, '#') + std::string(kWidth - filled, '.') + "] " +
                       std::to_string(done_);
    if (total_ != 0) line += " of " + std::to_string(total_);
    progress_.show(line);
  }

 private:
  Progress progress_;
  const std::uint64_t total_;
  std::uint64_t done_ = 0;
};

void put_line(std::FILE* out, const Json& row) {
  const std::string text = row.dump();
  std::fwrite(text.data(), 1, text.size(), out);
  std::fputc('\n', out);
}

// What came between the first page and now, in order.
Status dump_changes(Dict& dict, std::uint64_t from, std::FILE* out, std::uint64_t* last) {
  auto watch = dict.watch({.start_revision = from + 1});
  if (!watch) return watch.status();
  auto end = dict.revision();
  if (!end) return end.status();
  *last = from;
  while (watch->next_revision() <= *end) {
    // They are there already, but over gRPC they have to come.
    auto event = watch->next(std::chrono::seconds(30));
    if (!event) return event.status();
    *last = event->revision;
    Json row = {{"change", dict_event_name(event->kind)}};
    row.update(entry_json(event->entry, event->kind == DictEventKind::kPut));
    put_line(out, row);
  }
  return {};
}

int dump_verb(const Invocation& run, const DumpArguments& given) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  auto info = dict->info();
  if (!info) return run.fail(info.status());
  File out(given.file.empty() || given.file == "-" ? stdout : std::fopen(given.file.c_str(), "wb"));
  if (!out) return run.fail(Status::from_errno(errno, given.file));
  put_line(out.get(), {{"heddle_dict", kDumpVersion},
                       {"name", info->name},
                       {"revision", info->revision},
                       {"entries", info->entries}});
  Bar bar(!run.quiet && !run.json, info->entries);
  std::uint64_t began = 0, last = 0, entries = 0;
  std::string next;
  do {
    auto page = dict->scan({.page_size = 1000}, next);
    if (!page) return run.fail(page.status());
    began = page->revision;
    for (const DictEntry& entry : page->entries) {
      put_line(out.get(), entry_json(entry, true));
      ++entries;
      bar.add();
    }
    next = page->next;
  } while (!next.empty());
  if (Status status = dump_changes(*dict, began, out.get(), &last); !status.ok()) {
    return run.fail(status, "dict " + given.name +
                                ": it changed faster than its history is long, " +
                                "so the dump is not of one moment: " + words_of(status));
  }
  put_line(out.get(), {{"end", true}, {"revision", std::max(began, last)}, {"entries", entries}});
  if (std::fflush(out.get()) != 0 || std::ferror(out.get())) {
    return run.fail(Status::from_errno(errno, "writing the dump"));
  }
  return kExitOk;
}

// One line of a dump that is an entry or a change.
Status load_row(Dict& dict, const Json& row) {
  auto key = key_from(row);
  if (!key) return key.status();
  const std::string change = row.value("change", "PUT");
  if (change != "PUT") {
    auto gone = dict.erase(*key);
    return gone ? Status() : gone.status();
  }
  auto value = value_from(row);
  if (!value) return value.status();
  DictSetOptions options{.expiry = DictExpiry::never()};
  if (row.contains("ttl_ms") && row["ttl_ms"].is_number_integer()) {
    options.expiry = std::chrono::milliseconds(row["ttl_ms"].get<std::int64_t>());
  }
  auto changed = dict.set(*key, value->input(), options);
  return changed ? Status() : changed.status();
}

int loaded_badly(const Invocation& run, const DumpArguments& given, std::uint64_t line,
                 std::uint64_t loaded, const Status& status) {
  return run.fail(status,
                  "dict " + given.name + ": line " + std::to_string(line) + ": " +
                      words_of(status) + "; " + std::to_string(loaded) + " lines were loaded",
                  {{"line", line}, {"loaded", loaded}});
}

int load_lines(const Invocation& run, const DumpArguments& given, Dict& dict, std::FILE* in) {
  std::unique_ptr<char, decltype(&std::free)> guard(nullptr, &std::free);
  char* line = nullptr;
  std::size_t size = 0;
  std::uint64_t number = 0, loaded = 0;
  bool ended = false;
  std::unique_ptr<Bar> bar;
  for (ssize_t n; (n = ::getline(&line, &size, in)) >= 0;) {
    guard.release();
    guard.reset(line);
    ++number;
    const Json row = Json::parse(line, line + n, nullptr, false);
    if (n <= 1) continue;
    if (!row.is_object()) {
      return loaded_badly(run, given, number, loaded,
                          Status(Reason::kInvalidArgument, "it is not a JSON object"));
    }
    if (row.contains("heddle_dict")) {
      if (row["heddle_dict"] != kDumpVersion) {
        return loaded_badly(run, given, number, loaded,
                            Status(Reason::kVersionMismatch, "a dump of another version"));
      }
      bar = std::make_unique<Bar>(!run.quiet && !run.json, row.value("entries", std::uint64_t{0}));
      continue;
    }
    if (row.contains("end")) {
      ended = true;
      continue;
    }
    if (Status bad = load_row(dict, row); !bad.ok()) {
      return loaded_badly(run, given, number, loaded, bad);
    }
    ++loaded;
    if (bar) bar->add();
  }
  bar.reset();
  if (run.json) run.print({{"name", given.name}, {"loaded", loaded}, {"whole", ended}});
  if (ended || given.partial) return kExitOk;
  run.remark("dict " + given.name + ": the dump has no last line, so it was cut off; " +
             std::to_string(loaded) + " lines were loaded");
  return kExitPartial;
}

int load_verb(const Invocation& run, const DumpArguments& given) {
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  File in(given.file.empty() || given.file == "-" ? stdin : std::fopen(given.file.c_str(), "rb"));
  if (!in) return run.fail(Status::from_errno(errno, given.file));
  if (given.clear) {
    if (auto cleared = dict->clear(); !cleared) return run.fail(cleared.status());
  }
  return load_lines(run, given, *dict, in.get());
}

}  // namespace

void add_dict_dump(CLI::App& dict, Invocation& run) {
  auto dumped = std::make_shared<DumpArguments>();
  CLI::App* verb = add_verb(dict, "dump", "Write all entries as lines of JSON",
                            "heddle dict dump settings > settings.jsonl\n"
                            "heddle dict dump settings backup.jsonl");
  add_name(*verb, dumped->name, "The dict");
  verb->add_option("FILE", dumped->file, "Where to (stdout)");
  verb->callback(
      [dumped, &run] { run.action = [dumped, &run] { return dump_verb(run, *dumped); }; });

  auto loaded = std::make_shared<DumpArguments>();
  verb = add_verb(dict, "load", "Read entries from lines of JSON",
                  "heddle dict load settings < settings.jsonl\n"
                  "heddle dict load settings backup.jsonl --clear\n"
                  "\n"
                  "Entries that are there are overwritten. Ends with 3 when the dump was cut off.");
  add_name(*verb, loaded->name, "The dict");
  verb->add_option("FILE", loaded->file, "Where from (stdin)");
  verb->add_flag("--clear", loaded->clear, "First erase what is there");
  verb->add_flag("--partial", loaded->partial, "Lines without a last one are fine");
  verb->callback(
      [loaded, &run] { run.action = [loaded, &run] { return load_verb(run, *loaded); }; });
}

}  // namespace heddle::cli
