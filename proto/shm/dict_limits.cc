// max_entries and max_bytes, and who goes when they are reached.
//
// Each row may add as many entries as it was granted. What is granted to all rows, and what is left
// in the budget, is the limit: so the dict never has more than its limits, whoever writes at once,
// and an insert looks at its own line only. Grants are drawn and given back in portions (1/4096 to
// 1/8192 of the limit, at least 1; what is left over belongs to row 0), so a write may be refused
// while each other thread that writes has some portions free: never more than kGiveBackOver.
//
// A transfer: CAS of the budget word, which then names row, amount and number, and CAS of the row's
// grant, which carries the number of the last transfer that it has had. Nobody begins a transfer
// before he has finished the last one, so whoever stops between the two leaves nothing behind.
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"
#include "proto/shm/dict_walk.h"

namespace heddle::shm {
namespace {

constexpr auto kFresh = std::memory_order_acquire;
constexpr int64_t kAtOnceMax = 3;  // portions more than needed, while many are left
constexpr int64_t kScarce = 8;     // many: more than one of so many
constexpr uint32_t kWalkMax = 1 << 16;
constexpr uint32_t kSampled = 8;  // buckets that are not empty
constexpr uint32_t kEvictionsMax = 1 << 20;

uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

}  // namespace

/// How much a row may still add. The grant is known modulo 2^39 portions, which is far more than
/// there can be.
int64_t Dict::headroom(uint32_t row, uint32_t kind) const {
  const DictRow& r = memory_.row(row);
  const uint64_t limit = limit_of(kind);
  const uint32_t bits = portion_bits_[kind];
  uint64_t may = static_cast<uint64_t>(grant_portions(r.granted[kind].load(kFresh))) << bits;
  if (row == 0) may += limit & ((uint64_t{1} << bits) - 1);
  const uint64_t has = (kind == 0 ? r.entries : r.bytes).load(std::memory_order_relaxed);
  return static_cast<int64_t>((may - has) << (25 - bits)) >> (25 - bits);
}

/// Finishes the transfer that the budget word names, if its row has not had it.
void Dict::settle_transfer(uint32_t kind, uint64_t w) {
  auto& budget = memory_.header().budget[kind];
  auto& granted = memory_.row(budget_row(w)).granted[kind];
  const uint64_t g = granted.load(std::memory_order_seq_cst);
  // The word is still there: this is the last transfer, and g either has it or will fail the CAS.
  if (budget.load(std::memory_order_seq_cst) != w || grant_number(g) == budget_number(w)) return;
  dict_cas(granted, g, make_grant(grant_portions(g) + budget_amount(w), budget_number(w)));
}

/// From the budget to a row; negative: back. False: so many are not left.
bool Dict::transfer(uint32_t row, uint32_t kind, int64_t over, int64_t keep, uint64_t more) {
  auto& budget = memory_.header().budget[kind];
  const uint32_t bits = portion_bits_[kind];
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    const uint64_t w = budget.load(std::memory_order_seq_cst);
    if (!mutated(DictMutant::kTransferNotSettled)) settle_transfer(kind, w);
    const int64_t room = headroom(row, kind), left = budget_left(w);
    int64_t amount;
    if (more != 0) {
      const int64_t lack = static_cast<int64_t>(more) - room;
      if (lack <= 0) return true;
      amount = (lack + (int64_t{1} << bits) - 1) >> bits;
      if (amount > left) return false;
      const int64_t scarce = budget_left(dict_budget(limit_of(kind))) / kScarce + kAtOnceMax;
      if (left - amount > scarce) amount += kAtOnceMax;
    } else {
      const int64_t spare = room >> bits;
      if (spare <= over) return true;
      amount = keep - spare;
    }
    uint64_t number = (budget_number(w) + 1) & kBudgetNumberMask;
    if (number == grant_number(memory_.row(row).granted[kind].load(kFresh))) {
      number = (number + 1) & kBudgetNumberMask;
    }
    const uint64_t next = make_budget(left - amount, amount, row, number);
    if (!dict_cas(budget, w, next)) continue;
    settle_transfer(kind, next);
    if (more == 0) return true;
  }
  return false;
}

/// Who has more than `over` portions spare, keeps `keep` of them.
void Dict::give_back(uint32_t row, int64_t over, int64_t keep) {
  for (uint32_t kind = 0; kind < 2; ++kind) {
    const uint32_t bits = portion_bits_[kind];
    if (headroom(row, kind) >> bits > over) transfer(row, kind, over, keep, 0);
  }
}

