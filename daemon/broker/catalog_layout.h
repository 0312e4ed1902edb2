// Layout of the catalog: the memory of the broker that outlives it. One memfd, kept by the
// supervisor, mapped by one broker at a time and never given to a client.
//
//   offset        what
//   0             CatalogHeader              4 KiB
//   objects_at    ObjectRecord[objects_max]
//   sessions_at   SessionRecord[sessions_max]   indexed by owner number
//   requests_at   RequestRecord[kChangesMax]    a ring, for what changes in locks
//                 RequestRecord[requests_max]   a ring, for puts
//   locks_at      LockRecord[locks_max]         locks, semaphores, conditions, events, barriers
//   fences_at     FenceRecord[fences_max]       which tokens the fenced puts of a queue carried
//
// Crash story. Every record begins with its commit word; 0 = the rest counts for nothing.
//   write   fill a record whose commit word is 0, then store the word: killed before that store,
//           the record is still free and its half-written bytes are ignored and overwritten.
//   change  one field of one word in place; or a second record of the same object with a higher
//           version, then 0 into the older one: killed between, two records are found, and the
//           higher version wins.
//   remove  0 into the commit word.
// The process may be killed at any instruction; the machine's power may not fail: memory is gone
// then anyway. So the order of the stores is all that matters.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/local/attach.h"

namespace heddle::broker {

inline constexpr uint64_t kCatalogMagic = 0x31544143444c4448;  // "HDLDCAT1"
inline constexpr uint32_t kCatalogVersion = 5;

struct CatalogHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t objects_max;
  uint32_t sessions_max;
  uint32_t requests_max;
  uint64_t bytes;
  std::atomic<uint64_t> next_object_id;
  std::atomic<uint64_t> incarnation;       // of the broker, counts its starts
  std::atomic<uint64_t> token_high_water;  // no lock that was ever made had a later one
  std::atomic<uint64_t> next_request;
  std::atomic<uint64_t> owners_used;  // owner numbers below this were ever issued
  uint32_t locks_max;
  std::atomic<uint32_t> locks_used;  // records below this were ever used
  uint32_t fences_max;
  std::atomic<uint32_t> fences_used;  // likewise
  std::atomic<uint64_t> next_change;
  uint8_t reserved[4096 - 96];
};
static_assert(sizeof(CatalogHeader) == 4096 && offsetof(CatalogHeader, next_object_id) == 32);

// commit word of objects: version << 8 | state; of sessions: generation << 8 | state
enum class ObjectState : uint8_t { kFree = 0, kLive = 1, kDeleting = 2, kQuarantined = 3 };
enum class SessionState : uint8_t { kFree = 0, kLive = 1, kReaping = 2 };
enum class SessionKind : uint8_t { kLocal = 0, kRemote = 1, kBroker = 2, kSessionless = 3 };

struct ObjectEntry {
  uint64_t object_id;
  uint64_t bytes;            // of the segment
  uint64_t creator_session;  // for Lifetime::kSession
  uint64_t token_high;       // reserved
  union {
    local::QueueOptionsWire options;
    local::PipeOptionsWire pipe;  // of a pipe, and of each of its connections (role, connection)
    local::MemberOptionsWire member;  // of an object of a family (family.h)
  };
  uint32_t uid;
  uint32_t gid;
  uint8_t kind;  // local::ObjectKind
  uint8_t reserved[7];
  char name[local::kAttachNameBytes];
};
static_assert(sizeof(ObjectEntry) == 344);

// How much of its memory a queue or a dict was granted, see memory_grants.h.
struct ObjectGrant {
  uint32_t extents = 0;
  uint32_t extents_ever = 0;  // the most at any time
  uint32_t segments = 0;      // of slots; never less again
  friend bool operator==(const ObjectGrant&, const ObjectGrant&) = default;
};

struct alignas(64) ObjectRecord {
  std::atomic<uint64_t> commit;
  ObjectEntry entry;
  std::atomic<uint64_t> extents;   // granted | ever << 32
  std::atomic<uint32_t> segments;  // granted; killed between the two, each counts as it is
};
static_assert(sizeof(ObjectRecord) == 384);

