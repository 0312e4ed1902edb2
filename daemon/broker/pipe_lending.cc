// What the users of an end may ask about the other one, and the descriptors that go with messages.
#include "daemon/broker/pipe_entries.h"
#include "proto/local/lent_ticket.h"

namespace heddle::broker {

using shm::PipeSide;

Result<PipeTable::ConnectionRef> PipeTable::used(const Caller& caller, uint64_t connection,
                                                 PipeSide side) const {
  const auto at = connections_.find(connection);
  if (at == connections_.end() || !at->second->end(side).used_by(caller.owner)) {
    return Status(Reason::kNotFound,
                  "this session uses no such end of connection " + std::to_string(connection));
  }
  return at->second;
}

Result<shm::PipeEndInfo> PipeTable::peer(const Caller& caller, uint64_t connection,
                                         PipeSide side) const {
  std::lock_guard lock(mutex_);
  const auto at = used(caller, connection, side);
  if (!at.ok()) return at.status();
  return (*at)->end(side).info(shm::other_side(side));
}

bool PipeTable::has_open(uint64_t session_id, uint64_t object_id) const {
  std::lock_guard lock(mutex_);
  const auto uses = uses_.find(session_id);
  return uses != uses_.end() && uses->second.contains(object_id);
}

void PipeTable::adopt_lent(local::Kept kept) {
  std::lock_guard lock(mutex_);
  lent_.adopt(std::move(kept), [this](uint64_t id) { return connections_.contains(id); });
}

Result<uint64_t> PipeTable::lend(Catalog& catalog, const Caller& caller, const local::Lend& what,
                                 local::Fd fd) {
  const auto side = static_cast<PipeSide>(what.side);
  std::lock_guard lock(mutex_);
  Bundle bundle = hold_bundle(std::move(fd));  // refused or not
  const auto at = used(caller, what.object_id, side);
  if (!at.ok()) return at.status();
  if (!(*at)->end(side).can_send() || (*at)->options.mode != shm::PipeMode::kMessage) {
    return Status(Reason::kUnsupported, "descriptors go with messages, from an end that sends");
  }
  const PipeLent::Lender lender{what.object_id, caller.session_id, what.request, side};
  return lent_.lend(lender, std::move(bundle), [&catalog] { return catalog.new_object_id(); });
}

Result<Bundle> PipeTable::lent(const Caller& caller, const local::TakeLent& what) const {
  const auto side = static_cast<PipeSide>(what.side);
  std::lock_guard lock(mutex_);
  const auto at = used(caller, what.object_id, side);
  if (!at.ok()) return at.status();
  Bundle bundle = lent_.find(what.object_id, side, what.number);
  if (bundle == nullptr) return Status(Reason::kNotFound, "no such descriptors wait here any more");
  return bundle;
}

Status PipeTable::forget_lent(const Caller& caller, const local::TakeLent& what) {
  const auto side = static_cast<PipeSide>(what.side);
  std::lock_guard lock(mutex_);
  const auto at = used(caller, what.object_id, side);
  if (!at.ok()) return at.status();
  lent_.forget(what.object_id, side, caller.session_id, what.number);
  return Status();
}

void PipeTable::drop_lent(uint64_t connection, PipeSide side, uint64_t ticket) {
  std::lock_guard lock(mutex_);
  lent_.forget(connection, side, 0, local::lent_number(ticket));
}

}  // namespace heddle::broker
