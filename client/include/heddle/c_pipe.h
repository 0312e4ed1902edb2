/* Pipes in C. Included by c.h, whose conventions hold. What each call means stands beside its
 * namesake in pipe.h.
 *
 *   Trying   Timeout 0: EMPTY or FULL instead of waiting.
 *   Threads  Of one heddle_pipe one thread may send while another receives; for more of either use
 *            heddle_pipe_share. A listener may be used by any number of threads at once.
 *   Fork     A child may use a heddle_pipe, as another user of the same end. What was reserved or
 *            viewed before the fork stays the parent's.
 */
#ifndef HEDDLE_C_PIPE_H_
#define HEDDLE_C_PIPE_H_

#include <heddle/c.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct heddle_pipe heddle_pipe; /* one end of one connection */
typedef struct heddle_pipe_listener heddle_pipe_listener;
typedef struct heddle_pipe_message heddle_pipe_message;

typedef enum heddle_pipe_mode { HEDDLE_PIPE_MESSAGE, HEDDLE_PIPE_BYTES } heddle_pipe_mode;
typedef enum heddle_pipe_side { HEDDLE_PIPE_A, HEDDLE_PIPE_B } heddle_pipe_side;

typedef struct heddle_pipe_options {
  uint64_t capacity; /* HEDDLE_UNSET where a number is not given */
  uint64_t max_msg_bytes;
  uint64_t access;
  int mode;   /* heddle_pipe_mode; HEDDLE_UNSET_CHOICE where a choice is not given */
  int duplex; /* 1 = both directions, 0 = from a to b */
  int resumable;
  int lifetime;
  const char* group; /* NULL: not given */
  bool create;       /* made when it is missing */
  bool exclusive;    /* EXISTS_OTHER_OPTIONS when it is there */
} heddle_pipe_options;
#define HEDDLE_PIPE_OPTIONS_INIT                                                        \
  {                                                                                     \
    HEDDLE_UNSET, HEDDLE_UNSET, HEDDLE_UNSET, HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE, \
        HEDDLE_UNSET_CHOICE, HEDDLE_UNSET_CHOICE, NULL, true, false                     \
  }

typedef struct heddle_pipe_user {
  uint16_t session;
  int32_t pid;
  uint32_t uid;
  bool sending;
  bool receiving;
  const char* command;
} heddle_pipe_user;

typedef struct heddle_pipe_end_info {
  const char* state; /* "vacant", "open", "closed", "died" */
  const heddle_pipe_user* users;
  size_t user_count;
  uint64_t bytes_sent;
  uint64_t bytes_queued;
  int64_t send_blocked_ms; /* negative: nobody waits */
  int64_t receive_blocked_ms;
  int32_t died_pid;
  bool shut;
} heddle_pipe_end_info;

typedef struct heddle_pipe_connection_info {
  uint64_t id;
  bool named; /* of the two named ends; else somebody connected */
  heddle_pipe_end_info a;
  heddle_pipe_end_info b;
} heddle_pipe_connection_info;

typedef struct heddle_pipe_info {
  const char* name;
  uint32_t uid;
  uint32_t gid;
  heddle_pipe_options options; /* every field given but the group */
  uint32_t listeners;
  uint64_t connection_count;
  const heddle_pipe_connection_info* connections; /* the oldest, as many as one answer holds */
  size_t connections_here;
} heddle_pipe_info;
typedef int (*heddle_pipe_visitor)(const heddle_pipe_info* info, void* context);

/* ---- pipes by name; `options` may be NULL everywhere -------------------------------------- */

HEDDLE_C_API heddle_reason heddle_pipe_create(heddle_client* client, const char* name,
                                              const heddle_pipe_options* options);
HEDDLE_C_API heddle_reason heddle_pipe_delete(heddle_client* client, const char* name);
/* `prefix` may be NULL. */
HEDDLE_C_API heddle_reason heddle_pipe_list(heddle_client* client, const char* prefix,
                                            heddle_pipe_visitor visit, void* context);
HEDDLE_C_API heddle_reason heddle_pipe_inspect(heddle_client* client, const char* name,
                                               heddle_pipe_visitor visit, void* context);

/* One of the two named ends. Free with heddle_pipe_close, as all ends. */
HEDDLE_C_API heddle_reason heddle_pipe_end(heddle_client* client, const char* name,
                                           heddle_pipe_side side,
                                           const heddle_pipe_options* options, heddle_pipe** pipe);
/* A connection of one's own to whoever listens: has side a. */
HEDDLE_C_API heddle_reason heddle_pipe_connect(heddle_client* client, const char* name,
                                               const heddle_pipe_options* options,
                                               int64_t timeout_ns, heddle_pipe** pipe);
/* Free with heddle_pipe_listener_close. */
HEDDLE_C_API heddle_reason heddle_pipe_listen(heddle_client* client, const char* name,
                                              const heddle_pipe_options* options,
                                              heddle_pipe_listener** listener);
HEDDLE_C_API heddle_reason heddle_pipe_accept(heddle_pipe_listener* listener, int64_t timeout_ns,
                                              heddle_pipe** pipe);
HEDDLE_C_API void heddle_pipe_listener_close(heddle_pipe_listener* listener);
/* Lives as long as the listener. */
HEDDLE_C_API const char* heddle_pipe_listener_name(const heddle_pipe_listener* listener);

/* ---- one end ------------------------------------------------------------------------------ */

/* The last handle of the last process closes the end. */
HEDDLE_C_API void heddle_pipe_close(heddle_pipe* pipe);
/* Lives as long as the handle. */
HEDDLE_C_API const char* heddle_pipe_name(const heddle_pipe* pipe);
HEDDLE_C_API heddle_pipe_side heddle_pipe_side_of(const heddle_pipe* pipe);
/* What is in force; every field given but the group. */
HEDDLE_C_API heddle_reason heddle_pipe_options_of(const heddle_pipe* pipe,
                                                  heddle_pipe_options* options);
