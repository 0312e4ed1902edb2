// One change of an object that is to happen once, however often it is asked for.
//
// The catalog remembers by request id: the revision of the object before the change, then what the
// change came to. A broker that was killed in between leaves the first alone; whoever asks its
// successor again is told what the object says: it has not changed since then, so the change was
// not made, and is made now; else it cannot be told whether that change was this one.
#pragma once

#include <heddle/result.h>

#include <array>
#include <functional>
#include <string_view>

#include "daemon/broker/broker.h"

namespace heddle::broker {

// What is remembered of a reply: the lower 58 bits of each.
using OnceNumbers = std::array<uint64_t, 6>;

struct OnceAsk {
  Broker& broker;
  const Caller& caller;
  const MemberRef& ref;
  std::string_view request_id;  // empty: make it each time
  std::function<uint64_t()> revision;
  // Whether what it changes may be another one than at that revision.
  std::function<bool(uint64_t revision)> changed_since;
};

// `change` makes it and fills in *done. *again: it was made before, and *done is from then.
// BROKER_AWAY: it cannot be told, or is still under way.
Status change_once(const OnceAsk& ask, const std::function<Status(OnceNumbers*)>& change,
                   OnceNumbers* done, bool* again);

}  // namespace heddle::broker
