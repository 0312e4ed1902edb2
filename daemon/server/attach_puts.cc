#include "daemon/server/attach_puts.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "daemon/server/attach_dicts.h"
#include "proto/shm/dict_layout.h"

namespace heddle::server {
namespace {

constexpr size_t kGatheredMax = size_t{256} << 20;  // of all connections together
constexpr size_t kDictBodyBytesMax =
    sizeof(local::DictFenced) + shm::kDictKeyBytesMax + shm::kDictValueBytesMax;
constexpr int64_t kWaitNsMax = 1'000'000'000;  // the client asks again

size_t gathered = 0;  // broker thread

}  // namespace

// Under way in the queue. The callback may come from any thread, and after the connection is gone.
struct AttachPuts::Put {
  broker::Core& core;
  broker::QueueRef queue;
  broker::Broker::Request request;
  std::string body;
  objects::Wait wait;  // broker thread; it holds the callback, and that this: to be let go of

  std::mutex mutex;
  objects::PutResult result;
  bool done = false;
  std::function<void()> later;  // set when the call that started it has returned

  void end(objects::PutResult ended) {
    core.finish_request(request, ended.ids);
    std::function<void()> tell;
    {
      std::lock_guard lock(mutex);
      result = std::move(ended);
      done = true;
      tell = std::move(later);
    }
    if (tell) tell();
  }
};

AttachPuts::~AttachPuts() {
  drop_body();
  alive_.reset();
  if (!waiting_) return;
  const objects::Wait wait = std::exchange(waiting_->wait, nullptr);
  waiting_->queue.queue->cancel(wait);
}

void AttachPuts::drop_body() {
  gathered -= body_.size();
  body_ = {};
}

Status AttachPuts::find(const objects::Caller& caller, const local::PutFenced& head,
                        broker::QueueRef* queue) {
  auto found = core_.find_queue(caller, head.name, broker::Need::kWrite);
  if (!found.ok()) return found.status();
  if (found->object_id != head.object_id) {
    return Status(Reason::kClosed, "the queue was deleted").with_object("queue " + found->name);
  }
  if (head.body_bytes > found->options.max_msg_bytes) {
    return Status(Reason::kTooLarge, "the message is longer than the queue takes")
        .with_object("queue " + found->name)
        .with_limit(found->options.max_msg_bytes, head.body_bytes);
  }
  *queue = std::move(*found);
  return Status();
}

/// A part out of turn changes nothing: the answer says how much is here.
Status AttachPuts::gather(const local::PutFenced& head, std::span<const std::byte> part) {
  if (head.number != number_ || head.offset == 0) {
    drop_body();
    number_ = head.number;
  }
  if (head.offset != body_.size()) return Status();
  if (gathered + part.size() > kGatheredMax) {
    drop_body();
    return Status(Reason::kMemoryExhausted,
                  "the fenced puts under way take as much memory as they may; try again")
        .with_limit(kGatheredMax, gathered + part.size());
  }
  gathered += part.size();
  body_.append(reinterpret_cast<const char*>(part.data()), part.size());
  return Status();
}

Status AttachPuts::take_dict(const objects::Caller& caller, const local::PutFenced& head,
                             std::span<const std::byte> part, const Answer& answer) {
  if (head.body_bytes > kDictBodyBytesMax) {
    return Status(Reason::kTooLarge, "key and value are larger than a dict takes")
        .with_limit(kDictBodyBytesMax, head.body_bytes);
  }
  Status status = gather(head, part);
  if (!status.ok()) return status;
  if (body_.size() < head.body_bytes) {
    answer(local::PutDone{0, body_.size()});
    return status;
  }
  const auto done = write_dict_fenced(core_, caller, head, body_);
  drop_body();
  answer(done);
  return status;
}

void AttachPuts::take(const objects::Caller& caller, const local::PutFenced& head,
                      std::span<const std::byte> part, Answer answer) {
  if (head.object_kind == static_cast<uint8_t>(local::ObjectKind::kDict)) {
    if (Status bad = take_dict(caller, head, part, answer); !bad.ok()) answer(std::move(bad));
    return;
  }
  broker::QueueRef queue;
  Status status = find(caller, head, &queue);
  if (status.ok() && waiting_) {
    status =
        Status(Reason::kInvalidArgument, "a fenced put of this session still waits; one at a time");
  }
  if (status.ok()) status = gather(head, part);
  if (status.ok() && body_.size() < head.body_bytes) {
    return answer(local::PutDone{0, body_.size()});
  }
  if (status.ok()) status = start(caller, head, queue, answer);
  if (!status.ok()) answer(std::move(status));
}

/// The request id makes it one put, however often the client has to ask for it.
Status AttachPuts::start(const objects::Caller& caller, const local::PutFenced& head,
                         const broker::QueueRef& queue, const Answer& answer) {
  auto fence = core_.fence_of(caller, head.lock, head.token);
  if (!fence.ok()) return fence.status();
  const std::string id =
      "local/" + std::to_string(caller.session_id) + "/" + std::to_string(head.number);
  auto request = core_.begin_request(caller, queue, id, 1);
  if (!request.ok()) return request.status();
  if (request->seen) {
    drop_body();
    answer(local::PutDone{request->record.ids.front(), head.body_bytes});
    return Status();
  }
  auto put = std::make_shared<Put>(core_, queue, std::move(*request));
  gathered -= body_.size();
  put->body = std::exchange(body_, {});
  const int64_t wait_ns = std::clamp<int64_t>(head.wait_ns, 0, kWaitNsMax);
  put->wait = queue.queue->put_async(
      caller, {{head.kind, put->body}}, wait_ns == 0 ? 0 : core_.now_ns() + wait_ns,
      [put](objects::PutResult result) { put->end(std::move(result)); }, put->request.record,
      *std::move(fence));
  {
    std::lock_guard lock(put->mutex);
    if (!put->done) {
      waiting_ = put;
      put->later = [&loop = loop_, alive = std::weak_ptr(alive_), this, answer] {
        loop.post([this, alive, answer] {
          if (alive.expired()) return;
          const std::shared_ptr<Put> ended = std::move(waiting_);
          answer(outcome(*ended));
        });
      };
      return Status();
    }
  }
  answer(outcome(*put));
  return Status();
}

Result<local::PutDone> AttachPuts::outcome(Put& put) {
  std::lock_guard lock(put.mutex);
  put.wait.reset();
  if (!put.result.status.ok()) return put.result.status;
  return local::PutDone{put.result.ids.front(), put.body.size()};
}

}  // namespace heddle::server
