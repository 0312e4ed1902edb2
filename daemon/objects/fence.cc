// Fenced writes: see fence.h.
#include "daemon/objects/queue.h"

namespace heddle::objects {
namespace {

Status stale(const std::string& label, const Fence& fence, uint64_t newest) {
  return Status(Reason::kStaleFence,
                "lock " + fence.lock + ": token " + std::to_string(fence.token) +
                    " was given and " + std::to_string(newest) +
                    " is the newest, so somebody else has held the lock since; nothing was written")
      .with_object(label)
      .with_limit(newest, fence.token);
}

}  // namespace

Status pass_fence(Host& host, const std::string& label, uint64_t object_id, const Fence& fence) {
  if (fence.known) {
    const uint64_t granted = fence.known->view().token();
    // Deleted meanwhile: its line may serve another lock by now.
    if (!fence.known->view().gone()) {
      if (fence.token < granted) return stale(label, fence, granted);
      if (fence.token > granted) {
        return Status(Reason::kInvalidArgument,
                      "lock " + fence.lock +
                          " has not granted that token yet; take the one that "
                          "came with the grant")
            .with_object(label)
            .with_limit(granted, fence.token);
      }
    }
  }
  const Result<uint64_t> newest = host.raise_fence(object_id, fence.lock, fence.token);
  if (!newest.ok()) return Status(newest.status()).with_object(label);
  return *newest > fence.token ? stale(label, fence, *newest) : Status();
}

Status Queue::pass_fence(const Fence& fence) {
  return objects::pass_fence(host_, "queue " + name_, object_id_, fence);
}

}  // namespace heddle::objects
