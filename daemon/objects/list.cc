#include "daemon/objects/list.h"

#include <utility>

#include "proto/local/list_status.h"
#include "proto/shm/dict_grant.h"

namespace heddle::objects {

using shm::Outcome;

List::List(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping)
    : Followed(name, "list " + name, object_id),
      host_(host),
      mapping_(std::move(mapping)),
      actors_(list_, host.own_owner()) {
  sleeper_.patience_ns = kFollowerNapNs;
}

Result<std::shared_ptr<List>> List::adopt(Host& host, std::string name, uint64_t object_id,
                                          void* base, uint64_t bytes, int fd,
                                          std::shared_ptr<void> mapping) {
  std::shared_ptr<List> list(new List(host, std::move(name), object_id, std::move(mapping)));
  if (shm::List::attach(base, bytes, fd, &list->list_) != Outcome::kOk) {
    return Status(Reason::kCorrupt, "its memory does not fit what the catalog says")
        .with_object(list->label());
  }
  return list;
}

Status List::usable() const {
  if (shm::dict_ended(const_cast<shm::List&>(list_).memory())) return local::list_gone(name());
  if (quarantined()) return local::list_status(Outcome::kCorrupt, {name(), &list_});
  return Status();
}

Status List::status_of(Outcome outcome, int64_t index, uint64_t bytes, uint64_t if_revision) {
  if (outcome == Outcome::kCorrupt) quarantined_.store(true);
  return local::list_status(outcome, {name(), &list_, index, bytes, if_revision});
}

Status List::get(int64_t index, local::ListRow* out) {
  if (Status bad = usable(); !bad.ok()) return bad;
  return status_of(local::read_row(list_, index, out), index, 0, 0);
}

Status List::rows(int64_t from, size_t most, uint64_t bytes_max, uint64_t if_revision,
                  local::ListRows* out) {
  if (Status bad = usable(); !bad.ok()) return bad;
  return status_of(local::read_rows(list_, from, most, bytes_max, if_revision, out), from, 0,
                   if_revision);
}

Status List::change(const shm::ListChange& change, shm::ListWritten* written,
                    local::ListRow* taken) {
  if (Status bad = usable(); !bad.ok()) return bad;
  Hands hands(actors_);
  if (hands.actor == nullptr) return status_of(Outcome::kTooManyThreads, 0, 0, 0);
  Status refused;
  const Outcome outcome = local::with_memory(
      list_, *hands.actor, change.bytes,
      [&](shm::ListActor& actor) {
        return taken == nullptr ? list_.change(actor, change, written)
                                : local::change_taking(list_, actor, change, written, taken);
      },
      [&](uint32_t extents) {
        refused = host_.grant_memory(object_id(), {extents, 0}, false);
        return refused.ok();
      });
  if (outcome == Outcome::kMemoryExhausted && !refused.ok()) {
    return std::move(refused).with_object(label());
  }
  return status_of(outcome, change.index, change.bytes, change.if_revision);
}

shm::ListInfo List::figures() const {
  shm::ListInfo info;
  (void)list_.info(&info);
  return info;
}

void List::sleep(uint64_t seen) { (void)list_.wait_change(sleeper_, seen + 1, shm::kForever); }

void List::reap(uint16_t owner, uint64_t) {
  if (quarantined() || !has_rows_of(list_.memory(), owner)) return;
  Hands hands(actors_);
  if (hands.actor != nullptr) list_.reap(*hands.actor, owner);
}

void List::end_of_object() {
  shm::dict_end(list_.memory());
  end_of_watching();
}

}  // namespace heddle::objects
