// The attach protocol: what a local client and the broker say on `local.sock`.
//
// One SEQPACKET packet = AttachHeader + one fixed-width struct + optional trailing bytes (text).
// Both ends run on one machine, so integers are in host order. A request carries a `sequence` of
// the client's choice; the answer repeats it. Answers come in the order of the requests. An event
// has sequence 0 and may come between any two answers.
//
//   client                            broker
//   HELLO    Hello                    WELCOME  Welcome   fds: session page, doorbell (write end)
//   OPEN     Open                     OPENED   Opened    fds: the object's memfd
//   CLOSE    Close                    DONE     Done
//   DELETE   Delete                   DONE     Done
//   CALL     Call   + JSON text       RETURN   Return + JSON text
//   PUT_FENCED PutFenced + bytes      PUT_DONE PutDone   the only answer that may be overtaken
//   LEND     Lend     fd: a bundle    LENT     Lent
//   TAKE_LENT TakeLent                GIVEN    Lent      fd: the bundle
//   GROW     Grow                     GROWN    Grow
//   any request                       FAILED   Failed + message text
//   (not asked for)                   EVENT    Event
//
// Rules
//   - HELLO is the first packet and comes once; anything else before it cuts the connection.
//   - A packet that is too short, too long, of an unknown type, or whose `length` does not match
//     is answered by FAILED{INVALID_ARGUMENT}; wrong magic cuts the connection. Reserved fields and
//     unknown bits must be 0. Text fields in structs end with NUL and are padded with NUL.
//   - Only the broker sends file descriptors; a client only with LEND, and exactly one. Whoever
//     receives descriptors that it did not expect, or with a packet that it refuses, closes them
//     all. Received with MSG_CMSG_CLOEXEC.
//   - The broker never waits for a client: one that does not read its answers is cut.
//   - Losing the connection does not end the session (the broker may have been restarted, the
//     process may have closed all its descriptors): the session ends with the process, or by
//     BYE. After a lost connection the client connects again and says HELLO with
//     `resume_session_id`; it keeps its owner number, page and attached objects, and opens again
//     the objects that it wants events for. SESSION_LOST means: start a new session.
//   - A client that is turned away gets FAILED with sequence 0 as soon as it has connected, or as
//   the
//     answer to HELLO. DAEMON_UNREACHABLE there: this broker takes no new clients any more, and
//     asking it again is of no use.
//   - Versions: the broker answers with the highest version both know, else
//     FAILED{VERSION_MISMATCH, limit = its highest, actual = the client's highest}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace heddle::local {

inline constexpr uint32_t kAttachMagic = 0x31445448;  // "HTD1"
inline constexpr uint16_t kAttachVersionMin = 1;
inline constexpr uint16_t kAttachVersionMax = 1;
inline constexpr uint32_t kAttachPacketBytesMax = 64 * 1024;  // header, struct and text together
inline constexpr uint32_t kAttachFdsMax = 4;                  // in one packet
inline constexpr uint32_t kAttachNameBytes = 256;             // with the final NUL

enum class AttachType : uint16_t {
  kHello = 1,
  kWelcome = 2,
  kOpen = 3,
  kOpened = 4,
  kClose = 5,
  kDelete = 6,
  kDone = 7,
  kCall = 8,
  kReturn = 9,
  kFailed = 10,
  kEvent = 11,
  kBye = 12,  // no body; the session ends in an orderly way, answered by DONE
  kPutFenced = 13,
  kPutDone = 14,
  kLend = 15,
  kLent = 16,
  kTakeLent = 17,
  kGiven = 18,
  kGrow = 19,
  kGrown = 20,
};

// 6 belongs to a kind that is not there yet: pool.
enum class ObjectKind : uint8_t {
  kQueue = 1,
  kPipe = 2,
  kDict = 3,
  kBlock = 4,
  kList = 5,
  kLock = 7,  // mutex, rlock, rw
  kSemaphore = 8,
  kCondition = 9,
  kEvent = 10,
  kBarrier = 11,
};

struct AttachHeader {
  uint32_t magic;
  uint16_t version;  // 1 in HELLO; afterwards the agreed version
  uint16_t type;     // AttachType
  uint32_t length;   // of the whole packet, this header included
  uint32_t sequence;
};
static_assert(sizeof(AttachHeader) == 16 && std::is_trivially_copyable_v<AttachHeader>);

