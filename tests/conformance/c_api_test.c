/* The C interface compiled as C: one program that uses every family of calls. Exit status 0 is a
 * pass; a failed check names its line. Run with the runtime directory as its argument. */
#include <heddle/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__, __LINE__, #condition,  \
              heddle_last_error()->message);                                                   \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)
#define OK(call) CHECK((call) == HEDDLE_OK)

static int count_rows(const heddle_row* row, void* context) {
  CHECK(row->length == row->body_bytes);
  ++*(int*)context;
  return 0;
}

static int check_info(const heddle_queue_info* info, void* context) {
  CHECK(strcmp(info->name, "c/jobs") == 0);
  CHECK(info->options.max_len == 3);
  CHECK(info->options.overflow == HEDDLE_OVERFLOW_BLOCK);
  ++*(int*)context;
  return 0;
}

static int see_session(const heddle_session_info* session, void* context) {
  CHECK(session->name != NULL && session->command != NULL);
  ++*(int*)context;
  return 0;
}

static void produce(heddle_queue* jobs) {
  uint64_t first = 0, second = 0, ids[2];
  size_t done = 0;
  heddle_loan* loan = NULL;
  const heddle_body bodies[2] = {{"two", 3, HEDDLE_KIND_TEXT}, {"three", 5, HEDDLE_KIND_DATA}};
  OK(heddle_queue_put(jobs, "one", 3, HEDDLE_KIND_TEXT, HEDDLE_FOREVER, &first));
  OK(heddle_queue_put_many(jobs, bodies, 2, HEDDLE_FOREVER, &done, ids));
  CHECK(done == 2 && ids[0] > first && ids[1] > ids[0]);
  CHECK(heddle_queue_put(jobs, "x", 1, HEDDLE_KIND_DATA, 0, NULL) == HEDDLE_FULL);
  CHECK(heddle_reason_is_outcome(HEDDLE_FULL) && !heddle_reason_is_outcome(HEDDLE_DENIED));
  CHECK(heddle_last_error()->limit == 3 && heddle_last_error()->is_outcome);
  CHECK(strstr(heddle_last_error()->object, "c/jobs") != NULL);
  CHECK(heddle_queue_put(jobs, "x", 1, (heddle_kind)9, 0, NULL) == HEDDLE_INVALID_ARGUMENT);
  OK(heddle_queue_purge(jobs, HEDDLE_READY, NULL));
  OK(heddle_queue_loan(jobs, 5000, &loan));
  CHECK(heddle_loan_capacity(loan) >= 5000);
  memset(heddle_loan_data(loan), 'L', 5000);
  OK(heddle_loan_commit(loan, 5000, HEDDLE_KIND_DATA, HEDDLE_FOREVER, &second));
  heddle_loan_free(loan);
  CHECK(second > ids[1]);
}

static void consume(heddle_queue* jobs) {
  heddle_message* message = heddle_message_new();
  heddle_message* more[2];
  heddle_lease lease, parsed;
  char text[49];
  size_t count = 0;
  OK(heddle_queue_get(jobs, message, HEDDLE_ACK_MANUAL, 0, HEDDLE_FOREVER));
  CHECK(heddle_message_length(message) == 5000 && heddle_message_leased(message));
  CHECK(((const char*)heddle_message_data(message))[4999] == 'L');
  OK(heddle_message_nack(message, true));
  OK(heddle_queue_get(jobs, message, HEDDLE_ACK_MANUAL, 0, 0));
  CHECK(heddle_message_delivery_count(message) == 2);
  CHECK(heddle_message_kind(message) == HEDDLE_KIND_DATA && heddle_message_id(message) != 0);
  OK(heddle_message_extend(message, 1000));
  OK(heddle_message_detach(message, &lease));
  heddle_lease_text(&lease, text);
  OK(heddle_lease_parse(text, &parsed));
  CHECK(memcmp(&lease, &parsed, sizeof lease) == 0);
  OK(heddle_queue_extend(jobs, &parsed, 1000));
  OK(heddle_queue_nack(jobs, &parsed, false));
  CHECK(heddle_queue_ack(jobs, &parsed) == HEDDLE_LEASE_LOST);
  OK(heddle_queue_get(jobs, message, HEDDLE_ACK_TASK, 0, 0));
  CHECK(heddle_queue_join(jobs, 0, NULL, NULL) == HEDDLE_TIMED_OUT);
  OK(heddle_queue_task_done(jobs));
  CHECK(heddle_queue_task_done(jobs) == HEDDLE_INVALID_ARGUMENT);
  OK(heddle_queue_join(jobs, HEDDLE_FOREVER, NULL, NULL));
  OK(heddle_queue_put(jobs, "a", 1, HEDDLE_KIND_TEXT, 0, NULL));
  OK(heddle_queue_put(jobs, "b", 1, HEDDLE_KIND_TEXT, 0, NULL));
  more[0] = heddle_message_new();
  more[1] = heddle_message_new();
  OK(heddle_queue_get_many(jobs, more, 2, 0, HEDDLE_ACK_MANUAL, 0, HEDDLE_FOREVER, &count));
  CHECK(count == 2 && *(const char*)heddle_message_data(more[1]) == 'b');
  OK(heddle_message_ack(more[0]));
  OK(heddle_message_bury(more[1]));
  heddle_message_free(more[0]);
  heddle_message_free(more[1]);
  heddle_message_free(message);
}

