// One change of a dict that is to happen once, however often it is asked for.
//
// The catalog remembers by request id: the revision of the dict before the change, then what the
// change came to. A broker that was killed in between leaves the first alone; whoever asks its
// successor again is told what the history of the dict says: no change of these keys since then,
// so it was not made, and is made now; else it cannot be told whether that change was this one.
#pragma once

#include <heddle/result.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/objects/dict.h"

namespace heddle::broker {

// What is remembered of its reply.
struct DictDone {
  shm::Outcome outcome = shm::Outcome::kOk;
  shm::DictWritten written{};
  uint64_t value = 0;  // a number that it left, as bits; a count
};

struct DictAsk {
  Broker& broker;
  const Caller& caller;
  const MemberRef& ref;
  std::string_view request_id;         // empty: make it each time
  std::vector<std::string_view> keys;  // that it may change
};

// `change` makes it and fills in *done. *again: it was made before, and *done is from then.
// BROKER_AWAY: it cannot be told, or is still under way.
Status change_once(const DictAsk& ask, const std::function<Status(DictDone*)>& change,
                   DictDone* done, bool* again);

}  // namespace heddle::broker
