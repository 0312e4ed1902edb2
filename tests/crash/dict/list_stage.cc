#include "tests/crash/dict/list_stage.h"

#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;

constexpr uint32_t kRowsSaved = 10;
constexpr uint32_t kExtentsSaved = 40;
constexpr uint64_t kHashedOfExtent = 16 * 1024;

ListLimits stage_limits() {
  ListLimits limits;
  limits.max_len = 3000;
  limits.max_bytes = 1 << 20;
  limits.max_value_bytes = 256 * 1024;
  return limits;
}

}  // namespace

bool apply(const ListStep& step, std::vector<std::string>* to) {
  const auto n = static_cast<int64_t>(to->size());
  int64_t i = step.index < 0 ? step.index + n : step.index;
  switch (step.op) {
    case ListOp::kInsert:
      i = std::clamp<int64_t>(i, 0, n);
      to->insert(to->begin() + i, step.value);
      return true;
    case ListOp::kClear:
      to->clear();
      return true;
    default:
      if (i < 0 || i >= n) return false;
      if (step.op == ListOp::kSet) {
        (*to)[static_cast<size_t>(i)] = step.value;
      } else {
        to->erase(to->begin() + i);
      }
      return true;
  }
}

Outcome perform(List& l, ListActor& a, const ListStep& step, ListWritten* out) {
  return change(l, a, step.op, step.index, step.value, out);
}

ListStage::ListStage(const ListScenario& scenario) : scenario_(scenario), segment_(stage_limits()) {
  other_ = segment_.actor(1);
  victim_ = segment_.actor(kListVictim);
  second_ = segment_.actor(kListSecond);
  if (scenario.extents != 0) list().memory().header().extents_granted = scenario.extents;
  scenario_.prepare(*this);
  extents_dirty_ = kExtentsSaved;
  prepared_ = save();
  reap_all(kListReaper);
  ListAudit audit(list());
  unsound_ += audit.run();
  before_ = audit.values();
  revision_ = audit.revision();
  restore();
  std::vector<std::string> now = before_;
  for (const ListStep& step : scenario_.steps) {
    apply(step, &now);
    after_.push_back(now);
  }
}

/// Of a reader: whatever stands anywhere must have been put there.
Outcome ListStage::operate() {
  ListWritten w;
  Outcome outcome = Outcome::kOk;
  for (const ListStep& step : scenario_.steps) {
    outcome = perform(list(), victim_, step, &w);
    if (outcome != Outcome::kOk) return outcome;
  }
  if (!scenario_.steps.empty()) return outcome;
  alignas(8) std::byte room[4096];
  ListEntry entries[30];
  ListPage page;
  outcome = list().page(10, entries, 30, room, sizeof room, kListAnyRevision, &page);
  if (outcome != Outcome::kOk) return outcome;
  for (size_t i = 0; i < page.n; ++i) {
    const char* v = reinterpret_cast<char*>(entries[i].room);
    if (entries[i].bytes < 8 || (v[0] != 'k' && v[0] != 'o')) return Outcome::kCorrupt;
    if (v[entries[i].bytes - 1] != '.') return Outcome::kCorrupt;
    if (i > 0 && entries[i].revision == entries[i - 1].revision) return Outcome::kCorrupt;
  }
  return outcome;
}

void ListStage::interrupt(const ListStep& what, const std::function<bool(List&)>& when) {
  SteppedChild child([&] {
    ListWritten w;
    perform(list(), second_, what, &w);
    return 0;
  });
  while (!when(list()) && child.step()) {
  }
  EXPECT_TRUE(when(list())) << scenario_.name << ": the second was not stopped in time";
  child.kill();
  second_stopped_ = true;
}