struct Hello {
  uint16_t version_min;
  uint16_t version_max;
  uint32_t resume_generation;  // with resume_session_id
  uint64_t resume_session_id;  // 0: a new session
  char name[64];               // of the program, for people; may be empty
};
static_assert(sizeof(Hello) == 80 && offsetof(Hello, name) == 16);

struct Welcome {
  uint16_t version;
  uint16_t owner;       // this session's 16-bit number in shared words
  uint32_t generation;  // of that number
  uint64_t session_id;
  uint64_t page_bytes;  // of the session page
  uint32_t thread_lines;
  uint32_t resumed;      // 1: the session was found again
  uint64_t incarnation;  // of the broker; changes when it was restarted
};
static_assert(sizeof(Welcome) == 40 && offsetof(Welcome, session_id) == 8);

// Open.flags
inline constexpr uint8_t kOpenCreate = 1;     // create when it is missing
inline constexpr uint8_t kOpenExclusive = 2;  // with kOpenCreate: fail when it is there
// with kOpenCreate: the broker chooses anon/<id>; lifetime attached unless given
inline constexpr uint8_t kOpenAnonymous = 4;

// QueueOptionsWire.given; a bit not given takes the default at creation and matches anything
inline constexpr uint32_t kGivenMaxLen = 1u << 0;
inline constexpr uint32_t kGivenMaxLeases = 1u << 1;
inline constexpr uint32_t kGivenMaxBytes = 1u << 2;
inline constexpr uint32_t kGivenMaxMsgBytes = 1u << 3;
inline constexpr uint32_t kGivenMaxDeliveries = 1u << 4;
inline constexpr uint32_t kGivenOverflow = 1u << 5;
inline constexpr uint32_t kGivenEos = 1u << 6;
inline constexpr uint32_t kGivenOnProducerDeath = 1u << 7;
inline constexpr uint32_t kGivenLifetime = 1u << 8;
inline constexpr uint32_t kGivenMode = 1u << 9;
inline constexpr uint32_t kGivenGroup = 1u << 10;
inline constexpr uint32_t kGivenAll = (1u << 11) - 1;

enum class Lifetime : uint8_t { kKept = 0, kAttached = 1, kSession = 2 };

struct QueueOptionsWire {
  uint32_t given;
  uint32_t max_len;
  uint64_t max_bytes;
  uint64_t max_msg_bytes;
  uint32_t max_leases;
  uint32_t max_deliveries;    // 0: no limit
  uint8_t overflow;           // shm::Overflow
  uint8_t eos;                // shm::Eos
  uint8_t on_producer_death;  // shm::OnProducerDeath
  uint8_t lifetime;           // Lifetime
  uint32_t mode;              // 0600 style; bits 0666 only
};
static_assert(sizeof(QueueOptionsWire) == 40 && offsetof(QueueOptionsWire, overflow) == 32);

// LockOptionsWire.given
inline constexpr uint32_t kGivenLockKind = 1u << 0;
inline constexpr uint32_t kGivenPolicy = 1u << 1;
inline constexpr uint32_t kGivenFair = 1u << 2;
inline constexpr uint32_t kGivenCount = 1u << 3;
inline constexpr uint32_t kGivenCountMax = 1u << 4;
inline constexpr uint32_t kGivenLockDelay = 1u << 5;
// kGivenLifetime, kGivenMode and kGivenGroup as above.

// Everything that is a line of a lock segment. Many locks of one owner, group and mode share a
// segment; OPENED comes with its memfd each time, and `segment_id` tells whether it is mapped.
struct LockOptionsWire {
  uint32_t given;
  uint8_t lock_kind;       // shm::LockKind
  uint8_t policy;          // shm::DeathPolicy
  uint8_t fair;            // shm::Fairness
  uint8_t lifetime;        // Lifetime
  uint32_t mode;           // 0600 style
  uint32_t count;          // permits, first count, parties
  uint32_t count_max;      // bound of a counting semaphore; 0 = none
  uint32_t lock_delay_ms;  // a lost remote holder keeps it for so long
  uint32_t line;           // OPENED only: where it is
  uint32_t generation;     // OPENED only: of that line
  uint64_t segment_id;     // OPENED only
};
static_assert(sizeof(LockOptionsWire) == 40);

