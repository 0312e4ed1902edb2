// heddle block create | ls | info | delete | read | write | watch | mend | force
#include <algorithm>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/body.h"
#include "client/cli/member_words.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

struct BlockArguments : MemberArguments {
  std::optional<std::uint64_t> size, at, bytes, version, max;
  std::string data;
  Timeout timeout;
};
using BlockGiven = std::shared_ptr<BlockArguments>;

Json block_json(const BlockInfo& info) {
  Json own = {{"version", info.version}, {"writing", info.writing}, {"torn", info.torn}};
  if (info.writing) {
    own["writer_owner"] = info.writer_owner;
    own["writer_thread"] = info.writer_thread;
  }
  if (info.torn) {
    own["torn_at"] = info.torn_at;
    own["torn_end"] = info.torn_end;
  }
  return member_json(info, std::move(own), {{"size", info.options.size.value_or(0)}});
}

std::vector<std::string> block_cells(const BlockInfo& info) {
  return {info.name,
          std::to_string(info.options.size.value_or(0)),
          std::to_string(info.version),
          info.torn      ? "torn"
          : info.writing ? "writing"
                         : "whole",
          std::to_string(info.memory_bytes),
          std::to_string(info.attached),
          std::to_string(info.watching)};
}

int create_block(const Invocation& run, const BlockArguments& given) {
  BlockOptions options;
  given.give(&options);
  options.size = given.size;
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto block = client->create_block(given.name, options);
  if (!block) return run.fail(block.status());
  if (run.json) run.print({{"name", block->name()}, {"size", block->size()}});
  return kExitOk;
}

int ls_blocks(const Invocation& run, const std::string& prefix, bool names_only) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto blocks = client->blocks(prefix);
  if (!blocks) return run.fail(blocks.status());
  return print_members(run, *blocks, names_only, block_json,
                       {"NAME", "SIZE", "VERSION", "STATE", "MEMORY", "ATTACHED", "WATCHING"},
                       block_cells);
}

int show_block(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto info = client->block_info(name);
  if (!info) return run.fail(info.status());
  print_member(run, block_json(*info));
  return kExitOk;
}

Result<Block> open_block(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return std::move(client).status();
  return client->open_block(name);
}

// What is torn is written all the same, and told by the exit status.
int read_block(const Invocation& run, const BlockArguments& given) {
  auto block = open_block(run, given.name);
  if (!block) return run.fail(block.status());
  const std::uint64_t at = given.at.value_or(0), size = block->size();
  const std::uint64_t bytes = given.bytes.value_or(size > at ? size - at : 0);
  std::string text;
  if (at <= size && bytes <= size - at) text.resize(bytes);
  const std::span<std::byte> room(reinterpret_cast<std::byte*>(text.data()), text.size());
  // Of a range that is not in it nothing but the refusal is wanted.
  auto read =
      text.size() == bytes && at <= size
          ? block->read(at, room, given.timeout.value())
          : Status(Reason::kOutOfRange, "bytes " + std::to_string(at) + " to " +
                                            std::to_string(at + bytes) + " are not all in it")
                .with_object("block " + given.name)
                .with_limit(size, at + bytes);
  if (!read) return run.fail(read.status());
  if (run.json) {
    run.print(
        {{"at", at}, {"data", base64(text)}, {"version", read->version}, {"torn", read->torn}});
  } else {
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0) return kExitError;
  }
  if (!read->torn) return kExitOk;
  return run.fail(Reason::kPeerDied,
                  "block " + given.name +
                      ": part of it is half written by somebody who died; heddle block info tells "
                      "which bytes, and a write of all of them or heddle block mend ends that");
}

int print_version(const Invocation& run, const std::string& name, std::uint64_t version) {
  if (run.json) run.print({{"name", name}, {"version", version}});
  return kExitOk;
}

int write_block(const Invocation& run, const BlockArguments& given) {
  const std::string text = body_of(given.data);
  auto block = open_block(run, given.name);
  if (!block) return run.fail(block.status());
  auto version = block->write(given.at.value_or(0), text,
                              {.if_version = given.version, .timeout = given.timeout.value()});
  if (!version) return run.fail(version.status());
  return print_version(run, given.name, *version);
}

int mend_block(const Invocation& run, const std::string& name) {
  auto block = open_block(run, name);
  if (!block) return run.fail(block.status());
  if (Status status = block->mend(); !status.ok()) return run.fail(status);
  auto version = block->version();
  return version ? print_version(run, name, *version) : run.fail(version.status());
}

int force_block(const Invocation& run, const std::string& name) {
  auto block = open_block(run, name);
  if (!block) return run.fail(block.status());
  auto ended = block->force();
  if (!ended) return run.fail(ended.status());
  if (run.json) run.print({{"name", name}, {"ended", *ended}});
  run.remark("block " + name + ": " + (*ended ? "the write was ended" : "nobody was writing"));
  return kExitOk;
}

