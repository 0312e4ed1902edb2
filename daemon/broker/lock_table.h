// Locks, semaphores, conditions, events and barriers: names, rights, segments, deaths.
//
// Many of them share a segment: those of one owner, group and mode, because whoever may map one may
// map all of it. A segment is made when the first of them is, and stays until the daemon stops or
// its last one is deleted.
//
// Orders that a restarted broker relies on: the segment is with the supervisor before a lock in it
// is in the catalog, and the lock is in the catalog before anybody hears of it. A line that is
// allotted but in no record is ended at the start.
//
// Threads: every method may be called from any thread; those under "broker thread" from that one.
// Lock order: mutex_ stands between Core::registry_ and objects::Lock::mutex_.
#pragma once

#include <heddle/result.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/memory_grants.h"
#include "daemon/broker/segment.h"
#include "daemon/broker/sessions.h"
#include "daemon/objects/lock.h"
#include "proto/local/keeper.h"

namespace heddle::broker {

class LockTable {
 public:
  LockTable(objects::Host& host, local::Keeper& keeper, SessionTable& sessions,
            MemoryGrants& memory)
      : host_(host), keeper_(keeper), sessions_(sessions), memory_(memory) {}

  // At start. `take` gives the kept descriptor of a segment, or none.
  void restore(Catalog& catalog, const std::function<local::Fd(uint64_t segment_id)>& take);

  // Created by use where the kind allows it (flags.create), else NOT_FOUND naming the command;
  // semaphores and barriers need a count for that. EXISTS_OTHER_OPTIONS names the field.
  Result<LockRef> open(const Caller& caller, ObjectKind kind, std::string_view name,
                       const LockOptions& options, std::string_view group, OpenFlags flags,
                       uint32_t per_uid_max);
  Result<LockRef> find(const Caller& caller, ObjectKind kind, std::string_view name, Need need);
  Status remove(const Caller& caller, ObjectKind kind, std::string_view name);
  // Those the caller may see, of one kind, in the order of their names, after `after`.
  std::vector<LockRef> list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                            std::string_view after, size_t n);
  size_t count() const;
  std::shared_ptr<objects::Lock> by_object(uint32_t object_id_low) const;
  std::vector<std::shared_ptr<objects::Lock>> waiting() const;
  // Of all locks that there are.
  uint64_t newest_token() const;

  // --- broker thread ---
  // The session ended; its number must not be alive any more. Objects that go with it go.
  void reap(const Session& session);
  void reap_all();
  // For a remote session that was lost: how long to keep what it holds; 0 = nothing to protect.
  int64_t delay_ns(const Session& session) const;
  // What it holds, for people: "lock ledger".
  std::vector<std::string> held_by(const Session& session) const;
  void keep_alive(uint16_t owner, bool on);
  void rescan();   // 20 times a second
  void serve();    // after the doorbell
  void set_waiting(uint64_t object_id, bool on);
  // One OPEN less; false when the session has no such lock open.
  bool close(uint64_t session_id, uint64_t object_id);

 private:
  struct Memory {
    uint64_t id = 0;
    Protection protection;
    std::shared_ptr<Segment> segment;
    MemoryCharge charge;
    shm::LockSegment locks;
    uint32_t used = 0;
  };
  struct Object {
    uint32_t slot = 0;
    LockEntry entry{};
    std::string name;
    std::shared_ptr<Memory> memory;
    std::shared_ptr<objects::Lock> lock;
    uint32_t attached = 0;
  };
  using ObjectRef = std::shared_ptr<Object>;
  using Key = std::pair<uint8_t, std::string>;

  // With mutex_ held.
  Result<ObjectRef> create(const Caller& caller, ObjectKind kind, const std::string& name,
                           const LockOptions& options, gid_t gid, uint32_t per_uid_max);
  Result<ObjectRef> create_in(const std::shared_ptr<Memory>& memory, const Caller& caller,
                              ObjectKind kind, const std::string& name,
                              const LockOptions& options);
  Result<std::shared_ptr<Memory>> make_memory(const Protection& protection);
  LockRef ref_to(const Caller& caller, const ObjectRef& object, bool created) const;
  void note_use(const Caller& caller, const ObjectRef& object, bool opens);
  void erase(const ObjectRef& object, std::vector<ObjectRef>* doomed);
  void adopt(Catalog& catalog, const std::shared_ptr<Memory>& memory, uint32_t slot,
             const LockEntry& entry);
  bool alive(uint16_t owner) const;
  static bool is_alive(void* table, uint16_t owner) {
    return static_cast<LockTable*>(table)->alive(owner);
  }
  // Outside the lock: ends the waits on what was deleted.
  void bury(const std::vector<ObjectRef>& doomed);

  objects::Host& host_;
  local::Keeper& keeper_;
  SessionTable& sessions_;
  MemoryGrants& memory_;
  Catalog* catalog_ = nullptr;

  mutable std::mutex mutex_;
  std::map<Key, ObjectRef> names_;
  std::unordered_map<uint64_t, ObjectRef> objects_;
  std::unordered_map<uint32_t, ObjectRef> by_low_id_;  // as journal lines name them
  std::unordered_map<uint64_t, std::shared_ptr<Memory>> memories_;
  std::unordered_map<uint64_t, std::unordered_map<uint64_t, uint32_t>> uses_;  // by session
  // By session: the segments whose words may name it. Closing an object does not let go of it.
  std::unordered_map<uint64_t, std::unordered_set<uint64_t>> touched_;
  std::unordered_map<uid_t, uint32_t> per_uid_;

  mutable std::mutex waiting_mutex_;  // a leaf
  std::unordered_set<uint64_t> waiting_;
  std::unordered_set<uint16_t> kept_alive_;
};

// Options over the defaults of the kind; INVALID_ARGUMENT names the field, limit and value.
Result<LockOptions> complete_lock(ObjectKind kind, const LockOptions& asked);
Status check_same_lock(const LockOptions& in_force, const LockOptions& asked,
                       const std::string& label);
const char* noun_of(ObjectKind kind);
const char* lock_kind_name(shm::LockKind kind);

}  // namespace heddle::broker