// PipeOptionsWire.given; kGivenMaxMsgBytes, kGivenLifetime, kGivenMode and kGivenGroup as above.
inline constexpr uint32_t kGivenPipeMode = 1u << 11;
inline constexpr uint32_t kGivenDuplex = 1u << 12;
inline constexpr uint32_t kGivenCapacity = 1u << 13;
inline constexpr uint32_t kGivenResumable = 1u << 14;

// What is opened of a pipe. All but kName give the memory of a connection; kName that of the hall
// (proto/shm/pipe_hall.h).
enum class PipeRole : uint8_t {
  kName = 0,
  kEnd = 1,      // end `side` of a connection of its two ends: one that still has it free or shares
                 // it, else a new one
  kConnect = 2,  // end a of a new connection that waits to be accepted; EMPTY: nobody listens
  kAccept = 3,   // end b of the oldest connection that waits; EMPTY: none does
  kListen = 4,   // as kName, and this session listens until it closes the pipe
  kAgain = 5,    // end `side` of that very connection, for a process that was forked
};

struct PipeOptionsWire {
  uint32_t given;
  uint8_t pipe_mode;  // shm::PipeMode
  uint8_t duplex;
  uint8_t resumable;
  uint8_t lifetime;   // Lifetime
  uint64_t capacity;  // of each ring; OPENED: rounded up to a power of two
  uint64_t max_msg_bytes;
  uint32_t mode;  // 0600 style
  uint8_t role;   // PipeRole
  uint8_t side;   // shm::PipeSide
  uint8_t reserved[2];
  // kAgain: which. kConnect and kAccept: a 32-bit number of the session's own, not 0; asked again
  // with the same one after a lost answer, it is the same connection. In the catalog: the pipe that
  // a connection belongs to.
  uint64_t connection;
};
static_assert(sizeof(PipeOptionsWire) == 40 && offsetof(PipeOptionsWire, connection) == 32);

// DictOptionsWire.given; kGivenMaxBytes, kGivenLifetime, kGivenMode and kGivenGroup as above.
inline constexpr uint32_t kGivenMaxEntries = 1u << 15;
inline constexpr uint32_t kGivenMaxValueBytes = 1u << 16;
inline constexpr uint32_t kGivenMaxKeyBytes = 1u << 17;
inline constexpr uint32_t kGivenHistory = 1u << 18;
inline constexpr uint32_t kGivenKeepPrevious = 1u << 19;
inline constexpr uint32_t kGivenDefaultTtl = 1u << 20;
inline constexpr uint32_t kGivenEviction = 1u << 21;
inline constexpr uint32_t kGivenTtlOnOverwrite = 1u << 22;

struct DictOptionsWire {
  uint32_t given;
  uint16_t mode;     // 0600 style
  uint8_t lifetime;  // Lifetime
  uint8_t eviction;  // at max_entries or max_bytes: shm::DictAtLimit
  uint64_t max_entries;
  uint64_t max_bytes;  // of keys and values
  uint32_t max_value_bytes;
  uint32_t history;         // changes that can be read back
  uint32_t default_ttl_ms;  // 0: entries stay
  uint16_t max_key_bytes;
  uint8_t keep_previous;     // 1: a change tells what it replaced
  uint8_t ttl_on_overwrite;  // shm::DictOnOverwrite
};
static_assert(sizeof(DictOptionsWire) == 40 && offsetof(DictOptionsWire, max_entries) == 8);

// ListOptionsWire.given; kGivenMaxLen, kGivenMaxBytes, kGivenMaxValueBytes, kGivenLifetime,
// kGivenMode and kGivenGroup as above.
struct ListOptionsWire {
  uint32_t given;
  uint16_t mode;     // 0600 style
  uint8_t lifetime;  // Lifetime
  uint8_t reserved;
  uint64_t max_len;
  uint64_t max_bytes;  // of all values
  uint32_t max_value_bytes;
  uint32_t reserved2[3];
};
static_assert(sizeof(ListOptionsWire) == 40 && offsetof(ListOptionsWire, max_len) == 8);

// BlockOptionsWire.given; kGivenLifetime, kGivenMode and kGivenGroup as above.
inline constexpr uint32_t kGivenSize = 1u << 23;  // needed to create one

struct BlockOptionsWire {
  uint32_t given;
  uint16_t mode;     // 0600 style
  uint8_t lifetime;  // Lifetime
  uint8_t reserved;
  uint64_t size;  // bytes of the data
  uint64_t reserved2[3];
};
static_assert(sizeof(BlockOptionsWire) == 40 && offsetof(BlockOptionsWire, size) == 8);

