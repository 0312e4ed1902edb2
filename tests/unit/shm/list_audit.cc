#include "tests/unit/shm/list_audit.h"

namespace heddle::shm {
namespace {

std::string at_element(uint64_t n) { return " at " + std::to_string(n); }

}  // namespace

std::string ListAudit::run() {
  List::Head h;
  const uint64_t root = list_.header().root.load();
  if (!list_.load_head(root, &h)) {
    wrong("the head is nonsense");
    return wrong_;
  }
  if (root != 0) in_use(root, "the head");
  revision_ = h.revision;
  if (h.height != 0 && tree(h.top, h.height) != h.tree) wrong("the tree has another length");
  for (uint32_t i = 0; i < h.n; ++i) record(h.tail[i]);
  if (elements_.size() != h.length()) wrong("length " + std::to_string(h.length()));
  if (bytes_ != h.bytes) wrong("bytes " + std::to_string(h.bytes));
  rows();
  extents();
  return wrong_;
}

std::vector<std::string> ListAudit::values() const {
  std::vector<std::string> values;
  for (const AuditedElement& e : elements_) values.push_back(e.value);
  return values;
}

bool ListAudit::in_use(uint64_t ref, const char* what) {
  const uint64_t stamp = memory_.stamp(ref_line(ref)).load();
  const bool used = same_life(stamp, ref) && stamp_state(stamp) == DictChunkState::kUsed;
  if (!used) wrong(std::string(what) + " is not in use" + at_element(ref_line(ref)));
  if (!used_.insert(ref_line(ref)).second) wrong(std::string(what) + " is named twice");
  return used;
}

uint64_t ListAudit::tree(uint64_t ref, uint32_t height) {
  List::Node node;
  if (!in_use(ref, "a node") || !list_.load_node(ref, height, &node)) {
    wrong("a node is nonsense");
    return 0;
  }
  uint64_t sum = 0;
  for (uint32_t i = 0; i < node.n; ++i) {
    if (node.leaf()) {
      record(node.ref[i]);
      ++sum;
      continue;
    }
    const uint64_t below = tree(node.ref[i], height - 1);
    if (below != node.count[i]) wrong("a count is wrong");
    sum += below;
  }
  return sum;
}

void ListAudit::record(uint64_t ref) {
  List::View v;
  if (!in_use(ref, "a record") || !list_.view(ref, &v)) return wrong("a record is nonsense");
  std::string value(v.bytes, '\0');
  list_.copy_value(v, reinterpret_cast<std::byte*>(value.data()));
  elements_.push_back({value, v.revision});
  if (v.revision > revision_) wrong("an element is from the future");
  bytes_ += v.bytes;
  for (uint64_t i = 0; v.list != nullptr && i < dict_value_extents(v.bytes); ++i) {
    const uint32_t e = v.list[i].load();
    if (memory_.extent(e).word.load() != (dict_extent_lent(ref) | kExtentBacked)) {
      wrong("a value's extent is not its own");
    }
    lent_.insert(e);
  }
}

void ListAudit::rows() {
  for (uint32_t i = 0; i < memory_.header().rows_used.load(); ++i) {
    DictRow& row = memory_.row(i);
    const ListJournal& j = list_.journal(i);
    if (j.phase.load() != 0 || j.rubbish.load() != 0 || row.journal.dying.load() != 0 ||
        row.journal.claim.load() != 0 || row.journal.seek.load() != 0) {
      wrong("row " + std::to_string(i) + " is not idle");
    }
    for (const auto& place : j.resting) {
      const uint64_t ref = place.load();
      if (ref == 0) continue;
      if (!dict_row_taken(row.word.load())) wrong("something rests with nobody");
      if (same_life(memory_.stamp(ref_line(ref)).load(), ref)) resting_.insert(ref_line(ref));
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

void ListAudit::extents() {
  for (uint32_t e = 1; e < memory_.header().extents_used.load(); ++e) {
    const uint64_t word = memory_.extent(e).word.load();
    const auto hinted = [&](uint32_t c) {
      return (memory_.group(e / 64).may_have[c].load() >> e % 64 & 1) != 0;
    };
    switch (dict_extent_state(word)) {
      case DictExtentState::kEmpty:
        if (!hinted(kDictClassEmpty)) wrong("an empty extent is lost" + at_element(e));
        break;
      case DictExtentState::kClaimed:
        wrong("an extent is left claimed" + at_element(e));
        break;
      case DictExtentState::kCarved: {
        const uint32_t c = dict_extent_class(word);
        if (c >= kDictClasses) return wrong("an extent of no class");
        for (const auto& bits : memory_.extent(e).free) {
          if (bits.load() != 0 && !hinted(c)) wrong("free chunks are not hinted" + at_element(e));
        }
        chunks(e, c);
        break;
      }
      case DictExtentState::kLent:
        if (lent_.count(e) == 0) wrong("an extent is lent to nobody" + at_element(e));
        break;
    }
  }
}

void ListAudit::chunks(uint32_t e, uint32_t size_class) {
  for (uint32_t k = 0; k < dict_chunks(size_class); ++k) {
    const uint32_t line = e * kDictExtentLines + k * kDictClassLines[size_class];
    const uint64_t s = memory_.stamp(line).load();
    const bool bit = (memory_.extent(e).free[k / 64].load() >> k % 64 & 1) != 0;
    if (s != 0 && stamp_class(s) != size_class)
      wrong("a chunk of another class" + at_element(line));
    switch (stamp_state(s)) {
      case DictChunkState::kFree:
        if (!bit) wrong("a free chunk is lost" + at_element(line));
        break;
      case DictChunkState::kCached:
        if (cached_.count(line) == 0) wrong("a cached chunk is lost" + at_element(line));
        break;
      case DictChunkState::kUsed:
        if (used_.count(line) + resting_.count(line) != 1) {
          wrong("a chunk in use is lost, or rests while it is in the list" + at_element(line));
        }
        break;
      case DictChunkState::kDying:
        wrong("a record is left dying");
        break;
    }
  }
}

}  // namespace heddle::shm
