// Named pipes: names, rights, connections, deaths.
//
// A pipe is a name, options and a hall (proto/shm/pipe_hall.h); each connection is a segment of its
// own. Connections of the two named ends come one after the other: an end goes to the oldest
// connection that still has it free or in use, else to a new one, so whoever sends again before the
// first stream was read sends into the next one. A connection goes when both of its ends have
// ended, or with its pipe.
//
// Orders that a restarted broker relies on: memory is with the supervisor before it is in the
// catalog, and in the catalog before anybody hears of it. Whether a connection waits to be accepted
// is read from its ends, and by which request an end came to its user as well: a client that asks
// again, because the broker was killed before it answered, must not leave a connection behind that
// nobody has.
//
// Threads: every method may be called from any thread.
// Lock order: mutex_ stands before Core::registry_, because `allowed` takes that one.
#pragma once

#include <heddle/result.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog.h"
#include "daemon/broker/memory_grants.h"
#include "daemon/broker/pipe_lent.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/segment.h"
#include "daemon/broker/sessions.h"
#include "daemon/objects/host.h"
#include "proto/local/attach.h"
#include "proto/local/keeper.h"
#include "proto/shm/pipe.h"
#include "proto/shm/pipe_hall.h"

namespace heddle::broker {

class PipeTable {
 public:
  // `allowed` says whether anything new may be made; with `owned`, the number of the caller's
  // pipes, also whether it may have one more.
  using Allowed = std::function<Status(const Caller&, std::optional<uint32_t> owned)>;
  PipeTable(objects::Host& host, local::Keeper& keeper, MemoryGrants& memory, Allowed allowed)
      : host_(host),
        keeper_(keeper),
        memory_(memory),
        allowed_(std::move(allowed)),
        lent_(keeper) {}

  // At start, a record of kind pipe.
  void adopt(Catalog& catalog, uint32_t slot, ObjectState state, const ObjectEntry& entry,
             const std::function<local::Fd(uint64_t id)>& take);
  // After all records: connections without a pipe go.
  void settle(Catalog& catalog);
  void adopt_lent(local::Kept kept);  // after that

  // As Broker::open_pipe.
  Result<PipeRef> open(Catalog& catalog, const Caller& caller, std::string_view name,
                       const PipeOptions& options, std::string_view group, OpenFlags flags);
  Status remove(Catalog& catalog, const Caller& caller, std::string_view name);
  std::vector<PipeInfo> list(const Caller& caller, std::string_view prefix, std::string_view after,
                             size_t n) const;
  Result<PipeInfo> describe(const Caller& caller, std::string_view name) const;
  // The end across from `side`, which the caller uses; NOT_FOUND else, whatever is there.
  Result<shm::PipeEndInfo> peer(const Caller& caller, uint64_t connection,
                                shm::PipeSide side) const;
  bool has_open(uint64_t session_id, uint64_t object_id) const;
  // Descriptors that go with a message. `side`: the caller uses it, else NOT_FOUND.
  Result<uint64_t> lend(Catalog& catalog, const Caller& caller, const local::Lend& what,
                        local::Fd bundle);
  // NOT_FOUND as well when it is gone.
  Result<Bundle> lent(const Caller& caller, const local::TakeLent& what) const;
  Status forget_lent(const Caller& caller, const local::TakeLent& what);
  void drop_lent(uint64_t connection, shm::PipeSide side, uint64_t ticket);
  // One OPEN less; false when the session has no such pipe or connection open.
  bool close(Catalog& catalog, uint64_t session_id, uint64_t object_id);
  // `died`: it did not end in order, so what it used has not either.
  void reap(Catalog& catalog, const Session& session, bool died);
  void rescan(Catalog& catalog);  // 20 times a second
  // Remote callers: who waits at a connection is looked at by serve(), which also runs what
  // waited for a change. With no lock held, after everything here that may have changed something.
  void set_waiting(uint64_t object_id, bool waiting);
  void watch(std::string_view full_name, bool arrivals, std::weak_ptr<void> who,
             std::function<void()> changed);
  void serve();
  // A connection that has not ended, by the low half of its number; null.
  std::shared_ptr<objects::Pipe> by_object(uint32_t low);
  uint32_t owned_by(uid_t uid) const;  // pipes; takes a leaf only

 private:
  struct Connection;
  struct Pipe;
  // Of a remote caller who waits for an arrival, or for a listener.
  struct Watch {
    bool arrivals;
    std::weak_ptr<void> who;
    std::function<void()> changed;
  };
  using ConnectionRef = std::shared_ptr<Connection>;
  using PipeEntry = std::shared_ptr<Pipe>;

  // With mutex_ held.
  Result<PipeEntry> reach(Catalog& catalog, const Caller& caller, std::string_view name,
                          const PipeOptions& options, std::string_view group, OpenFlags flags,
                          bool* created);
  Result<PipeEntry> create(Catalog& catalog, const Caller& caller, const std::string& name,
                           const PipeOptions& options, std::string_view group);
  Result<ConnectionRef> connect(Catalog& catalog, const Caller& caller, const PipeEntry& pipe,
                                local::PipeRole role, uint32_t request);
  Result<ConnectionRef> choose(Catalog& catalog, const Caller& caller, const PipeEntry& pipe,
                               PipeOptions* wire);
  Result<uint32_t> keep(Catalog& catalog, const ObjectEntry& entry, int fd,
                        const std::string& label);
  void end_if_over(Catalog& catalog, const ConnectionRef& connection);
  void erase(Catalog& catalog, const ConnectionRef& connection);
  PipeInfo info_of(const Caller& caller, const Pipe& pipe) const;
  // Of a connection whose end `side` the caller uses.
  Result<ConnectionRef> used(const Caller& caller, uint64_t connection, shm::PipeSide side) const;
  void listen(const PipeEntry& pipe, uint64_t session_id);
  std::shared_ptr<objects::Pipe> remote_of(const ConnectionRef& connection);
  void count_owned(uid_t uid, int more);
  void announce_to_remote(Pipe& pipe, bool arrivals);

  objects::Host& host_;
  local::Keeper& keeper_;
  MemoryGrants& memory_;
  const Allowed allowed_;
  mutable std::mutex mutex_;
  std::map<std::string, PipeEntry, std::less<>> names_;
  std::unordered_map<uint64_t, PipeEntry> pipes_;
  std::unordered_map<uint64_t, ConnectionRef> connections_;
  // By session: how often it has what open.
  std::unordered_map<uint64_t, std::unordered_map<uint64_t, uint32_t>> uses_;
  PipeLent lent_;
  std::vector<Watch> announced_;

  mutable std::mutex leaf_mutex_;
  std::unordered_set<uint64_t> waiting_;
  std::unordered_map<uid_t, uint32_t> owned_;  // pipes
};

}  // namespace heddle::broker
