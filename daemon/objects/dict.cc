#include "daemon/objects/dict.h"

#include <algorithm>

#include "proto/local/dict_status.h"
#include "proto/shm/dict_grant.h"
#include "proto/shm/wake.h"

namespace heddle::objects {
namespace {

using shm::Outcome;

constexpr uint32_t kSweptAtOnce = 4096;  // in one tick
constexpr uint32_t kScanLooks = 64;      // of one call
constexpr int64_t kIdleMs = 1000;        // without a change
constexpr uint32_t kTrimmedAtOnce = 64;  // extents

}  // namespace

Dict::Dict(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping)
    : Followed(name, "dict " + name, object_id),
      host_(host),
      mapping_(std::move(mapping)),
      actors_(dict_, host.own_owner()) {
  sleeper_.patience_ns = kFollowerNapNs;
}

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
  Hands hands(actors_);
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

void Dict::sleep(uint64_t seen) { (void)dict_.wait_change(sleeper_, seen + 1, shm::kForever); }

void Dict::reap(uint16_t owner, uint64_t session_id) {
  if (quarantined()) return;
  if (has_rows_of(dict_.memory(), owner)) {
    Hands hands(actors_);
    if (hands.actor != nullptr) dict_.reap(*hands.actor, owner);
  }
  erase_owned(session_id);
}

void Dict::erase_owned(uint64_t session_id) {
  const auto& owned = dict_.memory().header().owned;
  const bool any = std::any_of(std::begin(owned), std::end(owned),
                               [](const auto& word) { return word.load() != 0; });
  if (!any || !usable().ok()) return;
  Hands hands(actors_);
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
    Hands hands(actors_);
    if (hands.actor != nullptr) dict_.help(*hands.actor);
  }
  if (dict_.may_expire()) sweep();
  tidy_memory();
}

void Dict::sweep() {
  const int64_t now_ms = shm::dict_now_ms();
  if (now_ms < next_sweep_ms_) return;
  Hands hands(actors_);
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
  Hands hands(actors_);
  if (hands.actor == nullptr) return;
  const uint32_t trimmed = dict_.memory().trim(*hands.actor, kTrimmedAtOnce);
  if (trimmed < kTrimmedAtOnce) trimmed_revision_ = revision;
}

void Dict::end_of_object() {
  shm::dict_end(dict_.memory());
  end_of_watching();
}

}  // namespace heddle::objects
