/* The C interface of libheddle: everything the C++ library does, for C and for every language that
 * can call C. Link with -lheddle.
 *
 * Conventions
 *   Results   Functions that can fail return a heddle_reason: 0 is OK, the numbers never change.
 *             Ordinary outcomes (EMPTY, FULL, TIMED_OUT, CLOSED, END_OF_STREAM) are reasons too;
 *             heddle_reason_is_outcome tells them from failures. Out parameters are set only on OK
 *             unless said otherwise. heddle_last_error() has the words for the last reason other
 *             than OK in the calling thread.
 *   Objects   heddle_client, heddle_queue, heddle_message, heddle_loan, heddle_producer are opaque.
 *             Who gets one frees it with the function named beside it; freeing NULL does nothing.
 *             A queue may outlive its client, a message its queue: each keeps what it needs.
 *   Threads   Clients and queues may be used by any number of threads at once. Messages, loans and
 *             producers belong to one thread at a time.
 *   Fork      Over shared memory a child may use clients and queues; its first call opens a
 *             session of its own. Over gRPC its calls are UNSUPPORTED: it connects anew.
 *             Messages, loans and producers stay the parent's: settling one in the child gives
 *             SESSION_LOST, and a body read in place must not be touched there.
 *   Time      Timeouts are nanoseconds: 0 does not wait, HEDDLE_FOREVER (or any negative value)
 *             waits without end. Leases and ages are milliseconds.
 *   Text      NUL-terminated UTF-8. Text in structs that a function or a visitor hands out lives
 *             until the visitor returns, or as said there.
 *   Structs   Option structs are initialised with their _INIT macro; info structs with
 *             `struct_bytes` let old programs run with newer libraries: set it to sizeof before.
 *   Visitors  Called once per row; a non-zero return value ends the walk.
 *
 * A queue has no descriptor to poll: it wakes its waiters by futex, which no descriptor shows, and
 * one made readable by the broker would put the broker between two local processes. Wait in a
 * thread, with a timeout. A pipe has one: heddle_pipe_ready_fd.
 */
#ifndef HEDDLE_C_H_
#define HEDDLE_C_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define HEDDLE_C_API __attribute__((visibility("default")))
#else
#define HEDDLE_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heddle_client heddle_client;
typedef struct heddle_queue heddle_queue;
typedef struct heddle_message heddle_message;
typedef struct heddle_loan heddle_loan;
typedef struct heddle_producer heddle_producer;

typedef enum heddle_reason {
  HEDDLE_OK = 0,
  HEDDLE_EMPTY = 1,
  HEDDLE_FULL = 2,
  HEDDLE_TIMED_OUT = 3,
  HEDDLE_CLOSED = 4,
  HEDDLE_END_OF_STREAM = 5,
  HEDDLE_PRODUCER_DIED = 6,
  HEDDLE_LEASE_LOST = 7,
  HEDDLE_TOO_LARGE = 8,
  HEDDLE_MEMORY_EXHAUSTED = 9,
  HEDDLE_TOO_MANY_LEASES = 10,
  HEDDLE_TOO_MANY_THREADS = 11,
  HEDDLE_NOT_FOUND = 12,
  HEDDLE_EXISTS_OTHER_OPTIONS = 13,
  HEDDLE_DENIED = 14,
  HEDDLE_INVALID_NAME = 15,
  HEDDLE_INVALID_ARGUMENT = 16,
  HEDDLE_BROKER_AWAY = 17,
  HEDDLE_DAEMON_UNREACHABLE = 18,
  HEDDLE_VERSION_MISMATCH = 19,
  HEDDLE_CORRUPT = 20,
  HEDDLE_QUOTA = 21,
  HEDDLE_SESSION_LOST = 22,
  HEDDLE_UNSUPPORTED = 23,
  HEDDLE_INTERRUPTED = 24,
  HEDDLE_INTERNAL = 25,
  HEDDLE_STALE_FENCE = 26,
  HEDDLE_DEADLOCK_DETECTED = 27,
  HEDDLE_PEER_DIED = 28,
  HEDDLE_BROKEN_BARRIER = 29,
  HEDDLE_BROKEN_PIPE = 30,
  HEDDLE_EXISTS = 31,
  HEDDLE_MISMATCH = 32,
  HEDDLE_OUT_OF_RANGE = 33
} heddle_reason;