// Objects that are one segment each: dicts, lists, blocks. All begin as this does.
struct MemberOptionsHead {
  uint32_t given;
  uint16_t mode;
  uint8_t lifetime;
};
union MemberOptionsWire {
  MemberOptionsHead head;
  DictOptionsWire dict;
  ListOptionsWire list;
  BlockOptionsWire block;
};
static_assert(sizeof(MemberOptionsWire) == 40);

struct Open {
  uint8_t kind;   // ObjectKind
  uint8_t flags;  // kOpen...
  uint8_t reserved[6];
  union {  // in force only with kGiven bits
    QueueOptionsWire options;
    LockOptionsWire lock;
    PipeOptionsWire pipe;
    MemberOptionsWire member;  // of a dict, list or block
  };
  char group[32];  // name or number; with kGivenGroup
  char name[kAttachNameBytes];
};
static_assert(sizeof(Open) == 336 && offsetof(Open, options) == 8 && offsetof(Open, name) == 80);

inline constexpr uint8_t kRightRead = 1;
inline constexpr uint8_t kRightWrite = 2;
inline constexpr uint8_t kRightOwner = 4;

struct Opened {
  uint64_t object_id;  // in CLOSE, events and the segment's header
  uint64_t bytes;      // of the memfd; map all of it
  uint8_t rights;      // kRight... of this caller
  uint8_t created;     // 1: this call created it
  uint8_t reserved[6];
  union {                      // as they are in force
    QueueOptionsWire options;  // given = kGivenAll
    LockOptionsWire lock;
    PipeOptionsWire pipe;  // role and side as they came about
    MemberOptionsWire member;
  };
  char name[kAttachNameBytes];  // full name (`~/` expanded, anonymous name filled in)
};
static_assert(sizeof(Opened) == 320 && offsetof(Opened, options) == 24);

struct Close {
  uint64_t object_id;
};
static_assert(sizeof(Close) == 8);

struct Delete {
  uint8_t kind;  // ObjectKind
  uint8_t reserved[7];
  char name[kAttachNameBytes];
};
static_assert(sizeof(Delete) == 264);

struct Done {
  uint64_t object_id;  // 0 where there is none
};
static_assert(sizeof(Done) == 8);

// Methods and their JSON arguments; lists come in pages that fit one packet.
//   kList      {"kind":"queue","prefix":"","page_size":100,"page_token":""}
//              -> {"objects":[{...}],"next_page_token":""}
//   kDescribe  {"kind":"queue","name":"x"} -> {name, kind, owner, group, mode, lifetime, options,
//              counts, attached, ...}
//   kSessions  {"page_size":100,"page_token":""} -> {"sessions":[{...}],"next_page_token":""}
//   kStats     {} -> {...}
//   kStatus    {} -> {broker_pid, supervisor_pid, version, incarnation, uptime_ms, ...}
//   kWho       {"kind":"queue","name":"x"}
//              -> {"holders":[{id, session, pid, uid, command, age_ms}]}
//   kLockDo    {"kind":"lock","name":"x","do":"inspect|force_release|repair|deadlocks|graph|order",
//              ...} -> {...}: what needs the broker, see daemon/server/attach_locks.cc
//   kShare     {"kind":"queue","name":"x"} -> {"name":full}: it counts as attached for a minute, so
//              that whoever is told the name has time to open it
//   kPipePeer  {"id":n,"side":0|1}: the caller uses that side of that connection of a pipe
//              -> {"users":[{owner, pid, uid, command, sending, receiving}]}: of the other side
enum class CallMethod : uint32_t {
  kList = 1,
  kDescribe = 2,
  kSessions = 3,
  kStats = 4,
  kStatus = 5,
  kWho = 6,
  kShare = 7,
  kLockDo = 8,
  kPipePeer = 9,
};

struct Call {
  uint32_t method;  // CallMethod
  uint32_t text_bytes;
};  // then JSON text
static_assert(sizeof(Call) == 8);

struct Return {
  uint32_t method;
  uint32_t text_bytes;
};  // then JSON text
static_assert(sizeof(Return) == 8);

struct Failed {
  uint16_t reason;  // heddle::Reason
  uint16_t code;    // heddle::Code
  uint32_t text_bytes;
  int64_t limit;
  int64_t actual;
  char object[kAttachNameBytes];
};  // then the message text
static_assert(sizeof(Failed) == 280 && offsetof(Failed, object) == 24);

