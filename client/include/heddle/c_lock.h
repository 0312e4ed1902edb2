/* Locks, semaphores, conditions, events, barriers and elections in C. Included by c.h, whose
 * conventions hold. What each call means stands beside its namesake in lock.h.
 *
 *   Owners  The owner of a lock is a thread: acquire and release on the same one, or use
 *           heddle_lock_release_any.
 *   Grants  heddle_grant pointers may be NULL. abandoned: the previous owner died while it held
 *           this; told once.
 */
#ifndef HEDDLE_C_LOCK_H_
#define HEDDLE_C_LOCK_H_

#include <heddle/c.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heddle_lock heddle_lock;
typedef struct heddle_semaphore heddle_semaphore;
typedef struct heddle_condition heddle_condition;
typedef struct heddle_event heddle_event;
typedef struct heddle_barrier heddle_barrier;

typedef enum heddle_sync_kind {
  HEDDLE_SYNC_LOCK,
  HEDDLE_SYNC_SEMAPHORE,
  HEDDLE_SYNC_CONDITION,
  HEDDLE_SYNC_EVENT,
  HEDDLE_SYNC_BARRIER
} heddle_sync_kind;
typedef enum heddle_lock_kind { HEDDLE_MUTEX, HEDDLE_RLOCK, HEDDLE_RW } heddle_lock_kind;
typedef enum heddle_lock_mode {
  HEDDLE_EXCLUSIVE,
  HEDDLE_SHARED,
  HEDDLE_UPDATE
} heddle_lock_mode;
typedef enum heddle_owner_death {
  HEDDLE_OWNER_DEATH_FLAG,
  HEDDLE_OWNER_DEATH_SILENT,
  HEDDLE_OWNER_DEATH_POISON
} heddle_owner_death;
typedef enum heddle_fairness { HEDDLE_BARGING, HEDDLE_STRICT } heddle_fairness;
typedef enum heddle_presence {
  HEDDLE_PRESENCE_ANY,     /* made when it is missing */
  HEDDLE_PRESENCE_MUST,    /* NOT_FOUND when it is missing */
  HEDDLE_PRESENCE_MUST_NOT /* EXISTS_OTHER_OPTIONS when it is there */
} heddle_presence;
typedef enum heddle_report {
  HEDDLE_REPORT_DEADLOCKS,
  HEDDLE_REPORT_GRAPH,
  HEDDLE_REPORT_ORDER
} heddle_report;

/* Of every kind; what does not belong to the kind that is opened is not looked at. */
typedef struct heddle_lock_options {
  uint64_t count;         /* permits or parties; HEDDLE_UNSET where a number is not given */
  uint64_t count_max;     /* bound of a counting semaphore */
  uint64_t lock_delay_ms; /* remote holders */
  uint64_t mode;
  int kind; /* heddle_lock_kind; HEDDLE_UNSET_CHOICE where a choice is not given */
  int on_owner_death;
  int fair;
  int counting; /* semaphores: 1 = a bare count, 0 = owned permits */
  int lifetime;
  heddle_presence presence;
  const char* group; /* NULL: not given */
} heddle_lock_options;
#define HEDDLE_LOCK_OPTIONS_INIT                                                             \
  {HEDDLE_UNSET,        HEDDLE_UNSET,        HEDDLE_UNSET,        HEDDLE_UNSET,              \
   HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE,       \
   HEDDLE_UNSET_CHOICE, HEDDLE_PRESENCE_ANY, NULL}

typedef struct heddle_grant {
  uint64_t token; /* fencing token */
  bool abandoned;
  uint16_t previous_session; /* with abandoned: who it was */
  uint16_t previous_thread;
  int32_t previous_pid; /* 0 where it is not known at once */
} heddle_grant;

typedef struct heddle_lock_party {
  uint16_t session;
  uint16_t thread;
  int32_t pid;
  uint32_t uid;
  heddle_lock_mode mode;
  bool waits;
  int64_t since_ms; /* negative: not known */
  const char* command;
} heddle_lock_party;

