// Reading a list: the root, the head, down the tree, the record. Nothing is stored.
//
// Order: the root by acquire, what is behind it relaxed, and after each chunk an acquire fence and
// a look at its stamp. A chunk is written again only after a CAS has given its stamp another
// generation: the same life and USED mean that what was copied is what the reference named. x86
// keeps loads in order, and stores; the CAS stands before the stores of the next life.
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/list.h"
#include "proto/shm/list_mutant.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr auto kGlance = std::memory_order_relaxed;
// How often a list that nobody changes may contradict itself.
constexpr uint32_t kDamageMax = 16;
constexpr uint64_t kListAlign = 8;

}  // namespace

bool List::alive(uint64_t ref) const {
  if (list_mutated(ListMutant::kReadWithoutSecondLook)) return true;
  std::atomic_thread_fence(std::memory_order_acquire);
  const uint64_t stamp = memory_.stamp(ref_line(ref)).load(std::memory_order_acquire);
  return same_life(stamp, ref) && stamp_state(stamp) == DictChunkState::kUsed;
}

bool List::load_head(uint64_t root, Head* h) const {
  if (root == 0) {  // as it was made
    *h = {};
    return true;
  }
  const auto& head = chunk<ListHead>(root);
  const uint64_t meta = head.meta.load(kGlance), length = head.length.load(kGlance);
  h->revision = head.revision.load(kGlance);
  h->bytes = head.bytes.load(kGlance);
  h->top = head.top.load(kGlance);
  h->n = node_meta_n(meta);
  h->height = node_meta_height(meta);
  if (!is_node_meta(meta, ListNodeKind::kHead) || h->n > kListRefs || h->n > length ||
      h->height > kListHeightMax || (h->height == 0) != (h->n == length) ||
      length > limits_.max_len) {
    return false;
  }
  h->tree = length - h->n;
  for (uint32_t i = 0; i < h->n; ++i) h->tail[i] = head.tail[i].load(kGlance);
  return alive(root);
}

/// `height` 1: a leaf.
bool List::load_node(uint64_t ref, uint32_t height, Node* node) const {
  node->height = height;
  const auto kind = node->leaf() ? ListNodeKind::kLeaf : ListNodeKind::kInner;
  const auto& leaf = chunk<ListLeaf>(ref);
  const auto& inner = chunk<ListInner>(ref);
  const uint64_t meta = leaf.meta.load(kGlance);
  node->n = node_meta_n(meta);
  if (!is_node_meta(meta, kind) || node_meta_height(meta) != height || node->n == 0 ||
      node->n > (node->leaf() ? kListRefs : kListChildren)) {
    return false;
  }
  for (uint32_t i = 0; i < node->n; ++i) {
    node->ref[i] = (node->leaf() ? leaf.ref[i] : inner.ref[i]).load(kGlance);
    if (!node->leaf()) node->count[i] = inner.count[i].load(kGlance);
  }
  return alive(ref);
}

/// One element's reference, without copying nodes. False: something was gone, or is nonsense.
bool List::find_in_tree(uint64_t top, uint32_t height, uint64_t index, uint64_t* ref) const {
  uint64_t at = top;
  if (height == 0 || height > kListHeightMax) return false;
  for (; height > 1; --height) {
    const auto& inner = chunk<ListInner>(at);
    const uint64_t meta = inner.meta.load(kGlance);
    const uint32_t n = node_meta_n(meta);
    if (!is_node_meta(meta, ListNodeKind::kInner) || n > kListChildren) return false;
    uint32_t i = 0;
    for (uint32_t count; i < n && index >= (count = inner.count[i].load(kGlance)); ++i) {
      index -= count;
    }
    if (i >= n) return false;
    const uint64_t child = inner.ref[i].load(kGlance);
    if (!alive(at)) return false;
    at = child;
  }
  const auto& leaf = chunk<ListLeaf>(at);
  const uint64_t meta = leaf.meta.load(kGlance);
  if (!is_node_meta(meta, ListNodeKind::kLeaf) || index >= node_meta_n(meta) ||
      index >= kListRefs) {
    return false;
  }
  *ref = leaf.ref[index].load(kGlance);
  return alive(at);
}

