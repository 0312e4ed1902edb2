// The catalog: what the broker knows for certain and what its next incarnation takes over.
// Layout and crash story: catalog_layout.h.
#pragma once

#include <heddle/result.h>
#include <heddle/status.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/broker/catalog_layout.h"
#include "daemon/objects/host.h"

namespace heddle::broker {

struct CatalogSizes {
  uint32_t objects_max = 65'536;
  uint32_t sessions_max = 65'536;
  uint32_t requests_max = 16'384;
  uint32_t locks_max = 262'144;
  uint32_t fences_max = 65'536;
};

// Threads: every method may be called from any thread. None blocks. `base` must stay mapped.
class Catalog {
 public:
  static uint64_t bytes(const CatalogSizes& sizes);
  // Fresh zeroed memory becomes an empty catalog; the magic is stored last.
  static void format(void* base, const CatalogSizes& sizes);
  // CORRUPT, naming what was found, when magic, version or sizes do not fit. Repairs what a
  // killed writer left: of two records of one object the older goes.
  static Result<std::unique_ptr<Catalog>> attach(void* base, uint64_t bytes);

  uint64_t begin_incarnation();  // its number, from 1
  uint64_t new_object_id();      // never given twice
  // Ids that are in use elsewhere are never given again.
  void reserve_object_id(uint64_t id);

  // Slots name records until the next update of that object. QUOTA when the catalog is full.
  Result<uint32_t> add_object(const ObjectEntry& entry, const ObjectGrant& grant = {});
  Result<uint32_t> update_object(uint32_t slot, const ObjectEntry& entry);
  void set_object_state(uint32_t slot, ObjectState state);
  void remove_object(uint32_t slot);
  ObjectGrant grant_of(uint32_t slot) const;
  void set_grant(uint32_t slot, const ObjectGrant& grant);
  using EachObject = std::function<void(uint32_t slot, ObjectState, const ObjectEntry&)>;
  void each_object(const EachObject& each) const;

  // Locks. A record is filled, then committed; a deletion is one store.
  Result<uint32_t> add_lock(const LockEntry& entry);
  void remove_lock(uint32_t slot);
  using EachLock = std::function<void(uint32_t slot, const LockEntry&)>;
  void each_lock(const EachLock& each) const;
  // Above every token that was given for a lock that is no more.
  uint64_t token_high_water() const { return header_->token_high_water.load(); }
  void raise_token_high_water(uint64_t token);

  // Fences. The newest token of `lock` that was ever shown for the object, `token` included. QUOTA
  // when the object, or the daemon, knows too many locks.
  Result<uint64_t> raise_fence(uint64_t object_id, std::string_view lock, uint64_t token);
  void remove_fences(uint64_t object_id);
  // At start: those of objects that are no more.
  void keep_fences_of(const std::function<bool(uint64_t object_id)>& there);

  // The generation that the next session with this number must use.
  uint32_t next_generation(uint16_t owner);
  void add_session(uint16_t owner, uint32_t generation, const SessionEntry& entry);
  // `delay_ends_ns` (CLOCK_MONOTONIC): until then its locks stay its own; 0 = no such time.
  void set_session_reaping(uint16_t owner, int64_t delay_ends_ns = 0);
  // What is left of that delay; 0 = nothing.
  int64_t session_delay_left_ns(uint16_t owner, int64_t now_ns) const;
  void remove_session(uint16_t owner);
  using EachSession =
      std::function<void(uint16_t owner, SessionState, uint32_t generation, const SessionEntry&)>;
  void each_session(const EachSession& each) const;

  // A put of `count` messages that is to happen once. In state kStarted it is another caller's;
  // in state kDone nothing is left to do; else it is now recorded as started, and those in `ids`
  // are in already.
  struct Request {
    RequestState state = RequestState::kFree;
    uint64_t number = 0;
    std::vector<uint64_t> ids;
  };
  Request begin_request(uint64_t object_id, uint32_t uid, std::string_view id, uint32_t count);
  // Its next message is in, as `id`. Again = no change.
  void note_request(uint64_t number, uint64_t id);
  // It is no longer under way: all is in (`done`), or what was noted; nothing: it is forgotten.
  void end_request(uint64_t number, bool done);
  // The object that a request under way puts into; 0 when it is not under way.
  uint64_t request_object(uint64_t number) const;
  // At start: what was under way ended with the earlier broker.
  void end_all_requests();

  // The like for what is held of locks, see objects::HoldChange: noted until it is settled; one
  // that was made, and has a request, stays known.
  uint64_t begin_change(const objects::HoldChange& change);
  void settle_change(uint64_t number, bool done);
  // Made before this incarnation; it is forgotten.
  bool take_change(uint64_t object_id, uint64_t request);
  // At start: what was open when the earlier broker died, to be settled.
  std::vector<std::pair<uint64_t, objects::HoldChange>> open_changes() const;

  const CatalogHeader& header() const { return *header_; }

 private:
  explicit Catalog(void* base);
  void repair_objects();
  void index_requests();
  void index_locks();
  void index_fences();
  void forget_fence(uint32_t slot);
  void fill_object(uint32_t slot, const ObjectEntry& entry, const ObjectGrant& grant,
                   uint64_t version);
  void store_grant(uint32_t slot, const ObjectGrant& grant);
  static std::string request_key(const RequestEntry& entry);
  void forget_request(uint32_t slot);
  // A record of its own for a key that has none.
  RequestRecord& new_request(const RequestEntry& entry, uint64_t number);
  uint32_t request_slot(uint64_t number) const;
  template <class Visit>  // void (uint32_t slot): every record that was ever used
  void each_request_slot(Visit visit) const;
  // The record of a request under way; null when it is none.
  RequestRecord* started_request(uint64_t number) const;
  void end_request_locked(RequestRecord& record, bool done);

  mutable std::mutex mutex_;
  CatalogHeader* header_;
  ObjectRecord* objects_;
  SessionRecord* sessions_;
  RequestRecord* requests_;
  LockRecord* locks_;
  FenceRecord* fences_;
  std::vector<uint32_t> free_objects_;
  std::vector<uint32_t> free_locks_;   // below locks_used
  std::vector<uint32_t> free_fences_;  // below fences_used
  // By object: its locks by name, each with its slot.
  std::unordered_map<uint64_t, std::unordered_map<std::string, uint32_t>> fence_slots_;
  std::unordered_map<std::string, uint32_t> request_slots_;
  uint64_t inherited_changes_ = 0;  // up to this one they are of earlier incarnations
};

constexpr uint64_t commit_word(uint64_t number, uint8_t state) { return number << 8 | state; }
constexpr uint64_t commit_number(uint64_t word) { return word >> 8; }
constexpr uint8_t commit_state(uint64_t word) { return static_cast<uint8_t>(word); }

}  // namespace heddle::broker
