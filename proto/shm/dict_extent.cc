// Extents of a dict: claiming, carving, lending, and the hints that find them. The protocol is in
// dict_memory.h.
#include <fcntl.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "proto/shm/dict_memory.h"

namespace heddle::shm {
namespace {

constexpr uint32_t kGroupExtents = 64;
constexpr uint32_t kGroupsInPage = kDictPage / sizeof(DictGroup);
constexpr uint32_t kExtentsInPage = kDictPage / sizeof(DictExtent);

}  // namespace

bool DictMemory::reserve(uint64_t at, uint64_t bytes) {
  if (fd_ < 0) return true;
  int result;
  do {
    result = fallocate(fd_, 0, static_cast<off_t>(at), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

uint32_t DictMemory::used() const {
  const uint32_t n = header().extents_used.load(std::memory_order_acquire);
  return n < geometry_.extents ? n : geometry_.extents;
}

/// An extent that may have something free, searched for from the group of `from` on; 0: none.
uint32_t DictMemory::find(DictActor& a, uint32_t size_class, uint32_t from) {
  (void)a;
  const uint32_t end = used(), groups = (end + kGroupExtents - 1) / kGroupExtents;
  for (uint32_t i = 0; i < groups; ++i) {
    const uint32_t g = (from / kGroupExtents + i) % groups;
    const uint64_t bits = group(g).may_have[size_class].load(std::memory_order_relaxed);
    if (bits == 0) continue;
    const uint32_t e = g * kGroupExtents + static_cast<uint32_t>(std::countr_zero(bits));
    if (e != 0 && e < end) return e;
  }
  return 0;
}

bool DictMemory::has_free(uint32_t size_class, uint32_t e) const {
  const DictExtent& x = extent(e);
  const uint64_t word = x.word.load(std::memory_order_seq_cst);
  if (size_class == kDictClassEmpty) return dict_extent_state(word) == DictExtentState::kEmpty;
  if (word != dict_extent_carved(size_class)) return false;
  for (const auto& bits : x.free) {
    if (bits.load(std::memory_order_seq_cst) != 0) return true;
  }
  return false;
}

/// The bit of the group is set after what it stands for, so whoever clears it and looks again, or
/// whoever sets it, sees the other.
void DictMemory::note(uint32_t size_class, uint32_t e) {
  auto& word = group(e / kGroupExtents).may_have[size_class];
  const uint64_t bit = uint64_t{1} << e % kGroupExtents;
  if ((word.load(std::memory_order_seq_cst) & bit) == 0) word.fetch_or(bit);
}

void DictMemory::forget(DictActor& a, uint32_t size_class, uint32_t e) {
  auto& seek = journal(a).seek;
  seek.store(e, std::memory_order_release);
  group(e / kGroupExtents).may_have[size_class].fetch_and(~(uint64_t{1} << e % kGroupExtents));
  if (has_free(size_class, e)) note(size_class, e);
  seek.store(0, std::memory_order_release);
}

/// One more extent than were ever used; 0: the granted ones are. The claim names it before anybody
/// can lose it.
uint32_t DictMemory::raise_used(DictActor& a) {
  auto& limit = header().extents_granted;
  for (uint32_t tries = 0; tries < kDictTriesMax; ++tries) {
    uint32_t e = header().extents_used.load(std::memory_order_acquire);
    const uint32_t end = e + (a.reserve ? 0 : kDictReserve);
    if (e == 0 || end >= limit.load(std::memory_order_relaxed) || e >= geometry_.extents) return 0;
    if ((e == 1 || e % kExtentsInPage == 0) &&
        !reserve(geometry_.controls_at + e / kExtentsInPage * kDictPage, kDictPage)) {
      return 0;
    }
    if ((e == 1 || e % (kGroupsInPage * kGroupExtents) == 0) &&
        !reserve(geometry_.groups_at + e / kGroupExtents / kGroupsInPage * kDictPage, kDictPage)) {
      return 0;
    }
    journal(a).claim.store(e, std::memory_order_release);
    if (header().extents_used.compare_exchange_strong(e, e + 1)) return e;
  }
  return 0;
}

/// An EMPTY extent, whose word becomes `word`. With `entry`, that list names it before.
uint32_t DictMemory::claim(DictActor& a, uint64_t word, std::atomic<uint32_t>* entry) {
  auto& claimed = journal(a).claim;
  for (uint32_t tries = 0; tries < 2 * geometry_.extents + 64; ++tries) {
    const uint32_t found = find(a, kDictClassEmpty, 0);
    const uint32_t e = found != 0 ? found : raise_used(a);
    if (e == 0) break;
    claimed.store(e, std::memory_order_release);
    if (entry != nullptr) entry->store(e, std::memory_order_release);
    const uint64_t seen = extent(e).word.load(std::memory_order_acquire);
    if (dict_extent_state(seen) == DictExtentState::kEmpty &&
        dict_cas(extent(e).word, seen, word | (seen & kExtentBacked))) {
      if (found != 0) forget(a, kDictClassEmpty, e);
      return e;
    }
    if (entry != nullptr) entry->store(0, std::memory_order_release);
    forget(a, kDictClassEmpty, e);
  }
  claimed.store(0, std::memory_order_release);
  return 0;
}

bool DictMemory::back_extent(uint32_t e) {
  return reserve(geometry_.area_at + uint64_t{e} * kDictExtentBytes, kDictExtentBytes);
}

uint32_t DictMemory::carve(DictActor& a, uint32_t size_class) {
  const uint64_t mine = dict_extent_claimed(a.row);
  const uint32_t e = claim(a, mine, nullptr);
  if (e == 0) return 0;
  DictExtent& x = extent(e);
  const bool backed = back_extent(e);
  if (backed) {
    const uint32_t chunks = dict_chunks(size_class);
    // What was lent before is full of somebody's bytes.
    for (uint32_t k = 0; (x.word.load() & kExtentBacked) != 0 && k < chunks; ++k) {
      stamp(e * kDictExtentLines + k * kDictClassLines[size_class]).store(0);
    }
    for (uint32_t i = 0; i < kDictExtentLines / 64; ++i) {
      const uint32_t left = chunks > i * 64 ? chunks - i * 64 : 0;
      x.free[i].store(left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1,
                      std::memory_order_relaxed);
    }
  }
  x.word.store(backed ? dict_extent_carved(size_class) : 0, std::memory_order_seq_cst);
  note(backed ? size_class : kDictClassEmpty, e);
  journal(a).claim.store(0, std::memory_order_release);
  return backed ? e : 0;
}

bool DictMemory::lend(DictActor& a, uint64_t owner, std::atomic<uint32_t>& entry) {
  const uint32_t e = claim(a, dict_extent_lent(owner), &entry);
  if (e == 0) return false;
  const uint64_t word = extent(e).word.load(std::memory_order_acquire);
  const bool backed = (word & kExtentBacked) != 0 || back_extent(e);
  if (backed) {
    extent(e).word.store(word | kExtentBacked, std::memory_order_release);
  } else {
    extent(e).word.store(0, std::memory_order_seq_cst);
    note(kDictClassEmpty, e);
    entry.store(0, std::memory_order_release);
  }
  journal(a).claim.store(0, std::memory_order_release);
  return backed;
}

/// Null if the record has none, or says nonsense.
std::atomic<uint32_t>* DictMemory::extent_list(uint32_t line, uint64_t meta) const {
  const auto flags = static_cast<uint8_t>(meta >> 56);
  if ((flags & kRecordExtents) == 0) return nullptr;
  const uint64_t words = (flags & kRecordExpires ? 1 : 0) + (flags & kRecordOwned ? 1 : 0);
  const uint64_t at = sizeof(DictRecord) + words * 8;
  const uint64_t n = dict_value_extents(static_cast<uint32_t>(meta));
  if (n > dict_value_extents(kDictValueBytesMax) || at + n * 4 > room(line)) return nullptr;
  return reinterpret_cast<std::atomic<uint32_t>*>(chunk(line) + at);
}

/// Each is given back once, whoever finishes: the word names the record's life.
void DictMemory::give_back_extents(uint32_t line, uint64_t generation) {
  const uint64_t meta = record(line).meta.load(std::memory_order_relaxed);
  std::atomic<uint32_t>* list = extent_list(line, meta);
  if (list == nullptr) return;
  const uint64_t lent = dict_extent_lent(dict_ref(generation, line));
  for (uint64_t i = 0; i < dict_value_extents(static_cast<uint32_t>(meta)); ++i) {
    const uint32_t e = list[i].load(std::memory_order_relaxed);
    if (e == 0 || e >= used()) continue;
    const uint64_t word = extent(e).word.load(std::memory_order_acquire);
    if ((word & ~kExtentBacked) == lent) dict_cas(extent(e).word, word, word & kExtentBacked);
    if (has_free(kDictClassEmpty, e)) note(kDictClassEmpty, e);
  }
}

void DictMemory::reap_claims(uint32_t dead) {
  DictJournal& j = row(dead).journal;
  const uint64_t claim = j.claim.load(std::memory_order_acquire);
  if (claim != 0 && claim < used()) {
    const auto e = static_cast<uint32_t>(claim);
    if (extent(e).word.load(std::memory_order_acquire) == dict_extent_claimed(dead)) {
      // He may have been about to punch it: without memory behind it, it is full of zeros.
      if (!punch(e)) std::memset(extent_data(e), 0, kDictExtentBytes);
      dict_cas(extent(e).word, dict_extent_claimed(dead), 0);
    }
    dict_cas(extent(e).word, dict_extent_claimed(dead) | kExtentBacked, kExtentBacked);
    if (has_free(kDictClassEmpty, e)) note(kDictClassEmpty, e);
    const uint64_t word = extent(e).word.load(std::memory_order_acquire);
    const uint32_t size_class = dict_extent_class(word);
    if (size_class < kDictClasses && has_free(size_class, e)) note(size_class, e);
  }
  const uint64_t seek = j.seek.load(std::memory_order_acquire);
  if (seek != 0 && seek < used()) {
    const auto e = static_cast<uint32_t>(seek);
    const uint32_t size_class = dict_extent_class(extent(e).word.load(std::memory_order_acquire));
    if (has_free(kDictClassEmpty, e)) note(kDictClassEmpty, e);
    if (size_class < kDictClasses && has_free(size_class, e)) note(size_class, e);
  }
  j.claim.store(0, std::memory_order_release);
  j.seek.store(0, std::memory_order_release);
}

bool DictMemory::is_backed(uint64_t heap) const {
  const uint64_t page = heap * 8 / kDictPage;
  const auto* words = reinterpret_cast<const std::atomic<uint64_t>*>(base_ + geometry_.pages_at);
  return (words[page / 64].load(std::memory_order_relaxed) >> page % 64 & 1) != 0;
}

bool DictMemory::back_node(uint64_t heap) {
  if (is_backed(heap)) return true;
  const uint64_t page = heap * 8 / kDictPage;
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(base_ + geometry_.pages_at);
  const uint64_t bit = uint64_t{1} << page % 64;
  if (!reserve(geometry_.nodes_at + page * kDictPage, kDictPage)) return false;
  words[page / 64].fetch_or(bit);
  return true;
}

bool DictMemory::back_level(uint32_t level) {
  const uint64_t first = uint64_t{1} << level;
  for (uint64_t heap = first; heap < 2 * first; heap += kDictPage / 8) {
    if (!back_node(heap)) return false;
  }
  return true;
}

bool DictMemory::back_row(uint32_t row) {
  return reserve(geometry_.rows_at + row * sizeof(DictRow) / kDictPage * kDictPage, kDictPage);
}

bool DictMemory::punch(uint32_t e) {
  const auto at = static_cast<off_t>(geometry_.area_at + uint64_t{e} * kDictExtentBytes);
  const int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return fd_ >= 0 && fallocate(fd_, how, at, kDictExtentBytes) == 0;
}

uint32_t DictMemory::trim(DictActor& a, uint32_t extents_max) {
  auto& claimed = journal(a).claim;
  uint32_t trimmed = 0;
  for (uint32_t e = used(); fd_ >= 0 && e-- > 1 && trimmed < extents_max;) {
    const uint64_t empty = static_cast<uint64_t>(DictExtentState::kEmpty) | kExtentBacked;
    if (extent(e).word.load(std::memory_order_acquire) != empty) continue;
    claimed.store(e, std::memory_order_release);
    if (dict_cas(extent(e).word, empty, dict_extent_claimed(a.row))) {
      const bool gone = punch(e);
      extent(e).word.store(gone ? 0 : empty, std::memory_order_seq_cst);
      note(kDictClassEmpty, e);
      trimmed += gone;
    }
    claimed.store(0, std::memory_order_release);
  }
  return trimmed;
}

DictMemory::Usage DictMemory::usage() const {
  Usage u{};
  for (uint32_t e = 1; e < used(); ++e) {
    const DictExtentState state = dict_extent_state(extent(e).word.load());
    u.extents += state != DictExtentState::kEmpty;
    u.lent += state == DictExtentState::kLent;
  }
  return u;
}

}  // namespace heddle::shm