struct SessionEntry {
  uint64_t session_id;  // generation << 16 | owner
  int64_t lease_ns;     // remote
  int32_t pid;          // local
  uint32_t uid;
  uint32_t gid;
  uint8_t kind;     // SessionKind
  uint8_t of_call;  // 1: ends with a call, so also with the broker
  uint8_t reserved[2];
  uint8_t resume_token[16];
  char name[64];
};
static_assert(sizeof(SessionEntry) == 112);

struct alignas(64) SessionRecord {
  std::atomic<uint64_t> commit;
  std::atomic<uint32_t> generation;  // of the last session with this number; never goes back
  // Of a remote session that lapsed with locks to protect: 1 | CLOCK_MONOTONIC ms at which they are
  // free, modulo 2^32; 0: at once. Stored before the state says kReaping.
  std::atomic<uint32_t> delay_ends_ms;
  SessionEntry entry;
};
static_assert(sizeof(SessionRecord) == 128);

// A put that carries a request id.
//   kStarted   under way in the broker of now
//   kPartly    ended, or cut off by the broker's death, with `ids` in: asked again, it goes on
//              behind them
//   kDone      all in
// Each id is noted right after its message was published, and until then the journal line of the
// thread that publishes names the request (JournalLine::request): killed in between, the line and
// the queue's words tell the next incarnation whether that message is in.
// A ring of its own has what is changing, or was changed, in what remote callers hold of locks:
// `id` is the number of the request, uid UINT32_MAX, ids[0] = before << 32 | n, ids[1] =
// mode << 33 | release << 32 | holder; see objects::HoldChange. kStarted: maybe made; kDone: made.
// Busy locks must not make puts forgotten. Its numbers have kChangeBit.
inline constexpr uint32_t kChangesMax = 4'096;
inline constexpr uint64_t kChangeBit = uint64_t{1} << 55;  // a commit word has 56 bits for a number
enum class RequestState : uint8_t { kFree = 0, kStarted = 1, kDone = 2, kPartly = 3 };
inline constexpr uint32_t kRequestIdBytesMax = 64;
inline constexpr uint32_t kRequestMessagesMax = 32;

struct RequestEntry {
  uint64_t object_id;
  uint32_t uid;
  uint8_t id_bytes;
  uint8_t reserved[3];
  char id[kRequestIdBytesMax];
};
static_assert(sizeof(RequestEntry) == 80);

struct alignas(64) RequestRecord {
  std::atomic<uint64_t> commit;  // number << 8 | RequestState
  RequestEntry entry;
  std::atomic<uint32_t> ids_count;  // ids [0, ids_count) count
  uint32_t reserved0;
  std::atomic<uint64_t> ids[kRequestMessagesMax];
  uint8_t reserved1[32];
};
static_assert(sizeof(RequestRecord) == 384);

// One line of a lock segment. Small, for there may be 100,000 of them.
struct LockEntry {
  uint64_t object_id;
  uint64_t creator_session;        // for Lifetime::kSession
  local::LockOptionsWire options;  // line, generation and segment_id included
  uint32_t uid;
  uint32_t gid;
  uint8_t kind;  // local::ObjectKind
  uint8_t reserved[7];
  char name[local::kAttachNameBytes];
};
static_assert(sizeof(LockEntry) == 328);

struct alignas(64) LockRecord {
  std::atomic<uint64_t> commit;  // 1 << 8 | ObjectState
  LockEntry entry;
};
static_assert(sizeof(LockRecord) == 384);

// The newest token of one lock that the fenced puts into one queue carried. Raised in place before
// the put is published: killed in between, the token is known and the message is not there.
struct FenceEntry {
  uint64_t object_id;                  // of the queue
  char lock[local::kAttachNameBytes];  // full name: tokens go on growing when it is made anew
};
static_assert(sizeof(FenceEntry) == 264);

struct alignas(64) FenceRecord {
  std::atomic<uint64_t> commit;  // 1 << 8 | ObjectState
  std::atomic<uint64_t> token;
  FenceEntry entry;
};
static_assert(sizeof(FenceRecord) == 320);
inline constexpr uint32_t kFencesPerObjectMax = 4096;

}  // namespace heddle::broker
