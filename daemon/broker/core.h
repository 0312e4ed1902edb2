// The broker itself: one instance per process, behind the interface in broker.h.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog.h"
#include "daemon/broker/deadlock.h"
#include "daemon/broker/family_table.h"
#include "daemon/broker/lock_table.h"
#include "daemon/broker/loop.h"
#include "daemon/broker/memory_grants.h"
#include "daemon/broker/pipe_table.h"
#include "daemon/broker/segment.h"
#include "daemon/broker/sessions.h"
#include "daemon/broker/token_store.h"
#include "daemon/config/options.h"
#include "daemon/objects/host.h"
#include "proto/local/keeper.h"

namespace heddle::broker {

struct Object {
  uint64_t id = 0;
  uint32_t slot = 0;  // in the catalog
  ObjectEntry entry{};
  std::string name;
  std::shared_ptr<Segment> segment;       // empty when the memory did not come back
  std::shared_ptr<objects::Queue> queue;  // empty when quarantined at start
  MemoryCharge charge;                    // of one that was; else MemoryGrants has it
  uint32_t attached = 0;                  // opens by sessions
  int64_t held_until_ns = 0;              // counts as attached until then

  bool damaged() const { return !queue || queue->quarantined(); }
};
using ObjectRef = std::shared_ptr<Object>;

// What the attach server gets for OPEN.
struct Attachment {
  QueueRef ref;
  std::shared_ptr<Segment> segment;
};

class Core final : public Broker, public objects::Host {
 public:
  // Takes over what the supervisor kept, repairs it, and is ready to serve. `loop` must not run
  // yet; it and `keeper` outlive the Core.
  static Result<std::unique_ptr<Core>> start(Loop& loop, local::Keeper& keeper,
                                             const config::Options& options);
  ~Core() override;

