// A queue for remote callers: the semantics that need somebody who is always there (waiting
// callers, leases with deadlines) over the same shared-memory ring that local clients use.
//
// Threads: every method may be called from any thread. None blocks for longer than a short lock;
// waiting is by callback. A callback runs exactly once, either inside the call that started it or
// later on some other thread (the broker thread, or another caller's whose operation made room),
// never with a lock held; it must not block, and may call any method here.
//
// Rights are checked before: whoever holds a QueueRef of the broker has what it asked for.
// Deadlines are CLOCK_MONOTONIC ns; 0 = do not wait, shm::kForever = for ever.
// Outcomes (EMPTY, FULL, TIMED_OUT, CLOSED, END_OF_STREAM, PRODUCER_DIED, LEASE_LOST) come as
// Status values whose outcome() is true.
#pragma once

#include <heddle/result.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/objects/caller.h"
#include "daemon/objects/fence.h"
#include "daemon/objects/host.h"
#include "proto/shm/queue.h"

namespace heddle::objects {

enum class AckMode : uint8_t { kAuto, kManual, kOnNext };

struct Body {
  uint8_t kind = 0;  // 0 data, 1 text, 2 json, 3 json_text
  std::string_view bytes;
};

struct Delivery {
  uint64_t id = 0;
  uint8_t kind = 0;
  uint8_t count = 0;    // deliveries, this one included
  bool leased = false;  // true: somebody must ack, nack, or call delivered/undelivered
  shm::Ticket ticket{};
  int64_t lease_ends_ns = 0;  // 0: no deadline of its own
  uint64_t body_bytes = 0;
  std::string body;  // empty if GetParams::gather
};

struct GetParams {
  AckMode ack = AckMode::kAuto;
  uint32_t count_max = 1;           // takes what is there, at least one, up to this
  uint64_t bytes_max = UINT64_MAX;  // stops after the message that passes it
  bool gather = false;              // bodies end to end in GetResult::bodies
  int64_t lease_ns = 0;             // 0: message_lease_ms without a session, its life with one
};

struct GetResult {
  Status status;  // ok when there is at least one message
  std::vector<Delivery> messages;
  std::string bodies;  // see GetParams::gather; each has its body_bytes
};

struct PutResult {
  Status status;              // ok when all were put
  std::vector<uint64_t> ids;  // of those that were put
};

// A put that the broker keeps a record of, so that it happens once however often it is asked for.
struct PutRecord {
  uint64_t number = 0;        // of the request in the catalog; 0: no record is kept
  std::vector<uint64_t> ids;  // of its first messages, which are in already
};

struct BrowseItem {
  uint64_t id = 0;
  const char* state = "";  // "ready", "leased", "returned", "buried"
  uint8_t kind = 0;
  uint8_t count = 0;
  uint64_t length = 0;
  int64_t age_ms = 0;         // of a lease
  int64_t lease_ends_ms = 0;  // from now; 0 = no deadline
  OwnerInfo holder;           // of a leased one
  shm::Ticket ticket{};
  std::string body;
};

struct BrowseParams {
  uint64_t after_id = 0;
  uint32_t count_max = 100;
  unsigned states = shm::kAllMask;
  uint64_t body_bytes_max = 0;  // of each; 0 = no bodies; a longer body is cut
};

struct Holder {
  OwnerInfo owner;
  uint64_t leases = 0;
  uint64_t oldest_id = 0;
};

struct JoinResult {
  Status status;  // ok: nothing unfinished; TIMED_OUT names who holds what
  uint64_t unfinished = 0;
  std::vector<Holder> holders;
};

// Who joins: which thread of the session, as with locks, and how willing to give way.
struct JoinParams {
  uint16_t thread = 0;  // from shm::kThreadsMax on: one that holds nothing
  int32_t priority = 0;
};

using GetDone = std::function<void(GetResult)>;
using PutDone = std::function<void(PutResult)>;
using JoinDone = std::function<void(JoinResult)>;

struct Waiter;
// Handle of a waiting call. cancel() makes the callback run with CANCELLED (unless it already ran
// or is about to run with its result). Harmless afterwards; may be dropped at any time.
using Wait = std::shared_ptr<Waiter>;

class Queue : public std::enable_shared_from_this<Queue> {
 public:
  // `base` stays mapped for as long as the Queue lives (`mapping` keeps it so).
  static Result<std::shared_ptr<Queue>> adopt(Host& host, std::string name, uint64_t object_id,
                                              void* base, uint64_t bytes, int fd,
                                              std::shared_ptr<void> mapping);
  ~Queue();

