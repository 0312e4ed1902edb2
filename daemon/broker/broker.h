// The broker: names, rights, quotas and sessions. The gRPC services and the attach server call it.
//
// Threads: every method may be called from any thread unless it says "broker thread". None waits
// for a client; creating, deleting and opening sessions wait for one answer of the supervisor
// (some 0.1 ms). No callback runs with a lock held. Lock order: daemon/broker/locks.h.
//
// Rights: without r the name does not exist (NOT_FOUND). r shows; whatever changes a queue, also
// taking and acknowledging, needs w as well, else DENIED: on shared memory w is a writable mapping.
#pragma once

#include <heddle/result.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/objects/caller.h"
#include "daemon/objects/lock.h"
#include "daemon/objects/member.h"
#include "daemon/objects/pipe.h"
#include "daemon/objects/queue.h"
#include "proto/local/attach.h"

namespace heddle::broker {

using local::Lifetime;
using local::ObjectKind;
using objects::Caller;
using QueueOptions = local::QueueOptionsWire;  // with its `given` bits: local::kGiven...
using LockOptions = local::LockOptionsWire;
using PipeOptions = local::PipeOptionsWire;
using MemberOptions = local::MemberOptionsWire;
class Segment;

enum class Need : uint8_t { kRead = 1, kWrite = 2, kOwner = 4 };

struct OpenFlags {
  bool create = false;
  bool exclusive = false;  // with create: EXISTS_OTHER_OPTIONS-free refusal when it is there
  // With create: the name is ignored and becomes anon/<id>; lifetime attached unless given.
  bool anonymous = false;
  bool remote = false;  // of a pipe's connection: with PipeRef::pipe
  // Of an object of a family: one OPEN of the session, taken back by a CLOSE.
  bool counted = false;
};

struct QueueRef {
  std::shared_ptr<objects::Queue> queue;
  uint64_t object_id = 0;
  std::string name;    // full
  uint8_t rights = 0;  // local::kRight...
  bool created = false;
  QueueOptions options{};  // in force, all given
};

// A lock, semaphore, condition, event or barrier.
struct LockRef {
  std::shared_ptr<objects::Lock> lock;
  std::shared_ptr<Segment> segment;
  uint64_t object_id = 0;
  ObjectKind kind = ObjectKind::kLock;
  std::string name;    // full
  uint8_t rights = 0;  // local::kRight...
  bool created = false;
  LockOptions options{};  // in force
  uid_t uid = 0;
  gid_t gid = 0;
  uint32_t attached = 0;  // sessions
};

// What opening a pipe gives: the memory of the hall, or of a connection.
struct PipeRef {
  uint64_t object_id = 0;
  std::string name;  // full
  uint8_t rights = 0;
  bool created = false;
  PipeOptions options{};  // in force; role and side as they came about
  std::shared_ptr<Segment> segment;
  std::shared_ptr<objects::Pipe> pipe;  // of a connection, if it was asked for
};

// An object of a family (family.h): a dict.
struct MemberRef {
  std::shared_ptr<objects::Member> member;  // as its kind says: objects::Dict
  std::shared_ptr<Segment> segment;
  uint64_t object_id = 0;
  ObjectKind kind = ObjectKind::kDict;
  std::string name;    // full
  uint8_t rights = 0;  // local::kRight...
  bool created = false;
  MemberOptions options{};  // in force
};

struct MemberInfo {
  ObjectKind kind = ObjectKind::kDict;
  uint64_t object_id = 0;
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  uint8_t rights = 0;  // of the caller
  MemberOptions options{};
  std::shared_ptr<objects::Member> member;  // empty when quarantined
  uint64_t memory_bytes = 0;                // real memory of the segment
  uint32_t attached = 0;                    // sessions
  uint32_t waiting = 0;                     // remote callers
  bool quarantined = false;
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

struct ObjectInfo {
  ObjectKind kind = ObjectKind::kQueue;
  uint64_t object_id = 0;
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  uint8_t rights = 0;  // of the caller
  QueueOptions options{};
  shm::QueueCounts counts{};
  uint64_t memory_bytes = 0;  // real memory of the segment
  uint32_t attached = 0;      // sessions
  uint32_t waiting = 0;       // remote callers that wait
  bool quarantined = false;
};

struct ObjectPage {
  std::vector<ObjectInfo> objects;  // by name
  std::string next_page_token;      // empty: the last page
};

struct SessionInfo {
  uint64_t session_id = 0;
  uint16_t owner = 0;
  uint32_t generation = 0;
  bool remote = false;
  pid_t pid = 0;
  uid_t uid = 0;
  std::string name;     // the client's own, may be empty
  std::string command;  // of the process; empty for a TCP peer
  int64_t age_ms = 0;
  int64_t lease_left_ms = 0;  // remote only
  uint32_t attached = 0;      // objects
};

struct SessionPage {
  std::vector<SessionInfo> sessions;
  std::string next_page_token;
};

struct Stats {
  uint64_t objects = 0;
  uint64_t sessions_local = 0;
  uint64_t sessions_remote = 0;
  uint64_t memory_bytes = 0;
  uint64_t memory_bytes_max = 0;
  uint64_t sessions_reaped = 0;
  uint64_t quarantined = 0;
  uint64_t waiting_callers = 0;
  uint64_t incarnation = 0;
  int64_t uptime_ms = 0;
};

using ResumeToken = std::array<uint8_t, 16>;

struct RemoteSession {
  uint64_t session_id = 0;
  uint16_t owner = 0;
  int64_t lease_ns = 0;  // renew at a third of it
  ResumeToken token{};
};

class Broker {
 public:
  virtual ~Broker() = default;