/// As above; *none says why there is no such element.
bool List::find(uint64_t root, int64_t index, uint64_t* ref, Outcome* none) const {
  if (root == 0) {
    *none = Outcome::kOutOfRange;
    return true;
  }
  const auto& head = chunk<ListHead>(root);
  const uint64_t meta = head.meta.load(kGlance), length = head.length.load(kGlance);
  const uint64_t top = head.top.load(kGlance);
  const uint32_t n = node_meta_n(meta);
  if (!is_node_meta(meta, ListNodeKind::kHead) || n > kListRefs || n > length ||
      length > limits_.max_len) {
    return false;
  }
  const auto i = static_cast<uint64_t>(index < 0 ? index + static_cast<int64_t>(length) : index);
  if (i >= length) {
    *none = Outcome::kOutOfRange;
    return alive(root);
  }
  const uint64_t tree = length - n;
  if (i >= tree) *ref = head.tail[i - tree].load(kGlance);
  if (!alive(root)) return false;
  return i >= tree || find_in_tree(top, node_meta_height(meta), i, ref);
}

/// Where things are in a record. False: it says nonsense, or was written over meanwhile.
bool List::view(uint64_t ref, View* v) const {
  const uint32_t line = ref_line(ref);
  const DictRecord& r = memory_.record(line);
  const uint64_t meta = r.meta.load(kGlance);
  v->bytes = static_cast<uint32_t>(meta);
  v->kind = static_cast<uint8_t>(meta >> 48);
  v->revision = r.rev.load(kGlance);
  v->list = memory_.extent_list(line, meta);
  v->value = v->list == nullptr ? memory_.chunk(line) + sizeof(DictRecord) : nullptr;
  if (v->list != nullptr) return v->bytes <= kDictValueBytesMax;
  return meta >> 56 == 0 && sizeof(DictRecord) + v->bytes <= memory_.room(line);
}

bool List::copy_value(const View& v, std::byte* to) const {
  if (v.list == nullptr) {
    copy_unproved(to, v.value, v.bytes);
    return true;
  }
  for (uint64_t at = 0, i = 0; at < v.bytes; at += kDictExtentBytes, ++i) {
    const uint64_t left = v.bytes - at;
    copy_unproved(to + at, memory_.extent_data(v.list[i].load(kGlance)),
                  left < kDictExtentBytes ? left : kDictExtentBytes);
  }
  return true;
}

Outcome List::get(int64_t index, ListEntry* out) const {
  for (uint32_t tries = 0, damage = 0; tries < kDictTriesMax && damage < kDamageMax; ++tries) {
    const uint64_t root = header().root.load(std::memory_order_acquire);
    uint64_t ref = 0;
    Outcome none = Outcome::kOk;
    View v;
    bool seen = find(root, index, &ref, &none);
    if (seen && none != Outcome::kOk) return none;
    bool fits = false;
    if (seen && view(ref, &v)) {
      out->bytes = v.bytes;
      out->revision = v.revision;
      out->kind = v.kind;
      fits = v.bytes <= out->room_bytes;
      if (fits) copy_value(v, out->room);
      seen = alive(ref);
    } else {
      seen = false;
    }
    if (seen) return fits ? Outcome::kOk : Outcome::kTooLarge;
    damage += header().root.load(std::memory_order_acquire) == root;
  }
  return Outcome::kCorrupt;
}

Outcome List::info(ListInfo* out) const {
  for (uint32_t tries = 0, damage = 0; tries < kDictTriesMax && damage < kDamageMax; ++tries) {
    const uint64_t root = header().root.load(std::memory_order_acquire);
    if (root == 0) {
      *out = {};
      return Outcome::kOk;
    }
    const auto& head = chunk<ListHead>(root);
    out->length = head.length.load(kGlance);
    out->bytes = head.bytes.load(kGlance);
    out->revision = head.revision.load(kGlance);
    if (alive(root)) return Outcome::kOk;
    damage += header().root.load(std::memory_order_acquire) == root;
  }
  *out = {};
  return Outcome::kCorrupt;
}

uint64_t List::len() const {
  ListInfo i;
  info(&i);
  return i.length;
}

