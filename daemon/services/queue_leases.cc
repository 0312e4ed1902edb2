#include "daemon/services/queue_leases.h"

namespace heddle::services {

Status ack_oldest(const objects::Caller& caller, objects::Queue& queue) {
  if (caller.session_id == 0) {
    return {Reason::kInvalidArgument, "task_done needs a session; use Ack with the lease"};
  }
  objects::BrowseParams params;
  params.states = shm::kLeasedMask;
  params.count_max = 1'000;
  for (;;) {
    const auto items = queue.browse(params);
    for (const auto& item : items) {
      if (item.ticket.owner == caller.owner) return queue.ack(caller, item.ticket);
    }
    if (items.size() < params.count_max) break;
    params.after_id = items.back().id;
  }
  return Status(Reason::kInvalidArgument, "task_done was called more often than get")
      .with_object("queue " + queue.name());
}

}  // namespace heddle::services