int watch_block(const Invocation& run, const BlockArguments& given) {
  auto block = open_block(run, given.name);
  if (!block) return run.fail(block.status());
  auto seen = given.version ? Result<std::uint64_t>(*given.version) : block->version();
  if (!seen) return run.fail(seen.status());
  for (std::uint64_t n = 0; n < given.max.value_or(UINT64_MAX); ++n) {
    seen = block->wait_change(*seen, given.timeout.value());
    if (!seen) return run.fail(seen.status());
    if (run.json) {
      run.print({{"name", given.name}, {"version", *seen}});
    } else {
      std::printf("%llu\n", static_cast<unsigned long long>(*seen));
    }
    std::fflush(stdout);
    if (std::ferror(stdout)) return kExitError;
  }
  return kExitOk;
}

CLI::App* add_block_verb(CLI::App& block, Invocation& run, const BlockGiven& given,
                         const std::string& name, const std::string& summary,
                         const std::string& examples,
                         int (*act)(const Invocation&, const BlockArguments&)) {
  CLI::App* verb = add_verb(block, name, summary, examples);
  add_name(*verb, given->name,
           name == "create" ? "Name: 1-200 of A-Z a-z 0-9 . _ / -; ~/x is your own" : "The block");
  verb->callback(
      [given, act, &run] { run.action = [given, act, &run] { return act(run, *given); }; });
  return verb;
}

void add_block_manage(CLI::App& block, Invocation& run) {
  auto given = std::make_shared<BlockArguments>();
  CLI::App* verb = add_block_verb(block, run, given, "create",
                                  "Make a block, all zeros; one that agrees is left as it is",
                                  "heddle block create frame --size 4M\n"
                                  "heddle block create table --size 65536 --mode 0644",
                                  create_block);
  add_size(*verb, "--size", given->size, "Bytes, up to 64G; needed to make one");
  add_member_arguments(*verb, *given);
  add_ls_verb(block, run, ls_blocks);
  add_simple_verb(block, run, "info", "Options and state of a block", "heddle block info frame",
                  show_block);
  add_simple_verb(block, run, "mend", "Say that what a dead writer left has been put right",
                  "heddle block mend frame", mend_block);
  add_simple_verb(block, run, "force",
                  "End the write of somebody who is stopped, as if he had died",
                  "heddle block force frame", force_block);
  add_simple_verb(block, run, "delete", "Delete a block; who has it mapped keeps his mapping",
                  "heddle block delete frame", [](const Invocation& run, const std::string& name) {
                    return delete_verb(run, name, &Client::delete_block);
                  });
}

void add_block_use(CLI::App& block, Invocation& run) {
  auto given = std::make_shared<BlockArguments>();
  CLI::App* verb =
      add_block_verb(block, run, given, "read", "Write its bytes, as they were at one version",
                     "heddle block read frame > frame.raw\n"
                     "heddle block read table --at 128 --bytes 16 | xxd\n"
                     "\n"
                     "Ends with 12 when part of it is what a writer left that died.",
                     read_block);
  add_size(*verb, "--at", given->at, "From this byte on (0)");
  add_size(*verb, "--bytes", given->bytes, "So many (all from there on)");
  add_timeout(*verb, given->timeout, "End with 5 when it is written for so long");

  given = std::make_shared<BlockArguments>();
  verb = add_block_verb(block, run, given, "write",
                        "Put bytes into it; readers see all of them or none",
                        "heddle block write frame - < frame.raw\n"
                        "heddle block write table hello --at 128 --if-version 7",
                        write_block);
  verb->add_option("DATA", given->data, "The bytes; - is stdin")->required();
  add_size(*verb, "--at", given->at, "From this byte on (0)");
  add_count(*verb, "--if-version", given->version, 0, UINT64_MAX, "Only if it has this version",
            "VERSION");
  add_timeout(*verb, given->timeout, "End with 5 when somebody else writes for so long");

  given = std::make_shared<BlockArguments>();
  verb = add_block_verb(block, run, given, "watch", "Write the version each time it is another one",
                        "heddle block watch frame\n"
                        "heddle block watch frame --seen 7 -n 1 --timeout 30s",
                        watch_block);
  add_count(*verb, "--seen", given->version, 0, UINT64_MAX,
            "Wait for another version than this (than the one it has)", "VERSION");
  add_count(*verb, "-n,--max", given->max, 1, UINT64_MAX, "End after so many");
  add_timeout(*verb, given->timeout, "End with 5 when nothing has changed for so long");
}

}  // namespace

void add_block(CLI::App& block, Invocation& run) {
  add_block_manage(block, run);
  add_block_use(block, run);
}

}  // namespace heddle::cli
