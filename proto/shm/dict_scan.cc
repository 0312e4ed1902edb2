// Walking a dict in the order of the hash, and what is made of get, write and scan.
//
// A bucket covers a range of hashes that only gets finer, and a key's hash never changes. Entries
// of a bucket are given out by rising hash from the cursor on, from one unchanged look at the
// bucket: so a key that is there all the time is met once, whatever splits meanwhile.
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kAlign = 8;
constexpr uint32_t kStepsMax = 1 << 16;
constexpr size_t kClearAtOnce = 8;
constexpr uint64_t kClearRoom = kClearAtOnce * kDictKeyBytesMax;

using Position = unsigned __int128;
constexpr Position position_of(const DictCursor& c) {
  return static_cast<Position>(c.high) << 64 | c.low;
}
/// The first position behind the range of a bucket that `depth` bits of `at` name. 0: the end.
constexpr Position behind(Position at, uint32_t depth) {
  if (depth == 0) return 0;
  return ((at >> (128 - depth)) + 1) << (128 - depth);
}

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
  Position at[kDictPairs];
  uint32_t n = 0;
  for (uint32_t i = 0; i < pairs.n; ++i) {
    View v;
    if ((pairs.word[i] & kPairDeleted) != 0) continue;
    if (!view(pair_record(pairs.word[i]), &v)) return false;
    const DictHash h = hash(v.key, v.key_bytes);
    const Position p = static_cast<Position>(h.high()) << 64 | h.low();
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
    page->next = {static_cast<uint64_t>(at[k] >> 64), static_cast<uint64_t>(at[k]), false};
    return true;
  }
  const uint32_t depth = spot.depth + (spot.child != nullptr ? 1 : 0);
  const Position next = behind(position_of(from), depth);
  page->next = {static_cast<uint64_t>(next >> 64), static_cast<uint64_t>(next), next == 0};
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

Outcome Dict::clear(DictActor& a, uint64_t* cleared) {
  *cleared = 0;
  alignas(kAlign) std::byte room[kClearRoom];
  DictCursor cursor;
  while (!cursor.done) {
    DictScanned page[kClearAtOnce];
    size_t n;
    uint64_t needed;
    const Outcome outcome =
        scan(&cursor, page, kClearAtOnce, room, sizeof room, false, &n, &needed);
    if (outcome != Outcome::kOk) return outcome;
    for (size_t i = 0; i < n; ++i) {
      DictWrite w;
      w.key = {page[i].key, page[i].key_bytes};
      w.kind = DictKind::kCleared;
      DictWritten written;
      const Outcome gone = write(a, w, &written);
      if (gone == Outcome::kOk) ++*cleared;
      if (gone != Outcome::kOk && gone != Outcome::kNotFound) return gone;
    }
  }
  return Outcome::kOk;
}

Outcome Dict::set(DictActor& a, const DictKey& key, const void* value, uint64_t bytes,
                  DictKind kind, DictWritten* out) {
  DictWrite w;
  w.key = key;
  w.value = value;
  w.bytes = bytes;
  w.kind = kind;
  DictWritten written;
  return write(a, w, out != nullptr ? out : &written);
}

Outcome Dict::erase(DictActor& a, const DictKey& key, DictWritten* out) {
  DictWrite w;
  w.key = key;
  w.kind = DictKind::kDeleted;
  DictWritten written;
  return write(a, w, out != nullptr ? out : &written);
}

namespace {

bool add_within(int64_t before, int64_t by, int64_t least, int64_t most, int64_t* sum) {
  return !__builtin_add_overflow(before, by, sum) && *sum >= least && *sum <= most;
}
bool add_within(double before, double by, double least, double most, double* sum) {
  *sum = before + by;
  return *sum >= least && *sum <= most;
}

/// get, then a write under the condition that nothing has changed since.
template <class Number>
Outcome add_to(Dict& dict, DictActor& a, const DictKey& key, Number by, Number least, Number most,
               DictKind kind, Number* result, DictWritten* out) {
  const Number first = *result;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    Number before = first;
    DictEntry entry;
    entry.room = reinterpret_cast<std::byte*>(&before);
    entry.room_bytes = sizeof before;
    const Outcome found = dict.get(key, &entry, &a);
    const bool there = found == Outcome::kOk || found == Outcome::kTooLarge;
    if (!there && found != Outcome::kNotFound) return found;
    if (there && (entry.kind != static_cast<uint8_t>(kind) || entry.bytes != sizeof before)) {
      return Outcome::kMismatch;
    }
    Number sum;
    if (!add_within(before, by, least, most, &sum)) {
      *result = before;
      return Outcome::kMismatch;
    }
    DictWrite w;
    w.key = key;
    w.value = &sum;
    w.bytes = sizeof sum;
    w.kind = kind;
    w.if_version = there ? entry.mod_revision : 0;
    const Outcome written = dict.write(a, w, out);
    if (written == Outcome::kOk) *result = sum;
    const bool raced = written == Outcome::kMismatch || written == Outcome::kExists ||
                       written == Outcome::kNotFound;
    if (!raced) return written;
  }
  return Outcome::kCorrupt;
}

}  // namespace

Outcome Dict::increment(DictActor& a, const DictKey& key, int64_t by, int64_t least, int64_t most,
                        int64_t* result, DictWritten* out) {
  DictWritten written;
  return add_to(*this, a, key, by, least, most, DictKind::kInt64, result,
                out != nullptr ? out : &written);
}

Outcome Dict::increment(DictActor& a, const DictKey& key, double by, double least, double most,
                        double* result, DictWritten* out) {
  DictWritten written;
  return add_to(*this, a, key, by, least, most, DictKind::kDouble, result,
                out != nullptr ? out : &written);
}

}  // namespace heddle::shm