static void look(heddle_client* client, heddle_queue* jobs) {
  heddle_queue_counts counts = {.struct_bytes = sizeof counts};
  heddle_connection_info connection = {.struct_bytes = sizeof connection};
  heddle_broker_status status = {.struct_bytes = sizeof status};
  heddle_producer* producer = NULL;
  uint64_t number = 0;
  int64_t round_trip_ns = 0;
  bool yes = false;
  int rows = 0;
  OK(heddle_queue_count(jobs, &counts));
  CHECK(counts.buried == 1 && counts.unfinished == 0);
  OK(heddle_queue_browse(jobs, HEDDLE_BURIED, 0, 10, 100, count_rows, &rows));
  CHECK(rows == 1);
  CHECK(heddle_queue_peek(jobs, 100, count_rows, &rows) == HEDDLE_EMPTY);
  OK(heddle_queue_kick(jobs, UINT64_MAX, &number));
  CHECK(number == 1);
  OK(heddle_queue_size(jobs, &number));
  CHECK(number == 1);
  OK(heddle_queue_unfinished(jobs, &number));
  OK(heddle_queue_empty(jobs, &yes));
  CHECK(!yes);
  OK(heddle_queue_full(jobs, &yes));
  CHECK(!yes);
  rows = 0;
  OK(heddle_queue_inspect(jobs, check_info, &rows));
  OK(heddle_queue_list(client, "c/", check_info, &rows));
  CHECK(rows == 2);
  OK(heddle_queue_producer(jobs, &producer));
  OK(heddle_producer_close(producer));
  OK(heddle_client_describe(client, &connection));
  CHECK(connection.address[0] != '\0');
  counts.struct_bytes = 1000000;
  CHECK(heddle_queue_count(jobs, &counts) == HEDDLE_INVALID_ARGUMENT);
  OK(heddle_ping(client, &round_trip_ns));
  OK(heddle_status(client, &status));
  CHECK(status.pid > 0 && round_trip_ns > 0);
  rows = 0;
  OK(heddle_sessions(client, see_session, &rows));
  CHECK(rows >= 1);
  OK(heddle_queue_shutdown(jobs, true));
  OK(heddle_queue_reopen(jobs));
  CHECK(strcmp(heddle_queue_name(jobs), "c/jobs") == 0);
  CHECK(strcmp(heddle_reason_name(HEDDLE_END_OF_STREAM), "END_OF_STREAM") == 0);
}

int main(int argc, char** argv) {
  heddle_connect_options connect = HEDDLE_CONNECT_OPTIONS_INIT;
  heddle_queue_options options = HEDDLE_QUEUE_OPTIONS_INIT;
  heddle_client* client = NULL;
  heddle_queue* jobs = NULL;
  heddle_queue* again = NULL;
  CHECK(argc == 2);
  connect.runtime_dir = argv[1];
  OK(heddle_connect(&connect, &client));
  options.max_len = 3;
  OK(heddle_queue_create(client, "c/jobs", &options, &jobs));
  OK(heddle_queue_open(client, "c/jobs", NULL, &again));
  heddle_queue_close(again);
  options.max_len = 4;
  CHECK(heddle_queue_open(client, "c/jobs", &options, &again) == HEDDLE_EXISTS_OTHER_OPTIONS);
  CHECK(heddle_queue_open(client, "c/none", NULL, &again) == HEDDLE_NOT_FOUND);
  produce(jobs);
  consume(jobs);
  look(client, jobs);
  heddle_queue_close(jobs);
  OK(heddle_queue_delete(client, "c/jobs"));
  heddle_client_close(client);
  return 0;
}
