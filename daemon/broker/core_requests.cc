// Putting once: what a request id stands for is in the catalog before, during and after its put.
#include <heddle/name.h>

#include "daemon/broker/core.h"

namespace heddle::broker {

Result<Core::Request> Core::begin_request(const Caller& caller, const QueueRef& queue,
                                          std::string_view request_id, size_t count) {
  if (count == 0 || count > kRequestMessagesMax) {
    return Status(Reason::kInvalidArgument,
                  "a put with a request id has 1 to 32 messages; put more in several calls")
        .with_object("queue " + queue.name)
        .with_limit(kRequestMessagesMax, count);
  }
  return begin_numbers(caller, queue.object_id, "queue " + queue.name, request_id, count);
}

Result<Core::Request> Core::begin_numbers(const Caller& caller, uint64_t object_id,
                                          const std::string& label, std::string_view request_id,
                                          size_t count) {
  if (request_id.empty() || request_id.size() > kRequestIdBytesMax) {
    return Status(Reason::kInvalidArgument, "a request id has 1 to 64 bytes")
        .with_limit(kRequestIdBytesMax, request_id.size());
  }
  Catalog::Request found =
      catalog_->begin_request(object_id, caller.uid, request_id, static_cast<uint32_t>(count));
  if (found.state == RequestState::kStarted) {
    return Status(Reason::kBrokerAway,
                  "an earlier call with this request id is still under way; ask again")
        .with_object(label);
  }
  Request request;
  request.seen = found.state == RequestState::kDone;
  request.count = static_cast<uint32_t>(count);
  request.record = {found.number, std::move(found.ids)};
  return request;
}

void Core::finish_request(const Request& request, const std::vector<uint64_t>& ids) {
  catalog_->end_request(request.record.number, ids.size() >= request.count);
}

Result<objects::Fence> Core::fence_of(const Caller& caller, std::string_view lock, uint64_t token) {
  Result<std::string> full = expand_object_name(lock, caller.uid);
  if (!full.ok()) return Status(full.status()).with_object("fence " + std::string(lock));
  if (token == 0) {
    return Status(Reason::kInvalidArgument,
                  "a fence is a lock and the token that came with its grant; 0 is none")
        .with_object("fence " + *full);
  }
  objects::Fence fence{.lock = *std::move(full), .token = token};
  Caller looker = caller;
  looker.session_id = 0;  // looking is not using
  auto known = locks_.find(looker, ObjectKind::kLock, fence.lock, Need::kRead);
  if (known.ok()) fence.known = std::move(known->lock);
  return fence;
}

// The line is idle here. `request` is stored last: until then nothing of the line counts, and
// from then on it says "nothing published" until the put says otherwise.
void Core::recorded_put_begins(uint64_t number) {
  uint16_t thread = 0;
  shm::JournalLine& line = *own_journal(&thread);
  line.phase.store(0, std::memory_order_release);
  line.published.store(0, std::memory_order_release);
  line.request.store(number, std::memory_order_release);
}

void Core::recorded_put_ended(uint64_t number, uint64_t id) {
  uint16_t thread = 0;
  if (id != 0) catalog_->note_request(number, id);
  own_journal(&thread)->request.store(0, std::memory_order_release);
}

// What an earlier incarnation was putting when it died. Each step can be done again: noting an id
// twice notes it once, and a decision, once made, stands in the line.
void Core::decide_requests(const Session& session) {
  for (uint32_t i = 0; i < session.lines(); ++i) {
    shm::JournalLine& line = *session.journal(i);
    const uint64_t number = line.request.load(std::memory_order_acquire);
    if (number == 0) continue;
    const auto at = objects_.find(catalog_->request_object(number));
    if (at != objects_.end() && at->second->queue) {
      const uint64_t id = at->second->queue->decide_put(line);
      if (id != 0) catalog_->note_request(number, id);
    }
    line.request.store(0, std::memory_order_release);
  }
}

}  // namespace heddle::broker
