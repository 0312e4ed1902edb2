// Locks, semaphores, events and barriers as rows, documents and options.
#ifndef HEDDLE_CLIENT_CLI_LOCK_WORDS_H_
#define HEDDLE_CLIENT_CLI_LOCK_WORDS_H_

#include <heddle/client.h>

#include <CLI/CLI.hpp>
#include <string>

#include "client/cli/invocation.h"

namespace heddle::cli {

// "lock", "sem", "condition", "event", "barrier": the noun of the command line.
const char* noun_of(SyncKind kind);
const char* word_of(LockMode mode);
// "mutex", "rlock", "rw"; "owned" or "counting" for a semaphore; empty for the others.
std::string variant_of(const LockInfo& info);
// "held by pid 12 (make)", "2 of 3 free", "1 of 4 arrived, broken", "set".
std::string state_of(const LockInfo& info);
std::string octal_mode(std::uint32_t mode);

Json party_json(const LockParty& party);
// Without holders and waiters unless `looked`: then with all that only a look at the object tells.
Json lock_json(const LockInfo& info, bool looked);

// What every kind may be given when it is made.
struct MakingWords {
  std::string lifetime, mode, group;
  bool exclusive = false;
  template <class Options>
  void give(Options* options) const {
    if (!lifetime.empty()) {
      options->lifetime = lifetime == "attached" ? Lifetime::kAttached : Lifetime::kKept;
    }
    if (!mode.empty()) {
      options->mode = static_cast<std::uint32_t>(std::stoul(mode, nullptr, 8));
    }
    options->group = group;
  }
};
void add_making(CLI::App& verb, MakingWords& words);
void add_lifetime(CLI::App& verb, std::string& word);

// Opens what `create` was asked for: new first, because only that tells whether it was there.
template <class Options, class Open>
int make_new(const Invocation& run, SyncKind kind, const std::string& name,
             const MakingWords& words, Options options, const Open& open) {
  words.give(&options);
  options.presence = Presence::kMustNot;
  auto handle = open(options);
  const bool created = handle.ok();
  if (!created && handle.status().is(Reason::kExistsOtherOptions) && !words.exclusive) {
    options.presence = Presence::kMust;
    handle = open(options);
  }
  if (!handle) return run.fail(handle.status());
  if (!run.json) {
    if (!created) {
      run.remark(std::string(noun_of(kind)) + " " + name + " is there already, with these options");
    }
    return kExitOk;
  }
  auto info = handle->info();
  if (!info) return run.fail(info.status());
  Json document = {{"created", created}};
  document.update(lock_json(*info, true));
  run.print(document);
  return kExitOk;
}

// ls, info, delete, who and waiters: the same for each kind. `example` is a name for the help.
void add_kin(CLI::App& noun, Invocation& run, SyncKind kind, const std::string& example);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_LOCK_WORDS_H_
