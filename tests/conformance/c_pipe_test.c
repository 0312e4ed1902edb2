/* The C interface of pipes compiled as C. Exit status 0 is a pass; a failed check names its line.
 * Run with the runtime directory as its argument. */
#include <heddle/c.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__, __LINE__, #condition, \
              heddle_last_error()->message);                                                  \
      exit(1);                                                                                \
    }                                                                                         \
  } while (0)
#define OK(call) CHECK((call) == HEDDLE_OK)

static const int64_t kSoonNs = 1000000;

static void send_text(heddle_pipe* pipe, const char* text) {
  size_t sent = 0;
  OK(heddle_pipe_send(pipe, text, strlen(text), HEDDLE_KIND_TEXT, HEDDLE_FOREVER, &sent));
  CHECK(sent == strlen(text));
}

static void expect_text(heddle_pipe* pipe, const char* text) {
  char got[64];
  size_t length = 0;
  heddle_kind kind = HEDDLE_KIND_DATA;
  OK(heddle_pipe_receive_into(pipe, got, sizeof got, HEDDLE_FOREVER, &length, &kind));
  CHECK(length == strlen(text) && memcmp(got, text, length) == 0 && kind == HEDDLE_KIND_TEXT);
}

static void messages(heddle_client* client) {
  heddle_pipe_options options = HEDDLE_PIPE_OPTIONS_INIT, had;
  heddle_pipe *a = NULL, *b = NULL;
  heddle_pipe_message* message = NULL;
  char small[4];
  size_t length = 0;
  heddle_kind kind = HEDDLE_KIND_TEXT;
  options.capacity = 4096;
  options.max_msg_bytes = 1000;
  OK(heddle_pipe_end(client, "c/pipe", HEDDLE_PIPE_A, &options, &a));
  OK(heddle_pipe_end(client, "c/pipe", HEDDLE_PIPE_B, NULL, &b));
  CHECK(strcmp(heddle_pipe_name(a), "c/pipe") == 0);
  CHECK(heddle_pipe_side_of(a) == HEDDLE_PIPE_A && heddle_pipe_side_of(b) == HEDDLE_PIPE_B);
  OK(heddle_pipe_options_of(b, &had));
  CHECK(had.capacity == 4096 && had.max_msg_bytes == 1000 && had.mode == HEDDLE_PIPE_MESSAGE);
  CHECK(had.duplex == 1 && had.resumable == 0 && had.lifetime == HEDDLE_LIFETIME_KEPT);
  CHECK(had.access == 0600);
  send_text(a, "there");
  send_text(b, "back");
  expect_text(b, "there");
  CHECK(heddle_pipe_receive_into(a, small, 3, 0, &length, NULL) == HEDDLE_TOO_LARGE);
  CHECK(heddle_last_error()->limit == 3 && heddle_last_error()->actual == 4);
  OK(heddle_pipe_poll(a, 0));
  OK(heddle_pipe_receive(a, 0, HEDDLE_FOREVER, &message));
  CHECK(heddle_pipe_message_length(message) == 4);
  CHECK(memcmp(heddle_pipe_message_data(message), "back", 4) == 0);
  CHECK(heddle_pipe_message_kind(message) == HEDDLE_KIND_TEXT);
  heddle_pipe_message_free(message);
  heddle_pipe_message_free(NULL);
  OK(heddle_pipe_send(a, "raw", 3, HEDDLE_KIND_DATA, 0, NULL));
  OK(heddle_pipe_receive_into(b, small, sizeof small, 0, &length, &kind));
  CHECK(length == 3 && kind == HEDDLE_KIND_DATA);
  CHECK(heddle_pipe_receive(a, 0, 0, &message) == HEDDLE_EMPTY);
  CHECK(heddle_pipe_receive(a, 0, kSoonNs, &message) == HEDDLE_TIMED_OUT);
  CHECK(heddle_pipe_poll(a, kSoonNs) == HEDDLE_TIMED_OUT);
  CHECK(heddle_pipe_send(a, "x", 1, (heddle_kind)77, 0, NULL) == HEDDLE_INVALID_ARGUMENT);
  heddle_pipe_close(a);
  CHECK(heddle_pipe_send(b, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_BROKEN_PIPE);
  CHECK(heddle_pipe_receive(b, 0, HEDDLE_FOREVER, &message) == HEDDLE_END_OF_STREAM);
  heddle_pipe_close(b);
}

static void room(heddle_client* client) {
  heddle_pipe_options options = HEDDLE_PIPE_OPTIONS_INIT;
  heddle_pipe *a = NULL, *b = NULL;
  static char large[1001];
  size_t sent = 77;
  int count = 0;
  heddle_reason reason;
  options.capacity = 4096;
  options.max_msg_bytes = 1000;
  OK(heddle_pipe_end(client, "c/room", HEDDLE_PIPE_A, &options, &a));
  OK(heddle_pipe_end(client, "c/room", HEDDLE_PIPE_B, NULL, &b));
  CHECK(heddle_pipe_send(a, large, 1001, HEDDLE_KIND_DATA, 0, &sent) == HEDDLE_TOO_LARGE);
  CHECK(heddle_last_error()->limit == 1000 && heddle_last_error()->actual == 1001 && sent == 77);
  while ((reason = heddle_pipe_send(a, large, 1000, HEDDLE_KIND_DATA, 0, NULL)) == HEDDLE_OK) {
    ++count;
  }
  CHECK(count == 4 && reason == HEDDLE_FULL && heddle_reason_is_outcome(reason));
  CHECK(heddle_pipe_send(a, large, 1000, HEDDLE_KIND_DATA, kSoonNs, NULL) == HEDDLE_TIMED_OUT);
  OK(heddle_pipe_shutdown_write(a));
  CHECK(heddle_pipe_send(a, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_CLOSED);
  heddle_pipe_close(b);
  heddle_pipe_close(a);
}

static void turns(heddle_client* client) {
  const heddle_body bodies[] = {
      {"1", 1, HEDDLE_KIND_TEXT}, {"22", 2, HEDDLE_KIND_TEXT}, {"333", 3, (heddle_kind)99}};
  heddle_pipe *a = NULL, *b = NULL, *other = NULL;
  size_t done = 77;
  OK(heddle_pipe_end(client, "c/turns", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_end(client, "c/turns", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_send_many(a, bodies, 2, HEDDLE_FOREVER, &done));
  CHECK(done == 2);
  CHECK(heddle_pipe_send_many(a, bodies, 3, 0, &done) == HEDDLE_INVALID_ARGUMENT && done == 0);
  expect_text(b, "1");
  expect_text(b, "22");
  OK(heddle_pipe_share(a, &other));
  OK(heddle_pipe_hold(a, HEDDLE_FOREVER));
  CHECK(heddle_pipe_hold(other, kSoonNs) == HEDDLE_TIMED_OUT);
  CHECK(heddle_pipe_send(other, "no", 2, HEDDLE_KIND_TEXT, 0, NULL) == HEDDLE_FULL);
  send_text(a, "mine");
  heddle_pipe_let_go(a);
  send_text(other, "yours");
  expect_text(b, "mine");
  expect_text(b, "yours");
  heddle_pipe_close(a);
  send_text(other, "still");
  expect_text(b, "still");
  heddle_pipe_close(other);
  CHECK(heddle_pipe_poll(b, HEDDLE_FOREVER) == HEDDLE_OK); /* its end has come */
  heddle_pipe_close(b);
}

static void in_place(heddle_client* client) {
  heddle_pipe *a = NULL, *b = NULL, *other = NULL;
  void* to = NULL;
  const void *from = NULL, *again = NULL;
  size_t length = 0;
  heddle_kind kind = HEDDLE_KIND_DATA;
  OK(heddle_pipe_end(client, "c/place", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_end(client, "c/place", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_share(a, &other));
  OK(heddle_pipe_reserve(a, 100, HEDDLE_FOREVER, &to, &length));
  CHECK(length == 100);
  CHECK(heddle_pipe_send(other, "no", 2, HEDDLE_KIND_TEXT, 0, NULL) == HEDDLE_FULL);
  /* The one before is given up. */
  OK(heddle_pipe_reserve(a, 50, 0, &to, &length));
  CHECK(length == 50);
  memcpy(to, "in place", 8);
  CHECK(heddle_pipe_commit(a, 51, HEDDLE_KIND_TEXT) == HEDDLE_TOO_LARGE);
  OK(heddle_pipe_commit(a, 8, HEDDLE_KIND_TEXT));
  CHECK(heddle_pipe_commit(a, 8, HEDDLE_KIND_TEXT) == HEDDLE_INVALID_ARGUMENT);
  OK(heddle_pipe_reserve(a, 100, 0, &to, &length));
  heddle_pipe_abandon(a);
  CHECK(heddle_pipe_reserve(a, 1 << 20, 0, &to, &length) == HEDDLE_TOO_LARGE);
  send_text(other, "next");

  OK(heddle_pipe_view(b, HEDDLE_FOREVER, &from, &length, &kind));
  CHECK(length == 8 && memcmp(from, "in place", 8) == 0 && kind == HEDDLE_KIND_TEXT);
  heddle_pipe_unview(b);
  CHECK(heddle_pipe_consume(b, 0) == HEDDLE_INVALID_ARGUMENT);
  OK(heddle_pipe_view(b, 0, &from, &length, NULL));
  OK(heddle_pipe_view(b, 0, &again, &length, NULL)); /* what is not consumed stays */
  CHECK(again == from && length == 8);
  OK(heddle_pipe_consume(b, SIZE_MAX));
  OK(heddle_pipe_view(b, 0, &from, &length, NULL));
  CHECK(length == 4 && memcmp(from, "next", 4) == 0);
  OK(heddle_pipe_consume(b, SIZE_MAX));
  CHECK(heddle_pipe_view(b, 0, &from, &length, NULL) == HEDDLE_EMPTY);
  heddle_pipe_close(other);
  heddle_pipe_close(b);
  heddle_pipe_close(a);
}

static void bytes(heddle_client* client) {
  heddle_pipe_options options = HEDDLE_PIPE_OPTIONS_INIT;
  heddle_pipe *a = NULL, *b = NULL;
  heddle_pipe_message* message = NULL;
  static char many[10000], got[10000];
  const void* seen = NULL;
  size_t sent = 0, length = 0;
  options.mode = HEDDLE_PIPE_BYTES;
  options.duplex = 0;
  options.capacity = 4096;
  OK(heddle_pipe_end(client, "c/bytes", HEDDLE_PIPE_A, &options, &a));
  options.duplex = 1;
  CHECK(heddle_pipe_end(client, "c/bytes", HEDDLE_PIPE_B, &options, &b) ==
        HEDDLE_EXISTS_OTHER_OPTIONS);
  OK(heddle_pipe_end(client, "c/bytes", HEDDLE_PIPE_B, NULL, &b));
  CHECK(heddle_pipe_send(b, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_CLOSED);
  for (size_t i = 0; i < sizeof many; ++i) many[i] = (char)(i * 7);
  /* What there is room for. */
  OK(heddle_pipe_send(a, many, sizeof many, HEDDLE_KIND_DATA, 0, &sent));
  CHECK(sent == 4096);
  OK(heddle_pipe_view(b, 0, &seen, &length, NULL));
  CHECK(length == 4096);
  OK(heddle_pipe_consume(b, 96));
  OK(heddle_pipe_receive(b, 1000, 0, &message));
  CHECK(heddle_pipe_message_length(message) == 1000);
  CHECK(memcmp(heddle_pipe_message_data(message), many + 96, 1000) == 0);
  heddle_pipe_message_free(message);
  OK(heddle_pipe_receive_into(b, got, sizeof got, 0, &length, NULL));
  CHECK(length == 3000 && memcmp(got, many + 1096, 3000) == 0);
  heddle_pipe_close(a);
  CHECK(heddle_pipe_receive_into(b, got, sizeof got, 0, &length, NULL) == HEDDLE_END_OF_STREAM);
  heddle_pipe_close(b);
}

static void connections(heddle_client* client) {
  heddle_pipe_listener* listener = NULL;
  heddle_pipe *here = NULL, *there = NULL;
  CHECK(heddle_pipe_connect(client, "c/hall", NULL, 0, &here) == HEDDLE_EMPTY);
  CHECK(heddle_pipe_connect(client, "c/hall", NULL, kSoonNs, &here) == HEDDLE_TIMED_OUT);
  OK(heddle_pipe_listen(client, "c/hall", NULL, &listener));
  CHECK(strcmp(heddle_pipe_listener_name(listener), "c/hall") == 0);
  CHECK(heddle_pipe_accept(listener, 0, &there) == HEDDLE_EMPTY);
  CHECK(heddle_pipe_accept(listener, kSoonNs, &there) == HEDDLE_TIMED_OUT);
  OK(heddle_pipe_connect(client, "c/hall", NULL, HEDDLE_FOREVER, &here));
  OK(heddle_pipe_accept(listener, HEDDLE_FOREVER, &there));
  CHECK(heddle_pipe_side_of(here) == HEDDLE_PIPE_A && heddle_pipe_side_of(there) == HEDDLE_PIPE_B);
  send_text(here, "question");
  expect_text(there, "question");
  send_text(there, "answer");
  expect_text(here, "answer");
  heddle_pipe_close(there);
  heddle_pipe_close(here);
  heddle_pipe_listener_close(listener);
}

static int see_pipe(const heddle_pipe_info* info, void* context) {
  const heddle_pipe_connection_info* one = info->connections;
  CHECK(strcmp(info->name, "c/seen") == 0 && info->uid == getuid());
  CHECK(info->options.capacity == 4096 && info->options.mode == HEDDLE_PIPE_MESSAGE);
  CHECK(info->options.access == 0640 && info->listeners == 0);
  CHECK(info->connection_count == 1 && info->connections_here == 1 && one->named);
  CHECK(strcmp(one->a.state, "open") == 0 && one->a.user_count == 1);
  CHECK(one->a.users[0].pid == getpid() && one->a.users[0].uid == getuid());
  CHECK(one->a.users[0].command[0] != '\0' && one->a.users[0].sending);
  CHECK(one->a.bytes_sent == 16 && one->a.bytes_queued == 16 && !one->a.shut);
  CHECK(one->a.send_blocked_ms < 0 && one->a.receive_blocked_ms < 0 && one->a.died_pid == 0);
  CHECK(strcmp(one->b.state, "vacant") == 0 && one->b.user_count == 0);
  ++*(int*)context;
  return 0;
}

static int see_name(const heddle_pipe_info* info, void* context) {
  CHECK(strncmp(info->name, "c/l", 3) == 0);
  ++*(int*)context;
  return 1; /* the walk ends */
}

static int see_peer(const heddle_pipe_user* user, void* context) {
  CHECK(user->pid == getpid() && user->uid == getuid() && user->command[0] != '\0');
  CHECK(!user->sending && !user->receiving);
  ++*(int*)context;
  return 0;
}

static int readable(int fd) {
  struct pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, 5000) == 1;
}

static void event_loop(heddle_client* client) {
  heddle_pipe *a = NULL, *b = NULL;
  heddle_pipe_message* message = NULL;
  struct pollfd silent = {-1, POLLIN, 0};
  int fd = -1;
  OK(heddle_pipe_end(client, "c/ready", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_end(client, "c/ready", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_ready_fd(b, &fd));
  silent.fd = fd;
  CHECK(poll(&silent, 1, 0) == 0);
  send_text(a, "one");
  CHECK(readable(fd));
  expect_text(b, "one");
  CHECK(heddle_pipe_receive(b, 0, 0, &message) == HEDDLE_EMPTY);
  CHECK(poll(&silent, 1, 0) == 0);
  heddle_pipe_close(a);
  CHECK(readable(fd));
  CHECK(heddle_pipe_receive(b, 0, 0, &message) == HEDDLE_END_OF_STREAM);
  CHECK(readable(fd));
  CHECK(heddle_pipe_ready_fd(b, NULL) == HEDDLE_INVALID_ARGUMENT);
  heddle_pipe_close(b);
  CHECK(poll(&silent, 1, 0) == 1 && silent.revents == POLLNVAL);
}

static void descriptors(heddle_client* client) {
  heddle_pipe *a = NULL, *b = NULL;
  heddle_pipe_message* message = NULL;
  size_t sent = 0;
  int ends[2], got = -1;
  char byte = 0;
  CHECK(pipe(ends) == 0);
  OK(heddle_pipe_end(client, "c/fds", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_end(client, "c/fds", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_send_with(a, "take it", 7, HEDDLE_KIND_TEXT, &ends[1], 1, HEDDLE_FOREVER, &sent));
  CHECK(sent == 7);
  close(ends[1]);
  OK(heddle_pipe_receive_with(b, HEDDLE_FOREVER, &message));
  CHECK(heddle_pipe_message_length(message) == 7);
  CHECK(heddle_pipe_message_fd_count(message) == 1 && heddle_pipe_message_fds_lost(message) == 0);
  got = heddle_pipe_message_take_fd(message, 0);
  CHECK(got >= 0 && heddle_pipe_message_take_fd(message, 0) == -1);
  CHECK(heddle_pipe_message_take_fd(message, 1) == -1);
  heddle_pipe_message_free(message);
  CHECK(write(got, "x", 1) == 1);
  close(got);
  CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x' && read(ends[0], &byte, 1) == 0);
  CHECK(heddle_pipe_send_with(a, "x", 1, HEDDLE_KIND_TEXT, NULL, 1, 0, NULL) ==
        HEDDLE_INVALID_ARGUMENT);
  close(ends[0]);
  heddle_pipe_close(b);
  heddle_pipe_close(a);
}

static void peers(heddle_client* client) {
  heddle_pipe *a = NULL, *b = NULL;
  int seen = 0;
  OK(heddle_pipe_end(client, "c/peer", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_peer(a, see_peer, &seen));
  CHECK(seen == 0);
  OK(heddle_pipe_end(client, "c/peer", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_peer(a, see_peer, &seen));
  CHECK(seen == 1);
  CHECK(heddle_pipe_peer(a, NULL, &seen) == HEDDLE_INVALID_ARGUMENT);
  heddle_pipe_close(b);
  heddle_pipe_close(a);
}

static void looking(heddle_client* client) {
  heddle_pipe_options options = HEDDLE_PIPE_OPTIONS_INIT;
  heddle_pipe* a = NULL;
  int seen = 0, rows = 0;
  options.capacity = 4096;
  options.access = 0640;
  options.exclusive = true;
  OK(heddle_pipe_create(client, "c/seen", &options));
  CHECK(heddle_pipe_create(client, "c/seen", &options) == HEDDLE_EXISTS_OTHER_OPTIONS);
  OK(heddle_pipe_end(client, "c/seen", HEDDLE_PIPE_A, NULL, &a));
  send_text(a, "8 bytes.");
  OK(heddle_pipe_hold(a, 0));
  OK(heddle_pipe_inspect(client, "c/seen", see_pipe, &seen));
  CHECK(seen == 1);
  OK(heddle_pipe_create(client, "c/l1", NULL));
  OK(heddle_pipe_create(client, "c/l2", NULL));
  OK(heddle_pipe_list(client, "c/l", see_name, &rows));
  CHECK(rows == 1);
  OK(heddle_pipe_delete(client, "c/seen"));
  CHECK(heddle_pipe_send(a, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_CLOSED);
  heddle_pipe_close(a);
  CHECK(heddle_pipe_delete(client, "c/seen") == HEDDLE_NOT_FOUND);
  CHECK(heddle_pipe_inspect(client, "c/seen", see_pipe, &seen) == HEDDLE_NOT_FOUND);
  options.create = false;
  CHECK(heddle_pipe_end(client, "c/seen", HEDDLE_PIPE_A, &options, &a) == HEDDLE_NOT_FOUND);
  CHECK(heddle_pipe_create(client, "/bad", NULL) == HEDDLE_INVALID_NAME);
}

/* A child uses the end that it got by fork; killed, it is told from a clean end. */
static void processes(heddle_client* client) {
  heddle_pipe *a = NULL, *b = NULL, *late = NULL;
  void* to = NULL;
  size_t length = 0;
  heddle_pipe_message* message = NULL;
  pid_t child;
  int status = 0;
  char pid[16];
  OK(heddle_pipe_end(client, "c/fork", HEDDLE_PIPE_B, NULL, &b));
  OK(heddle_pipe_end(client, "c/fork", HEDDLE_PIPE_A, NULL, &a));
  OK(heddle_pipe_reserve(a, 8, 0, &to, &length));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(heddle_pipe_commit(a, 8, HEDDLE_KIND_DATA) == HEDDLE_SESSION_LOST);
    send_text(a, "from the child");
    pause();
    _exit(1);
  }
  heddle_pipe_abandon(a);
  expect_text(b, "from the child");
  heddle_pipe_close(a);
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  CHECK(heddle_pipe_receive(b, 0, HEDDLE_FOREVER, &message) == HEDDLE_PEER_DIED);
  snprintf(pid, sizeof pid, "%d", (int)child);
  CHECK(strstr(heddle_last_error()->message, pid) != NULL);
  CHECK(heddle_pipe_send(b, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_BROKEN_PIPE);
  OK(heddle_pipe_end(client, "c/fork", HEDDLE_PIPE_A, NULL, &late)); /* of the next connection */
  heddle_pipe_close(late);
  heddle_pipe_close(b);
}

static void mistakes(heddle_client* client) {
  heddle_pipe* pipe = NULL;
  void* to = NULL;
  size_t length = 0;
  CHECK(heddle_pipe_create(NULL, "x", NULL) == HEDDLE_INVALID_ARGUMENT);
  CHECK(heddle_pipe_create(client, NULL, NULL) == HEDDLE_INVALID_ARGUMENT);
  CHECK(heddle_pipe_end(client, "x", HEDDLE_PIPE_A, NULL, NULL) == HEDDLE_INVALID_ARGUMENT);
  CHECK(heddle_pipe_accept(NULL, 0, &pipe) == HEDDLE_INVALID_ARGUMENT);
  CHECK(heddle_pipe_send(NULL, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_INVALID_ARGUMENT);
  CHECK(strcmp(heddle_last_error()->message, "pipe is NULL") == 0);
  CHECK(heddle_pipe_receive_into(NULL, to, 0, 0, &length, NULL) == HEDDLE_INVALID_ARGUMENT);
  CHECK(heddle_pipe_list(client, NULL, NULL, NULL) == HEDDLE_INVALID_ARGUMENT);
  heddle_pipe_close(NULL);
  heddle_pipe_listener_close(NULL);
}

int main(int argc, char** argv) {
  heddle_client* client = NULL;
  heddle_connect_options options = HEDDLE_CONNECT_OPTIONS_INIT;
  CHECK(argc == 2);
  options.runtime_dir = argv[1];
  OK(heddle_connect(&options, &client));
  messages(client);
  room(client);
  turns(client);
  in_place(client);
  bytes(client);
  connections(client);
  looking(client);
  peers(client);
  descriptors(client);
  event_loop(client);
  processes(client);
  mistakes(client);
  heddle_client_close(client);
  return 0;
}
