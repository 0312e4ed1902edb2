/* The C interface of locks compiled as C. Exit status 0 is a pass; a failed check names its line.
 * Run with the runtime directory as its argument. */
#include <heddle/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__, __LINE__, #condition,  \
              heddle_last_error()->message);                                                   \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)
#define OK(call) CHECK((call) == HEDDLE_OK)

static int see_lock(const heddle_lock_info* info, void* context) {
  CHECK(strcmp(info->name, "c/lock") == 0 && info->lock_kind == HEDDLE_RW);
  CHECK(info->on_owner_death == HEDDLE_OWNER_DEATH_POISON);
  *(size_t*)context += info->holder_count;
  if (info->holder_count == 1) {
    CHECK(info->holders[0].pid == getpid() && info->holders[0].mode == HEDDLE_SHARED);
  }
  return 0;
}

static int count_row(const heddle_lock_info* info, void* context) {
  CHECK(info->name != NULL);
  ++*(int*)context;
  return 0;
}

static int see_text(const char* text, void* context) {
  *(int*)context = strchr(text, '{') != NULL;
  return 0;
}

static void fence(heddle_client* client) {
  heddle_queue* queue = NULL;
  heddle_lock* office = NULL;
  heddle_grant first, second;
  uint64_t id = 0;
  OK(heddle_queue_create(client, "c/fenced", NULL, &queue));
  OK(heddle_lock_open(client, "c/office", NULL, &office));
  OK(heddle_lock_acquire_for(office, HEDDLE_EXCLUSIVE, 0, &first));
  OK(heddle_queue_put_fenced(queue, "a", 1, HEDDLE_KIND_TEXT, "c/office", first.token, 0, &id));
  CHECK(id != 0);
  OK(heddle_lock_release(office, HEDDLE_EXCLUSIVE));
  OK(heddle_lock_acquire_for(office, HEDDLE_EXCLUSIVE, 0, &second));
  CHECK(heddle_queue_put_fenced(queue, "b", 1, HEDDLE_KIND_TEXT, "c/office", first.token, 0,
                                NULL) == HEDDLE_STALE_FENCE);
  CHECK(heddle_last_error()->limit == second.token && heddle_last_error()->actual == first.token);
  CHECK(heddle_queue_put_fenced(queue, "b", 1, HEDDLE_KIND_TEXT, NULL, 1, 0, NULL) ==
        HEDDLE_INVALID_ARGUMENT);
  OK(heddle_lock_release(office, HEDDLE_EXCLUSIVE));
  heddle_lock_close(office);
  heddle_queue_close(queue);
}

static void lock(heddle_client* client) {
  heddle_lock_options options = HEDDLE_LOCK_OPTIONS_INIT;
  heddle_lock *rw = NULL, *mutex = NULL;
  heddle_grant grant, grants[2];
  heddle_lock_wish wishes[2];
  uint64_t token = 0;
  size_t holders = 0;
  int rows = 0, text = 0;
  bool locked = true;
  options.kind = HEDDLE_RW;
  options.on_owner_death = HEDDLE_OWNER_DEATH_POISON;
  OK(heddle_lock_open(client, "c/lock", &options, &rw));
  CHECK(strcmp(heddle_lock_name(rw), "c/lock") == 0);
  options.kind = HEDDLE_MUTEX;
  CHECK(heddle_lock_open(client, "c/lock", &options, &mutex) == HEDDLE_EXISTS_OTHER_OPTIONS);
  OK(heddle_lock_open(client, "c/mutex", NULL, &mutex));
  OK(heddle_lock_acquire_for(rw, HEDDLE_EXCLUSIVE, 0, &grant));
  CHECK(grant.token > 0 && !grant.abandoned);
  OK(heddle_lock_token(rw, &token));
  CHECK(token == grant.token);
  OK(heddle_lock_convert(rw, HEDDLE_EXCLUSIVE, HEDDLE_SHARED, HEDDLE_FOREVER, NULL));
  OK(heddle_lock_inspect(client, HEDDLE_SYNC_LOCK, "c/lock", see_lock, &holders));
  CHECK(holders == 1);
  OK(heddle_lock_release(rw, HEDDLE_SHARED));
  CHECK(heddle_lock_release(rw, HEDDLE_SHARED) == HEDDLE_LEASE_LOST);
  CHECK(strstr(heddle_last_error()->object, "c/lock") != NULL);
  wishes[0] = (heddle_lock_wish){rw, HEDDLE_UPDATE};
  wishes[1] = (heddle_lock_wish){mutex, HEDDLE_EXCLUSIVE};
  OK(heddle_lock_acquire_many(wishes, 2, HEDDLE_FOREVER, grants));
  OK(heddle_lock_locked(mutex, &locked));
  CHECK(locked && grants[1].token > 0);
  OK(heddle_lock_release_many(wishes, 2));
  OK(heddle_lock_acquire_with(mutex, HEDDLE_EXCLUSIVE, 0, 7, "request-1", NULL));
  OK(heddle_lock_release_any(mutex));
  OK(heddle_lock_acquire_for(mutex, HEDDLE_EXCLUSIVE, 0, NULL));
  OK(heddle_election_resign(mutex));
  OK(heddle_lock_acquire_for(mutex, HEDDLE_EXCLUSIVE, 0, NULL));
  OK(heddle_lock_force_release(mutex));
  OK(heddle_lock_acquire_for(mutex, HEDDLE_EXCLUSIVE, 0, &grant));
  CHECK(grant.abandoned);
  CHECK(heddle_lock_acquire_for(mutex, HEDDLE_EXCLUSIVE, 0, NULL) == HEDDLE_EMPTY);
  OK(heddle_lock_release(mutex, HEDDLE_EXCLUSIVE));
  CHECK(heddle_lock_repair(mutex) == HEDDLE_INVALID_ARGUMENT); /* it is not poisoned */
  OK(heddle_lock_list(client, HEDDLE_SYNC_LOCK, "c/", count_row, &rows));
  CHECK(rows == 2);
  OK(heddle_lock_report(client, HEDDLE_REPORT_DEADLOCKS, see_text, &text));
  CHECK(text == 1);
  OK(heddle_lock_delete(client, HEDDLE_SYNC_LOCK, "c/mutex"));
  CHECK(heddle_lock_release(mutex, HEDDLE_EXCLUSIVE) == HEDDLE_NOT_FOUND);
  heddle_lock_close(mutex);
  heddle_lock_close(rw);
  CHECK(heddle_lock_acquire_for(NULL, HEDDLE_EXCLUSIVE, 0, NULL) == HEDDLE_INVALID_ARGUMENT);
}

