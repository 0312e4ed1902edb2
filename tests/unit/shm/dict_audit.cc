#include "tests/unit/shm/dict_audit.h"

namespace heddle::shm {
namespace {

std::string at(uint64_t n) { return " at " + std::to_string(n); }

}  // namespace

std::string DictAudit::run() {
  for (uint64_t b = 0; b < (uint64_t{1} << kDictLevelMin); ++b) {
    node((uint64_t{1} << kDictLevelMin) + b, kDictLevelMin);
  }
  history();
  rows();
  extents();
  budget();
  if (dict_.len() != entries_.size()) {
    wrong("len " + std::to_string(dict_.len()) + " of " + std::to_string(entries_.size()));
  }
  if (dict_.bytes() != live_bytes_) {
    wrong("bytes " + std::to_string(dict_.bytes()) + " of " + std::to_string(live_bytes_));
  }
  return wrong_;
}

void DictAudit::node(uint64_t heap, uint32_t level) {
  const uint64_t w = memory_.node(heap).load();
  const uint64_t prefix = heap - (uint64_t{1} << level);
  const bool children = level < memory_.geometry().levels_max;
  switch (node_flag(w)) {
    case NodeFlag::kDone:
      if (!children) return wrong("DONE on the last level");
      node(2 * heap, level + 1);
      node(2 * heap + 1, level + 1);
      return;
    case NodeFlag::kNormal:
    case NodeFlag::kArray:
      if (children && memory_.is_backed(2 * heap) &&
          (memory_.node(2 * heap).load() != 0 || memory_.node(2 * heap + 1).load() != 0)) {
        wrong("a bucket has children" + at(heap));
      }
      return bucket(memory_.node(heap), prefix, level);
    default:
      wrong("a bucket is empty or a split unfinished" + at(heap));
  }
}

void DictAudit::bucket(std::atomic<uint64_t>& word, uint64_t prefix, uint32_t depth) {
  const uint64_t w = word.load();
  const uint32_t line = node_block(w);
  if (node_flag(w) == NodeFlag::kNormal) {
    if (line != 0) block(line, prefix, depth);
    return;
  }
  if (node_flag(w) != NodeFlag::kArray) return wrong("a bucket of an array is neither");
  const uint64_t stamp = memory_.stamp(line).load();
  if (stamp_state(stamp) != DictChunkState::kUsed || stamp_class(stamp) != kDictClassArray) {
    return wrong("an array is not in use" + at(line));
  }
  if (!used_.insert(line).second) wrong("an array is named twice");
  for (uint32_t slot = 0; slot < kDictSlots; ++slot) {
    const uint64_t deeper = depth + 4 <= 64 ? prefix << 4 | slot : 0;
    bucket(memory_.array(line).word[slot], deeper, depth + 4);
  }
}

void DictAudit::block(uint32_t line, uint64_t prefix, uint32_t depth) {
  const uint64_t stamp = memory_.stamp(line).load();
  if (stamp_state(stamp) != DictChunkState::kUsed || stamp_class(stamp) != kDictClassBlock ||
      (stamp & (kStampPins | kStampPublished)) != 0) {
    return wrong("a block is not in use" + at(line));
  }
  if (!used_.insert(line).second) wrong("a block is named twice" + at(line));
  bool ended = false;
  for (const auto& word : memory_.block(line).pair) {
    const uint64_t pair = word.load();
    if (pair != 0 && ended) wrong("a pair behind the end");
    ended = pair == 0;
    if (pair != 0) record(pair, prefix, depth);
  }
}

void DictAudit::record(uint64_t pair, uint64_t prefix, uint32_t depth) {
  const uint32_t line = pair_record(pair);
  Dict::View v;
  if (!dict_.view(line, &v)) return wrong("a record is nonsense" + at(line));
  if ((pins_[line] & kStampLive) != 0) wrong("a record is named twice" + at(line));
  pins_[line] |= kStampLive;
  const DictHash h = dict_.hash(v.key, v.key_bytes);
  if (h.tag() != pair_tag(pair)) wrong("a tag is wrong");
  if (depth <= 64 && h.high() >> (64 - depth) != prefix) wrong("a key is in another's bucket");
  if (is_value(v.kind) == ((pair & kPairDeleted) != 0)) wrong("a deleted pair that is not");
  if ((v.rev & kRevUnassigned) != 0) wrong("a record without revision");
  const std::string key(reinterpret_cast<const char*>(v.key), v.key_bytes);
  if (!is_value(v.kind)) return;
  std::string value(v.value_bytes, '\0');
  dict_.copy_value(v, reinterpret_cast<std::byte*>(value.data()));
  live_bytes_ += v.key_bytes + v.value_bytes;
  const uint64_t created = memory_.record(line).create_revision.load();
  if (!entries_
           .emplace(key, AuditedEntry{value, created != 0 ? created : v.rev, v.rev,
                                      memory_.record(line).version.load(), v.kind,
                                      dict_.expires_of(v), dict_.owner_of(v)})
           .second) {
    wrong("a key is there twice");
  }
}

void DictAudit::history() {
  const uint64_t n = memory_.geometry().history;
  tail_ = dict_.revision() + n + 1;
  for (uint64_t p = tail_ - n; p < tail_; ++p) {
    const DictHistory& place = memory_.history(p);
    if (place.done.load() != p) {
      if (p >= n) wrong("a place is not done" + at(p));
      continue;
    }
    const uint64_t w = place.word.load();
    const auto line = static_cast<uint32_t>(w & kDictLineMask);
    if (p <= n) continue;
    if (w >> 60 != (p / n & 15)) wrong("a place has another lap" + at(p));
    if (line == 0) continue;
    const DictRecord& r = memory_.record(line);
    if ((r.meta.load() >> 48 & 0xff) == static_cast<uint8_t>(DictKind::kList)) list(line, p - n);
    if (r.rev.load() != p - n) wrong("a place's record has another revision" + at(p));
    if ((stamp_generation(r.stamp.load()) & 0xffffffff) != (w >> 28 & 0xffffffff)) {
      wrong("a place names another life");
    }
    if ((pins_[line] & kStampHistory) != 0) wrong("a record has two places");
    pins_[line] |= kStampHistory;
    previous(r.previous.load());
  }
}

void DictAudit::previous(uint64_t before) {
  if (before == 0) return;
  if (!same_life(memory_.stamp(ref_line(before)).load(), before)) {
    wrong("what was replaced is gone");
  }
  pins_[ref_line(before)] |= kStampPrevious;
}

/// A transaction in the history keeps its changes there.
void DictAudit::list(uint32_t line, uint64_t revision) {
  const DictRecord& l = memory_.record(line);
  const DictListShape shape = shape_of(l.create_revision.load());
  if (shape.changes == 0) wrong("a transaction without changes has a revision");
  const uint64_t decision = l.version.load();
  if (decision_of(decision, stamp_generation(l.stamp.load())) != DictDecision::kMade) {
    wrong("a transaction that was not made is in the history");
  }
  for (uint32_t i = 0; i < shape.changes; ++i) {
    const DictListEntry* e = dict_.list_entry(line, i);
    if (e == nullptr) return wrong("a list is too long");
    const uint64_t x = e->change.load();
    const DictRecord& r = memory_.record(ref_line(x));
    if (!same_life(r.stamp.load(), x)) wrong("a transaction's change is gone");
    if (r.rev.load() != revision) wrong("a change has not its transaction's revision");
    if ((pins_[ref_line(x)] & kStampHistory) != 0) wrong("a change is in the history twice");
    pins_[ref_line(x)] |= kStampHistory;
    previous(r.previous.load());
  }
}

/// What is granted and what is left is the limit, and nobody has more than he was granted.
void DictAudit::budget() {
  for (uint32_t kind = 0; kind < 2; ++kind) {
    const uint64_t limit = kind == 0 ? dict_.limits().max_entries : dict_.limits().max_bytes;
    const uint64_t w = memory_.header().budget[kind].load();
    int64_t sum = budget_left(w);
    for (uint32_t i = 0; i < memory_.header().rows_used.load(); ++i) {
      const uint64_t g = memory_.row(i).granted[kind].load();
      sum += grant_portions(g);
      if (i == budget_row(w) && grant_number(g) != budget_number(w)) sum += budget_amount(w);
      if (dict_.headroom(i, kind) < 0) wrong("a row has more than it was granted" + at(i));
    }
    if (sum != budget_left(dict_budget(limit))) {
      wrong("the budget is off by " + std::to_string(sum - budget_left(dict_budget(limit))));
    }
  }
}

void DictAudit::rows() {
  for (uint32_t i = 0; i < memory_.header().rows_used.load(); ++i) {
    DictRow& row = memory_.row(i);
    const DictJournal& j = row.journal;
    if (j.phase.load() != 0 || j.sphase.load() != 0 || j.hw.load() != 0 || j.fs.load() != 0 ||
        j.tphase.load() != 0 || j.dying.load() != 0 || j.claim.load() != 0 || j.seek.load() != 0) {
      wrong("row " + std::to_string(i) + " is not idle");
    }
    if (!dict_row_taken(row.word.load())) continue;
    for (const auto& slots : row.magazine) {
      for (const auto& slot : slots) {
        const uint32_t line = slot.load();
        const uint64_t s = memory_.stamp(line).load();
        if (line != 0 && stamp_state(s) == DictChunkState::kCached && stamp_row(s) == i) {
          cached_.insert(line);
        }
      }
    }
  }
}

void DictAudit::extents() {
  for (uint32_t e = 1; e < memory_.header().extents_used.load(); ++e) {
    const uint64_t word = memory_.extent(e).word.load();
    const auto hinted = [&](uint32_t c) {
      return (memory_.group(e / 64).may_have[c].load() >> e % 64 & 1) != 0;
    };
    switch (dict_extent_state(word)) {
      case DictExtentState::kEmpty:
        if (!hinted(kDictClassEmpty)) wrong("an empty extent is lost" + at(e));
        break;
      case DictExtentState::kClaimed:
        wrong("an extent is left claimed" + at(e));
        break;
      case DictExtentState::kCarved: {
        const uint32_t c = dict_extent_class(word);
        if (c >= kDictClasses) return wrong("an extent of no class");
        for (const auto& bits : memory_.extent(e).free) {
          if (bits.load() != 0 && !hinted(c)) return wrong("free chunks are not hinted" + at(e));
        }
        chunks(e, c);
        break;
      }
      case DictExtentState::kLent:
        lent_.insert(e);
        break;
    }
  }
  for (const auto& [line, pins] : pins_) lent(line, memory_.stamp(line).load());
  if (!lent_.empty()) wrong("an extent is lent to nobody" + at(*lent_.begin()));
}

/// The extents of a record's value are its own.
void DictAudit::lent(uint32_t line, uint64_t stamp) {
  Dict::View v;
  if (!dict_.view(line, &v) || v.list == nullptr) return;
  const uint64_t word = dict_extent_lent(dict_ref(stamp_generation(stamp), line)) | kExtentBacked;
  for (uint64_t i = 0; i < dict_value_extents(v.value_bytes); ++i) {
    const uint32_t e = v.list[i].load();
    if (memory_.extent(e).word.load() != word) wrong("a value's extent is not its own");
    lent_.erase(e);
  }
}

void DictAudit::chunks(uint32_t e, uint32_t size_class) {
  for (uint32_t k = 0; k < dict_chunks(size_class); ++k) {
    const uint32_t line = e * kDictExtentLines + k * kDictClassLines[size_class];
    const uint64_t s = memory_.stamp(line).load();
    const bool bit = (memory_.extent(e).free[k / 64].load() >> k % 64 & 1) != 0;
    if (s != 0 && stamp_class(s) != size_class) wrong("a chunk of another class" + at(line));
    switch (stamp_state(s)) {
      case DictChunkState::kFree:
        if (!bit) wrong("a free chunk is lost" + at(line));
        break;
      case DictChunkState::kCached:
        if (cached_.count(line) == 0) wrong("a cached chunk is lost" + at(line));
        break;
      case DictChunkState::kUsed: {
        if (size_class < kDictClassRecord) {
          if (used_.count(line) == 0) wrong("a block is lost" + at(line));
          break;
        }
        const auto found = pins_.find(line);
        const uint64_t must = found == pins_.end() ? 0 : found->second;
        if ((s & kStampPins) != must) {
          wrong("a record has pins " + std::to_string(s & kStampPins) + ", not " +
                std::to_string(must) + at(line));
        }
        break;
      }
      case DictChunkState::kDying:
        wrong("a record is left dying");
        break;
    }
  }
}

}  // namespace heddle::shm
