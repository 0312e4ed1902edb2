// Walking a dict in the order of the hash.
//
// A bucket covers a range of hashes that only gets finer, and a key's hash never changes. Entries
// of a bucket are given out by rising hash from the cursor on, from one unchanged look at the
// bucket: so a key that is there all the time is met once, whatever splits meanwhile.
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_walk.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kAlign = 8;
constexpr uint32_t kStepsMax = 1 << 16;

}  // namespace

struct Dict::Page {
  DictScanned* entries;
  size_t entries_max;
  std::byte* room;
  uint64_t room_bytes;
  bool with_values;
  size_t n;
  uint64_t used;
  uint64_t needed;  // of an entry that did not fit
  DictCursor next;  // where to go on
  bool full;
};

/// Copies one entry; false: no room for it.
bool Dict::put_on_page(const View& v, Page* page) const {
  const uint64_t value = page->with_values ? v.value_bytes : 0;
  const uint64_t key = (v.key_bytes + kAlign - 1) / kAlign * kAlign;
  const uint64_t need = key + (value + kAlign - 1) / kAlign * kAlign;
  if (page->n == page->entries_max || need > page->room_bytes - page->used) {
    page->needed = need;
    return false;
  }
  DictScanned& to = page->entries[page->n++];
  std::byte* at = page->room + page->used;
  page->used += need;
  copy_unproved(at, v.key, v.key_bytes);
  to.key = at;
  to.key_bytes = v.key_bytes;
  describe(v, &to.entry);
  to.entry.room = at + key;
  to.entry.room_bytes = value;
  if (page->with_values) copy_value(v, to.entry.room);
  return true;
}

/// The bucket's entries from `from` on, by rising hash. False: a record is nonsense.
bool Dict::scan_bucket(const Spot& spot, const DictCursor& from, Page* page) const {
  Pairs pairs;
  load_pairs(spot.block, &pairs);
  View views[kDictPairs];
  DictPosition at[kDictPairs];
  uint32_t n = 0;
  for (uint32_t i = 0; i < pairs.n; ++i) {
    View v;
    if ((pairs.word[i] & kPairDeleted) != 0) continue;
    if (!view(pair_record(pairs.word[i]), &v)) return false;
    if (v.flags != 0 && has_expired(v)) continue;
    const DictHash h = hash(v.key, v.key_bytes);
    const DictPosition p = static_cast<DictPosition>(h.high()) << 64 | h.low();
    if (p < position_of(from)) continue;
    uint32_t k = n++;
    for (; k > 0 && at[k - 1] > p; --k) at[k] = at[k - 1], views[k] = views[k - 1];
    at[k] = p;
    views[k] = v;
  }
  page->full = false;
  for (uint32_t k = 0; k < n; ++k) {
    if (put_on_page(views[k], page)) continue;
    page->full = true;
    page->next = cursor_at(at[k], false);
    return true;
  }
  const uint32_t depth = spot.depth + (spot.child != nullptr ? 1 : 0);
  const DictPosition next = behind(position_of(from), depth);
  page->next = cursor_at(next, next == 0);
  return true;
}

Outcome Dict::scan(DictCursor* cursor, DictScanned* entries, size_t entries_max, std::byte* room,
                   uint64_t room_bytes, bool with_values, size_t* n, uint64_t* needed) const {
  Page page{entries, entries_max, room, room_bytes, with_values, 0, 0, 0, *cursor, false};
  *n = 0;
  *needed = 0;
  uint32_t nonsense = 0;
  // A call that met only empty buckets ends as well; the cursor has moved on.
  for (uint32_t steps = 0, tries = 0; steps < kStepsMax;) {
    if (cursor->done || page.full || page.n == entries_max) break;
    if (++tries > kDictTriesMax || nonsense > 16) return Outcome::kCorrupt;
    Spot spot;
    if (!find(DictHash(cursor->high, cursor->low), &spot)) {
      ++nonsense;
      continue;
    }
    const size_t n_before = page.n;
    const uint64_t used_before = page.used;
    const bool sane = scan_bucket(spot, *cursor, &page);
    if (!sane || !unchanged(spot)) {
      nonsense += !sane && unchanged(spot);
      page.n = n_before;
      page.used = used_before;
      page.full = false;
      continue;
    }
    tries = 0;
    ++steps;
    *cursor = page.next;
  }
  *n = page.n;
  if (page.full && page.n == 0) {
    *needed = page.needed;
    return Outcome::kTooLarge;
  }
  return Outcome::kOk;
}

}  // namespace heddle::shm
