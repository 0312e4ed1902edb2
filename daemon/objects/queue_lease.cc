// Taking for somebody, and the leases with a deadline that follow from it.
#include <algorithm>

#include "daemon/objects/queue.h"
#include "daemon/objects/waiter.h"

namespace heddle::objects {
namespace {

constexpr uint32_t kReserved = 256;  // deliveries that a get of several makes room for

}  // namespace

// An auto get is a lease of the broker itself until the reply is written: killed before, the
// message goes back. A lease of a caller carries the session's number and outlives the broker.
shm::Outcome Queue::take_one(Waiter& wait) {
  const bool auto_ack = wait.get.ack == AckMode::kAuto;
  const uint16_t holder =
      wait.caller.owner != kNoOwner ? wait.caller.owner : host_.sessionless_owner();
  shm::Taken taken;
  const shm::Outcome outcome = ring_.take(actor(auto_ack ? host_.own_owner() : holder),
                                          shm::TakeMode::kLease, &taken, shm::kTry);
  if (outcome != shm::Outcome::kOk) return outcome;
  auto& messages = wait.got.messages;
  if (messages.empty() && wait.get.count_max > 1) {
    messages.reserve(std::min(wait.get.count_max, kReserved));
  }
  Delivery& delivery = messages.emplace_back();
  delivery.id = taken.id;
  delivery.kind = taken.kind;
  delivery.count = static_cast<uint8_t>(std::min(taken.count + 1, 255));  // with this one
  delivery.leased = true;
  delivery.ticket = taken.ticket;
  delivery.body_bytes = taken.length;
  std::string& body = wait.get.gather ? wait.got.bodies : delivery.body;
  body.append(reinterpret_cast<const char*>(taken.data), taken.length);
  if (auto_ack) {
    ++auto_pending_;
  } else {
    int64_t term = wait.get.lease_ns;
    if (term == 0 && wait.caller.owner == kNoOwner) term = host_.message_lease_ns();
    if (term > 0) delivery.lease_ends_ns = host_.now_ns() + term;
    // Many callers share one owner number and may lease the same message in turn: the ticket says
    // which lease it is of.
    delivery.ticket.reserved = static_cast<uint16_t>(taken.count | ++lease_serial_ << 8);
    add_lease({.ticket = delivery.ticket,
               .uid = wait.caller.uid,
               .owner = holder,
               .ends_ns = delivery.lease_ends_ns,
               .pid = wait.caller.pid,
               .command = wait.caller.command});
    if (wait.get.ack == AckMode::kOnNext) on_next_[holder].push_back(delivery.ticket);
  }
  return shm::Outcome::kOk;
}

// The ring says end of stream when nobody but the taker's own number holds a message; here many
// callers share one number, and what another one holds may still come back.
bool Queue::others_hold(const Caller& caller) const {
  if (auto_pending_ > 0) return true;
  return std::any_of(leases_.begin(), leases_.end(), [&](const auto& entry) {
    return caller.owner == kNoOwner || entry.second.owner != caller.owner;
  });
}

void Queue::add_lease(const Lease& lease) {
  leases_[lease.ticket.id] = lease;
  if (lease.ends_ns == 0) return;
  lease_ends_.emplace(lease.ends_ns, lease.ticket.id);
  schedule(lease.ends_ns);
}

void Queue::drop_lease(uint64_t id) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  lease_ends_.erase({it->second.ends_ns, id});
  const auto held = on_next_.find(it->second.owner);
  if (held != on_next_.end()) {
    std::erase_if(held->second, [id](const shm::Ticket& ticket) { return ticket.id == id; });
    if (held->second.empty()) on_next_.erase(held);
  }
  leases_.erase(it);
}

void Queue::expire_leases(int64_t now_ns) {
  while (!lease_ends_.empty() && lease_ends_.begin()->first <= now_ns) {
    const Lease lease = leases_.at(lease_ends_.begin()->second);
    drop_lease(lease.ticket.id);
    if (!quarantined()) (void)ring_.nack(actor(lease.owner), lease.ticket, true);
  }
}