/* The enumerators are those of the C++ header, number for number. */
typedef enum heddle_plane { HEDDLE_PLANE_AUTO, HEDDLE_PLANE_SHM, HEDDLE_PLANE_GRPC } heddle_plane;
typedef enum heddle_overflow {
  HEDDLE_OVERFLOW_BLOCK,
  HEDDLE_OVERFLOW_REJECT,
  HEDDLE_OVERFLOW_DROP_OLDEST
} heddle_overflow;
typedef enum heddle_eos { HEDDLE_EOS_MANUAL, HEDDLE_EOS_LAST_PRODUCER } heddle_eos;
typedef enum heddle_on_producer_death {
  HEDDLE_ON_PRODUCER_DEATH_WAIT,
  HEDDLE_ON_PRODUCER_DEATH_CLOSE,
  HEDDLE_ON_PRODUCER_DEATH_ERROR
} heddle_on_producer_death;
typedef enum heddle_lifetime {
  HEDDLE_LIFETIME_KEPT,
  HEDDLE_LIFETIME_ATTACHED, /* goes with the last session that has it open */
  HEDDLE_LIFETIME_SESSION   /* goes with the session that made it */
} heddle_lifetime;
typedef enum heddle_ack {
  HEDDLE_ACK_AUTO,    /* delivery settles it: at most once */
  HEDDLE_ACK_MANUAL,  /* heddle_message_ack or _nack must follow: at least once */
  HEDDLE_ACK_ON_NEXT, /* the next get on the same heddle_queue acks it */
  HEDDLE_ACK_TASK     /* heddle_queue_task_done acks the oldest */
} heddle_ack;
typedef enum heddle_kind {
  HEDDLE_KIND_DATA,
  HEDDLE_KIND_TEXT,
  HEDDLE_KIND_JSON,
  HEDDLE_KIND_JSON_TEXT
} heddle_kind;
enum { HEDDLE_READY = 1, HEDDLE_LEASED = 2, HEDDLE_RETURNED = 4, HEDDLE_BURIED = 8 };

#define HEDDLE_FOREVER INT64_C(-1)
/* "Not given" in options: the default at creation, anything when opening. */
#define HEDDLE_UNSET UINT64_MAX
#define HEDDLE_UNSET_CHOICE (-1)

/* ---- errors ------------------------------------------------------------------------------- */

typedef struct heddle_error {
  heddle_reason reason;
  int code;            /* google.rpc.Code */
  int errno_value;
  int exit_code;       /* of the command line */
  bool is_outcome;
  bool has_limit;
  uint64_t limit;      /* what stood in the way, and what met it; in the limit's own unit */
  uint64_t actual;
  const char* object;  /* "queue jobs", or "" */
  const char* message;
} heddle_error;

/* Never NULL. Valid until the next heddle call of the same thread. */
HEDDLE_C_API const heddle_error* heddle_last_error(void);
/* "END_OF_STREAM"; "UNKNOWN" for a number that is no reason. Static storage. */
HEDDLE_C_API const char* heddle_reason_name(heddle_reason reason);
HEDDLE_C_API bool heddle_reason_is_outcome(heddle_reason reason);
/* "1.2.3". */
HEDDLE_C_API const char* heddle_version(void);

/* ---- client ------------------------------------------------------------------------------- */

typedef struct heddle_connect_options {
  const char* runtime_dir; /* NULL: the search order of the C++ header */
  const char* address;     /* "host:port" or "unix:/path"; implies gRPC */
  const char* name;        /* shown to people; NULL: the program's */
  int64_t timeout_ms;      /* for connecting, and later for an absent broker */
  heddle_plane plane;
  bool sessionless;        /* gRPC: leases by duration, not by this process's life */
} heddle_connect_options;
#define HEDDLE_CONNECT_OPTIONS_INIT {NULL, NULL, NULL, 5000, HEDDLE_PLANE_AUTO, false}

typedef struct heddle_connection_info {
  size_t struct_bytes;
  heddle_plane plane;
  uint16_t owner;
  uint32_t generation;
  char address[256];
  char broker_version[32];
} heddle_connection_info;

