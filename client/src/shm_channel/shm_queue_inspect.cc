// The parts of ShmQueue that look: counts, browse, and what an outcome means in words.
#include <time.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/admin_json.h"
#include "client/src/shm_channel/shm_channel.h"
#include "client/src/shm_channel/shm_queue.h"
#include "proto/local/outcome_status.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

std::uint32_t coarse_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint32_t>(std::uint64_t(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000);
}

unsigned state_bit(shm::SlotState state) {
  switch (state) {
    case shm::SlotState::kLeased:
      return kLeased;
    case shm::SlotState::kReturned:
      return kReturned;
    case shm::SlotState::kBuried:
      return kBuried;
    default:
      return kReady;
  }
}

QueueCounts counts_of(const shm::Queue& queue) {
  const shm::QueueCounts now = queue.counts();
  return {.ready = now.ready,
          .leased = now.leased,
          .returned = now.returned,
          .buried = now.buried,
          .unfinished = now.unfinished(),
          .bytes = now.bytes,
          .puts = now.puts,
          .gets = now.takes + now.leased,
          .acks = now.takes,
          .drops = now.drops,
          .producers = now.producers,
          .closed = now.closed};
}

}  // namespace

Result<QueueCounts> ShmQueue::counts() {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  return counts_of(hands->at->queue);
}

Result<bool> ShmQueue::full() {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const shm::QueueLimits limits = hands->at->queue.limits();
  const shm::QueueCounts now = hands->at->queue.counts();
  return now.size() >= limits.max_len || now.bytes >= limits.max_bytes;
}

Result<QueueInfo> ShmQueue::info() {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  auto info = channel_->describe_queue(name_);
  if (!info && !info.status().is(Reason::kBrokerAway)) return info.status();
  // With the broker away, what the queue's own memory tells is still true.
  QueueInfo known;
  if (info) known = std::move(*info);
  if (!info) {
    known.name = name_;
    known.object_id = hands->at->object_id;
    known.options = hands->at->options;
  }
  known.counts = counts_of(hands->at->queue);
  return known;
}

Result<std::vector<BrowseRow>> ShmQueue::browse(const BrowseOptions& options) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const shm::Queue& queue = hands->at->queue;
  std::vector<shm::BrowseRow> found(std::min<std::size_t>(options.limit, shm::kQueueLenMax));
  found.resize(queue.browse(found.data(), found.size(), options.after_id, options.states));
  std::vector<BrowseRow> rows;
  rows.reserve(found.size());
  bool leased = false;
  for (const shm::BrowseRow& row : found) {
    BrowseRow& out = rows.emplace_back();
    out.id = row.id;
    out.state = state_bit(row.state);
    out.delivery_count = row.count + (out.state == kLeased ? 1u : 0u);
    out.kind = static_cast<BodyKind>(row.kind);
    out.length = row.length;
    if (out.state == kLeased) {
      leased = true;
      out.owner = row.owner;
      out.age = std::chrono::milliseconds(coarse_ms() - row.leased_ms);
    }
    out.body.resize(std::min<std::uint64_t>(row.length, options.max_body));
    // Gone meanwhile: then it is not in the queue any more.
    if (!out.body.empty() && !queue.read_body(row, out.body.data(), out.body.size())) {
      rows.pop_back();
    }
  }
  if (leased) name_holders(rows);
  return rows;
}

void ShmQueue::name_holders(std::vector<BrowseRow>& rows) {
  auto text = channel_->call(local::CallMethod::kWho,
                             nlohmann::json{{"kind", "queue"}, {"name", name_}}.dump());
  // Without the broker the owner's number is all there is to say.
  if (!text) return;
  const std::map<std::uint64_t, Holder> holders = parse_holders(*text);
  for (BrowseRow& row : rows) {
    auto holder = holders.find(row.id);
    if (row.state != kLeased || holder == holders.end()) continue;
    row.pid = holder->second.pid;
    row.uid = holder->second.uid;
    row.command = holder->second.command;
  }
}

Result<std::uint64_t> ShmQueue::kick(std::uint64_t max) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  std::uint32_t kicked = 0;
  const Outcome outcome = hands->at->queue.kick(
      *hands->actor, static_cast<std::uint32_t>(std::min<std::uint64_t>(max, UINT32_MAX)), &kicked);
  if (outcome != Outcome::kOk && outcome != Outcome::kEmpty) return explain(outcome, *hands->at);
  return std::uint64_t{kicked};
}

Result<std::uint64_t> ShmQueue::purge(unsigned states) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  if ((hands->at->rights & local::kRightOwner) == 0) {
    return Status(Reason::kDenied, "only its owner or root may purge it")
        .with_object("queue " + name_);
  }
  std::uint64_t purged = 0;
  const Outcome outcome = hands->at->queue.purge(*hands->actor, states & kAllStates, &purged);
  if (outcome != Outcome::kOk && outcome != Outcome::kEmpty) return explain(outcome, *hands->at);
  return purged;
}

Status ShmQueue::explain(Outcome outcome, Attachment& attachment, std::uint64_t length) {
  if (outcome == Outcome::kEmpty) return Reason::kEmpty;  // Polling allocates nothing.
  const bool ended = outcome == Outcome::kClosed || outcome == Outcome::kEndOfStream ||
                     outcome == Outcome::kProducerDied;
  // Deleting ends a queue as shutdown does; only the broker can tell one from the other.
  if (ended && channel_->deleted(name_, attachment.object_id)) {
    return Status(Reason::kNotFound, "it has been deleted").with_object("queue " + name_);
  }
  const shm::QueueCounts counts = attachment.queue.counts();
  return local::outcome_status(outcome, {.queue = name_,
                                         .limits = attachment.queue.limits(),
                                         .counts = &counts,
                                         .body_bytes = length});
}

}  // namespace heddle::detail