  // --- Broker ---
  Result<QueueRef> open_queue(const Caller& caller, std::string_view name,
                              const QueueOptions& options, std::string_view group,
                              OpenFlags flags) override;
  Result<QueueRef> find_queue(const Caller& caller, std::string_view name, Need need) override;
  Result<std::string> share_queue(const Caller& caller, std::string_view name) override;
  Status delete_queue(const Caller& caller, std::string_view name) override;
  Result<LockRef> open_lock(const Caller& caller, ObjectKind kind, std::string_view name,
                            const LockOptions& options, std::string_view group,
                            OpenFlags flags) override;
  Result<LockRef> find_lock(const Caller& caller, ObjectKind kind, std::string_view name,
                            Need need) override {
    return locks_.find(caller, kind, name, need);
  }
  Status delete_lock(const Caller& caller, ObjectKind kind, std::string_view name) override {
    return locks_.remove(caller, kind, name);
  }
  std::vector<LockRef> list_locks(const Caller& caller, ObjectKind kind, std::string_view prefix,
                                  std::string_view after, size_t n) override {
    return locks_.list(caller, kind, prefix, after, n);
  }
  std::vector<objects::LockParty> local_waiters(const LockRef& ref) override;
  Result<PipeRef> open_pipe(const Caller& caller, std::string_view name, const PipeOptions& options,
                            std::string_view group, OpenFlags flags) override;
  void watch_pipe(std::string_view full_name, bool arrivals, std::weak_ptr<void> who,
                  std::function<void()> changed) override;
  void close_pipe(uint64_t session_id, uint64_t object_id) override {
    pipes_.close(*catalog_, session_id, object_id);
  }
  Status delete_pipe(const Caller& caller, std::string_view name) override;
  std::vector<PipeInfo> list_pipes(const Caller& caller, std::string_view prefix,
                                   std::string_view after, size_t n) const override {
    return pipes_.list(caller, prefix, after, n);
  }
  Result<PipeInfo> describe_pipe(const Caller& caller, std::string_view name) const override {
    return pipes_.describe(caller, name);
  }
  Result<MemberRef> open_member(const Caller& caller, ObjectKind kind, std::string_view name,
                                const MemberOptions& options, std::string_view group,
                                OpenFlags flags) override {
    if (draining() && flags.create) flags.create = false;
    return families_.open(*catalog_, caller, kind, name, options, group, flags);
  }
  Result<MemberRef> find_member(const Caller& caller, ObjectKind kind, std::string_view name,
                                Need need) override {
    return families_.find(caller, kind, name, need);
  }
  Status delete_member(const Caller& caller, ObjectKind kind, std::string_view name) override {
    return families_.remove(*catalog_, caller, kind, name);
  }
  std::vector<MemberInfo> list_members(const Caller& caller, ObjectKind kind,
                                       std::string_view prefix, std::string_view after,
                                       size_t n) const override {
    return families_.list(caller, kind, prefix, after, n);
  }
  Result<MemberInfo> describe_member(const Caller& caller, ObjectKind kind,
                                     std::string_view name) const override {
    return families_.describe(caller, kind, name);
  }
  // Descriptors on their way, see pipe_lent.h.
  Result<uint64_t> lend_to_pipe(const Caller& caller, const local::Lend& what, local::Fd bundle) {
    return pipes_.lend(*catalog_, caller, what, std::move(bundle));
  }
  Result<Bundle> lent_to_pipe(const Caller& caller, const local::TakeLent& what) const {
    return pipes_.lent(caller, what);
  }
  Status forget_lent(const Caller& caller, const local::TakeLent& what) {
    return pipes_.forget_lent(caller, what);
  }
  // The other end of a connection whose end `side` the caller uses, with those users alone that
  // came by way of this broker: a cell in shared memory may be written by anybody.
  Result<shm::PipeEndInfo> pipe_peer(const Caller& caller, uint64_t connection,
                                     shm::PipeSide side) const override;
  Result<ObjectPage> list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                          uint32_t page_size, std::string_view page_token) override;
  Result<ObjectInfo> describe(const Caller& caller, ObjectKind kind,
                              std::string_view name) override;
  Result<SessionPage> sessions(const Caller& caller, uint32_t page_size,
                               std::string_view page_token) override;
  Stats stats() override;
  Result<RemoteSession> open_session(const Caller& caller, int64_t lease_ns,
                                     std::string_view client_name,
                                     std::function<void()> ended) override;
  Result<RemoteSession> resume_session(const Caller& caller, const ResumeToken& token,
                                       std::function<void()> ended) override;
  Status renew_session(const Caller& caller, uint64_t session_id) override;
  Status close_session(const Caller& caller, uint64_t session_id) override;
  std::vector<std::string> lost_with(const ResumeToken& token) override;
  Result<RemoteSession> open_call_session(const Caller& caller,
                                          std::string_view client_name) override;
  void end_call_session(uint64_t session_id, bool died) override;
  Status enter_session(Caller& caller, uint64_t session_id) override;
  Result<Request> begin_request(const Caller& caller, const QueueRef& queue,
                                std::string_view request_id, size_t count) override;
  void finish_request(const Request& request, const std::vector<uint64_t>& ids) override;
  Result<Request> begin_numbers(const Caller& caller, uint64_t object_id, const std::string& label,
                                std::string_view request_id, size_t count) override;
  void note_number(const Request& request, uint64_t number) override {
    catalog_->note_request(request.record.number, number);
  }
  Result<objects::Fence> fence_of(const Caller& caller, std::string_view lock,
                                  uint64_t token) override;
  bool draining() const override { return draining_.load(); }

  // --- objects::Host ---
  int64_t now_ns() const override { return monotonic_ns(); }
  void at(int64_t when_ns, std::function<void()> run) override;
  uint16_t own_owner() const override { return self_->owner; }
  shm::JournalLine* own_journal(uint16_t* thread) override;
  uint16_t sessionless_owner() const override { return sessionless_->owner; }
  int64_t message_lease_ns() const override { return message_lease_ns_.load(); }
  uint64_t begin_change(const objects::HoldChange& change) override {
    return catalog_->begin_change(change);
  }
  void settle_change(uint64_t number, bool done) override { catalog_->settle_change(number, done); }
  bool changed_before(uint64_t object_id, uint64_t request) override {
    return catalog_->take_change(object_id, request);
  }
  void recorded_put_begins(uint64_t number) override;
  void recorded_put_ended(uint64_t number, uint64_t id) override;
  Result<uint64_t> raise_fence(uint64_t object_id, std::string_view lock, uint64_t token) override {
    return catalog_->raise_fence(object_id, lock, token);
  }
  objects::OwnerInfo describe_owner(uint16_t owner) const override;
  bool session_ended(uint64_t session_id) const override;
  Status grant_memory(uint64_t object_id, const shm::QueueGrant& at_least, bool anyway) override {
    return memory_.grow(object_id, at_least, anyway).status();
  }
  void set_waiting(uint64_t object_id, bool waiting) override;
  void set_lock_waiting(uint64_t object_id, bool waiting) override {
    locks_.set_waiting(object_id, waiting);
  }
  void set_pipe_waiting(uint64_t object_id, bool waiting) override {
    pipes_.set_waiting(object_id, waiting);
  }
  void drop_descriptors(uint64_t connection, shm::PipeSide side, uint64_t ticket) override {
    pipes_.drop_lent(connection, side, ticket);
  }
  void wait_began(uint32_t holder, uint64_t object_id) override;
  void wait_ended(uint32_t holder, uint64_t object_id) override {
    remote_waiters_.ended(holder, object_id);
  }