  // A put of several is in order; the callback tells how many went in. Bodies must stay valid
  // until the callback has run. deadline 0: FULL at once (overflow drop_oldest never waits).
  // The messages that `record` says are in are not put again; the result names them too. With a
  // fence each attempt is checked: STALE_FENCE, INVALID_ARGUMENT for a token that the lock never
  // gave, QUOTA.
  Wait put_async(const Caller& caller, std::vector<Body> bodies, int64_t deadline_ns, PutDone done,
                 PutRecord record = {}, Fence fence = {});
  // kAuto here means: leased to the broker until the service says delivered() (reply written) or
  // undelivered() (caller gone: back to its place, uncounted).
  Wait get_async(const Caller& caller, const GetParams& params, int64_t deadline_ns, GetDone done);
  // Of a session it may be ended with DEADLOCK_DETECTED, see refuse_join().
  Wait join_async(const Caller& caller, int64_t deadline_ns, JoinDone done,
                  const JoinParams& params = {});
  void cancel(const Wait& wait);

  void delivered(std::span<const Delivery> deliveries);
  void undelivered(const Delivery& delivery);

  // LEASE_LOST when the lease expired, was acked before, or never was. With a session the lease
  // must be that session's; without one it must be of the same uid.
  Status ack(const Caller& caller, const shm::Ticket& ticket);
  Status nack(const Caller& caller, const shm::Ticket& ticket, bool counted);
  Status bury(const Caller& caller, const shm::Ticket& ticket);
  // A new term from now; lease_ns 0 = the default one. Gives the new end.
  Result<int64_t> extend(const Caller& caller, const shm::Ticket& ticket, int64_t lease_ns);

  Status shutdown(bool immediate);
  Status reopen();
  // A session only. `key` tells its producers apart; the same again = no change.
  Status register_producer(const Caller& caller, uint64_t key);
  // Clean; the last one of all sessions may end the stream. One that is not there = no change.
  Status unregister_producer(const Caller& caller, uint64_t key);
  Result<uint64_t> purge(unsigned states);  // shm::StateMask bits
  Result<uint32_t> kick(uint32_t max);

  std::vector<BrowseItem> browse(const BrowseParams& params);
  // Whether message `id` is in one of `states` (shm::StateMask bits).
  bool contains(uint64_t id, unsigned states);
  std::vector<Holder> holders();
  // The sessions that have leased something, each once; *seen changes when a lease comes or goes.
  std::vector<uint16_t> lease_owners(uint64_t* seen);
  // Sessions that join by a waiting call: for the deadlock detector.
  struct RemoteJoin {
    uint32_t holder;  // shm::holder_of
    int64_t since_ns;
    int32_t priority;
    uint64_t serial;
  };
  std::vector<RemoteJoin> remote_joins();
  bool joins(uint64_t serial);
  // Ends that very join with DEADLOCK_DETECTED; false when it is over.
  bool refuse_join(uint64_t serial, const std::string& why);
  // Wakes whoever joins in its own process, to look again.
  void wake_joiners();
  shm::QueueCounts counts();
  shm::QueueLimits limits() const;
  const std::string& name() const { return name_; }
  uint64_t object_id() const { return object_id_; }
  uint32_t waiting_callers() const { return waiting_.load(std::memory_order_relaxed); }

  // --- for the broker ---
  // Whether the memory's first lines say the same as the catalog.
  bool matches(uint64_t object_id, const shm::QueueLimits& created) const;
  // Serves waiting callers and ends what is due: after the doorbell, and when a timer says so.
  void poll();
  // The 50 ms net: wakes and hints that a stopped process owes, then poll().
  void rescan();
  // A local or remote session, or an earlier incarnation of the broker, died. Again = no change.
  // `lines` are copies of `origins`, see shm::Queue::reap.
  void reap(uint16_t dead_owner, shm::JournalLine* lines, size_t n, const shm::DeathInfo& info,
            shm::JournalLine* const* origins);
  // The message that a dead broker published last by this line; 0: none. See shm::Queue.
  uint64_t decide_put(shm::JournalLine& line);
  // What an earlier incarnation knew of these owners: their producers, and their leases, which get
  // a full new term each (0 = for as long as the session lives).
  void restore(const std::unordered_map<uint16_t, int64_t>& term_ns_by_owner);
  // Gives memory of free bodies back to the machine; bytes.
  uint64_t trim();
  // A death may have left the totals too high, see shm::Queue::settle(): when no living session is
  // at work here, settle() sets them right if the queue is empty.
  bool unsettled() const { return unsettled_.load(std::memory_order_relaxed); }
  void settle_totals();
  // The session is gone: its calls that wait to hold something, or are waited for, end with
  // SESSION_LOST.
  void drop_waits_of(uint16_t owner);
  // The name is gone: operations and waiting callers, local and remote, end with CLOSED.
  void end_of_object();
  bool quarantined() const { return quarantined_.load(std::memory_order_relaxed); }
  void quarantine() { quarantined_.store(true); }
  bool has_waiting() const { return waiting_.load(std::memory_order_relaxed) != 0; }
  void set_limits(const shm::QueueLimits& limits);