Result<Queue::Lease> Queue::lease_for(const Caller& caller, const shm::Ticket& ticket) {
  expire_leases(host_.now_ns());
  Status why;
  if (dead_to(&why)) return why;
  const auto it = leases_.find(ticket.id);
  if (it == leases_.end()) return status_of(shm::Outcome::kLeaseLost);
  shm::Ticket named = ticket;
  if (it->second.restored) named.reserved &= 255;  // the serial went with the earlier broker
  if (!(it->second.ticket == named)) return status_of(shm::Outcome::kLeaseLost);
  const Lease& lease = it->second;
  const bool of_session = lease.owner != host_.sessionless_owner();
  const bool mine = of_session ? lease.owner == caller.owner
                               : lease.uid == static_cast<uid_t>(-1) || lease.uid == caller.uid ||
                                     caller.uid == 0;
  if (!mine) {
    return Status(Reason::kDenied, of_session ? "the lease belongs to another session"
                                              : "the lease belongs to another user")
        .with_object("queue " + name_);
  }
  return lease;
}

void Queue::ack_previous(const Caller& caller) {
  const auto held = on_next_.find(caller.owner);
  if (held == on_next_.end()) return;
  const std::vector<shm::Ticket> tickets = std::move(held->second);
  on_next_.erase(held);
  for (const shm::Ticket& ticket : tickets) {
    drop_lease(ticket.id);
    (void)ring_.ack(actor(caller.owner), ticket);
  }
}

template <class End>
Status Queue::end_lease(const Caller& caller, const shm::Ticket& ticket, End end) {
  Finished finished;
  Status status;
  {
    std::lock_guard lock(mutex_);
    const Result<Lease> lease = lease_for(caller, ticket);
    if (!lease.ok()) return lease.status();
    drop_lease(ticket.id);
    status = status_of(end(actor(lease->owner)));
    settle(&finished);
  }
  run(finished);
  return status;
}

Status Queue::ack(const Caller& caller, const shm::Ticket& ticket) {
  return end_lease(caller, ticket, [&](shm::Actor& holder) { return ring_.ack(holder, ticket); });
}

Status Queue::nack(const Caller& caller, const shm::Ticket& ticket, bool counted) {
  return end_lease(caller, ticket,
                   [&](shm::Actor& holder) { return ring_.nack(holder, ticket, counted); });
}

Status Queue::bury(const Caller& caller, const shm::Ticket& ticket) {
  return end_lease(caller, ticket, [&](shm::Actor& holder) { return ring_.bury(holder, ticket); });
}

Result<int64_t> Queue::extend(const Caller& caller, const shm::Ticket& ticket, int64_t lease_ns) {
  std::lock_guard lock(mutex_);
  Result<Lease> found = lease_for(caller, ticket);
  if (!found.ok()) return found.status();
  Lease& lease = leases_.at(ticket.id);
  lease_ends_.erase({lease.ends_ns, ticket.id});
  const bool of_session = lease.owner != host_.sessionless_owner();
  if (lease_ns == 0 && of_session) {
    lease.ends_ns = 0;
  } else {
    lease.ends_ns = host_.now_ns() + (lease_ns > 0 ? lease_ns : host_.message_lease_ns());
    lease_ends_.emplace(lease.ends_ns, ticket.id);
    schedule(lease.ends_ns);
  }
  return lease.ends_ns;
}

void Queue::delivered(std::span<const Delivery> deliveries) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    shm::Actor& self = actor(host_.own_owner());
    for (const Delivery& delivery : deliveries) {
      // An explicit lease: the caller will ack it.
      if (!delivery.leased || (!leases_.empty() && leases_.contains(delivery.id))) continue;
      if (auto_pending_ > 0) --auto_pending_;
      if (!quarantined()) (void)ring_.ack(self, delivery.ticket);
    }
    if (waiting_.load() != 0) settle(&finished);
  }
  run(finished);
}

void Queue::undelivered(const Delivery& delivery) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    const auto it = leases_.find(delivery.id);
    const bool explicit_lease = it != leases_.end() && it->second.ticket == delivery.ticket;
    const uint16_t holder = explicit_lease ? it->second.owner : host_.own_owner();
    if (explicit_lease)
      drop_lease(delivery.id);
    else if (auto_pending_ > 0)
      --auto_pending_;
    if (!quarantined()) (void)ring_.nack(actor(holder), delivery.ticket, false);
    settle(&finished);
  }
  run(finished);
}

}  // namespace heddle::objects