bool Dict::fits_within(DictActor& a, uint64_t entries_more, uint64_t bytes_more) {
  const uint64_t more[2] = {entries_more, bytes_more};
  for (uint32_t kind = 0; kind < 2; ++kind) {
    const auto n = static_cast<int64_t>(more[kind]);
    if (n > 0 && headroom(a.row, kind) < n && !transfer(a.row, kind, 0, 0, more[kind])) {
      return false;
    }
  }
  return true;
}

// ---- who goes ----

struct Dict::Victim {
  uint64_t first = UINT64_MAX, second = UINT64_MAX;  // the least goes
  uint64_t rev = 0;
  uint32_t line = 0;
  bool expired = false;
};

void Dict::note_age(uint64_t high) const {
  memory_.age(high >> (64 - ages_))
      .store(static_cast<uint32_t>(dict_now_ms()), std::memory_order_relaxed);
}

void Dict::weigh(const View& v, uint64_t high, Victim* least) const {
  Victim one{0, v.rev, v.rev, v.line, v.flags != 0 && has_expired(v)};
  if (one.expired) {
    one.second = 0;
  } else if (limits_.at_limit == DictAtLimit::kEvictLru && ages_ != 0) {
    const auto seen = memory_.age(high >> (64 - ages_)).load(std::memory_order_relaxed);
    one.first = uint64_t{UINT32_MAX} - (static_cast<uint32_t>(dict_now_ms()) - seen) + 1;
  } else if (limits_.at_limit == DictAtLimit::kEvictTtlFirst) {
    const int64_t expires = expires_of(v);
    one.first = expires == 0 ? INT64_MAX : static_cast<uint64_t>(expires);
  }
  if (one.first < least->first || (one.first == least->first && one.second < least->second)) {
    *least = one;
  }
}

/// The least of what some buckets have, from random places on; not the key with this hash.
void Dict::pick_victim(DictActor& a, uint64_t not_high, Victim* least) const {
  DictPosition at = 0;
  for (uint32_t steps = 0, met = 0; steps < kWalkMax && met < kSampled; ++steps) {
    if (steps == 0 || (met != 0 && at == 0)) {
      at = DictPosition{mix(seed_ ^ uint64_t{a.row} << 32 ^ ++a.picks)} << 64;
    }
    Spot spot;
    if (!find(DictHash(static_cast<uint64_t>(at >> 64), static_cast<uint64_t>(at)), &spot)) return;
    Pairs pairs;
    load_pairs(spot.block, &pairs);
    Victim of_bucket;
    bool any = false;
    for (uint32_t i = 0; i < pairs.n; ++i) {
      View v;
      if ((pairs.word[i] & kPairDeleted) != 0 || !view(pair_record(pairs.word[i]), &v)) continue;
      if ((v.rev & kRevUnassigned) != 0 || !is_value(v.kind)) continue;
      const uint64_t high = hash(v.key, v.key_bytes).high();
      if (high == not_high) continue;
      any = true;
      weigh(v, high, &of_bucket);
    }
    at = behind(at, spot.depth + (spot.child != nullptr ? 1 : 0));
    if (!unchanged(spot) || !any) continue;
    if (of_bucket.first < least->first ||
        (of_bucket.first == least->first && of_bucket.second < least->second)) {
      *least = of_bucket;
    }
    // The next bucket of the sample lies elsewhere.
    if (++met < kSampled) at = DictPosition{mix(seed_ ^ uint64_t{a.row} << 32 ^ ++a.picks)} << 64;
  }
}

/// Until a write that adds so much fits. kFull: nothing more can go.
Outcome Dict::evict(DictActor& a, uint64_t not_high, uint64_t entries_more, uint64_t bytes_more) {
  for (uint32_t n = 0; n < kEvictionsMax && !fits(a, entries_more, bytes_more); ++n) {
    Victim least;
    pick_victim(a, not_high, &least);
    if (least.line == 0) return Outcome::kFull;
    std::byte room[kDictKeyBytesMax];
    DictKey key;
    if (!copy_key(least.line, room, &key)) continue;
    const Outcome gone =
        take_out(a, key, least.expired ? DictKind::kExpired : DictKind::kEvicted, least.rev);
    if (gone != Outcome::kOk) return gone;
  }
  return Outcome::kOk;
}

}  // namespace heddle::shm