  // --- local sessions; broker thread ---
  Result<SessionRef> open_local(const Caller& caller, local::Fd pidfd, std::string_view name);
  // SESSION_LOST unless it is live and of this very process.
  Result<SessionRef> resume_local(const Caller& caller, uint64_t id, uint32_t generation);
  Result<Attachment> attach_queue(const SessionRef& session, const Caller& caller,
                                  std::string_view name, const QueueOptions& options,
                                  std::string_view group, OpenFlags flags);
  Status detach(const SessionRef& session, uint64_t object_id);
  // More memory for an object that the caller may write; see local::Grow.
  Result<shm::QueueGrant> grow_object(const Caller& caller, const local::Grow& ask);
  void end_local(const SessionRef& session);  // an orderly end
  // The connection is gone: the session ends when its bells or its pidfd say so.
  void hung_up(const SessionRef& session);
  int doorbell_write_fd() const { return doorbell_write_.get(); }
  uint64_t incarnation() const { return incarnation_; }
  int64_t started_ns() const { return started_ns_; }
  Result<ObjectRef> object_for(const Caller& caller, std::string_view name, uint8_t rights);

  // Called in the broker thread for every live session that has the object attached.
  using ObjectEvent =
      std::function<void(uint64_t session_id, uint64_t object_id, local::EventType event)>;
  void on_object_event(ObjectEvent each) { object_event_ = std::move(each); }

  DeadlockDetector& deadlocks() { return deadlocks_; }
  std::vector<Wait> local_waits() const { return broker::local_waits(sessions_); }
  std::shared_ptr<objects::Lock> lock_by_object(uint32_t low) const {
    return locks_.by_object(low);
  }
  std::shared_ptr<objects::Queue> queue_by_object(uint32_t low) const;
  std::shared_ptr<objects::Pipe> pipe_by_object(uint32_t low) { return pipes_.by_object(low); }

  void set_options(const config::Options& options);  // any thread
  void drain() { draining_.store(true); }
  // The last call of a clean stop, after the loop has ended.
  void settle_tokens();

 private:
  Core(Loop& loop, local::Keeper& keeper, const config::Options& options);

  // core_start.cc
  struct Kept;
  Status take_over();
  Status take_catalog(Kept& kept);
  Status take_doorbell(Kept& kept);
  Status take_sessions(Kept& kept);
  Status make_own_sessions();
  void take_objects(Kept& kept);
  void take_object(Kept& kept, uint32_t slot, const ObjectEntry& entry);
  void quarantine(const ObjectRef& object, const std::string& why);
  void drop_strays(Kept& kept);
  void reap_the_dead();
  void restore_remote();

  // core_objects.cc
  Result<std::string> full_name(const Caller& caller, std::string_view name) const;
  ObjectRef find_locked(std::string_view name) const;
  Result<ObjectRef> allowed_locked(const Caller& caller, std::string_view name,
                                   uint8_t rights) const;
  Result<ObjectRef> open_locked(const Caller& caller, std::string_view name,
                                const QueueOptions& options, std::string_view group,
                                OpenFlags flags, bool* created);
  Result<ObjectRef> create_locked(const Caller& caller, const std::string& name,
                                  const QueueOptions& options, std::string_view group);
  // `owned`: how many objects of other kinds the caller has; absent: nothing with a name is made.
  Status may_create_locked(const Caller& caller, std::optional<uint32_t> owned) const;
  Status may_create(const Caller& caller, std::optional<uint32_t> owned) const;
  void tell_object_event(const std::vector<uint64_t>& sessions, uint64_t object_id,
                         local::EventType event);
  Result<QueueRef> ref_to(const Caller& caller, const ObjectRef& object, bool created) const;
  ObjectInfo info_of(const Caller& caller, const Object& object) const;
  void erase_locked(const ObjectRef& object);
  void after_delete(const ObjectRef& object, local::EventType event);
  // Lifetime attached, and nobody has it or may still come for it.
  bool abandoned_locked(const Object& object) const;
  void hold_locked(Object& object);
  void note_use_locked(const Caller& caller, const ObjectRef& object);
  void detach_locked(const SessionRef& session, uint64_t object_id, bool all,
                     std::vector<ObjectRef>* doomed);

