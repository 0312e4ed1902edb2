/* Puts and gets, sends and receives through the C interface of an installed libheddle.so. */
#include <heddle/c.h>

#include <stdio.h>
#include <string.h>

static int failed(const char* what) {
  const heddle_error* error = heddle_last_error();
  printf("%s: %s %s [%s]\n", what, error->object, error->message,
         heddle_reason_name(error->reason));
  return 1;
}

static int use_pipe(heddle_client* client) {
  static const char text[] = "through a pipe";
  heddle_pipe *a = NULL, *b = NULL;
  char got[sizeof text];
  size_t length = 0;
  if (heddle_pipe_end(client, "installed", HEDDLE_PIPE_A, NULL, &a)) return failed("end a");
  if (heddle_pipe_end(client, "installed", HEDDLE_PIPE_B, NULL, &b)) return failed("end b");
  if (heddle_pipe_send(a, text, sizeof text, HEDDLE_KIND_TEXT, 0, NULL)) return failed("send");
  if (heddle_pipe_receive_into(b, got, sizeof got, 0, &length, NULL)) return failed("receive");
  heddle_pipe_close(a);
  heddle_pipe_close(b);
  return length == sizeof text && strcmp(got, text) == 0 ? 0 : 4;
}

int main(void) {
  static const char text[] = "hello from C";
  heddle_client* client = NULL;
  heddle_queue* queue = NULL;
  heddle_queue* missing = NULL;
  heddle_message* message = heddle_message_new();
  if (heddle_connect(NULL, &client)) return failed("connect");
  if (heddle_queue_create(client, "installed", NULL, &queue)) return failed("create");
  if (heddle_queue_put(queue, text, strlen(text), HEDDLE_KIND_TEXT, 0, NULL)) return failed("put");
  if (heddle_queue_get(queue, message, HEDDLE_ACK_AUTO, 0, 0)) return failed("get");
  printf("%.*s\n", (int)heddle_message_length(message), (const char*)heddle_message_data(message));
  if (heddle_queue_open(client, "no-such-queue", NULL, &missing) != HEDDLE_NOT_FOUND) return 3;
  failed("open");
  if (use_pipe(client)) return 5;
  heddle_message_free(message);
  heddle_queue_close(queue);
  heddle_client_close(client);
  return 0;
}