uint64_t List::revision() const {
  ListInfo i;
  info(&i);
  return i.revision;
}

// ---- pages ----

struct List::Filling {
  ListEntry* entries;
  size_t most;
  std::byte* room;
  uint64_t room_bytes;
  size_t n;
  uint64_t used;
  uint64_t needed;  // of an element that did not fit
};

/// False: it is gone, or nonsense. No room for it: `needed` tells.
bool List::put_on_page(uint64_t ref, Filling* f) const {
  View v;
  if (!view(ref, &v)) return false;
  const uint64_t need = (v.bytes + kListAlign - 1) / kListAlign * kListAlign;
  if (need > f->room_bytes - f->used) {
    f->needed = need;
    return alive(ref);
  }
  std::byte* at = f->room + f->used;
  copy_value(v, at);
  if (!alive(ref)) return false;
  f->used += need;
  f->entries[f->n++] = {at, need, v.bytes, v.revision, v.kind};
  return true;
}

/// The leaf with that element, and where it stands in it.
bool List::load_leaf_of(const Head& h, uint64_t index, Node* leaf, uint32_t* at) const {
  uint64_t ref = h.top;
  for (uint32_t height = h.height; height > 1; --height) {
    if (!load_node(ref, height, leaf)) return false;
    uint32_t i = 0;
    for (; i < leaf->n && index >= leaf->count[i]; ++i) index -= leaf->count[i];
    if (i == leaf->n) return false;
    ref = leaf->ref[i];
  }
  *at = static_cast<uint32_t>(index);
  return load_node(ref, 1, leaf) && index < leaf->n;
}

bool List::fill_page(const Head& h, uint64_t from, Filling* f) const {
  Node leaf;
  for (uint64_t i = from; i < h.length() && f->n < f->most;) {
    const bool in_tail = i >= h.tree;
    uint32_t at = static_cast<uint32_t>(i - h.tree);
    if (!in_tail && !load_leaf_of(h, i, &leaf, &at)) return false;
    const uint64_t* refs = in_tail ? h.tail : leaf.ref;
    const uint32_t n = in_tail ? h.n : leaf.n;
    for (; at < n && f->n < f->most; ++at, ++i) {
      if (!put_on_page(refs[at], f)) return false;
      if (f->needed != 0) return true;
    }
  }
  return true;
}

Outcome List::page(int64_t from, ListEntry* entries, size_t most, std::byte* room,
                   uint64_t room_bytes, uint64_t if_revision, ListPage* out) const {
  for (uint32_t tries = 0, damage = 0; tries < kDictTriesMax && damage < kDamageMax; ++tries) {
    const uint64_t root = header().root.load(std::memory_order_acquire);
    Head h;
    Filling f{entries, most, room, room_bytes, 0, 0, 0};
    bool whole = load_head(root, &h);
    if (whole) {
      *out = {h.revision, h.length(), 0, 0};
      if (if_revision != kListAnyRevision && h.revision != if_revision) return Outcome::kMismatch;
      const auto length = static_cast<int64_t>(h.length());
      const int64_t first = from >= 0 ? from : from + length < 0 ? 0 : from + length;
      whole = fill_page(h, static_cast<uint64_t>(first), &f);
    }
    if (whole) {
      out->n = f.n;
      out->needed = f.needed;
      return f.n == 0 && f.needed != 0 ? Outcome::kTooLarge : Outcome::kOk;
    }
    damage += header().root.load(std::memory_order_acquire) == root;
    if (most > 1) most /= 2;
  }
  return Outcome::kCorrupt;
}

// ---- waiting ----

void List::wake_watchers() {
  WakeWord& line = header().memory.changed;
  if ((line.word.load(std::memory_order_seq_cst) & kWakeSleepers) != 0) wake_all_on(line);
}

Outcome List::wait_change(ListActor& a, uint64_t revision_wanted, int64_t deadline_ns) {
  return wait_on(a, header().memory.changed, deadline_ns, [&](bool* done) {
    ListInfo now;
    const Outcome outcome = info(&now);
    *done = outcome != Outcome::kOk || now.revision >= revision_wanted;
    return *done ? outcome : Outcome::kTimedOut;
  });
}

}  // namespace heddle::shm