typedef struct heddle_lock_info {
  heddle_sync_kind kind;
  heddle_lock_kind lock_kind;
  const char* name;
  uint64_t object_id;
  uint32_t owner_uid, owner_gid, mode, attached;
  heddle_lifetime lifetime;
  heddle_owner_death on_owner_death;
  heddle_fairness fair;
  int64_t lock_delay_ms;
  uint64_t token;
  uint32_t limit, free_permits, arrived;
  bool counting, set, broken, poisoned, abandoned;
  const heddle_lock_party* holders;
  size_t holder_count;
  const heddle_lock_party* waiters;
  size_t waiter_count;
} heddle_lock_info;
typedef int (*heddle_lock_visitor)(const heddle_lock_info* info, void* context);
typedef int (*heddle_text_visitor)(const char* text, void* context);

/* ---- all kinds ---------------------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_lock_delete(heddle_client* client, heddle_sync_kind kind,
                                              const char* name);
/* Without holders and waiters; `prefix` may be NULL. */
HEDDLE_C_API heddle_reason heddle_lock_list(heddle_client* client, heddle_sync_kind kind,
                                            const char* prefix, heddle_lock_visitor visit,
                                            void* context);
HEDDLE_C_API heddle_reason heddle_lock_inspect(heddle_client* client, heddle_sync_kind kind,
                                               const char* name, heddle_lock_visitor visit,
                                               void* context);
/* JSON text. */
HEDDLE_C_API heddle_reason heddle_lock_report(heddle_client* client, heddle_report which,
                                              heddle_text_visitor visit, void* context);

/* ---- locks and elections ------------------------------------------------------------------ */

/* `options` may be NULL. Free with heddle_lock_close, which releases nothing. */
HEDDLE_C_API heddle_reason heddle_lock_open(heddle_client* client, const char* name,
                                            const heddle_lock_options* options,
                                            heddle_lock** lock);
HEDDLE_C_API void heddle_lock_close(heddle_lock* lock);
/* Lives as long as the handle, as do the names below. */
HEDDLE_C_API const char* heddle_lock_name(const heddle_lock* lock);
HEDDLE_C_API heddle_reason heddle_lock_acquire_for(heddle_lock* lock, heddle_lock_mode mode,
                                                   int64_t timeout_ns, heddle_grant* grant);
/* priority: the lowest gives way when a circle of waits is broken. `request_id` (gRPC: repeated
 * after a lost reply it gives the same grant) may be NULL. */
HEDDLE_C_API heddle_reason heddle_lock_acquire_with(heddle_lock* lock, heddle_lock_mode mode,
                                                    int64_t timeout_ns, int32_t priority,
                                                    const char* request_id, heddle_grant* grant);
HEDDLE_C_API heddle_reason heddle_lock_release(heddle_lock* lock, heddle_lock_mode mode);
HEDDLE_C_API heddle_reason heddle_lock_release_any(heddle_lock* lock);
HEDDLE_C_API heddle_reason heddle_lock_convert(heddle_lock* lock, heddle_lock_mode from,
                                               heddle_lock_mode to, int64_t timeout_ns,
                                               heddle_grant* grant);
HEDDLE_C_API heddle_reason heddle_lock_locked(heddle_lock* lock, bool* locked);
HEDDLE_C_API heddle_reason heddle_lock_token(heddle_lock* lock, uint64_t* token);
HEDDLE_C_API heddle_reason heddle_lock_force_release(heddle_lock* lock);
HEDDLE_C_API heddle_reason heddle_lock_repair(heddle_lock* lock);
/* Leading is holding the lock: campaign with heddle_lock_acquire_for. Resigns for any thread of
 * this process. */
HEDDLE_C_API heddle_reason heddle_election_resign(heddle_lock* lock);

typedef struct heddle_lock_wish {
  heddle_lock* lock;
  heddle_lock_mode mode;
} heddle_lock_wish;
/* All or none. `grants` may be NULL or has room for `count`. */
HEDDLE_C_API heddle_reason heddle_lock_acquire_many(const heddle_lock_wish* wishes, size_t count,
                                                    int64_t timeout_ns, heddle_grant* grants);
HEDDLE_C_API heddle_reason heddle_lock_release_many(const heddle_lock_wish* wishes, size_t count);

