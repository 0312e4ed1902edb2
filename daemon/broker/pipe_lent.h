// Bundles of descriptors that wait for the message they go with to be received (proto/local/
// attach.h). The supervisor keeps each under the number it goes by, with what must be known of it
// in the label, so that the next broker has it again.
//
// Killed at any point
//   the sender, before it put the number into a message: it goes with the connection
//   the receiver, with the message but before it asked: likewise
//   the broker: asked again, the next one finds the bundle, when it is lent (by the same request)
//   and when it is taken; one that was emptied and should have been forgotten goes with the
//   connection
//
// Not thread-safe: PipeTable has it under its mutex.
#pragma once

#include <heddle/result.h>

#include <functional>
#include <map>
#include <unordered_map>

#include "daemon/broker/fd_closer.h"
#include "proto/local/keeper.h"
#include "proto/shm/pipe_layout.h"

namespace heddle::broker {

class PipeLent {
 public:
  // Who lends what.
  struct Lender {
    uint64_t connection;
    uint64_t session_id;
    uint32_t request;
    shm::PipeSide side;
    friend bool operator==(const Lender&, const Lender&) = default;
  };

  explicit PipeLent(local::Keeper& keeper) : keeper_(keeper) {}

  // At start. One that makes no sense, or whose connection is gone, is dropped.
  void adopt(local::Kept kept, const std::function<bool(uint64_t connection)>& there);
  // The number that it goes by: `fresh`, or what the same request was told before. QUOTA.
  Result<uint64_t> lend(const Lender& lender, Bundle bundle,
                        const std::function<uint64_t()>& fresh);
  // Lent across `side` of that connection; null: there is none, or not any more.
  Bundle find(uint64_t connection, shm::PipeSide side, uint64_t number) const;
  // By the one that it was lent to, across `side`, or lent by.
  void forget(uint64_t connection, shm::PipeSide side, uint64_t session_id, uint64_t number);
  void forget_all_of(uint64_t connection);

 private:
  struct Waiting {
    Lender lender;
    Bundle bundle;
  };

  const Waiting* at(uint64_t connection, uint64_t number) const;

  local::Keeper& keeper_;
  // By connection, then by number.
  std::unordered_map<uint64_t, std::map<uint64_t, Waiting>> waiting_;
};

}  // namespace heddle::broker
