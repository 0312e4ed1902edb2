// Fenced puts of local clients: the part of the attach protocol by which the broker puts for them.
#pragma once

#include <heddle/result.h>

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "daemon/broker/core.h"
#include "daemon/broker/loop.h"
#include "proto/local/attach.h"

namespace heddle::server {

// Of one connection. Broker thread only.
class AttachPuts {
 public:
  // The answer to one request: in the call that asked, or later in the broker thread.
  using Answer = std::function<void(Result<local::PutDone>)>;

  AttachPuts(broker::Loop& loop, broker::Core& core) : loop_(loop), core_(core) {}
  ~AttachPuts();
  AttachPuts(const AttachPuts&) = delete;
  AttachPuts& operator=(const AttachPuts&) = delete;

  // One part of a body, see local::PutFenced. `answer` is dropped if this goes first.
  void take(const objects::Caller& caller, const local::PutFenced& head,
            std::span<const std::byte> part, Answer answer);

 private:
  struct Put;

  Status find(const objects::Caller& caller, const local::PutFenced& head, broker::QueueRef* queue);
  Status take_dict(const objects::Caller& caller, const local::PutFenced& head,
                   std::span<const std::byte> part, const Answer& answer);
  Status gather(const local::PutFenced& head, std::span<const std::byte> part);
  void drop_body();
  Status start(const objects::Caller& caller, const local::PutFenced& head,
               const broker::QueueRef& queue, const Answer& answer);
  static Result<local::PutDone> outcome(Put& put);

  broker::Loop& loop_;
  broker::Core& core_;
  uint64_t number_ = 0;  // whose body is being gathered
  std::string body_;
  std::shared_ptr<Put> waiting_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace heddle::server
