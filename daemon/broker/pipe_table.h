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
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog.h"
#include "daemon/broker/pipe_lent.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/segment.h"
#include "daemon/broker/sessions.h"
#include "proto/local/attach.h"
#include "proto/local/keeper.h"
#include "proto/shm/pipe.h"
#include "proto/shm/pipe_hall.h"

namespace heddle::broker {

// What OPEN gives: the memory of the hall, or of a connection.
struct PipeRef {
  uint64_t object_id = 0;
  std::string name;
  uint8_t rights = 0;
  bool created = false;
  PipeOptions options{};  // in force; role and side as they came about
  std::shared_ptr<Segment> segment;
};

struct PipeConnectionInfo {
  uint64_t object_id = 0;
  bool named = false;  // of the two named ends; else somebody connected
  shm::PipeEndInfo ends[2];
};

struct PipeInfo {
  uint64_t object_id = 0;
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  uint8_t rights = 0;
  PipeOptions options{};
  uint32_t listeners = 0;
  std::vector<PipeConnectionInfo> connections;
};

class PipeTable {
 public:
  // `allowed` says whether the caller may have so many bytes more.
  using Allowed = std::function<Status(const Caller&, uint64_t bytes)>;
  PipeTable(local::Keeper& keeper, Allowed allowed)
      : keeper_(keeper), allowed_(std::move(allowed)), lent_(keeper) {}

  // At start, a record of kind pipe.
  void adopt(Catalog& catalog, uint32_t slot, ObjectState state, const ObjectEntry& entry,
             const std::function<local::Fd(uint64_t id)>& take);
  // After all records: connections without a pipe go.
  void settle(Catalog& catalog);
  void adopt_lent(local::Kept kept);  // after that

  // Created by use (flags.create), else NOT_FOUND naming the command. EMPTY: nothing to accept, or
  // nobody to connect to. CLOSED: that connection is over.
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
  // One OPEN less; false when the session has no such pipe or connection open.
  bool close(Catalog& catalog, uint64_t session_id, uint64_t object_id);
  void reap(Catalog& catalog, const Session& session, const shm::DeathInfo& info);
  void rescan(Catalog& catalog);  // 20 times a second
  uint64_t bytes() const;

 private:
  struct Connection;
  struct Pipe;
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

  local::Keeper& keeper_;
  const Allowed allowed_;
  mutable std::mutex mutex_;
  std::map<std::string, PipeEntry, std::less<>> names_;
  std::unordered_map<uint64_t, PipeEntry> pipes_;
  std::unordered_map<uint64_t, ConnectionRef> connections_;
  // By session: how often it has what open.
  std::unordered_map<uint64_t, std::unordered_map<uint64_t, uint32_t>> uses_;
  PipeLent lent_;
};

}  // namespace heddle::broker
