// What is made of a look and a write under the condition that nothing has changed since.
#include <cstring>

#include "proto/shm/dict.h"

namespace heddle::shm {
namespace {

constexpr size_t kClearAtOnce = 8;
constexpr uint64_t kClearRoom = kClearAtOnce * kDictKeyBytesMax;
constexpr uint32_t kLooks = 16;

bool raced(Outcome outcome) {
  return outcome == Outcome::kMismatch || outcome == Outcome::kExists ||
         outcome == Outcome::kNotFound;
}

}  // namespace

Outcome Dict::clear(DictActor& a, uint64_t* cleared) {
  *cleared = 0;
  alignas(8) std::byte room[kClearRoom];
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

/// What is added to a number, and what becomes of it.
template <class Number>
struct Addition {
  Number by, least, most;
  DictKind kind;
  DictExpiry expiry;
  int64_t expires_ms;
};

/// get, then a write under the condition that nothing has changed since.
template <class Number>
Outcome add_to(Dict& dict, DictActor& a, const DictKey& key, const Addition<Number>& add,
               Number* result, DictWritten* out) {
  const Number first = *result;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    Number before = first;
    DictEntry entry;
    entry.room = reinterpret_cast<std::byte*>(&before);
    entry.room_bytes = sizeof before;
    const Outcome found = dict.get(key, &entry, &a);
    const bool there = found == Outcome::kOk || found == Outcome::kTooLarge;
    if (!there && found != Outcome::kNotFound) return found;
    if (there && (entry.kind != static_cast<uint8_t>(add.kind) || entry.bytes != sizeof before)) {
      return Outcome::kMismatch;
    }
    Number sum;
    if (!add_within(before, add.by, add.least, add.most, &sum)) {
      *result = before;
      return Outcome::kMismatch;
    }
    DictWrite w;
    w.key = key;
    w.value = &sum;
    w.bytes = sizeof sum;
    w.kind = add.kind;
    w.if_version = there ? entry.mod_revision : 0;
    w.expiry = add.expiry;
    w.expires_ms = add.expires_ms;
    if (there) {
      w.owner = entry.owner;
      if (add.expiry == DictExpiry::kKeep) w.expiry = DictExpiry::kSet;
      if (add.expiry == DictExpiry::kKeep) w.expires_ms = entry.expires_ms;
    }
    const Outcome written = dict.write(a, w, out);
    if (written == Outcome::kOk) *result = sum;
    if (!raced(written)) return written;
  }
  return Outcome::kCorrupt;
}

}  // namespace

Outcome Dict::increment(DictActor& a, const DictKey& key, int64_t by, int64_t least, int64_t most,
                        int64_t* result, DictWritten* out, DictExpiry expiry, int64_t expires_ms) {
  DictWritten written;
  const Addition<int64_t> add{by, least, most, DictKind::kInt64, expiry, expires_ms};
  return add_to(*this, a, key, add, result, out != nullptr ? out : &written);
}

Outcome Dict::increment(DictActor& a, const DictKey& key, double by, double least, double most,
                        double* result, DictWritten* out, DictExpiry expiry, int64_t expires_ms) {
  DictWritten written;
  const Addition<double> add{by, least, most, DictKind::kDouble, expiry, expires_ms};
  return add_to(*this, a, key, add, result, out != nullptr ? out : &written);
}

/// The record of a key as it is now, with its revision; what it says counts as long as if_version
/// holds. kOk, kNotFound, kCorrupt.
Outcome Dict::look(DictActor& a, const DictKey& key, View* v) {
  const DictHash h = hash(key.data, key.bytes);
  for (uint32_t tries = 0, nonsense = 0; tries < kDictTriesMax && nonsense < kLooks; ++tries) {
    Spot spot;
    if (!find(h, &spot)) {
      ++nonsense;
      continue;
    }
    if (spot.pending) {
      meet(a, spot);
      continue;
    }
    Pairs pairs;
    load_pairs(spot.block, &pairs);
    Found found;
    const bool sane = find_key(pairs, h.tag(), key, &found);
    const bool there = sane && found.pair != 0 && is_there(found.view);
    if (!unchanged(spot)) continue;
    if (!sane) {
      ++nonsense;
      continue;
    }
    if (!there) return Outcome::kNotFound;
    *v = found.view;
    if ((v->rev & kRevUnassigned) == 0) return Outcome::kOk;
    nonsense += !assign(a, v->line, v->rev);
  }
  return Outcome::kCorrupt;
}

Outcome Dict::append(DictActor& a, const DictWrite& w, uint64_t* total, DictWritten* out) {
  if (w.kind != DictKind::kString && w.kind != DictKind::kBytes) return Outcome::kMismatch;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    View v;
    const Outcome found = look(a, w.key, &v);
    const bool there = found == Outcome::kOk;
    if (!there && found != Outcome::kNotFound) return found;
    if (there && v.kind != static_cast<uint8_t>(w.kind)) return Outcome::kMismatch;
    if (!there && w.if_present) return Outcome::kNotFound;
    const uint64_t rev = there ? v.rev : 0;
    if (w.if_version != kDictAnyVersion && w.if_version != rev) {
      *out = {};
      out->existed = there;
      out->revision = rev;
      return there ? Outcome::kMismatch : Outcome::kNotFound;
    }
    DictWrite next = w;
    next.if_version = rev;
    next.if_present = false;
    if (there) {
      next.owner = owner_of(v);
      if (w.expiry == DictExpiry::kPolicy || w.expiry == DictExpiry::kKeep) {
        next.expiry = DictExpiry::kSet;
        next.expires_ms = expires_of(v);
      }
    }
    const Outcome written = write_onto(a, next, there ? &v : nullptr, out);
    if (written == Outcome::kOk) *total = w.bytes + (there ? v.value_bytes : 0);
    if (!raced(written)) return written;
  }
  return Outcome::kCorrupt;
}

Outcome Dict::touch(DictActor& a, const DictKey& key, DictExpiry expiry, int64_t expires_ms,
                    DictWritten* out) {
  if (expiry == DictExpiry::kKeep) return Outcome::kMismatch;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    View v;
    const Outcome found = look(a, key, &v);
    if (found != Outcome::kOk) return found;
    DictWrite w;
    w.key = key;
    w.kind = static_cast<DictKind>(v.kind);
    w.if_version = v.rev;
    w.expiry = expiry;
    w.expires_ms = expires_ms;
    if (expiry == DictExpiry::kPolicy) {
      // As if it were created now.
      w.expiry = limits_.default_ttl_ms != 0 ? DictExpiry::kSet : DictExpiry::kClear;
      w.expires_ms = dict_now_ms() + static_cast<int64_t>(limits_.default_ttl_ms);
    }
    w.owner = owner_of(v);
    const Outcome written = write_onto(a, w, &v, out);
    if (!raced(written)) return written;
  }
  return Outcome::kCorrupt;
}

}  // namespace heddle::shm