static int action(void* context) { return ++*(int*)context == 1 ? 0 : 1; }

static void kin(heddle_client* client) {
  heddle_lock_options options = HEDDLE_LOCK_OPTIONS_INIT;
  heddle_semaphore* semaphore = NULL;
  heddle_condition* condition = NULL;
  heddle_event* event = NULL;
  heddle_barrier* barrier = NULL;
  uint32_t value = 0, index = 9;
  int ran = 0;
  bool flag = false;
  CHECK(heddle_semaphore_open(client, "c/sem", NULL, &semaphore) == HEDDLE_NOT_FOUND);
  options.count = 2;
  OK(heddle_semaphore_open(client, "c/sem", &options, &semaphore));
  OK(heddle_semaphore_acquire_for(semaphore, 2, 0, NULL));
  CHECK(heddle_semaphore_acquire_for(semaphore, 1, 1000000, NULL) == HEDDLE_TIMED_OUT);
  OK(heddle_semaphore_release(semaphore, 1));
  OK(heddle_semaphore_value(semaphore, &value));
  CHECK(value == 1 && strcmp(heddle_semaphore_name(semaphore), "c/sem") == 0);
  OK(heddle_semaphore_force_release(semaphore));
  OK(heddle_condition_open(client, "c/condition", NULL, &condition));
  OK(heddle_condition_acquire_for(condition, HEDDLE_FOREVER, NULL));
  CHECK(heddle_condition_wait(condition, NULL, 1000000) == HEDDLE_TIMED_OUT);
  OK(heddle_condition_notify(condition, UINT32_MAX, &value));
  CHECK(value == 0);
  OK(heddle_condition_release(condition));
  OK(heddle_event_open(client, "c/event", NULL, &event));
  CHECK(heddle_event_wait(event, 0) == HEDDLE_EMPTY);
  OK(heddle_event_set(event));
  OK(heddle_event_wait(event, HEDDLE_FOREVER));
  OK(heddle_event_is_set(event, &flag));
  OK(heddle_event_clear(event));
  options.count = 1;
  OK(heddle_barrier_open(client, "c/barrier", &options, &barrier));
  OK(heddle_barrier_arrive(barrier, action, &ran, HEDDLE_FOREVER, &index));
  CHECK(flag && ran == 1 && index == 0);
  CHECK(heddle_barrier_arrive(barrier, action, &ran, 0, NULL) == HEDDLE_BROKEN_BARRIER);
  OK(heddle_barrier_broken(barrier, &flag));
  CHECK(flag);
  OK(heddle_barrier_reset(barrier));
  OK(heddle_barrier_join(barrier));
  OK(heddle_barrier_leave(barrier));
  OK(heddle_barrier_parties(barrier, &value));
  CHECK(value == 1);
  OK(heddle_barrier_abort(barrier));
  OK(heddle_barrier_waiting(barrier, &value));
  CHECK(value == 0);
  heddle_barrier_close(barrier);
  heddle_event_close(event);
  heddle_condition_close(condition);
  heddle_semaphore_close(semaphore);
}

int main(int argc, char** argv) {
  heddle_client* client = NULL;
  heddle_connect_options options = HEDDLE_CONNECT_OPTIONS_INIT;
  CHECK(argc == 2);
  options.runtime_dir = argv[1];
  OK(heddle_connect(&options, &client));
  lock(client);
  fence(client);
  kin(client);
  heddle_client_close(client);
  return 0;
}