typedef struct heddle_broker_status {
  size_t struct_bytes;
  char version[32];
  int32_t pid;
  int32_t supervisor_pid;
  uint32_t incarnation;
  int64_t uptime_ms;
  uint64_t queues;
  uint64_t sessions;
  uint64_t memory_bytes;
  uint64_t memory_budget_bytes;
} heddle_broker_status;

typedef struct heddle_session_info {
  uint16_t owner;
  uint32_t generation;
  heddle_plane plane;
  int32_t pid;
  uint32_t uid;
  uint32_t attached;
  int64_t age_ms;
  const char* name;
  const char* command;
} heddle_session_info;
typedef int (*heddle_session_visitor)(const heddle_session_info* session, void* context);

/* `options` may be NULL. Free with heddle_client_close. */
HEDDLE_C_API heddle_reason heddle_connect(const heddle_connect_options* options,
                                          heddle_client** client);
HEDDLE_C_API void heddle_client_close(heddle_client* client);
HEDDLE_C_API heddle_reason heddle_client_describe(heddle_client* client,
                                                  heddle_connection_info* info);
/* The time of one round trip to the broker. `round_trip_ns` may be NULL. */
HEDDLE_C_API heddle_reason heddle_ping(heddle_client* client, int64_t* round_trip_ns);
HEDDLE_C_API heddle_reason heddle_status(heddle_client* client, heddle_broker_status* status);
HEDDLE_C_API heddle_reason heddle_sessions(heddle_client* client, heddle_session_visitor visit,
                                           void* context);

/* ---- queues ------------------------------------------------------------------------------- */

typedef struct heddle_queue_options {
  uint64_t max_len; /* HEDDLE_UNSET where a number is not given */
  uint64_t max_bytes;
  uint64_t max_msg_bytes; /* given both, not above max_bytes */
  uint64_t max_leases;
  uint64_t max_deliveries;
  uint64_t mode;
  int overflow; /* HEDDLE_UNSET_CHOICE where a choice is not given */
  int eos;
  int on_producer_death;
  int lifetime;
  const char* group;  /* NULL: not given */
  bool open_existing; /* create only: open one that agrees */
} heddle_queue_options;
#define HEDDLE_QUEUE_OPTIONS_INIT                                                              \
  {HEDDLE_UNSET,        HEDDLE_UNSET,        HEDDLE_UNSET,        HEDDLE_UNSET,                \
   HEDDLE_UNSET,        HEDDLE_UNSET,        HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE,         \
   HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE, NULL,                false}

typedef struct heddle_queue_counts {
  size_t struct_bytes;
  uint64_t ready, leased, returned, buried, unfinished;
  uint64_t bytes, puts, gets, acks, drops;
  uint32_t producers;
  bool closed;
} heddle_queue_counts;

typedef struct heddle_queue_info {
  const char* name;
  uint64_t object_id;
  heddle_queue_options options; /* every field given */
  uint32_t owner_uid;
  uint32_t owner_gid;
  uint32_t attached;
  heddle_queue_counts counts;
} heddle_queue_info;
typedef int (*heddle_queue_visitor)(const heddle_queue_info* info, void* context);

typedef struct heddle_row {
  uint64_t id;
  unsigned state; /* HEDDLE_READY ... */
  uint32_t delivery_count;
  heddle_kind kind;
  uint64_t length; /* of the whole body */
  const void* body;
  size_t body_bytes; /* how much of it is there */
  uint16_t owner;    /* holder, of leased messages only */
  int32_t pid;
  uint32_t uid;
  int64_t age_ms;
  const char* command;
} heddle_row;
typedef int (*heddle_row_visitor)(const heddle_row* row, void* context);

/* Creating, opening, deleting: see Client in the C++ header. `options` may be NULL. Created with
 * `name` NULL it is anonymous: heddle_queue_name tells what the broker chose. Free with
 * heddle_queue_close. */
HEDDLE_C_API heddle_reason heddle_queue_create(heddle_client* client, const char* name,
                                               const heddle_queue_options* options,
                                               heddle_queue** queue);
HEDDLE_C_API heddle_reason heddle_queue_open(heddle_client* client, const char* name,
                                             const heddle_queue_options* options,
                                             heddle_queue** queue);