  // core_sessions.cc
  struct SessionPlan;
  Status may_issue(const SessionPlan& plan) const;
  Result<SessionRef> issue(SessionPlan plan);
  void watch_session(const SessionRef& session);
  Result<RemoteSession> describe_remote(const SessionRef& session) const;
  Result<SessionRef> remote_of(const Caller& caller, uint64_t session_id) const;

  // reaper.cc
  void note_lost(const Session& session);
  void end_session(const SessionRef& session, bool died);
  void decide_requests(const Session& session);
  void reap(const Session& session, bool died);
  std::vector<ObjectRef> used_by(const Session& session);
  void end_objects_of(const Session& session);
  void forget_session(const SessionRef& session);
  void forget_later(const SessionRef& session, int64_t delay_ns);
  void tick();
  void slow_tick();
  void sweep_abandoned();
  bool at_work_on(uint64_t object_id) const;
  void serve_waiting();
  void detect_if_told();
  void detect_soon();
  void detect_if_due();
  void detect_all();
  // Queues that remote callers wait for.
  std::vector<std::shared_ptr<objects::Queue>> waiting_queues() const;
  uint64_t newest_token() const;

  Loop& loop_;
  local::Keeper& keeper_;
  config::Options options_;  // under registry_
  std::atomic<int64_t> message_lease_ns_{0};
  std::atomic<int64_t> session_lease_ns_{0};
  std::atomic<int64_t> handle_hold_ns_{0};
  std::atomic<int64_t> tick_ns_{0};
  std::atomic<uint64_t> sessions_max_{0};
  std::atomic<uint64_t> sessions_per_uid_max_{0};
  const int64_t started_ns_ = monotonic_ns();
  uint64_t incarnation_ = 0;
  std::shared_ptr<Segment> catalog_memory_;
  std::unique_ptr<Catalog> catalog_;
  MemoryGrants memory_;
  SessionTable sessions_;
  LockTable locks_;
  PipeTable pipes_;
  FamilyTable families_;
  RemoteWaiters remote_waiters_;
  DeadlockDetector deadlocks_{
      locks_,
      sessions_,
      remote_waiters_,
      {[this](uint32_t low) { return queue_by_object(low); }, [this] { return waiting_queues(); }},
      [this](uint32_t low) { return pipes_.by_object(low); }};
  std::atomic<bool> detection_due_{false};
  // Broker thread.
  std::vector<uint32_t> told_sessions_;  // as parties of the detector
  bool detect_all_due_ = false;
  int64_t detect_all_ns_ = 0, detect_all_took_ns_ = 0;
  TokenStore tokens_;
  int64_t next_token_look_ns_ = 0;
  SessionRef self_;
  SessionRef sessionless_;
  local::Fd doorbell_read_, doorbell_write_;
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> memory_max_{0};
  std::atomic<uint64_t> reaped_{0};
  std::atomic<uint64_t> inherited_{0};  // live sessions from before
  ObjectEvent object_event_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for work left in the loop
  int64_t next_slow_tick_ns_ = 0;
  std::vector<SessionRef> dead_at_start_;
  std::unordered_set<uint64_t> hung_up_;  // sessions without a connection; broker thread

  mutable std::mutex registry_;
  std::map<std::string, ObjectRef, std::less<>> names_;
  std::unordered_map<uint64_t, ObjectRef> objects_;
  std::unordered_map<uid_t, uint32_t> objects_per_uid_;

  std::mutex lost_mutex_;                                              // a leaf
  std::deque<std::pair<ResumeToken, std::vector<std::string>>> lost_;  // the latest last

  mutable std::mutex waiting_mutex_;  // beside Loop::mutex_: a leaf
  std::unordered_set<uint64_t> waiting_;
};

}  // namespace heddle::broker
