/* Puts and gets through the C interface of an installed libheddle.so. */
#include <heddle/c.h>

#include <stdio.h>
#include <string.h>

static int failed(const char* what) {
  const heddle_error* error = heddle_last_error();
  printf("%s: %s %s [%s]\n", what, error->object, error->message,
         heddle_reason_name(error->reason));
  return 1;
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
  heddle_message_free(message);
  heddle_queue_close(queue);
  heddle_client_close(client);
  return 0;
}
