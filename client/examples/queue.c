/* One message through the queue "jobs", in C. */
#include <heddle/c.h>
#include <stdio.h>

int main(void) {
  heddle_client* client = NULL;
  heddle_queue* jobs = NULL;
  heddle_queue_options options = HEDDLE_QUEUE_OPTIONS_INIT;
  heddle_message* job = heddle_message_new();
  options.open_existing = true;
  heddle_reason end = heddle_connect(NULL, &client);
  if (end == HEDDLE_OK) end = heddle_queue_create(client, "jobs", &options, &jobs);
  if (end == HEDDLE_OK) {
    end = heddle_queue_put(jobs, "hello", 5, HEDDLE_KIND_TEXT, HEDDLE_FOREVER, NULL);
  }
  if (end == HEDDLE_OK) end = heddle_queue_get(jobs, job, HEDDLE_ACK_AUTO, 0, HEDDLE_FOREVER);
  if (end == HEDDLE_OK) {
    printf("%.*s\n", (int)heddle_message_length(job), (const char*)heddle_message_data(job));
  } else {
    fprintf(stderr, "%s: %s\n", heddle_reason_name(end), heddle_last_error()->message);
  }
  heddle_message_free(job);
  heddle_queue_close(jobs);
  heddle_client_close(client);
  return end == HEDDLE_OK ? 0 : 1;
}
