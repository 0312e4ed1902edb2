// Options and plain data of locks, semaphores, conditions, events, barriers and elections; made for
// designated initialisers, like options.h:
//   client.lock("ledger", {.kind = LockKind::kRw, .on_owner_death = OwnerDeath::kPoison});
// An optional left empty means "the default" when the object is made and "whatever it has" when it
// is opened; one that is given must agree: EXISTS_OTHER_OPTIONS.
#ifndef HEDDLE_LOCK_OPTIONS_H_
#define HEDDLE_LOCK_OPTIONS_H_

#include <heddle/options.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace heddle {

// The kinds of object here; each has a name space of its own. Elections are locks.
enum class SyncKind : std::uint8_t { kLock, kSemaphore, kCondition, kEvent, kBarrier };

enum class LockKind : std::uint8_t {
  kMutex,  // One holder, not reentrant.
  kRlock,  // One holder, who may acquire it again and must release it as often.
  kRw,     // Any number of shared holders, or one exclusive, or one for update beside shared ones.
};

enum class LockMode : std::uint8_t {
  kExclusive,
  kShared,  // kRw only, as the next.
  kUpdate,  // Reads beside shared holders, and alone may convert to kExclusive without a deadlock.
};

// What the next owner is told when an owner died while it held the lock: Grant::abandoned, once;
// nothing; or it does not become the owner: PEER_DIED for everybody until repair().
enum class OwnerDeath : std::uint8_t { kFlag, kSilent, kPoison };

// kBarging: whoever comes first takes it, and who has waited for 1 ms gets it handed over.
// kStrict: in the order of arrival; slower where many compete.
enum class Fairness : std::uint8_t { kBarging, kStrict };

// What opening does with a name that nobody has made, or that is there already.
enum class Presence : std::uint8_t {
  kAny,      // Makes it when it is missing.
  kMust,     // NOT_FOUND when it is missing.
  kMustNot,  // EXISTS_OTHER_OPTIONS when it is there.
};

struct LockOptions {
  std::optional<LockKind> kind = {};              // kMutex.
  std::optional<OwnerDeath> on_owner_death = {};  // kFlag.
  std::optional<Fairness> fair = {};              // kBarging.
  // Remote holders: for how long a lock that was lost with its session stays locked against the
  // late writer; 15 s. Holders on this machine are known to be dead, so nothing is waited for.
  std::optional<std::chrono::milliseconds> lock_delay = {};
  std::optional<Lifetime> lifetime = {};   // kKept.
  std::optional<std::uint32_t> mode = {};  // Permission bits: r shows, w acquires; 0600.
  std::string group = {};                  // Owning group; empty: the creator's primary group.
  Presence presence = Presence::kAny;
};

struct SemaphoreOptions {
  // Given, it is made when it is missing; left out, it must be there.
  std::optional<std::uint32_t> permits = {};      // At first; of an owned one also at most.
  // false: permits are owned, those of a dead holder come back, and a release of what was not
  // acquired is refused. true: a bare count that anybody may raise and take from.
  std::optional<bool> counting = {};
  // Counting: a release beyond is refused; 0 = none.
  std::optional<std::uint32_t> permits_max = {};
  std::optional<Lifetime> lifetime = {};
  std::optional<std::uint32_t> mode = {};
  std::string group = {};
  Presence presence = Presence::kAny;
};

struct BarrierOptions {
  std::optional<std::uint32_t> parties = {};  // Given, it is made when it is missing.
  std::optional<Lifetime> lifetime = {};
  std::optional<std::uint32_t> mode = {};
  std::string group = {};
  Presence presence = Presence::kAny;
};

// Of conditions and events.
struct SyncOptions {
  std::optional<Lifetime> lifetime = {};
  std::optional<std::uint32_t> mode = {};
  std::string group = {};
  Presence presence = Presence::kAny;
};

struct AcquireOptions {
  LockMode mode = LockMode::kExclusive;
  // Empty: waits without end. Zero: does not wait.
  std::optional<std::chrono::nanoseconds> timeout = {};
  // When a circle of waits has to be broken, the wait with the lowest priority gives way.
  std::int32_t priority = 0;
  // gRPC plane: a call that is repeated with the same id after a lost reply gets the same grant.
  // Empty: the library makes one. Not looked at on the shared-memory plane: no reply can be lost.
  std::string request_id = {};
};

struct Grant {
  // Fencing token: one more with every exclusive grant of this lock, also over delete, re-create
  // and restart. Shared grants carry the token of the last exclusive one.
  std::uint64_t token = 0;
  // The previous owner died while it held this: look at what the lock guards. Told once.
  bool abandoned = false;
  // With `abandoned`: who it was. The pid only where the plane knows it at once; Lock::info and
  // Client::sessions know more.
  std::uint16_t previous_session = 0;
  std::uint16_t previous_thread = 0;
  std::int32_t previous_pid = 0;
};

// One who holds something, or waits for it.
struct LockParty {
  std::uint16_t session = 0;  // SessionInfo::owner.
  std::uint16_t thread = 0;  // Line in the session page; of remote ones a number of their own.
  std::int32_t pid = 0;      // 0 where it is not known.
  std::uint32_t uid = 0;
  std::string command;
  LockMode mode = LockMode::kExclusive;
  bool waits = false;
  std::chrono::milliseconds since{-1};  // For how long; negative: not known.
};

struct LockInfo {
  SyncKind kind = SyncKind::kLock;
  LockKind lock_kind = LockKind::kMutex;  // SyncKind::kLock.
  std::string name;
  std::uint64_t object_id = 0;
  std::uint32_t owner_uid = 0;
  std::uint32_t owner_gid = 0;
  std::uint32_t mode = 0;
  Lifetime lifetime = Lifetime::kKept;
  OwnerDeath on_owner_death = OwnerDeath::kFlag;
  Fairness fair = Fairness::kBarging;
  std::chrono::milliseconds lock_delay{};
  bool counting = false;         // Semaphores.
  std::uint32_t attached = 0;    // Sessions that have it open.
  std::uint64_t token = 0;       // Of the last grant.
  std::uint32_t limit = 0;       // Permits, bound of a counting semaphore, parties.
  std::uint32_t free = 0;        // Permits.
  std::uint32_t arrived = 0;     // At a barrier.
  bool set = false;              // Event.
  bool broken = false;           // Barrier.
  bool poisoned = false;
  bool abandoned = false;        // The next owner will be told of a death.
  std::vector<LockParty> holders;
  std::vector<LockParty> waiters;
};

// What the broker keeps about waits, as JSON text.
enum class LockReport : std::uint8_t {
  kDeadlocks,  // The last 100 circles: who waited for what, held by whom, and who gave way.
  kGraph,      // Who waits for whom now.
  kOrder,      // Pairs of locks that have been taken in both orders.
};

}  // namespace heddle

#endif  // HEDDLE_LOCK_OPTIONS_H_
