// What the broker does from time to time: what has expired goes, and what belonged to somebody who
// is gone. In slices, each some buckets in the order of the hash.
#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_walk.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kRoundsMax = 10'000;

}  // namespace

struct Dict::Sought {
  int64_t now_ms;  // who has expired; INT64_MIN: nobody
  uint64_t owner;  // whose entries; 0: nobody's
};

/// The record's key, unless it says nonsense by now.
bool Dict::copy_key(uint32_t line, std::byte* room, DictKey* key) const {
  View v;
  if (!view(line, &v)) return false;
  copy_unproved(room, v.key, v.key_bytes);
  *key = {room, v.key_bytes};
  return true;
}

/// Takes out what is sought of one bucket, and moves the cursor behind it.
Outcome Dict::sweep_bucket(DictActor& a, const Sought& sought, DictCursor* cursor,
                           DictSwept* swept) {
  for (uint32_t rounds = 0; rounds < kRoundsMax; ++rounds) {
    Spot spot;
    if (!find(DictHash(cursor->high, cursor->low), &spot)) continue;
    Pairs pairs;
    load_pairs(spot.block, &pairs);
    View found;
    bool any = false, expired = false;
    int64_t later[kDictPairs];
    uint64_t hashes[kDictPairs];
    uint32_t n = 0;
    for (uint32_t i = 0; i < pairs.n && !any; ++i) {
      if ((pairs.word[i] & kPairDeleted) != 0) continue;
      if (!view(pair_record(pairs.word[i]), &found) || found.flags == 0) continue;
      const int64_t expires = expires_of(found);
      expired = expires != 0 && sought.now_ms >= expires;
      if (!expired && expires != 0) {
        hashes[n] = swept->due != nullptr ? hash(found.key, found.key_bytes).high() : 0;
        later[n++] = expires;
      }
      any = is_value(found.kind) &&
            (expired || (sought.owner != 0 && owner_of(found) == sought.owner));
    }
    std::byte room[kDictKeyBytesMax];
    DictKey key{};
    const bool copied = !any || copy_key(found.line, room, &key);
    if (!unchanged(spot) || !copied) continue;
    if (!any) {
      for (uint32_t i = 0; i < n; ++i) {
        if (later[i] < swept->next_ms) swept->next_ms = later[i];
        if (swept->due != nullptr) swept->due(swept->context, hashes[i], later[i]);
      }
      const DictPosition next =
          behind(position_of(*cursor), spot.depth + (spot.child != nullptr ? 1 : 0));
      *cursor = cursor_at(next, next == 0);
      return Outcome::kOk;
    }
    if (spot.pending) {
      meet(a, spot);
    } else if ((found.rev & kRevUnassigned) != 0) {
      assign(a, found.line, found.rev);
    } else {
      const bool gone = expired || has_expired(found);
      const Outcome outcome =
          take_out(a, key, gone ? DictKind::kExpired : DictKind::kDeleted, found.rev);
      if (outcome != Outcome::kOk) return outcome;
      ++swept->gone;
    }
  }
  return Outcome::kCorrupt;
}

Outcome Dict::expire(DictActor& reaper, int64_t now_ms, DictCursor* cursor, uint32_t buckets,
                     DictSwept* swept) {
  // Writers decide by their own clock: what has not expired by that is not taken out.
  const int64_t clock = dict_now_ms();
  const Sought sought{now_ms < clock ? now_ms : clock, 0};
  for (; buckets > 0 && !cursor->done; --buckets) {
    const Outcome outcome = sweep_bucket(reaper, sought, cursor, swept);
    if (outcome != Outcome::kOk) return outcome;
  }
  return Outcome::kOk;
}

Outcome Dict::erase_owned(DictActor& reaper, uint64_t owner, DictCursor* cursor, uint32_t buckets,
                          DictSwept* swept) {
  auto& bits = memory_.header().owned[owner % kDictOwnerBits / 64];
  const uint64_t bit = uint64_t{1} << owner % 64;
  // The bit is never taken away: somebody else's may be the same.
  if ((bits.load(std::memory_order_seq_cst) & bit) == 0) cursor->done = true;
  const Sought sought{INT64_MIN, owner};
  for (; buckets > 0 && !cursor->done; --buckets) {
    const Outcome outcome = sweep_bucket(reaper, sought, cursor, swept);
    if (outcome != Outcome::kOk) return outcome;
  }
  return Outcome::kOk;
}

}  // namespace heddle::shm