/* ---- semaphores --------------------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_semaphore_open(heddle_client* client, const char* name,
                                                 const heddle_lock_options* options,
                                                 heddle_semaphore** semaphore);
HEDDLE_C_API void heddle_semaphore_close(heddle_semaphore* semaphore);
HEDDLE_C_API const char* heddle_semaphore_name(const heddle_semaphore* semaphore);
HEDDLE_C_API heddle_reason heddle_semaphore_acquire_for(heddle_semaphore* semaphore, uint32_t n,
                                                        int64_t timeout_ns, heddle_grant* grant);
HEDDLE_C_API heddle_reason heddle_semaphore_release(heddle_semaphore* semaphore, uint32_t n);
HEDDLE_C_API heddle_reason heddle_semaphore_value(heddle_semaphore* semaphore, uint32_t* value);
HEDDLE_C_API heddle_reason heddle_semaphore_force_release(heddle_semaphore* semaphore);

/* ---- conditions --------------------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_condition_open(heddle_client* client, const char* name,
                                                 const heddle_lock_options* options,
                                                 heddle_condition** condition);
HEDDLE_C_API void heddle_condition_close(heddle_condition* condition);
HEDDLE_C_API const char* heddle_condition_name(const heddle_condition* condition);
/* Its own lock, which is reentrant. */
HEDDLE_C_API heddle_reason heddle_condition_acquire_for(heddle_condition* condition,
                                                        int64_t timeout_ns, heddle_grant* grant);
HEDDLE_C_API heddle_reason heddle_condition_release(heddle_condition* condition);
/* `lock`: held by the caller; NULL: the condition's own. */
HEDDLE_C_API heddle_reason heddle_condition_wait(heddle_condition* condition, heddle_lock* lock,
                                                 int64_t timeout_ns);
/* n = UINT32_MAX: all. `notified` may be NULL. */
HEDDLE_C_API heddle_reason heddle_condition_notify(heddle_condition* condition, uint32_t n,
                                                   uint32_t* notified);

/* ---- events ------------------------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_event_open(heddle_client* client, const char* name,
                                             const heddle_lock_options* options,
                                             heddle_event** event);
HEDDLE_C_API void heddle_event_close(heddle_event* event);
HEDDLE_C_API const char* heddle_event_name(const heddle_event* event);
HEDDLE_C_API heddle_reason heddle_event_wait(heddle_event* event, int64_t timeout_ns);
HEDDLE_C_API heddle_reason heddle_event_set(heddle_event* event);
HEDDLE_C_API heddle_reason heddle_event_clear(heddle_event* event);
HEDDLE_C_API heddle_reason heddle_event_is_set(heddle_event* event, bool* set);

/* ---- barriers ----------------------------------------------------------------------------- */

HEDDLE_C_API heddle_reason heddle_barrier_open(heddle_client* client, const char* name,
                                               const heddle_lock_options* options,
                                               heddle_barrier** barrier);
HEDDLE_C_API void heddle_barrier_close(heddle_barrier* barrier);
HEDDLE_C_API const char* heddle_barrier_name(const heddle_barrier* barrier);
/* `action` (may be NULL) is run by one of the parties while the others wait; a value other than 0
 * breaks the barrier, and its caller gets BROKEN_BARRIER. `index` may be NULL. */
HEDDLE_C_API heddle_reason heddle_barrier_arrive(heddle_barrier* barrier,
                                                 int (*action)(void* context), void* context,
                                                 int64_t timeout_ns, uint32_t* index);
HEDDLE_C_API heddle_reason heddle_barrier_abort(heddle_barrier* barrier);
HEDDLE_C_API heddle_reason heddle_barrier_reset(heddle_barrier* barrier);
HEDDLE_C_API heddle_reason heddle_barrier_broken(heddle_barrier* barrier, bool* broken);
HEDDLE_C_API heddle_reason heddle_barrier_join(heddle_barrier* barrier);
HEDDLE_C_API heddle_reason heddle_barrier_leave(heddle_barrier* barrier);
HEDDLE_C_API heddle_reason heddle_barrier_parties(heddle_barrier* barrier, uint32_t* parties);
HEDDLE_C_API heddle_reason heddle_barrier_waiting(heddle_barrier* barrier, uint32_t* waiting);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HEDDLE_C_LOCK_H_ */
