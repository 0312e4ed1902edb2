#include "proto/local/dict_lease.h"

#include <algorithm>
#include <vector>

namespace heddle::local {
namespace {

using shm::Outcome;

constexpr uint32_t kLeaseTriesMax = 1000;

std::string lease_key(std::string_view key) {
  return std::string(kDictLeasePrefix) + std::string(key);
}

bool is_stale(const shm::DictEntry& entry, int64_t early_ms) {
  return early_ms > 0 && entry.expires_ms != 0 && entry.expires_ms - shm::dict_now_ms() <= early_ms;
}

/// *told has the value, if there is one.
Outcome look(shm::Dict& dict, shm::DictActor& a, const DictLeaseAsk& ask, DictLeaseTold* told) {
  const Outcome outcome = read_item(dict, ask.key, &a, &told->item);
  told->there = outcome == Outcome::kOk;
  told->stale = told->there && is_stale(told->item.entry, ask.early_ms);
  return outcome == Outcome::kNotFound ? Outcome::kOk : outcome;
}

shm::DictWrite lease_write(const std::string& key, const DictLeaseAsk& ask) {
  shm::DictWrite take;
  take.key = dict_key(key);
  take.value = ask.id.data();
  take.bytes = ask.id.size();
  take.if_absent = true;
  take.expiry = shm::DictExpiry::kSet;
  take.expires_ms = shm::dict_now_ms() + std::max<int64_t>(ask.lease_ms, 1);
  take.owner = ask.owner;
  return take;
}

}  // namespace

Outcome ask_lease(shm::Dict& dict, shm::DictActor& a, const DictLeaseAsk& ask,
                  DictLeaseTold* told) {
  const std::string key = lease_key(ask.key);
  for (uint32_t tries = 0; tries < kLeaseTriesMax; ++tries) {
    *told = {};
    if (const Outcome bad = look(dict, a, ask, told); bad != Outcome::kOk) return bad;
    if (told->there && !told->stale) return Outcome::kOk;
    DictItem other;
    const Outcome seen = read_item(dict, key, &a, &other);
    if (seen == Outcome::kOk) {
      const bool asked_again = !ask.id.empty() && other.value == ask.id;
      if (asked_again) told->lease = other.entry.mod_revision;
      told->holder = other.entry.owner;
      told->until_ms = other.entry.expires_ms;
      return seen;
    }
    if (seen != Outcome::kNotFound) return seen;
    shm::DictWritten written;
    const Outcome taken = dict.write(a, lease_write(key, ask), &written);
    if (taken == Outcome::kExists) continue;
    if (taken != Outcome::kOk) return taken;
    // Whoever had it may have brought the value between the look and the lease.
    const Outcome bad = look(dict, a, ask, told);
    if (bad == Outcome::kOk && (!told->there || told->stale)) {
      told->lease = written.revision;
      return bad;
    }
    (void)end_lease(dict, a, ask.key, written.revision);
    return bad;
  }
  return Outcome::kOk;  // others come and go: one of them computes
}

Outcome write_leased(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& write,
                     uint64_t lease, shm::DictWritten* written) {
  const std::string key = lease_key({static_cast<const char*>(write.key.data), write.key.bytes});
  shm::DictCompare ours;
  ours.key = dict_key(key);
  ours.number = lease;
  shm::DictOperation steps[2];
  steps[0].write = write;
  steps[1].write.key = ours.key;
  steps[1].write.kind = shm::DictKind::kDeleted;
  shm::DictTransaction t;
  t.compares = &ours;
  t.compares_n = 1;
  t.first = steps;
  t.first_n = 2;
  shm::DictTransacted done;
  const Outcome outcome = dict.transact(a, t, &done);
  if (outcome == Outcome::kOk && !done.held) return Outcome::kLeaseLost;
  *written = steps[0].done;
  return outcome;
}

Outcome end_lease(shm::Dict& dict, shm::DictActor& a, std::string_view key, uint64_t lease) {
  const std::string name = lease_key(key);
  shm::DictWrite drop;
  drop.key = dict_key(name);
  drop.kind = shm::DictKind::kDeleted;
  drop.if_version = lease;
  shm::DictWritten written;
  const Outcome outcome = dict.write(a, drop, &written);
  const bool lost = outcome == Outcome::kMismatch || outcome == Outcome::kNotFound;
  return lost ? Outcome::kLeaseLost : outcome;
}

}  // namespace heddle::local
