#include "tests/crash/step_world.h"

#include <cstring>

#include "tests/support/states.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kAreaBytes = 6 * kExtentBytes;
constexpr uint64_t kSegmentsSaved = 5;

}  // namespace

World::World(const Scenario& scenario)
    : scenario_(scenario),
      segment_(scenario.limits),
      report_(static_cast<VictimReport*>(mmap(nullptr, sizeof(VictimReport), PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
  other_ = segment_.actor(1);
  victim_ = segment_.actor(kVictim);
  scenario.prepare(queue(), other_, victim_);
  // The row numbers of later newcomers must not depend on when this runs.
  prepared_ = save();
  std::string wrong;
  reap_victim(kReaper);
  Actor a = newcomer(20);
  before_ = drain(a, &wrong);
  EXPECT_EQ(wrong, "");
  restore();
}

World::Image World::save() {
  const auto* base = static_cast<const std::byte*>(segment_.base());
  const QueueGeometry g = QueueGeometry::of(scenario_.limits);
  const uint64_t control = g.slots_at + kSegmentsSaved * kSlotsPerSegment * sizeof(Slot);
  const auto* journal = reinterpret_cast<const std::byte*>(segment_.line(0));
  return {{base, base + control},
          {base + g.area_at, base + g.area_at + kAreaBytes},
          {journal, journal + 64 * sizeof(JournalLine)}};
}

void World::restore(const Image& image) {
  auto* base = static_cast<std::byte*>(segment_.base());
  const QueueGeometry g = QueueGeometry::of(scenario_.limits);
  std::memcpy(base, image.control.data(), image.control.size());
  std::memcpy(base + g.area_at, image.area.data(), image.area.size());
  std::memcpy(static_cast<void*>(segment_.line(0)), image.journal.data(), image.journal.size());
  *report_ = {};
}

uint64_t World::hash() const {
  auto& self = const_cast<World&>(*this);
  const auto* base = static_cast<const std::byte*>(self.segment_.base());
  const QueueGeometry g = QueueGeometry::of(scenario_.limits);
  uint64_t h = test::mix(1, base, sizeof(QueueHeader));
  h = test::mix(h, base + g.rows_at, 16 * sizeof(Row));
  h = test::mix(h, base + g.segments_at, 8 * sizeof(SegmentControl));
  h = test::mix(h, base + g.extents_at, 64 * 8);
  h = test::mix(h, base + g.chunk_words_at, 4 * kChunksPerExtent * 8);
  h = test::mix(h, base + g.slots_at, 3 * kSlotsPerSegment * sizeof(Slot));
  h = test::mix(h, reinterpret_cast<const std::byte*>(self.segment_.line(kVictim)),
                sizeof(JournalLine));
  return test::mix(h, reinterpret_cast<const std::byte*>(self.segment_.line(kReaper)),
                   sizeof(JournalLine));
}

void World::reap_victim(uint16_t reaper) {
  Actor r = segment_.actor(reaper);
  // As the broker does it: from a copy that nobody else can change.
  JournalLine* origin = segment_.line(kVictim);
  JournalLine copy;
  std::memcpy(static_cast<void*>(&copy), origin, sizeof copy);
  queue().reap(r, kVictim, &copy, 1, {77, 9}, &origin);
  queue().leave(r);
}

Bodies World::drain(Actor& a, std::string* wrong) {
  Bodies bodies;
  uint64_t last = 0;
  for (;;) {
    Taken t;
    const Outcome outcome = queue().take(a, TakeMode::kLease, &t, kTry);
    if (outcome == Outcome::kEmpty || outcome == Outcome::kEndOfStream ||
        outcome == Outcome::kProducerDied)
      return bodies;
    if (outcome != Outcome::kOk) {
      *wrong += "take says " + std::to_string(static_cast<int>(outcome)) + "; ";
      return bodies;
    }
    if (t.id <= last) *wrong += "ids do not rise; ";
    if (t.count > 1) *wrong += "delivery count " + std::to_string(t.count) + "; ";
    last = t.id;
    bodies.push_back(body_of(t));
    if (queue().ack(a, t.ticket) != Outcome::kOk) *wrong += "ack refused; ";
  }
}

std::string World::use_fully() {
  Actor a = newcomer(21);
  if (queue().reopen(a) != Outcome::kOk) return "reopen refused";
  const std::string large(200, 'L');
  for (int i = 0; i < 2 * 3 * static_cast<int>(kSlotsPerSegment); ++i) {
    const std::string body = i % 16 == 0 ? large : std::to_string(i);
    if (const Outcome o = put(queue(), a, body); o != Outcome::kOk)
      return "put " + std::to_string(i) + " says " + std::to_string(static_cast<int>(o));
    if (const std::string got = get(queue(), a); got != body) return "got " + got + " for " + body;
  }
  if (queue().size() != 0) return "not empty at the end";
  queue().trim(a);
  if (queue().usage().backed_bytes != 0) return "memory is leaked";
  const char* wrong = queue().audit();
  return wrong == nullptr ? "" : wrong;
}

std::string World::check_after_death() {
  std::string wrong;
  if (const char* found = queue().audit()) wrong += std::string(found) + "; ";
  if (queue().usage().owned_chunks != 0) wrong += "a chunk is leaked; ";
  if (queue().counts().leased != 0) wrong += "a lease is left; ";
  Actor a = newcomer(20);
  const Bodies after = drain(a, &wrong);
  if (!scenario_.allowed(before_, after)) {
    wrong += "found {";
    for (const std::string& body : after) wrong += body.substr(0, 6) + " ";
    wrong += "}; ";
  }
  return wrong + use_fully();
}

}  // namespace heddle::shm
