// Objects of the families (family.h): names, rights, quotas, memory, lifetimes, deaths. Never made
// by use: NOT_FOUND names the command that makes one.
//
// Orders that a restarted broker relies on: memory is with the supervisor before it is in the
// catalog, and in the catalog before anybody hears of it.
//
// Threads: every method may be called from any thread.
// Lock order: mutex_ stands before Core::registry_, because `allowed` takes that one.
#pragma once

#include <heddle/result.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog.h"
#include "daemon/broker/family.h"
#include "daemon/broker/rights.h"
#include "daemon/broker/sessions.h"
#include "proto/local/keeper.h"

namespace heddle::broker {

class FamilyTable {
 public:
  // `allowed` says whether anything new may be made by somebody who has `owned` of these.
  // `inherited`: sessions from before a restart are alive, of which it is not known what they have
  // open.
  struct Around {
    objects::Host& host;
    local::Keeper& keeper;
    MemoryGrants& memory;
    std::function<Status(const Caller&, uint32_t owned)> allowed;
    std::function<int64_t()> hold_ns;
    std::function<bool()> inherited;
    // A live session had it open; not with mutex_ held.
    std::function<void(const std::vector<uint64_t>& sessions, uint64_t object_id,
                       local::EventType event)>
        tell;
  };
  explicit FamilyTable(Around around) : around_(std::move(around)) {}

  static const Family* family_of(uint8_t kind);  // null: not one of these

  // At start, a record of one of the families.
  void adopt(Catalog& catalog, uint32_t slot, ObjectState state, const ObjectEntry& entry,
             const std::function<local::Fd(uint64_t id)>& take);

  // As Broker::open_member and so on.
  Result<MemberRef> open(Catalog& catalog, const Caller& caller, ObjectKind kind,
                         std::string_view name, const MemberOptions& options,
                         std::string_view group, OpenFlags flags);
  Result<MemberRef> find(const Caller& caller, ObjectKind kind, std::string_view name, Need need);
  Status remove(Catalog& catalog, const Caller& caller, ObjectKind kind, std::string_view name);
  std::vector<MemberInfo> list(const Caller& caller, ObjectKind kind, std::string_view prefix,
                               std::string_view after, size_t n) const;
  Result<MemberInfo> describe(const Caller& caller, ObjectKind kind, std::string_view name) const;

  // May the caller write it? Its label; NOT_FOUND else.
  Result<std::string> writable(const Caller& caller, uint64_t object_id) const;
  // One OPEN less; false when the session has no such object open.
  bool close(Catalog& catalog, uint64_t session_id, uint64_t object_id);
  void reap(Catalog& catalog, const Session& session);
  void tick();                       // 20 times a second
  void slow_tick(Catalog& catalog);  // once a second
  bool has(uint64_t object_id) const;
  uint32_t owned_by(uid_t uid) const;  // takes a leaf only
  uint32_t count() const;

 private:
  struct Object {
    uint64_t id = 0;
    uint32_t slot = 0;
    ObjectEntry entry{};
    std::string name;
    const Family* family = nullptr;
    std::shared_ptr<Segment> segment;  // empty when the memory did not come back
    std::shared_ptr<objects::Member> member;
    MemoryCharge charge;                              // of one that is not under MemoryGrants
    std::unordered_map<uint64_t, uint32_t> attached;  // by session
    int64_t held_until_ns = 0;
    bool told_quarantined = false;

    std::string label() const { return std::string(family->noun()) + " " + name; }
    bool damaged() const { return !member || member->quarantined(); }
  };
  using ObjectRef = std::shared_ptr<Object>;
  using Key = std::pair<uint8_t, std::string>;

  // With mutex_ held.
  ObjectRef at(ObjectKind kind, const std::string& name) const;
  Result<ObjectRef> visible(const Caller& caller, ObjectKind kind, std::string_view name,
                            uint8_t rights) const;
  Result<ObjectRef> reach(Catalog& catalog, const Caller& caller, const Family& family,
                          std::string_view name, const MemberOptions& options,
                          std::string_view group, OpenFlags flags, bool* created);
  Result<ObjectRef> create(Catalog& catalog, const Caller& caller, const Family& family,
                           const std::string& name, const MemberOptions& options,
                           std::string_view group);
  Status back(Catalog& catalog, const ObjectRef& object, const MemberOptions& options);
  Result<MemberRef> ref_to(const Caller& caller, const ObjectRef& object, bool created) const;
  MemberInfo info_of(const Caller& caller, const Object& object) const;
  void note_use(const Caller& caller, Object& object);
  bool abandoned(const Object& object) const;
  void erase(Catalog& catalog, const ObjectRef& object);
  void count_owned(uid_t uid, int more);
  // Without it.
  void bury(Catalog& catalog, const std::vector<ObjectRef>& doomed);

  const Around around_;
  mutable std::mutex mutex_;
  std::map<Key, ObjectRef> names_;
  std::unordered_map<uint64_t, ObjectRef> objects_;

  mutable std::mutex leaf_mutex_;
  std::unordered_map<uid_t, uint32_t> owned_;
};

}  // namespace heddle::broker