// A put that the broker does for the client, because it must be refused if its fencing token is
// stale (daemon/objects/fence.h). A body that does not fit one packet comes in parts, each with
// this in front and answered by how many bytes are there; a part that does not follow on changes
// nothing but starts over with offset 0. The answer to the last one has the id, or is FAILED with
// the outcome. Asked again with the same number, also after a lost connection, it is the same put.
struct PutFenced {
  uint64_t object_id;  // of the queue or dict, as in OPENED
  uint64_t number;     // of the client's choice, other than those of its other puts
  uint64_t token;
  uint64_t body_bytes;  // of all parts
  uint64_t offset;      // of the part that follows this struct
  int64_t wait_ns;      // for room, at most 1 s; 0: do not wait
  uint8_t kind;         // of the body
  uint8_t object_kind;  // ObjectKind; 0 is a queue. A dict: the body is a DictFenced, key and value
  uint8_t reserved[6];
  char name[kAttachNameBytes];  // of the queue or dict
  char lock[kAttachNameBytes];
};
static_assert(sizeof(PutFenced) == 568);

// A write to a dict that goes with PUT_FENCED. PUT_DONE: id is the revision it got, or, if it was
// refused by its own conditions, kDictRefused | outcome << 48 | what the entry has.
inline constexpr uint64_t kDictRefused = uint64_t{1} << 63;
struct DictFenced {
  uint64_t if_version;  // UINT64_MAX: any
  int64_t expires_ms;
  uint32_t key_bytes;
  uint8_t kind;        // shm::DictKind
  uint8_t conditions;  // 1: if_absent, 2: if_present
  uint8_t expiry;      // shm::DictExpiry
  uint8_t owned;
};
static_assert(sizeof(DictFenced) == 24);

struct PutDone {
  uint64_t id;           // of the message; 0: not all parts are there
  uint64_t bytes_there;  // the next part starts here
};
static_assert(sizeof(PutDone) == 16);

// Descriptors that go with a message of a pipe. The sender puts them into a bundle: a socket in
// which they wait to be received, once, by whoever has it; so neither the broker nor the supervisor
// has them open. It lends the bundle, and puts the number that it gets into the message. Whoever
// takes the message takes the bundle, empties it, and tells the broker to forget it. What is never
// taken goes with the connection.
inline constexpr uint32_t kLentMax = 64;       // bundles that wait in one connection; else QUOTA
inline constexpr uint32_t kBundleFdsMax = 16;  // descriptors in one bundle

struct Lend {
  uint64_t object_id;  // of the connection, as in OPENED
  uint32_t request;    // of the client's choice, not 0; asked again with it, it is the same bundle
  uint8_t side;        // shm::PipeSide, the one that the caller uses
  uint8_t reserved[3];
};
static_assert(sizeof(Lend) == 16);

struct Lent {
  uint64_t number;  // below 2^59, not 0
};
static_assert(sizeof(Lent) == 8);

struct TakeLent {
  uint64_t object_id;
  uint64_t number;
  uint8_t side;    // that the caller uses: the other one than it was lent from
  uint8_t forget;  // 1: it is empty, or unwanted; answered by DONE. The lender may do so as well
  uint8_t reserved[6];
};
static_assert(sizeof(TakeLent) == 24);

// A queue, dict or list may back more of its memory (proto/shm/queue_grant.h, dict_grant.h): asked
// for when what was granted is found in use. `extents` and `segments` are how many at least in all,
// 0: as many as there are; the answer says how many there are now. So asked again it is the same
// grant. FAILED with MEMORY_EXHAUSTED names the limit that is reached and what is in use.
struct Grow {
  uint64_t object_id;
  uint32_t extents;
  uint32_t segments;
};
static_assert(sizeof(Grow) == 16);

enum class EventType : uint32_t {
  kDeleted = 1,      // the object was deleted: operations on it give CLOSED
  kDraining = 2,     // the daemon is about to stop; value = ms until then
  kQuarantined = 3,  // the object's memory was found damaged: DATA_LOSS
};

struct Event {
  uint32_t event;  // EventType
  uint32_t reserved;
  uint64_t object_id;  // or 0
  int64_t value;
};
static_assert(sizeof(Event) == 24);

}  // namespace heddle::local
