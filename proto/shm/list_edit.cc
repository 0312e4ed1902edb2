// The tree of a list: what becomes of it by an insert, a set, a removal. Nothing here is visible to
// anybody: nodes are read, found alive, copied, and new ones made beside them.
//
// A node that grows too full becomes two; where elements are put at the very end the left one stays
// full. One that gets small is put together with a neighbour if both fit in three quarters of a
// node; so two neighbours never both stay nearly empty, and the height stays within kListHeightMax.
//
// False everywhere: something was gone (somebody has changed the list), is nonsense, or memory is
// exhausted (then the attempt says so).
#include <cstring>

#include "proto/shm/list_edit.h"

namespace heddle::shm {
namespace {

constexpr auto kLocal = std::memory_order_relaxed;

constexpr uint32_t full_of(bool leaf) { return leaf ? kListRefs : kListChildren; }
constexpr uint32_t small_of(bool leaf) { return full_of(leaf) / 4; }

}  // namespace

void List::retire(Attempt* t, uint64_t ref) {
  if (t->gone_n == kListRetired) {
    t->damage = UINT32_MAX / 2;  // no path is as long
    return;
  }
  t->gone[t->gone_n++] = ref;
}

/// A new node with `n` of the entries.
uint64_t List::make_node(ListActor& a, Attempt* t, const Node& node, uint32_t from, uint32_t n) {
  const uint64_t bytes =
      node.leaf() ? offsetof(ListLeaf, ref) + n * sizeof(uint64_t) : sizeof(ListInner);
  const uint64_t ref = take(a, t, bytes);
  if (ref == 0) return 0;
  if (node.leaf()) {
    auto& leaf = chunk<ListLeaf>(ref);
    leaf.meta.store(make_node_meta(ListNodeKind::kLeaf, n, 1), kLocal);
    for (uint32_t i = 0; i < n; ++i) leaf.ref[i].store(node.ref[from + i], kLocal);
  } else {
    auto& inner = chunk<ListInner>(ref);
    inner.meta.store(make_node_meta(ListNodeKind::kInner, n, node.height), kLocal);
    for (uint32_t i = 0; i < n; ++i) {
      inner.ref[i].store(node.ref[from + i], kLocal);
      inner.count[i].store(node.count[from + i], kLocal);
    }
  }
  use(a, ref);
  return ref;
}

uint64_t List::make_head(ListActor& a, Attempt* t, const Head& h) {
  const uint64_t ref = take(a, t, offsetof(ListHead, tail) + h.n * sizeof(uint64_t));
  if (ref == 0) return 0;
  auto& head = chunk<ListHead>(ref);
  head.revision.store(h.revision, kLocal);
  head.meta.store(make_node_meta(ListNodeKind::kHead, h.n, h.height), kLocal);
  head.length.store(h.length(), kLocal);
  head.bytes.store(h.bytes, kLocal);
  head.top.store(h.top, kLocal);
  for (uint32_t i = 0; i < h.n; ++i) head.tail[i].store(h.tail[i], kLocal);
  use(a, ref);
  return ref;
}

/// What takes the place of a node that was edited: nothing, one, two.
bool List::make_nodes(ListActor& a, Attempt* t, const Step& step, Made* made) {
  const Node& node = step.node;
  *made = {};
  if (node.n == 0) return true;
  const bool at_end = step.at + 1 >= node.n;
  const uint32_t left = node.n <= full_of(node.leaf()) ? node.n : at_end ? node.n - 1 : node.n / 2;
  for (uint32_t from = 0; from < node.n;) {
    const uint32_t n = from == 0 ? left : node.n - left;
    const uint32_t k = made->n++;
    made->ref[k] = make_node(a, t, node, from, n);
    if (made->ref[k] == 0) return false;
    made->count[k] = node.leaf() ? n : 0;
    for (uint32_t i = 0; !node.leaf() && i < n; ++i) made->count[k] += node.count[from + i];
    from += n;
  }
  return true;
}

namespace {

void erase_entry(uint64_t* ref, uint32_t* count, uint32_t* n, uint32_t at) {
  for (uint32_t i = at + 1; i < *n; ++i) {
    ref[i - 1] = ref[i];
    if (count != nullptr) count[i - 1] = count[i];
  }
  --*n;
}

void insert_entry(uint64_t* ref, uint32_t* n, uint32_t at, uint64_t what) {
  for (uint32_t i = (*n)++; i > at; --i) ref[i] = ref[i - 1];
  ref[at] = what;
}

}  // namespace

/// The path to an element of the tree, the leaf included.
bool List::descend(const Head& h, uint64_t index, Path* path) const {
  uint64_t ref = h.top;
  if (h.height == 0) return false;
  for (uint32_t height = h.height; height > 0; --height) {
    Step& s = path->step[path->n++];
    s.ref = ref;
    if (!load_node(ref, height, &s.node)) return false;
    if (height == 1) {
      s.at = static_cast<uint32_t>(index);
      return index < s.node.n;
    }
    uint32_t i = 0;
    for (; i < s.node.n && index >= s.node.count[i]; ++i) index -= s.node.count[i];
    if (i == s.node.n) return false;
    s.at = i;
    ref = s.node.ref[i];
  }
  return false;
}

/// The rightmost path, down to that height.
bool List::descend_last(const Head& h, uint32_t to_height, Path* path) const {
  uint64_t ref = h.top;
  for (uint32_t height = h.height; height >= to_height && height > 0; --height) {
    Step& s = path->step[path->n++];
    s.ref = ref;
    if (!load_node(ref, height, &s.node)) return false;
    s.at = s.node.n - 1;
    ref = s.node.ref[s.at];
  }
  return path->n != 0;
}

/// A small node and its neighbour become one, if they fit. The neighbour is then gone as well.
bool List::merge(Attempt* t, Step* parent, Step* child) {
  Node& p = parent->node;
  Node& c = child->node;
  if (p.n < 2) return true;
  const bool right = parent->at + 1 < p.n;
  const uint32_t at = right ? parent->at + 1 : parent->at - 1;
  Node other;
  if (!load_node(p.ref[at], c.height, &other)) return false;
  if (c.n + other.n > full_of(c.leaf()) * 3 / 4) return true;
  Node& first = right ? c : other;
  const Node& second = right ? other : c;
  for (uint32_t i = 0; i < second.n; ++i) {
    first.ref[first.n + i] = second.ref[i];
    if (!c.leaf()) first.count[first.n + i] = second.count[i];
  }
  first.n += second.n;
  retire(t, p.ref[at]);
  if (!right) c = other, --parent->at;
  erase_entry(p.ref, p.count, &p.n, at);
  return true;
}

bool List::put_on_top(ListActor& a, Attempt* t, const Made& made) {
  Head& h = t->head;
  if (made.n < 2) {
    h.top = made.n == 0 ? 0 : made.ref[0];
    if (made.n == 0) h.height = 0;
    return true;
  }
  if (h.height == kListHeightMax) return false;
  Node top;
  top.height = h.height + 1;
  top.n = 2;
  for (uint32_t i = 0; i < 2; ++i) top.ref[i] = made.ref[i], top.count[i] = made.count[i];
  h.top = make_node(a, t, top, 0, 2);
  ++h.height;
  return h.top != 0;
}

/// New nodes from the last step, which was edited, up to the top.
bool List::climb(ListActor& a, Attempt* t, Path* path, bool removing) {
  for (uint32_t d = path->n; d-- > 0;) {
    Step& s = path->step[d];
    Step* const parent = d != 0 ? &path->step[d - 1] : nullptr;
    retire(t, s.ref);
    if (parent != nullptr && removing && s.node.n != 0 && s.node.n < small_of(s.node.leaf()) &&
        !merge(t, parent, &s)) {
      return false;
    }
    if (parent == nullptr && !s.node.leaf() && s.node.n == 1) {
      t->head.top = s.node.ref[0];
      --t->head.height;
      return true;
    }
    Made made;
    if (!make_nodes(a, t, s, &made)) return false;
    if (parent == nullptr) return put_on_top(a, t, made);
    Node& p = parent->node;
    if (made.n == 0) {
      erase_entry(p.ref, p.count, &p.n, parent->at);
      continue;
    }
    p.ref[parent->at] = made.ref[0];
    p.count[parent->at] = made.count[0];
    if (made.n == 2) {
      ++parent->at;
      for (uint32_t i = p.n; i > parent->at; --i) p.count[i] = p.count[i - 1];
      insert_entry(p.ref, &p.n, parent->at, made.ref[1]);
      p.count[parent->at] = made.count[1];
    }
  }
  return false;
}

/// A tail that is too long by one: its first 26 become the last leaf of the tree.
bool List::push_tail(ListActor& a, Attempt* t) {
  Head& h = t->head;
  Node leaf;
  leaf.height = 1;
  leaf.n = kListRefs;
  std::memcpy(leaf.ref, h.tail, kListRefs * sizeof(uint64_t));
  const uint64_t ref = make_node(a, t, leaf, 0, kListRefs);
  if (ref == 0) return false;
  if (h.height < 2) {
    const Made made{h.height + 1,
                    {h.height == 0 ? ref : h.top, ref},
                    {h.height == 0 ? kListRefs : static_cast<uint32_t>(h.tree), kListRefs}};
    if (!put_on_top(a, t, made)) return false;
    if (h.height == 0) h.height = 1;
  } else {
    Path path;
    if (!descend_last(h, 2, &path)) return false;
    Step& last = path.step[path.n - 1];
    last.at = last.node.n;
    last.node.count[last.node.n] = kListRefs;
    last.node.ref[last.node.n++] = ref;
    if (!climb(a, t, &path, false)) return false;
  }
  h.tree += kListRefs;
  h.tail[0] = h.tail[kListRefs];
  h.n = 1;
  return true;
}

/// The last leaf of the tree becomes the tail, which is empty.
bool List::pull_tail(ListActor& a, Attempt* t) {
  Head& h = t->head;
  Path path;
  if (h.height == 0 || !descend_last(h, 1, &path)) return false;
  Node& leaf = path.step[path.n - 1].node;
  std::memcpy(h.tail, leaf.ref, leaf.n * sizeof(uint64_t));
  const uint32_t n = leaf.n;
  if (n > h.tree) return false;
  leaf.n = 0;
  if (!climb(a, t, &path, true)) return false;
  h.n = n;
  h.tree -= n;
  return true;
}

bool List::edit_insert(ListActor& a, Attempt* t, uint64_t index) {
  Head& h = t->head;
  h.bytes += t->x_bytes;
  if (index >= h.tree) {
    insert_entry(h.tail, &h.n, static_cast<uint32_t>(index - h.tree), t->x);
    return h.n <= kListRefs || push_tail(a, t);
  }
  Path path;
  if (!descend(h, index, &path)) return false;
  Step& last = path.step[path.n - 1];
  insert_entry(last.node.ref, &last.node.n, last.at, t->x);
  ++h.tree;
  return climb(a, t, &path, false);
}

bool List::edit_set(ListActor& a, Attempt* t, uint64_t index) {
  Head& h = t->head;
  Path path;
  const bool in_tail = index >= h.tree;
  if (!in_tail && !descend(h, index, &path)) return false;
  Step* const last = in_tail ? nullptr : &path.step[path.n - 1];
  uint64_t& ref = in_tail ? h.tail[index - h.tree] : last->node.ref[last->at];
  t->removed = ref;
  ref = t->x;
  retire(t, t->removed);
  if (!view(t->removed, &t->old) || !alive(t->removed)) return false;
  h.bytes += t->x_bytes - t->old.bytes;
  return in_tail || climb(a, t, &path, false);
}

bool List::edit_remove(ListActor& a, Attempt* t, uint64_t index) {
  Head& h = t->head;
  if (h.n == 0 && index + 1 == h.tree && !pull_tail(a, t)) return false;
  Path path;
  const bool in_tail = index >= h.tree;
  if (!in_tail && !descend(h, index, &path)) return false;
  if (in_tail) {
    const auto at = static_cast<uint32_t>(index - h.tree);
    t->removed = h.tail[at];
    erase_entry(h.tail, nullptr, &h.n, at);
  } else {
    Step& last = path.step[path.n - 1];
    t->removed = last.node.ref[last.at];
    erase_entry(last.node.ref, nullptr, &last.node.n, last.at);
    --h.tree;
  }
  retire(t, t->removed);
  if (!view(t->removed, &t->old) || !alive(t->removed)) return false;
  h.bytes -= t->old.bytes;
  return in_tail || climb(a, t, &path, true);
}

/// The records of the tail go one by one, the tree as a whole.
void List::edit_clear(Attempt* t) {
  Head& h = t->head;
  for (uint32_t i = 0; i < h.n; ++i) retire(t, h.tail[i]);
  t->garbage = h.top;
  t->garbage_height = h.height;
  h = {h.revision, 0, 0, 0, 0, 0, {}};
}

}  // namespace heddle::shm