std::vector<ListStage::Region> ListStage::regions(uint32_t extents) const {
  auto& self = const_cast<ListStage&>(*this);
  const DictGeometry& g = self.list().memory().geometry();
  const uint64_t journals = kRowsSaved * sizeof(ListJournal), rows = kRowsSaved * sizeof(DictRow);
  std::vector<Region> all = {{0, kDictPage, kDictPage},
                             {kDictPage, journals, journals},
                             {g.rows_at, rows, rows},
                             {g.groups_at, 256, 256}};
  all.push_back({g.controls_at, kExtentsSaved * sizeof(DictExtent), 24 * sizeof(DictExtent)});
  for (uint32_t e = 1; e < extents; ++e) {
    all.push_back({g.area_at + uint64_t{e} * kDictExtentBytes, kDictExtentBytes, kHashedOfExtent});
  }
  return all;
}

ListStage::Image ListStage::save() {
  Image image;
  for (const Region& r : regions(list().memory().header().extents_used.load())) {
    image.insert(image.end(), segment_.base() + r.at, segment_.base() + r.at + r.bytes);
  }
  return image;
}

void ListStage::restore(const Image& image) {
  // What lies behind the image was never used when it was taken.
  const uint32_t used = list().memory().header().extents_used.load();
  EXPECT_LE(used, kExtentsSaved) << "the stage is too small";
  const uint64_t area = list().memory().geometry().area_at;
  const uint64_t dirty = area + uint64_t{std::max(used, extents_dirty_)} * kDictExtentBytes;
  uint64_t from = 0;
  for (const Region& r : regions(kExtentsSaved)) {
    const uint64_t left = std::min(image.size() - from, r.bytes);
    if (left == 0 && r.at >= dirty) break;
    std::memcpy(segment_.base() + r.at, image.data() + from, left);
    if (left < r.bytes) std::memset(segment_.base() + r.at + left, 0, r.bytes - left);
    from += left;
  }
  extents_dirty_ = 0;
}

uint64_t ListStage::hash() {
  uint64_t h = 1;
  const uint32_t used = list().memory().header().extents_used.load();
  if (used > extents_dirty_) extents_dirty_ = used;
  for (const Region& r : regions(used)) h = test::mix(h, segment_.base() + r.at, r.hashed);
  return h;
}

void ListStage::reap_all(uint16_t reaper, bool second_first) {
  ListActor r = segment_.actor(reaper);
  if (second_stopped_ && second_first) list().reap(r, kListSecond);
  list().reap(r, kListVictim);
  if (second_stopped_) list().reap(r, kListSecond);
  list().leave(r);
}

std::string ListStage::use_fully() {
  ListActor a = newcomer(21), b = newcomer(22);
  std::vector<std::string> now =
      ListAudit(list()).run().empty() ? values_of(list()) : std::vector<std::string>{};
  for (int i = 0; i < 60; ++i) {
    const auto n = static_cast<int64_t>(now.size());
    const ListStep step{i % 5 == 3   ? ListOp::kSet
                        : i % 5 == 4 ? ListOp::kRemove
                                     : ListOp::kInsert,
                        n == 0 ? 0 : i * 17 % n, "use " + std::to_string(i)};
    ListWritten w;
    const bool refused = !apply(step, &now);
    const Outcome outcome = perform(list(), i % 2 ? a : b, step, &w);
    if ((outcome != Outcome::kOk) != refused && outcome != Outcome::kMemoryExhausted) {
      return "a change is refused: " + std::to_string(static_cast<int>(outcome));
    }
    if (outcome == Outcome::kMemoryExhausted) return "memory is exhausted";
  }
  list().leave(a);
  list().leave(b);
  ListAudit audit(list());
  std::string wrong = audit.run();
  if (audit.values() != now) wrong += "other elements than by the model; ";
  return wrong;
}

std::string ListStage::check_after_death() {
  ListAudit audit(list());
  std::string wrong = audit.run();
  const std::vector<std::string> now = audit.values();
  bool known = now == before_;
  for (const auto& values : after_) known = known || now == values;
  if (!known) wrong += "the elements are neither those before nor those after; ";
  if (audit.revision() < revision_ || audit.revision() > revision_ + after_.size()) {
    wrong += "revision " + std::to_string(audit.revision()) + "; ";
  }
  if (!wrong.empty() || scenario_.extents != 0) return wrong;
  return use_fully();
}

}  // namespace heddle::shm
