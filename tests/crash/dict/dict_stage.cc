#include "tests/crash/dict/dict_stage.h"

#include <sys/wait.h>

#include <algorithm>

#include "tests/support/states.h"

namespace heddle::shm {
namespace {

using test::SteppedChild;

constexpr uint32_t kRowsSaved = 10;
constexpr uint32_t kExtentsSaved = 40;
constexpr uint64_t kHashedOfExtent = 12 * 1024;

DictLimits stage_limits(const DictScenario& scenario) {
  DictLimits limits;
  limits.max_entries = 200;
  limits.max_bytes = 1 << 20;
  limits.max_value_bytes = 256 * 1024;
  limits.history = 16;
  limits.keep_previous = scenario.keep_previous;
  if (scenario.limits) scenario.limits(&limits);
  return limits;
}

/// Two changes that were under way at once may have come in either order.
bool same(const AuditedEntry& a, const AuditedEntry& b, bool with_revisions) {
  return a.value == b.value && a.version == b.version && a.kind == b.kind &&
         (!with_revisions ||
          (a.create_revision == b.create_revision && a.mod_revision == b.mod_revision));
}

}  // namespace

DictStage::DictStage(const DictScenario& scenario)
    : scenario_(scenario), segment_(stage_limits(scenario), scenario.hash_mask) {
  other_ = segment_.actor(1);
  victim_ = segment_.actor(kVictim);
  second_ = segment_.actor(kSecond);
  if (scenario.extents != 0) dict().memory().header().extents_granted = scenario.extents;
  scenario_.prepare(*this);
  extents_dirty_ = kExtentsSaved;
  prepared_ = save();
  {
    reap_all(kReaper);
    DictAudit audit(dict());
    unsound_ += audit.run();
    before_ = audit.entries();
    if (!second_stopped_) {
      base_ = before_;
      revision_before_ = dict().revision();
    }
  }
  restore();
  const pid_t pid = fork();
  if (pid == 0) _exit(static_cast<int>(scenario_.operate(dict(), victim_)));
  int status = 0;
  waitpid(pid, &status, 0);
  reap_all(kReaper);
  DictAudit audit(dict());
  unsound_ += audit.run();
  after_ = audit.entries();
  changes_.clear();
  unsound_ += follow(&changes_);
  restore();
}

void DictStage::interrupt(const std::function<void(Dict&, DictActor&)>& what,
                          const std::function<bool(Dict&)>& when) {
  DictAudit audit(dict());
  unsound_ += audit.run();
  base_ = audit.entries();
  revision_before_ = dict().revision();
  SteppedChild child([&] {
    what(dict(), second_);
    return 0;
  });
  while (!when(dict()) && child.step()) {
  }
  EXPECT_TRUE(when(dict())) << scenario_.name << ": the second was not stopped in time";
  child.kill();
  second_stopped_ = true;
}

std::vector<DictStage::Region> DictStage::regions(uint32_t extents) const {
  auto& self = const_cast<DictStage&>(*this);
  const DictGeometry& g = self.dict().memory().geometry();
  const uint64_t rows = g.rows_at + kRowsSaved * sizeof(DictRow);
  std::vector<Region> all = {{0, rows, rows}, {g.groups_at, 256, 256}};
  all.push_back({g.controls_at, kExtentsSaved * sizeof(DictExtent), 24 * sizeof(DictExtent)});
  for (uint32_t e = 1; e < extents; ++e) {
    all.push_back({g.area_at + uint64_t{e} * kDictExtentBytes, kDictExtentBytes, kHashedOfExtent});
  }
  return all;
}

DictStage::Image DictStage::save() {
  Image image;
  for (const Region& r : regions(kExtentsSaved)) {
    if (r.at >= dict().memory().geometry().area_at &&
        (r.at - dict().memory().geometry().area_at) / kDictExtentBytes >=
            dict().memory().header().extents_used.load())
      break;
    image.insert(image.end(), segment_.base() + r.at, segment_.base() + r.at + r.bytes);
  }
  return image;
}

void DictStage::restore(const Image& image) {
  // What lies behind the image was never used when it was taken.
  const uint32_t used = dict().memory().header().extents_used.load();
  EXPECT_LE(used, kExtentsSaved) << "the stage is too small";
  const uint64_t area = dict().memory().geometry().area_at;
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

uint64_t DictStage::hash() {
  uint64_t h = 1;
  const uint32_t used = dict().memory().header().extents_used.load();
  if (used > extents_dirty_) extents_dirty_ = used;
  for (const Region& r : regions(used)) h = test::mix(h, segment_.base() + r.at, r.hashed);
  return h;
}

void DictStage::reap_all(uint16_t reaper, bool second_first) {
  DictActor r = segment_.actor(reaper);
  if (second_stopped_ && second_first) dict().reap(r, kSecond);
  dict().reap(r, kVictim);
  if (second_stopped_) dict().reap(r, kSecond);
  dict().leave(r);
}

std::string DictStage::help() {
  DictActor helper = newcomer(kHelper);
  dict().help(helper);
  dict().leave(helper);
  std::vector<Change> log;
  if (scenario_.extents != 0) return "";
  std::string wrong = follow(&log);
  const auto check = [&](const std::string& key) {
    const auto was = base_.find(key);
    if (was != base_.end() && was->second.expires_ms == kLongPast) return;
    std::string told = was == base_.end() ? kAbsent : was->second.value;
    for (const Change& c : log) {
      if (c.key == key) told = is_value(c.kind) ? c.value : kAbsent;
    }
    const std::string seen = value_of(dict(), key);
    if (seen != told) wrong += "key " + key.substr(0, 20) + " has changed and nobody was told; ";
  };
  for (const auto& [key, entry] : before_) check(key);
  for (const auto& [key, entry] : after_) check(key);
  return wrong;
}

std::string DictStage::follow(std::vector<Change>* log) {
  static std::string key(kDictKeyBytesMax, '\0'), value(300'000, '\0'), previous(300'000, '\0');
  for (;;) {
    const uint64_t revision = log->empty() ? revision_before_ + 1 : log->back().revision + 1;
    DictChange c;
    c.key_room = reinterpret_cast<std::byte*>(key.data());
    c.entry.room = reinterpret_cast<std::byte*>(value.data());
    c.entry.room_bytes = value.size();
    c.previous.room = reinterpret_cast<std::byte*>(previous.data());
    c.previous.room_bytes = previous.size();
    for (c.at = 0; c.at < c.of; ++c.at) {
      const Outcome outcome = dict().read_change(revision, &c);
      if (outcome == Outcome::kEmpty) return "";
      if (outcome != Outcome::kOk) {
        return "revision " + std::to_string(revision) + " says " +
               std::to_string(static_cast<int>(outcome)) + "; ";
      }
      log->push_back({revision, key.substr(0, c.key_bytes), value.substr(0, c.entry.bytes),
                      c.entry.kind, c.had_previous ? previous.substr(0, c.previous.bytes) : "-"});
    }
  }
}

std::string DictStage::replay(const std::vector<Change>& log) {
  std::map<std::string, std::string> now;
  for (const auto& [key, entry] : base_) now[key] = entry.value;
  uint64_t revision = revision_before_;
  for (const Change& c : log) {
    if (c.revision != revision && c.revision != revision + 1) return "revisions are not dense; ";
    revision = c.revision;
    const auto at = now.find(c.key);
    const std::string was = at == now.end() ? "-" : at->second;
    if (scenario_.keep_previous && c.previous != was) {
      return "revision " + std::to_string(revision) + " replaced " + c.previous.substr(0, 20) +
             ", not " + was.substr(0, 20) + "; ";
    }
    if (is_value(c.kind)) {
      now[c.key] = c.value;
    } else if (at == now.end()) {
      return "an absent key is erased; ";
    } else {
      now.erase(at);
    }
  }
  DictAudit audit(dict());
  std::string wrong = audit.run();
  if (audit.entries().size() != now.size()) wrong += "other keys than by replay; ";
  for (const auto& [key, value] : now) {
    const auto at = audit.entries().find(key);
    if (at == audit.entries().end() || at->second.value != value) {
      wrong += "key " + key.substr(0, 20) + " is not as by replay; ";
    }
  }
  return wrong;
}

std::string DictStage::use_fully() {
  DictActor a = newcomer(21), b = newcomer(22);
  std::vector<std::string> keys = {"fresh"};
  for (const auto& [key, entry] : before_) keys.push_back(key);
  for (const auto& [key, entry] : after_) keys.push_back(key);
  for (const auto& [key, entry] : before_) {  // a full dict has to take one more
    if (dict().len() < dict().limits().max_entries) break;
    drop(dict(), a, key);
  }
  for (int round = 0; round < 2; ++round) {
    for (const std::string& key : keys) {
      const std::string value = "use " + std::to_string(round) + key.substr(0, 30);
      if (put(dict(), a, key, value) != Outcome::kOk) return "a put is refused";
      if (put(dict(), b, key, value + "!") != Outcome::kOk) return "an update is refused";
      if (value_of(dict(), key) != value + "!") return "another value is there";
      if (drop(dict(), a, key) != Outcome::kOk) return "an erase is refused";
      if (value_of(dict(), key) != kAbsent) return "an erased key is there";
    }
  }
  dict().leave(a);
  dict().leave(b);
  return DictAudit(dict()).run();
}

std::string DictStage::check_after_death() {
  DictAudit audit(dict());
  std::string wrong = audit.run();
  const auto check = [&](const std::string& key) {
    const auto now = audit.entries().find(key);
    const auto was = before_.find(key), will = after_.find(key);
    const bool there = now != audit.entries().end();
    const bool expired = was != before_.end() && was->second.expires_ms == kLongPast && !there;
    const bool as_before = expired ? true
                           : was == before_.end()
                               ? !there
                               : there && same(now->second, was->second, !second_stopped_);
    const bool as_after =
        will == after_.end() ? !there : there && same(now->second, will->second, !second_stopped_);
    if (as_before || as_after) return;
    wrong += "key " + key.substr(0, 20) + " is neither; ";
    if (!there) return;
    wrong += now->second.value.substr(0, 20) + " of " +
             std::to_string(now->second.create_revision) + ", " +
             std::to_string(now->second.mod_revision) + "; ";
  };
  for (const auto& [key, entry] : before_) check(key);
  for (const auto& [key, entry] : after_) check(key);
  for (const auto& [key, entry] : audit.entries()) check(key);
  std::vector<Change> log;
  if (scenario_.extents == 0) {
    wrong += follow(&log);
    for (size_t i = 0; i < log.size() && !second_stopped_; ++i) {
      if (i >= changes_.size() || !(log[i] == changes_[i])) wrong += "another history; ";
    }
    wrong += replay(log);
  }
  if (!wrong.empty()) return wrong;
  return use_fully();
}

std::vector<std::string> neighbours(const std::string& like, unsigned bits, size_t n,
                                    uint64_t hash_mask) {
  const auto high = [&](const std::string& key) {
    return DictHash(key.data(), static_cast<uint32_t>(key.size()), kTestSeed, hash_mask).high();
  };
  std::vector<std::string> found;
  const uint64_t prefix = high(like) >> (64 - bits);
  for (int i = 0; found.size() < n; ++i) {
    std::string key = "n" + std::to_string(i);
    if (high(key) >> (64 - bits) == prefix && key != like) found.push_back(std::move(key));
  }
  return found;
}

}  // namespace heddle::shm
