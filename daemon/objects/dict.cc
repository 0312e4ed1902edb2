#include "daemon/objects/dict.h"

#include <algorithm>
#include <utility>

#include "proto/local/dict_status.h"
#include "proto/shm/dict_grant.h"
#include "proto/shm/wake.h"

namespace heddle::objects {
namespace {

using shm::Outcome;

constexpr uint32_t kSweptAtOnce = 4096;  // in one tick
constexpr int64_t kFollowerNapNs = 500'000'000;
constexpr uint32_t kScanLooks = 64;      // of one call
constexpr int64_t kIdleMs = 1000;        // without a change
constexpr uint32_t kTrimmedAtOnce = 64;  // extents

}  // namespace

// Lent for one call. Each has a row of the dict of its own, in the broker's name.
struct Dict::Hands {
  explicit Hands(Dict& dict) : of(dict), actor(dict.take_actor()) {}
  ~Hands() {
    if (actor != nullptr) of.give_actor(actor);
  }
  Hands(const Hands&) = delete;
  Dict& of;
  shm::DictActor* const actor;
};

Dict::Dict(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping)
    : Member(name, "dict " + name, object_id), host_(host), mapping_(std::move(mapping)) {}

Result<std::shared_ptr<Dict>> Dict::adopt(Host& host, std::string name, uint64_t object_id,
                                          void* base, uint64_t bytes, int fd,
                                          std::shared_ptr<void> mapping) {
  std::shared_ptr<Dict> dict(new Dict(host, std::move(name), object_id, std::move(mapping)));
  if (shm::Dict::attach(base, bytes, fd, &dict->dict_) != Outcome::kOk) {
    return Status(Reason::kCorrupt, "its memory does not fit what the catalog says")
        .with_object(dict->label());
  }
  return dict;
}

// Rows stay: they go with the memory, or with the reaping of this broker. The follower has no
// reference any more, or is the one that drops the last.
Dict::~Dict() {
  if (!follower_.joinable()) return;
  if (follower_.get_id() == std::this_thread::get_id()) {
    follower_.detach();
  } else {
    follower_.join();
  }
}

shm::DictActor* Dict::take_actor() {
  std::lock_guard lock(actors_mutex_);
  if (!idle_.empty()) {
    shm::DictActor* actor = idle_.back();
    idle_.pop_back();
    return actor;
  }
  auto actor = std::make_unique<shm::DictActor>();
  actor->owner = host_.own_owner();
  actor->thread = static_cast<uint16_t>(actors_.size());
  if (dict_.enter(*actor) != Outcome::kOk) return nullptr;
  actors_.push_back(std::move(actor));
  return actors_.back().get();
}

void Dict::give_actor(shm::DictActor* actor) {
  std::lock_guard lock(actors_mutex_);
  idle_.push_back(actor);
}

Status Dict::usable() const {
  if (shm::dict_ended(const_cast<shm::Dict&>(dict_).memory())) return local::dict_gone(name());
  if (quarantined()) return local::dict_status(Outcome::kCorrupt, {name(), &dict_});
  return Status();
}

Status Dict::status_of(Outcome outcome, uint64_t key_bytes, uint64_t bytes, uint64_t revision) {
  if (outcome == Outcome::kCorrupt) quarantined_.store(true);
  return local::dict_status(outcome, {name(), &dict_, key_bytes, bytes, revision});
}

Status Dict::run(uint64_t key_bytes, uint64_t bytes, const Operate& operate, Outcome* outcome) {
  if (Status bad = usable(); !bad.ok()) return bad;
  Hands hands(*this);
  if (hands.actor == nullptr) return status_of(Outcome::kTooManyThreads, 0, 0, 0);
  Status refused;
  *outcome = local::with_memory(
      dict_, *hands.actor, bytes, [&](shm::DictActor& actor) { return operate(dict_, actor); },
      [&](uint32_t extents) {
        refused = host_.grant_memory(object_id(), {extents, 0}, false);
        return refused.ok();
      });
  if (*outcome == Outcome::kMemoryExhausted && !refused.ok()) {
    return std::move(refused).with_object(label());
  }
  return status_of(*outcome, key_bytes, bytes, 0);
}

Status Dict::get(std::string_view key, local::DictItem* out, Outcome* outcome) {
  return run(
      key.size(), 0,
      [&](shm::Dict& dict, shm::DictActor& actor) {
        return local::read_item(dict, key, &actor, out);
      },
      outcome);
}

Status Dict::change(const Fence& fence, uint64_t key_bytes, uint64_t bytes, const Operate& operate,
                    Outcome* outcome) {
  if (!fence) return run(key_bytes, bytes, operate, outcome);
  // Check and publication are one turn, see fence.h.
  std::lock_guard lock(fence_mutex_);
  if (Status bad = usable(); !bad.ok()) return bad;
  if (Status stale = pass_fence(host_, label(), object_id(), fence); !stale.ok()) return stale;
  return run(key_bytes, bytes, operate, outcome);
}

Status Dict::write(const shm::DictWrite& write, const Fence& fence, Outcome* outcome,
                   shm::DictWritten* written, local::DictItem* previous) {
  return change(
      fence, write.key.bytes, write.bytes,
      [&](shm::Dict& dict, shm::DictActor& actor) {
        return previous == nullptr ? dict.write(actor, write, written)
                                   : local::write_returning(dict, actor, write, written, previous);
      },
      outcome);
}

Status Dict::scan(const local::DictFilter& filter, size_t rows_max, uint64_t bytes_max,
                  local::DictPlace* place, std::vector<local::DictItem>* rows) {
  if (Status bad = usable(); !bad.ok()) return bad;
  if (place->revision == 0) place->revision = revision();
  return status_of(local::scan_page(dict_, filter, rows_max, bytes_max, kScanLooks, place, rows), 0,
                   0, 0);
}

Status Dict::changes(std::string_view prefix, bool want_previous, size_t max, uint64_t bytes_max,
                     local::DictNext* next, std::vector<local::DictEvent>* out) {
  if (Status bad = usable(); !bad.ok()) return bad;
  const Outcome outcome =
      local::read_changes(dict_, prefix, want_previous, max, bytes_max, next, out);
  return status_of(outcome, 0, 0, next->revision);
}

uint64_t Dict::watch(uint64_t revision, std::function<void()> ready) {
  std::lock_guard lock(watch_mutex_);
  if (dict_.revision() >= revision || !usable().ok()) return 0;
  const uint64_t number = ++last_watcher_;
  watchers_[number] = {revision, std::move(ready)};
  if (!std::exchange(following_, true)) {
    if (follower_.joinable()) follower_.join();  // it has nothing left to do
    follower_ = std::thread(follow, weak_from_this());
  }
  return number;
}

void Dict::unwatch(uint64_t number) {
  std::lock_guard lock(watch_mutex_);
  watchers_.erase(number);
}

// The thread that sleeps for all remote watchers. It ends when nobody watches any more.
void Dict::follow(std::weak_ptr<Dict> weak) {
  shm::DictActor sleeper;
  sleeper.patience_ns = kFollowerNapNs;
  for (;;) {
    const std::shared_ptr<Dict> self = weak.lock();
    if (!self || !self->follow_once(sleeper)) return;
  }
}

bool Dict::follow_once(shm::DictActor& sleeper) {
  std::vector<std::function<void()>> due;
  const uint64_t seen = dict_.revision();
  {
    std::lock_guard lock(watch_mutex_);
    const bool over = !usable().ok();
    for (auto it = watchers_.begin(); it != watchers_.end();) {
      const bool ready = over || it->second.revision <= seen;
      if (ready) due.push_back(std::move(it->second.ready));
      it = ready ? watchers_.erase(it) : std::next(it);
    }
    if (watchers_.empty() && due.empty()) return following_ = false;
  }
  for (const auto& ready : due) ready();
  if (due.empty()) (void)dict_.wait_change(sleeper, seen + 1, shm::kForever);
  return true;
}

bool Dict::has_rows_of(uint16_t owner) const {
  const shm::DictMemory& memory = const_cast<shm::Dict&>(dict_).memory();
  const uint32_t used = memory.header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < shm::kDictRowsMax; ++i) {
    const uint64_t word = memory.row(i).word.load(std::memory_order_acquire);
    if (shm::dict_row_taken(word) && shm::dict_row_owner(word) == owner) return true;
  }
  return false;
}