  // With create: makes it when missing. Existing with other given options:
  // EXISTS_OTHER_OPTIONS naming the field and both values. Missing: NOT_FOUND naming the command.
  virtual Result<QueueRef> open_queue(const Caller& caller, std::string_view name,
                                      const QueueOptions& options, std::string_view group,
                                      OpenFlags flags) = 0;
  // The fast way of every call on an existing queue.
  virtual Result<QueueRef> find_queue(const Caller& caller, std::string_view name, Need need) = 0;
  // Somebody passes the name on to somebody who has not opened it yet: it counts as attached for
  // handle_hold_ms. Gives the full name.
  virtual Result<std::string> share_queue(const Caller& caller, std::string_view name) = 0;
  virtual Status delete_queue(const Caller& caller, std::string_view name) = 0;

  // Locks and their kin. open: created by use where the kind allows it. EXISTS_OTHER_OPTIONS,
  // NOT_FOUND as for queues.
  virtual Result<LockRef> open_lock(const Caller& caller, ObjectKind kind, std::string_view name,
                                    const LockOptions& options, std::string_view group,
                                    OpenFlags flags) = 0;
  virtual Result<LockRef> find_lock(const Caller& caller, ObjectKind kind, std::string_view name,
                                    Need need) = 0;
  virtual Status delete_lock(const Caller& caller, ObjectKind kind, std::string_view name) = 0;
  // Up to `n`, after the name `after`.
  virtual std::vector<LockRef> list_locks(const Caller& caller, ObjectKind kind,
                                          std::string_view prefix, std::string_view after,
                                          size_t n) = 0;
  // Local threads that wait for it, as they published it; remote ones are in Lock::inspect().
  virtual std::vector<objects::LockParty> local_waiters(const LockRef& ref) = 0;

  // Pipes. Created by use (flags.create), else NOT_FOUND naming the command. EMPTY: nothing to
  // accept, or nobody to connect to; CLOSED: that connection is over.
  virtual Result<PipeRef> open_pipe(const Caller& caller, std::string_view name,
                                    const PipeOptions& options, std::string_view group,
                                    OpenFlags flags) = 0;
  // Runs `changed` once, if `who` is still there, when a connection of the pipe waits to be
  // accepted (`arrivals`) or somebody begins to listen, or it is deleted. Ask again after this: it
  // may have been before.
  virtual void watch_pipe(std::string_view full_name, bool arrivals, std::weak_ptr<void> who,
                          std::function<void()> changed) = 0;
  // One opening less.
  virtual void close_pipe(uint64_t session_id, uint64_t object_id) = 0;
  virtual Status delete_pipe(const Caller& caller, std::string_view name) = 0;
  // Up to `n`, after the name `after`.
  virtual std::vector<PipeInfo> list_pipes(const Caller& caller, std::string_view prefix,
                                           std::string_view after, size_t n) const = 0;
  virtual Result<PipeInfo> describe_pipe(const Caller& caller, std::string_view name) const = 0;
  // The end across from `side`, which the caller uses.
  virtual Result<shm::PipeEndInfo> pipe_peer(const Caller& caller, uint64_t connection,
                                             shm::PipeSide side) const = 0;
  virtual objects::OwnerInfo describe_owner(uint16_t owner) const = 0;