/* For a name that is passed on to another process: for 60 s the queue counts as attached. */
HEDDLE_C_API heddle_reason heddle_queue_share(heddle_client* client, const char* name);
HEDDLE_C_API void heddle_queue_close(heddle_queue* queue);
HEDDLE_C_API heddle_reason heddle_queue_delete(heddle_client* client, const char* name);
/* `prefix` may be NULL. */
HEDDLE_C_API heddle_reason heddle_queue_list(heddle_client* client, const char* prefix,
                                             heddle_queue_visitor visit, void* context);
/* Lives as long as the queue handle. */
HEDDLE_C_API const char* heddle_queue_name(const heddle_queue* queue);

/* ---- producing ---------------------------------------------------------------------------- */

typedef struct heddle_body {
  const void* data;
  size_t length;
  heddle_kind kind;
} heddle_body;

/* `id` and `ids` may be NULL. *done is set in every case. */
HEDDLE_C_API heddle_reason heddle_queue_put(heddle_queue* queue, const void* data, size_t length,
                                            heddle_kind kind, int64_t timeout_ns, uint64_t* id);
HEDDLE_C_API heddle_reason heddle_queue_put_many(heddle_queue* queue, const heddle_body* bodies,
                                                 size_t count, int64_t timeout_ns, size_t* done,
                                                 uint64_t* ids);
/* The same, refused with HEDDLE_STALE_FENCE once somebody else was granted `lock`; `token` came
 * with the caller's grant. One round trip to the broker. */
HEDDLE_C_API heddle_reason heddle_queue_put_fenced(heddle_queue* queue, const void* data,
                                                   size_t length, heddle_kind kind,
                                                   const char* lock, uint64_t token,
                                                   int64_t timeout_ns, uint64_t* id);
/* Zero-copy: room for up to `bytes`, to be filled in place. Free with heddle_loan_free, committed
 * or not. */
HEDDLE_C_API heddle_reason heddle_queue_loan(heddle_queue* queue, size_t bytes,
                                             heddle_loan** loan);
HEDDLE_C_API void* heddle_loan_data(heddle_loan* loan);
HEDDLE_C_API size_t heddle_loan_capacity(const heddle_loan* loan);
HEDDLE_C_API heddle_reason heddle_loan_commit(heddle_loan* loan, size_t length, heddle_kind kind,
                                              int64_t timeout_ns, uint64_t* id);
HEDDLE_C_API void heddle_loan_free(heddle_loan* loan);
/* Registration as a producer; heddle_producer_close is the clean end and frees it. One that is
 * still open when the process ends is a death. */
HEDDLE_C_API heddle_reason heddle_queue_producer(heddle_queue* queue, heddle_producer** producer);
HEDDLE_C_API heddle_reason heddle_producer_close(heddle_producer* producer);

/* ---- consuming ---------------------------------------------------------------------------- */

typedef struct heddle_lease {
  uint64_t words[3];
} heddle_lease;

/* An empty message, to be filled again and again; keeps its buffer. NULL when memory is out.
 * Freeing or refilling one that is leased gives the delivery back uncounted. */
HEDDLE_C_API heddle_message* heddle_message_new(void);
HEDDLE_C_API void heddle_message_free(heddle_message* message);

/* lease_ms 0: as long as this process lives over shared memory, as the session does over gRPC.
 * More is for gRPC alone: over shared memory a get that asks for it is UNSUPPORTED, and extending a
 * lease that is held is OK and changes nothing. Not looked at with HEDDLE_ACK_AUTO. */
HEDDLE_C_API heddle_reason heddle_queue_get(heddle_queue* queue, heddle_message* message,
                                            heddle_ack ack, int64_t lease_ms, int64_t timeout_ns);
/* Waits for the first, then takes what is there; fills messages[0 .. *count - 1], at most `max`.
 * max_bytes 0: no limit. *count is set in every case. */
HEDDLE_C_API heddle_reason heddle_queue_get_many(heddle_queue* queue, heddle_message** messages,
                                                 size_t max, uint64_t max_bytes, heddle_ack ack,
                                                 int64_t lease_ms, int64_t timeout_ns,
                                                 size_t* count);