 private:
  struct Lease {
    shm::Ticket ticket;
    uid_t uid = static_cast<uid_t>(-1);  // -1: from an earlier incarnation, not known
    uint16_t owner = kNoOwner;           // the session's, or the sessionless one
    int64_t ends_ns = 0;                 // 0: with the session
    bool restored = false;
    pid_t pid = 0;                               // with `command`, of a caller without a session
    std::shared_ptr<const std::string> command;  // may be null
  };
  using Finished = std::vector<Wait>;

  Queue(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping);

  // All with mutex_ held.
  shm::Actor& actor(uint16_t as_owner);
  Status status_of(shm::Outcome outcome, uint64_t body_bytes = 0);
  bool dead_to(Status* why);  // deleted, damaged, or no row free for the broker
  void enlist(const Wait& wait, std::list<Wait>& list, Finished* finished);
  bool needs_session(const Waiter& wait) const;
  void tell_join(const Waiter& wait, bool begins);  // to the host
  void arm();
  void finish(const Wait& wait, Status status, Finished* finished);
  void serve(Finished* finished);
  bool serve_getters(Finished* finished);
  bool serve_putters(Finished* finished);
  void serve_joiners(Finished* finished);
  shm::Outcome take_one(Waiter& wait);
  Status pass_fence(const Fence& fence);  // fence.cc; right before the publication
  shm::Outcome put_bodies(Waiter& wait);
  shm::Outcome put_recorded(Waiter& wait);
  bool others_hold(const Caller& caller) const;
  // After kMemoryExhausted. True: try again; else *why, or nothing if it was not the grant.
  bool more_memory(uint32_t* asked, Status* why);
  void keep_room_for_end();
  void end_due(std::list<Wait>& list, int64_t now_ns, Finished* finished);
  void expire_leases(int64_t now_ns);
  void settle(Finished* finished);
  void schedule(int64_t when_ns);
  void add_lease(const Lease& lease);
  void drop_lease(uint64_t id);
  template <class End>  // shm::Outcome (shm::Actor& holder)
  Status end_lease(const Caller& caller, const shm::Ticket& ticket, End end);
  Result<Lease> lease_for(const Caller& caller, const shm::Ticket& ticket);
  void ack_previous(const Caller& caller);
  OwnerInfo holder_of(const shm::BrowseRow& row) const;
  std::vector<Holder> holders_locked();
  auto producers_of(uint16_t owner) {
    return std::pair(producers_.lower_bound({owner, 0}),
                     producers_.upper_bound({owner, UINT64_MAX}));
  }
  static void run(Finished& finished);

  Host& host_;
  const std::string name_;
  const uint64_t object_id_;
  std::shared_ptr<void> mapping_;
  shm::Queue ring_;
  std::atomic<bool> quarantined_{false};
  std::atomic<bool> unsettled_{true};  // also by deaths before this broker
  std::atomic<uint32_t> waiting_{0};

  mutable std::mutex mutex_;
  shm::Actor actor_{};
  bool entered_ = false;
  bool ended_ = false;  // deleted
  std::list<Wait> getters_, putters_, joiners_;
  std::unordered_map<uint64_t, Lease> leases_;  // explicit ones, by message id
  std::set<std::pair<int64_t, uint64_t>> lease_ends_;
  uint32_t auto_pending_ = 0;  // taken for auto callers whose reply is not written yet
  std::unordered_map<uint16_t, std::vector<shm::Ticket>> on_next_;  // by session
  std::map<std::pair<uint16_t, uint64_t>, uint32_t> producers_;     // by session and key: the cell
  int64_t scheduled_ns_ = INT64_MAX;
  uint8_t lease_serial_ = 0;
  uint64_t join_serial_ = 0;
};

// The lease name that travels over gRPC and in the shell: 32 characters, URL-safe.
std::string lease_name(const shm::Ticket& ticket);
bool parse_lease_name(std::string_view text, shm::Ticket* out);

}  // namespace heddle::objects
