// Watching a dict over shared memory: its changes are read where they stand, and between two of
// them the caller sleeps on the word that every writer looks at. Who may only read cannot say that
// it sleeps: it looks again every few milliseconds.
#include <deque>
#include <utility>

#include "client/src/shm_channel/nap.h"
#include "client/src/shm_channel/shm_dict.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

constexpr std::size_t kBatch = 64;
constexpr std::uint64_t kBatchBytes = 1 << 20;

DictEventKind kind_of(std::uint8_t kind) {
  switch (static_cast<shm::DictKind>(kind)) {
    case shm::DictKind::kDeleted:
      return DictEventKind::kDelete;
    case shm::DictKind::kExpired:
      return DictEventKind::kExpire;
    case shm::DictKind::kEvicted:
      return DictEventKind::kEvict;
    case shm::DictKind::kCleared:
      return DictEventKind::kClear;
    default:
      return DictEventKind::kPut;
  }
}

class ShmDictWatch final : public DictWatchChannel {
 public:
  ShmDictWatch(std::shared_ptr<ShmDict> dict, DictWatchOptions options, std::uint64_t now)
      : dict_(std::move(dict)), options_(std::move(options)) {
    next_.revision = options_.initial_snapshot || options_.start_revision == 0
                         ? now + 1
                         : options_.start_revision;
    given_ = next_.revision;
    snapshot_ = options_.initial_snapshot;
    place_.revision = now;
  }

  Status next(std::int64_t deadline_ns, DictEvent* out) override {
    for (;;) {
      if (!ready_.empty()) {
        *out = std::move(ready_.front());
        ready_.pop_front();
        if (!ready_.empty()) {
          given_ = ready_.front().kind <= DictEventKind::kClear ? ready_.front().revision : given_;
        } else {
          given_ = next_.revision;
        }
        return {};
      }
      Status status = snapshot_ ? read_snapshot() : read_some();
      if (!status.ok()) return status;
      if (!ready_.empty() || snapshot_) continue;
      if (deadline_ns == kTry) return Reason::kEmpty;
      status = wait(deadline_ns);
      if (!status.ok()) return status;
    }
  }

  std::uint64_t next_revision() const override { return given_; }

 private:
  Status read_some() {
    Status status;
    Hands* hands = dict_->hands(&status);
    if (hands == nullptr) return status;
    std::vector<local::DictEvent> events;
    const Outcome outcome =
        local::read_changes(hands->dict->core, options_.prefix, options_.want_previous, kBatch,
                            kBatchBytes, &next_, &events);
    for (local::DictEvent& event : events) {
      DictEvent& out = ready_.emplace_back();
      out.kind = kind_of(event.item.entry.kind);
      out.revision = event.revision;
      out.entry = entry_from(std::move(event.item));
      if (event.had_previous) {
        event.previous.key = out.entry.key;
        out.previous = entry_from(std::move(event.previous));
      }
    }
    // What was read before the history ran out is given first.
    if (outcome == Outcome::kOk || !ready_.empty()) {
      if (ready_.empty() && next_.at == 0) given_ = next_.revision;
      return {};
    }
    return dict_->explain(outcome, *hands->dict, 0, 0, next_.revision);
  }

  Status read_snapshot() {
    Status status;
    Hands* hands = dict_->hands(&status);
    if (hands == nullptr) return status;
    std::vector<local::DictItem> rows;
    const local::DictFilter filter{options_.prefix, {}, {}, false};
    const Outcome outcome =
        local::scan_page(hands->dict->core, filter, 1024, kBatchBytes, 64, &place_, &rows);
    if (outcome != Outcome::kOk) return dict_->explain(outcome, *hands->dict);
    for (local::DictItem& row : rows) {
      DictEvent& out = ready_.emplace_back();
      out.kind = DictEventKind::kSnapshot;
      out.revision = row.entry.mod_revision;
      out.entry = entry_from(std::move(row));
    }
    if (place_.cursor.done) {
      snapshot_ = false;
      DictEvent& end = ready_.emplace_back();
      end.kind = DictEventKind::kSnapshotDone;
      end.revision = place_.revision;
    }
    return {};
  }

  // Until the next change may be there, or it is time to look at the connection.
  Status wait(std::int64_t deadline_ns) {
    Status status;
    Hands* hands = dict_->hands(&status);
    if (hands == nullptr) return status;
    const std::int64_t now = monotonic_ns();
    if (deadline_ns != kNever && now >= deadline_ns) return Reason::kTimedOut;
    DictAttachment& at = *hands->dict;
    if (hands->dict_actor == nullptr) {
      nap_until(now, deadline_ns);
      if (now < next_look_ns_) return {};
      next_look_ns_ = now + kLookEveryNs;
      return dict_->look(at);
    }
    // Not by a name: the revision that is not there yet.
    const Outcome outcome = at.core.wait_change(*hands->dict_actor, next_.revision, deadline_ns);
    if (outcome == Outcome::kTimedOut) return dict_->look(at);
    return {};
  }

  const std::shared_ptr<ShmDict> dict_;
  const DictWatchOptions options_;
  local::DictNext next_;
  std::uint64_t given_ = 0;
  bool snapshot_ = false;
  local::DictPlace place_;
  std::deque<DictEvent> ready_;
  std::int64_t next_look_ns_ = 0;
};

}  // namespace

Result<std::shared_ptr<DictWatchChannel>> watch_shm_dict(std::shared_ptr<ShmDict> dict,
                                                         const DictWatchOptions& options) {
  auto now = dict->revision();
  if (!now) return std::move(now).status();
  return std::shared_ptr<DictWatchChannel>(
      std::make_shared<ShmDictWatch>(std::move(dict), options, *now));
}

}  // namespace heddle::detail