/* Another handle on the same end, for another thread. */
HEDDLE_C_API heddle_reason heddle_pipe_share(const heddle_pipe* pipe, heddle_pipe** other);
HEDDLE_C_API heddle_reason heddle_pipe_shutdown_write(heddle_pipe* pipe);
/* Each who uses the other end now, as the kernel told the broker; nobody: no visit. */
typedef int (*heddle_pipe_user_visitor)(const heddle_pipe_user* user, void* context);
HEDDLE_C_API heddle_reason heddle_pipe_peer(heddle_pipe* pipe, heddle_pipe_user_visitor visit,
                                            void* context);

/* ---- sending ------------------------------------------------------------------------------ */

/* `sent` may be NULL; of a stream it may be fewer than `length`, when time is over. */
HEDDLE_C_API heddle_reason heddle_pipe_send(heddle_pipe* pipe, const void* data, size_t length,
                                            heddle_kind kind, int64_t timeout_ns, size_t* sent);
/* A message with up to 16 descriptors, of which the other end gets duplicates. UNSUPPORTED on a
 * stream of bytes and over gRPC. */
HEDDLE_C_API heddle_reason heddle_pipe_send_with(heddle_pipe* pipe, const void* data, size_t length,
                                                 heddle_kind kind, const int* fds, size_t fd_count,
                                                 int64_t timeout_ns, size_t* sent);
/* `done` may be NULL; it is set in every case. */
HEDDLE_C_API heddle_reason heddle_pipe_send_many(heddle_pipe* pipe, const heddle_body* bodies,
                                                 size_t count, int64_t timeout_ns, size_t* done);
HEDDLE_C_API heddle_reason heddle_pipe_hold(heddle_pipe* pipe, int64_t timeout_ns);
HEDDLE_C_API void heddle_pipe_let_go(heddle_pipe* pipe);
/* Zero-copy: *data is room for `*length` bytes. heddle_pipe_commit or heddle_pipe_abandon follows;
 * another reservation, or closing, abandons what was reserved. */
HEDDLE_C_API heddle_reason heddle_pipe_reserve(heddle_pipe* pipe, size_t bytes, int64_t timeout_ns,
                                               void** data, size_t* length);
HEDDLE_C_API heddle_reason heddle_pipe_commit(heddle_pipe* pipe, size_t length, heddle_kind kind);
HEDDLE_C_API void heddle_pipe_abandon(heddle_pipe* pipe);

/* ---- receiving ---------------------------------------------------------------------------- */

/* A whole message; of a stream what is there, up to `bytes_max` (0: 64 KiB). Free with
 * heddle_pipe_message_free. */
HEDDLE_C_API heddle_reason heddle_pipe_receive(heddle_pipe* pipe, size_t bytes_max,
                                               int64_t timeout_ns, heddle_pipe_message** message);
HEDDLE_C_API void heddle_pipe_message_free(heddle_pipe_message* message);
/* The same with what heddle_pipe_send_with sent along, which all other ways of receiving close. */
HEDDLE_C_API heddle_reason heddle_pipe_receive_with(heddle_pipe* pipe, int64_t timeout_ns,
                                                    heddle_pipe_message** message);
HEDDLE_C_API size_t heddle_pipe_message_fd_count(const heddle_pipe_message* message);
/* So many more were sent with it, but are gone. */
HEDDLE_C_API size_t heddle_pipe_message_fds_lost(const heddle_pipe_message* message);
/* From now on the caller's to close; -1: there is none, or it was taken before. Those that are not
 * taken are closed with the message. */
HEDDLE_C_API int heddle_pipe_message_take_fd(heddle_pipe_message* message, size_t index);
/* Live until the message is freed. Not NUL-terminated. */
HEDDLE_C_API const void* heddle_pipe_message_data(const heddle_pipe_message* message);
HEDDLE_C_API size_t heddle_pipe_message_length(const heddle_pipe_message* message);
HEDDLE_C_API heddle_kind heddle_pipe_message_kind(const heddle_pipe_message* message);
/* Into memory of the caller's. TOO_LARGE keeps the message; the `actual` of the error is its
 * length. `kind` may be NULL. */
HEDDLE_C_API heddle_reason heddle_pipe_receive_into(heddle_pipe* pipe, void* to, size_t capacity,
                                                    int64_t timeout_ns, size_t* length,
                                                    heddle_kind* kind);
/* Zero-copy. heddle_pipe_consume or heddle_pipe_unview follows; another view, or closing, gives up
 * the one before: what was not consumed stays. `kind` may be NULL. */
HEDDLE_C_API heddle_reason heddle_pipe_view(heddle_pipe* pipe, int64_t timeout_ns,
                                            const void** data, size_t* length, heddle_kind* kind);
/* The whole message, whatever `length`; of a stream its first `length` bytes. */
HEDDLE_C_API heddle_reason heddle_pipe_consume(heddle_pipe* pipe, size_t length);
HEDDLE_C_API void heddle_pipe_unview(heddle_pipe* pipe);
/* OK as soon as receiving would not wait. */
HEDDLE_C_API heddle_reason heddle_pipe_poll(heddle_pipe* pipe, int64_t timeout_ns);
/* A descriptor for poll, epoll or select, readable as long as receiving would not wait. When it is:
 * receive with timeout 0 until EMPTY. It is the handle's: do not read or close it. A forked child
 * calls again. */
HEDDLE_C_API heddle_reason heddle_pipe_ready_fd(heddle_pipe* pipe, int* fd);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HEDDLE_C_PIPE_H_ */
