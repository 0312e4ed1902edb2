// A record before anybody sees it: memory for it, and what is written into it.
#include <algorithm>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_mutant.h"

namespace heddle::shm {
namespace {

constexpr auto kQuiet = std::memory_order_relaxed;
constexpr auto kShow = std::memory_order_release;
constexpr uint32_t kClassesUp = 4;

}  // namespace

/// Which words a record of this write has room for. What they say is known when the old entry is.
uint8_t Dict::words_for(const DictWrite& w) const {
  if (w.expiry == DictExpiry::kPolicy && !policy_expires_ && w.owner == 0) return 0;
  if (!is_value(static_cast<uint8_t>(w.kind))) return 0;
  uint8_t flags = w.owner != 0 ? kRecordOwned : 0;
  if (w.expiry == DictExpiry::kSet ? w.expires_ms != 0
                                   : w.expiry == DictExpiry::kKeep || policy_expires_) {
    if (w.expiry != DictExpiry::kClear) flags |= kRecordExpires;
  }
  return flags;
}

/// Of the value that a write makes: what stands in `base`, then w's bytes.
void Dict::copy_part(const DictWrite& w, const View* base, uint64_t from, uint64_t bytes,
                     std::byte* to) const {
  const uint64_t head = base != nullptr ? base->value_bytes : 0;
  while (from < head && bytes > 0) {
    uint64_t n = std::min(bytes, head - from);
    const std::byte* source;
    if (base->list == nullptr) {
      source = base->value + from;
    } else {
      const uint64_t at = from % kDictExtentBytes;
      n = std::min(n, kDictExtentBytes - at);
      source = memory_.extent_data(base->list[from / kDictExtentBytes].load(kQuiet)) + at;
    }
    copy_unproved(to, source, n);
    from += n, to += n, bytes -= n;
  }
  if (bytes > 0) copy_unproved(to, static_cast<const std::byte*>(w.value) + (from - head), bytes);
}

/// How a record of this write is laid out, and a chunk for it. False: memory is exhausted.
bool Dict::plan_record(DictActor& a, const DictWrite& w, const View* base, RecordPlan* p) {
  p->value_bytes = w.bytes + (base != nullptr ? base->value_bytes : 0);
  p->flags = words_for(w);
  p->words = ((p->flags & kRecordExpires) != 0 ? 8 : 0) + ((p->flags & kRecordOwned) != 0 ? 8 : 0);
  p->large = sizeof(DictRecord) + p->words + w.key.bytes + p->value_bytes > kDictRecordBytesMax;
  p->list = p->large ? (dict_value_extents(p->value_bytes) * 4 + 7) / 8 * 8 : 0;
  if (p->large) p->flags |= kRecordExtents;
  const uint64_t need =
      sizeof(DictRecord) + p->words + p->list + w.key.bytes + (p->large ? 0 : p->value_bytes);
  const bool erase = !is_value(static_cast<uint8_t>(w.kind));
  a.reserve = erase;
  p->size_class = make_record_room(a, dict_class_for(need), erase);
  return p->size_class != kDictClasses;
}

/// All but stamp and, of a large value, the extents. `rev` comes first: an old number there reads
/// as "published".
void Dict::fill_record(const DictWrite& w, const View* base, const RecordPlan& p, uint32_t line,
                       uint64_t generation) {
  DictRecord& r = memory_.record(line);
  if (!mutated(DictMutant::kStampBeforeJournal)) {
    r.rev.store(kRevUnassigned | generation, kShow);
  }
  r.meta.store(make_meta(p.value_bytes, w.key.bytes, static_cast<uint8_t>(w.kind), p.flags),
               kQuiet);
  r.previous.store(0, kQuiet);
  std::byte* at = r.body();
  if (p.words != 0) {
    auto* words = reinterpret_cast<std::atomic<uint64_t>*>(at);
    if ((p.flags & kRecordExpires) != 0) (words++)->store(0, kQuiet);
    if ((p.flags & kRecordOwned) != 0) words->store(w.owner, kQuiet);
    at += p.words;
  }
  auto* extents = reinterpret_cast<std::atomic<uint32_t>*>(at);
  for (uint64_t i = 0; i < p.list / 4; ++i) extents[i].store(0, kQuiet);
  at += p.list;
  copy_unproved(at, static_cast<const std::byte*>(w.key.data), w.key.bytes);
  at += w.key.bytes;
  if (p.large) return;
  if (base == nullptr) {
    copy_unproved(at, static_cast<const std::byte*>(w.value), w.bytes);
  } else {
    copy_part(w, base, 0, p.value_bytes, at);
  }
}

/// The extents of a large value, whose record is in use already: it owns them.
Outcome Dict::fill_extents(DictActor& a, const DictWrite& w, const View* base, uint64_t x) {
  const uint32_t line = ref_line(x);
  const uint64_t meta = memory_.record(line).meta.load(kQuiet);
  std::atomic<uint32_t>* list = memory_.extent_list(line, meta);
  if (list == nullptr) return Outcome::kCorrupt;
  const uint64_t bytes = static_cast<uint32_t>(meta);
  for (uint64_t at = 0, i = 0; at < bytes; at += kDictExtentBytes, ++i) {
    while (!memory_.lend(a, x, list[i])) {
      if (a.spare_history || release_history(a, 1) == 0) return Outcome::kMemoryExhausted;
    }
    copy_part(w, base, at, std::min<uint64_t>(bytes - at, kDictExtentBytes),
              memory_.extent_data(list[i].load(kQuiet)));
  }
  return Outcome::kOk;
}

/// The class of a chunk that is there, or kDictClasses. A larger one rather than none; when
/// something is erased, however large.
uint32_t Dict::make_record_room(DictActor& a, uint32_t size_class, bool erase) {
  if (memory_.ensure(a, size_class, 1)) return size_class;
  const uint32_t last = erase ? kDictClasses : std::min(size_class + kClassesUp, kDictClasses);
  do {
    for (uint32_t c = size_class; c < last; ++c) {
      if (memory_.ensure(a, c, 1)) return c;
    }
  } while (!a.spare_history && release_history(a, kDictMagazine) != 0);
  return kDictClasses;
}

/// Chunks in the magazine, at the cost of the oldest history if need be.
bool Dict::make_room(DictActor& a, uint32_t size_class, uint32_t n) {
  while (!memory_.ensure(a, size_class, n)) {
    if (a.spare_history || release_history(a, kDictMagazine) == 0) return false;
  }
  return true;
}

/// What the expiry word says, now that the old entry is known; before the record is visible.
void Dict::settle_expiry(const DictWrite& w, uint32_t line, bool there, const View& old) {
  DictRecord& r = memory_.record(line);
  const auto flags = static_cast<uint8_t>(r.meta.load(kQuiet) >> 56);
  DictHeader& header = memory_.header();
  if ((flags & kRecordOwned) != 0) {
    auto& word = header.owned[w.owner % kDictOwnerBits / 64];
    const uint64_t bit = uint64_t{1} << w.owner % 64;
    if ((word.load(std::memory_order_seq_cst) & bit) == 0) word.fetch_or(bit);
  }
  if ((flags & kRecordExpires) == 0) return;
  const auto fresh = [this] {
    return limits_.default_ttl_ms != 0
               ? dict_now_ms() + static_cast<int64_t>(limits_.default_ttl_ms)
               : 0;
  };
  int64_t expires = 0;
  switch (w.expiry) {
    case DictExpiry::kSet:
      expires = w.expires_ms;
      break;
    case DictExpiry::kClear:
      break;
    case DictExpiry::kKeep:
      expires = there ? expires_of(old) : fresh();
      break;
    case DictExpiry::kPolicy:
      if (!there || limits_.on_overwrite == DictOnOverwrite::kDefault) {
        expires = fresh();
      } else if (limits_.on_overwrite == DictOnOverwrite::kKeep) {
        expires = expires_of(old);
      }
      break;
  }
  reinterpret_cast<std::atomic<uint64_t>*>(r.body())->store(static_cast<uint64_t>(expires), kQuiet);
  if (expires != 0 && header.expiring.load(std::memory_order_seq_cst) == 0) {
    header.expiring.store(1, std::memory_order_seq_cst);
  }
}

/// The value is exactly what the write wants to find.
bool Dict::has_value(const View& v, const DictWrite& w) const {
  if (v.kind != static_cast<uint8_t>(w.if_value_kind) || v.value_bytes != w.if_value_bytes) {
    return false;
  }
  const auto* want = static_cast<const std::byte*>(w.if_value);
  std::byte some[256];
  for (uint64_t at = 0; at < v.value_bytes;) {
    const uint64_t n = std::min<uint64_t>(sizeof some, v.value_bytes - at);
    copy_part({}, &v, at, n, some);
    if (std::memcmp(some, want + at, n) != 0) return false;
    at += n;
  }
  return true;
}

int64_t Dict::expires_of(const View& v) const {
  if ((v.flags & kRecordExpires) == 0) return 0;
  const auto* words =
      reinterpret_cast<const std::atomic<uint64_t>*>(memory_.chunk(v.line) + sizeof(DictRecord));
  return static_cast<int64_t>(words->load(kQuiet));
}

uint64_t Dict::owner_of(const View& v) const {
  if ((v.flags & kRecordOwned) == 0) return 0;
  const auto* words =
      reinterpret_cast<const std::atomic<uint64_t>*>(memory_.chunk(v.line) + sizeof(DictRecord));
  return words[(v.flags & kRecordExpires) != 0 ? 1 : 0].load(kQuiet);
}

bool Dict::has_expired(const View& v) const {
  const int64_t expires = expires_of(v);
  return expires != 0 && dict_now_ms() >= expires;
}

}  // namespace heddle::shm