/* The body lives until the message is settled, refilled or freed. Not NUL-terminated. */
HEDDLE_C_API const void* heddle_message_data(const heddle_message* message);
HEDDLE_C_API size_t heddle_message_length(const heddle_message* message);
HEDDLE_C_API heddle_kind heddle_message_kind(const heddle_message* message);
HEDDLE_C_API uint64_t heddle_message_id(const heddle_message* message);
HEDDLE_C_API uint32_t heddle_message_delivery_count(const heddle_message* message);
HEDDLE_C_API bool heddle_message_leased(const heddle_message* message);
HEDDLE_C_API heddle_reason heddle_message_ack(heddle_message* message);
HEDDLE_C_API heddle_reason heddle_message_nack(heddle_message* message, bool counted);
HEDDLE_C_API heddle_reason heddle_message_bury(heddle_message* message);
HEDDLE_C_API heddle_reason heddle_message_extend(heddle_message* message, int64_t lease_ms);
/* Gives the delivery away unsettled, for heddle_queue_ack and its kin; the body stays. */
HEDDLE_C_API heddle_reason heddle_message_detach(heddle_message* message, heddle_lease* lease);

HEDDLE_C_API heddle_reason heddle_queue_ack(heddle_queue* queue, const heddle_lease* lease);
HEDDLE_C_API heddle_reason heddle_queue_nack(heddle_queue* queue, const heddle_lease* lease,
                                             bool counted);
HEDDLE_C_API heddle_reason heddle_queue_bury(heddle_queue* queue, const heddle_lease* lease);
HEDDLE_C_API heddle_reason heddle_queue_extend(heddle_queue* queue, const heddle_lease* lease,
                                               int64_t lease_ms);
/* 48 digits and a NUL, and back. */
HEDDLE_C_API void heddle_lease_text(const heddle_lease* lease, char text[49]);
HEDDLE_C_API heddle_reason heddle_lease_parse(const char* text, heddle_lease* lease);

/* INVALID_ARGUMENT when called more often than this handle got messages with HEDDLE_ACK_TASK. */
HEDDLE_C_API heddle_reason heddle_queue_task_done(heddle_queue* queue);
/* Until nothing is unfinished. TIMED_OUT: `visit` (may be NULL) sees who holds what. */
HEDDLE_C_API heddle_reason heddle_queue_join(heddle_queue* queue, int64_t timeout_ns,
                                             heddle_row_visitor visit, void* context);

/* ---- looking and managing ----------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_queue_count(heddle_queue* queue, heddle_queue_counts* counts);
HEDDLE_C_API heddle_reason heddle_queue_size(heddle_queue* queue, uint64_t* size);
HEDDLE_C_API heddle_reason heddle_queue_unfinished(heddle_queue* queue, uint64_t* unfinished);
HEDDLE_C_API heddle_reason heddle_queue_empty(heddle_queue* queue, bool* empty);
HEDDLE_C_API heddle_reason heddle_queue_full(heddle_queue* queue, bool* full);
HEDDLE_C_API heddle_reason heddle_queue_inspect(heddle_queue* queue, heddle_queue_visitor visit,
                                                void* context);
/* The next to be delivered; EMPTY. */
HEDDLE_C_API heddle_reason heddle_queue_peek(heddle_queue* queue, uint64_t max_body,
                                             heddle_row_visitor visit, void* context);
/* `states`: a set of HEDDLE_READY ...; after_id 0: from the oldest. */
HEDDLE_C_API heddle_reason heddle_queue_browse(heddle_queue* queue, unsigned states,
                                               uint64_t after_id, size_t limit, uint64_t max_body,
                                               heddle_row_visitor visit, void* context);
/* `kicked` and `purged` may be NULL. */
HEDDLE_C_API heddle_reason heddle_queue_kick(heddle_queue* queue, uint64_t max, uint64_t* kicked);
HEDDLE_C_API heddle_reason heddle_queue_purge(heddle_queue* queue, unsigned states,
                                              uint64_t* purged);
HEDDLE_C_API heddle_reason heddle_queue_shutdown(heddle_queue* queue, bool immediate);
HEDDLE_C_API heddle_reason heddle_queue_reopen(heddle_queue* queue);

#ifdef __cplusplus
} /* extern "C" */
#endif

#include <heddle/c_lock.h>
#include <heddle/c_pipe.h>

#endif /* HEDDLE_C_H_ */