  // Objects of a family. Never made by use: NOT_FOUND names the command. EXISTS_OTHER_OPTIONS as
  // for queues.
  virtual Result<MemberRef> open_member(const Caller& caller, ObjectKind kind,
                                        std::string_view name, const MemberOptions& options,
                                        std::string_view group, OpenFlags flags) = 0;
  virtual Result<MemberRef> find_member(const Caller& caller, ObjectKind kind,
                                        std::string_view name, Need need) = 0;
  virtual Status delete_member(const Caller& caller, ObjectKind kind, std::string_view name) = 0;
  // Up to `n`, after the name `after`.
  virtual std::vector<MemberInfo> list_members(const Caller& caller, ObjectKind kind,
                                               std::string_view prefix, std::string_view after,
                                               size_t n) const = 0;
  virtual Result<MemberInfo> describe_member(const Caller& caller, ObjectKind kind,
                                             std::string_view name) const = 0;

  virtual Result<ObjectPage> list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                                  uint32_t page_size, std::string_view page_token) = 0;
  virtual Result<ObjectInfo> describe(const Caller& caller, ObjectKind kind,
                                      std::string_view name) = 0;
  // Sessions of other uids are shown to root and to the daemon's own uid only.
  virtual Result<SessionPage> sessions(const Caller& caller, uint32_t page_size,
                                       std::string_view page_token) = 0;
  virtual Stats stats() = 0;

  // Remote sessions. lease_ns 0 = the default (30 s). `ended` runs once, when the session is
  // closed or its lease ran out; it may be empty.
  virtual Result<RemoteSession> open_session(const Caller& caller, int64_t lease_ns,
                                             std::string_view client_name,
                                             std::function<void()> ended) = 0;
  virtual Result<RemoteSession> resume_session(const Caller& caller, const ResumeToken& token,
                                               std::function<void()> ended) = 0;
  virtual Status renew_session(const Caller& caller, uint64_t session_id) = 0;
  virtual Status close_session(const Caller& caller, uint64_t session_id) = 0;
  // What a session held when its lease ran out, as "lock ledger"; of the last 256 that held
  // anything. Empty for others.
  virtual std::vector<std::string> lost_with(const ResumeToken& token) = 0;
  // A session that is as long as one call or stream: it has no lease, and a broker that comes next
  // finds it dead.
  virtual Result<RemoteSession> open_call_session(const Caller& caller,
                                                  std::string_view client_name) = 0;
  // `died`: the caller broke off.
  virtual void end_call_session(uint64_t session_id, bool died) = 0;
  // Checks that the session is live and the caller's uid's, and puts it into `caller`.
  virtual Status enter_session(Caller& caller, uint64_t session_id) = 0;

  // Idempotent puts of 1 to 32 messages. Says whether the put that `request_id` (1-64 bytes, per
  // uid and object) stands for was seen to its end: then `record.ids` has its message ids and
  // nothing must be put. Otherwise it is recorded, `record` goes with the put, and the service
  // calls finish_request with the ids that are in afterwards. A put that a broker's death cut off
  // goes on where it was; what it had put is in `record.ids`.
  struct Request {
    bool seen = false;
    uint32_t count = 0;
    objects::PutRecord record;
  };
  virtual Result<Request> begin_request(const Caller& caller, const QueueRef& queue,
                                        std::string_view request_id, size_t count) = 0;
  virtual void finish_request(const Request& request, const std::vector<uint64_t>& ids) = 0;
  // The like for anything else that is to happen once, of which `count` numbers are remembered. A
  // number that is noted stays so over the broker's death; those of an earlier attempt that died
  // come back in `record.ids` of a request that was not seen to its end. finish_request() ends it.
  virtual Result<Request> begin_numbers(const Caller& caller, uint64_t object_id,
                                        const std::string& label, std::string_view request_id,
                                        size_t count) = 0;
  virtual void note_number(const Request& request, uint64_t number) = 0;

  // For a fenced put (objects/fence.h). INVALID_NAME, INVALID_ARGUMENT: a token is not 0. The lock
  // need not be one of this daemon.
  virtual Result<objects::Fence> fence_of(const Caller& caller, std::string_view lock,
                                          uint64_t token) = 0;

  virtual bool draining() const = 0;
};

}  // namespace heddle::broker
