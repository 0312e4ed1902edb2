#include "client/cli/lock_words.h"

#include <cstdio>

#include "client/cli/arguments.h"
#include "client/cli/terminal.h"

namespace heddle::cli {

namespace {

const char* word_of(OwnerDeath death) {
  if (death == OwnerDeath::kSilent) return "silent";
  return death == OwnerDeath::kPoison ? "poison" : "flag";
}

const char* word_of(Lifetime lifetime) {
  if (lifetime == Lifetime::kAttached) return "attached";
  return lifetime == Lifetime::kSession ? "session" : "kept";
}

std::string lock_state(const LockInfo& info) {
  if (info.holders.empty()) return info.abandoned ? "free, its last owner died" : "free";
  const LockParty& first = info.holders.front();
  std::string text = "held by pid " + std::to_string(first.pid);
  if (!first.command.empty()) text += " (" + visible(first.command, 40) + ")";
  if (info.holders.size() > 1) text += " and " + std::to_string(info.holders.size() - 1) + " more";
  return text;
}

}  // namespace

const char* noun_of(SyncKind kind) {
  switch (kind) {
    case SyncKind::kLock:
      return "lock";
    case SyncKind::kSemaphore:
      return "sem";
    case SyncKind::kCondition:
      return "condition";
    case SyncKind::kEvent:
      return "event";
    case SyncKind::kBarrier:
      return "barrier";
  }
  return "";
}

const char* word_of(LockMode mode) {
  if (mode == LockMode::kShared) return "shared";
  return mode == LockMode::kUpdate ? "update" : "exclusive";
}

std::string variant_of(const LockInfo& info) {
  if (info.kind == SyncKind::kSemaphore) return info.counting ? "counting" : "owned";
  if (info.kind != SyncKind::kLock) return {};
  if (info.lock_kind == LockKind::kRlock) return "rlock";
  return info.lock_kind == LockKind::kRw ? "rw" : "mutex";
}

std::string state_of(const LockInfo& info) {
  std::string text;
  if (info.kind == SyncKind::kSemaphore) {
    text = std::to_string(info.free);
    if (info.limit != 0) text += " of " + std::to_string(info.limit);
    text += " free";
  } else if (info.kind == SyncKind::kEvent) {
    text = info.set ? "set" : "clear";
  } else if (info.kind == SyncKind::kBarrier) {
    text = std::to_string(info.arrived) + " of " + std::to_string(info.limit) + " arrived";
    if (info.broken) text += ", broken";
  } else {
    text = lock_state(info);
  }
  if (info.poisoned) text += ", poisoned";
  if (!info.waiters.empty()) text += ", " + std::to_string(info.waiters.size()) + " waiting";
  return text;
}

std::string octal_mode(std::uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

Json party_json(const LockParty& party) {
  Json out = {{"session", party.session}, {"thread", party.thread},   {"pid", party.pid},
              {"uid", party.uid},         {"command", party.command}, {"mode", word_of(party.mode)},
              {"since_ms", nullptr}};
  if (party.since.count() >= 0) out["since_ms"] = party.since.count();
  return out;
}

Json lock_json(const LockInfo& info, bool looked) {
  Json out = {{"name", info.name}, {"kind", noun_of(info.kind)}};
  if (const std::string variant = variant_of(info); !variant.empty()) out["variant"] = variant;
  if (info.kind == SyncKind::kLock) {
    out["on_death"] = word_of(info.on_owner_death);
    out["fair"] = info.fair == Fairness::kStrict;
    out["lock_delay_ms"] = info.lock_delay.count();
  }
  if (info.kind == SyncKind::kSemaphore) out["permits"] = info.limit;
  if (info.kind == SyncKind::kBarrier) out["parties"] = info.limit;
  out.update(Json{{"lifetime", word_of(info.lifetime)},
                  {"attached", info.attached},
                  {"owner_uid", info.owner_uid},
                  {"owner_gid", info.owner_gid},
                  {"mode", octal_mode(info.mode)},
                  {"object_id", info.object_id}});
  if (!looked) return out;
  if (info.kind == SyncKind::kLock) {
    out["locked"] = !info.holders.empty();
    out["token"] = info.token;
    out["poisoned"] = info.poisoned;
    out["abandoned"] = info.abandoned;
  }
  if (info.kind == SyncKind::kSemaphore) out["free"] = info.free;
  if (info.kind == SyncKind::kEvent) out["set"] = info.set;
  if (info.kind == SyncKind::kBarrier) {
    out["arrived"] = info.arrived;
    out["broken"] = info.broken;
  }
  out["holders"] = Json::array();
  for (const LockParty& party : info.holders) out["holders"].push_back(party_json(party));
  out["waiters"] = Json::array();
  for (const LockParty& party : info.waiters) out["waiters"].push_back(party_json(party));
  return out;
}

void add_lifetime(CLI::App& verb, std::string& word) {
  add_choice(verb, "--lifetime", word, {"kept", "attached"},
             "When it is made: until deleted, or until nobody has it open (kept)");
}

void add_making(CLI::App& verb, MakingWords& words) {
  verb.add_option("--mode", words.mode, "Permission bits, octal; r shows, w acquires (0600)")
      ->type_name("MODE")
      ->check([](const std::string& text) {
        const bool good = !text.empty() && text.size() <= 4 &&
                          text.find_first_not_of("01234567") == std::string::npos;
        return good ? std::string() : "'" + text + "' is not a mode; write octal, e.g. 0660";
      });
  verb.add_option("--group", words.group, "Group it belongs to (yours)")->type_name("GROUP");
  verb.add_flag("--exclusive", words.exclusive, "Fail with status 13 if the name is taken");
}

}  // namespace heddle::cli
