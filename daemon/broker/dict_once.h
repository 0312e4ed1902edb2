// change_once() for a dict: of a change that a broker died at, the history of the dict tells
// whether one of its keys has changed since.
#pragma once

#include <heddle/result.h>

#include <functional>
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

// See change_once().
Status change_dict_once(const DictAsk& ask, const std::function<Status(DictDone*)>& change,
                        DictDone* done, bool* again);

}  // namespace heddle::broker