void Dict::reap(uint16_t owner, uint64_t session_id) {
  if (quarantined()) return;
  if (has_rows_of(owner)) {
    Hands hands(*this);
    if (hands.actor != nullptr) dict_.reap(*hands.actor, owner);
  }
  erase_owned(session_id);
}

void Dict::erase_owned(uint64_t session_id) {
  const auto& owned = dict_.memory().header().owned;
  const bool any = std::any_of(std::begin(owned), std::end(owned),
                               [](const auto& word) { return word.load() != 0; });
  if (!any || !usable().ok()) return;
  Hands hands(*this);
  if (hands.actor == nullptr) return;
  shm::DictCursor cursor;
  shm::DictSwept swept;
  while (!cursor.done) {
    const Outcome outcome =
        dict_.erase_owned(*hands.actor, session_id, &cursor, kSweptAtOnce, &swept);
    if (outcome != Outcome::kOk) {
      (void)status_of(outcome, 0, 0, 0);
      return;
    }
  }
}

void Dict::tick() {
  if (!usable().ok()) return;
  if (dict_.is_busy()) {
    Hands hands(*this);
    if (hands.actor != nullptr) dict_.help(*hands.actor);
  }
  if (dict_.may_expire()) sweep();
  tidy_memory();
}

void Dict::sweep() {
  const int64_t now_ms = shm::dict_now_ms();
  if (now_ms < next_sweep_ms_) return;
  Hands hands(*this);
  if (hands.actor != nullptr) next_sweep_ms_ = sweep_.run(*hands.actor, now_ms, kSweptAtOnce);
}

// Memory that a pause of a second finds empty goes back, some of it at a time: whoever writes large
// values again and again keeps his.
void Dict::tidy_memory() {
  const uint64_t revision = dict_.revision();
  if (revision == trimmed_revision_) return;
  const int64_t now_ms = shm::dict_now_ms();
  if (std::exchange(seen_revision_, revision) != revision) next_trim_ms_ = now_ms + kIdleMs;
  if (now_ms < next_trim_ms_) return;
  Hands hands(*this);
  if (hands.actor == nullptr) return;
  const uint32_t trimmed = dict_.memory().trim(*hands.actor, kTrimmedAtOnce);
  if (trimmed < kTrimmedAtOnce) trimmed_revision_ = revision;
}

void Dict::end_of_object() {
  shm::dict_end(dict_.memory());
  std::vector<std::function<void()>> due;
  {
    std::lock_guard lock(watch_mutex_);
    for (auto& [number, watcher] : watchers_) due.push_back(std::move(watcher.ready));
    watchers_.clear();
  }
  for (const auto& ready : due) ready();
}

uint32_t Dict::waiting_callers() const {
  std::lock_guard lock(watch_mutex_);
  return static_cast<uint32_t>(watchers_.size());
}

}  // namespace heddle::objects
