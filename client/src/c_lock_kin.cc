// The C interface of semaphores, conditions, events and barriers.
#include <utility>

#include "client/src/c_lock_types.h"

using heddle::Reason;
using heddle::Status;
using heddle::detail::c_call;
using heddle::detail::fill_common;
using heddle::detail::give;
using heddle::detail::missing;
using heddle::detail::number_of;
using heddle::detail::put_grant;
using heddle::detail::timeout_of;

namespace {

// What opening has in common. `open` gets the options or null.
template <typename Handle, typename Open>
heddle_reason open_into(heddle_client* client, const char* name, Handle** out, Open open) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (out == nullptr) return missing("the place for the handle");
  return c_call([&]() -> Status {
    auto opened = open();
    if (!opened) return opened.status();
    *out = new Handle{std::move(*opened)};
    return {};
  });
}

heddle::SyncOptions sync_options(const heddle_lock_options* from) {
  heddle::SyncOptions options;
  if (from != nullptr) fill_common(*from, &options);
  return options;
}

}  // namespace

extern "C" {

heddle_reason heddle_semaphore_open(heddle_client* client, const char* name,
                                    const heddle_lock_options* options,
                                    heddle_semaphore** semaphore) {
  return open_into(client, name, semaphore, [&] {
    heddle::SemaphoreOptions asked;
    if (options != nullptr) {
      fill_common(*options, &asked);
      asked.permits = number_of<std::uint32_t>(options->count);
      asked.permits_max = number_of<std::uint32_t>(options->count_max);
      if (options->counting != HEDDLE_UNSET_CHOICE) asked.counting = options->counting != 0;
    }
    return client->client.semaphore(name, asked);
  });
}

void heddle_semaphore_close(heddle_semaphore* semaphore) { delete semaphore; }

const char* heddle_semaphore_name(const heddle_semaphore* semaphore) {
  return semaphore != nullptr ? semaphore->semaphore.name().c_str() : "";
}

heddle_reason heddle_semaphore_acquire_for(heddle_semaphore* semaphore, uint32_t n,
                                           int64_t timeout_ns, heddle_grant* grant) {
  if (semaphore == nullptr) return missing("semaphore");
  return c_call([&] {
    return put_grant(semaphore->semaphore.acquire_for(timeout_of(timeout_ns), n), grant);
  });
}

heddle_reason heddle_semaphore_release(heddle_semaphore* semaphore, uint32_t n) {
  if (semaphore == nullptr) return missing("semaphore");
  return c_call([&] { return semaphore->semaphore.release(n); });
}

heddle_reason heddle_semaphore_value(heddle_semaphore* semaphore, uint32_t* value) {
  if (semaphore == nullptr) return missing("semaphore");
  return c_call([&] { return give(semaphore->semaphore.value(), value); });
}

heddle_reason heddle_semaphore_force_release(heddle_semaphore* semaphore) {
  if (semaphore == nullptr) return missing("semaphore");
  return c_call([&] { return semaphore->semaphore.force_release(); });
}

heddle_reason heddle_condition_open(heddle_client* client, const char* name,
                                    const heddle_lock_options* options,
                                    heddle_condition** condition) {
  return open_into(client, name, condition,
                   [&] { return client->client.condition(name, sync_options(options)); });
}

void heddle_condition_close(heddle_condition* condition) { delete condition; }

const char* heddle_condition_name(const heddle_condition* condition) {
  return condition != nullptr ? condition->condition.name().c_str() : "";
}

heddle_reason heddle_condition_acquire_for(heddle_condition* condition, int64_t timeout_ns,
                                           heddle_grant* grant) {
  if (condition == nullptr) return missing("condition");
  return c_call(
      [&] { return put_grant(condition->condition.acquire_for(timeout_of(timeout_ns)), grant); });
}

heddle_reason heddle_condition_release(heddle_condition* condition) {
  if (condition == nullptr) return missing("condition");
  return c_call([&] { return condition->condition.release(); });
}

heddle_reason heddle_condition_wait(heddle_condition* condition, heddle_lock* lock,
                                    int64_t timeout_ns) {
  if (condition == nullptr) return missing("condition");
  return c_call([&] {
    const auto timeout = timeout_of(timeout_ns);
    return lock != nullptr ? condition->condition.wait_with(lock->lock, timeout)
                           : condition->condition.wait(timeout);
  });
}

heddle_reason heddle_condition_notify(heddle_condition* condition, uint32_t n, uint32_t* notified) {
  if (condition == nullptr) return missing("condition");
  return c_call([&] {
    return give(
        n == UINT32_MAX ? condition->condition.notify_all() : condition->condition.notify(n),
        notified);
  });
}

heddle_reason heddle_event_open(heddle_client* client, const char* name,
                                const heddle_lock_options* options, heddle_event** event) {
  return open_into(client, name, event,
                   [&] { return client->client.event(name, sync_options(options)); });
}

void heddle_event_close(heddle_event* event) { delete event; }

const char* heddle_event_name(const heddle_event* event) {
  return event != nullptr ? event->event.name().c_str() : "";
}

heddle_reason heddle_event_wait(heddle_event* event, int64_t timeout_ns) {
  if (event == nullptr) return missing("event");
  return c_call([&] { return event->event.wait(timeout_of(timeout_ns)); });
}

heddle_reason heddle_event_set(heddle_event* event) {
  if (event == nullptr) return missing("event");
  return c_call([&] { return event->event.set(); });
}

heddle_reason heddle_event_clear(heddle_event* event) {
  if (event == nullptr) return missing("event");
  return c_call([&] { return event->event.clear(); });
}

heddle_reason heddle_event_is_set(heddle_event* event, bool* set) {
  if (event == nullptr) return missing("event");
  return c_call([&] { return give<bool>(event->event.is_set(), set); });
}

heddle_reason heddle_barrier_open(heddle_client* client, const char* name,
                                  const heddle_lock_options* options, heddle_barrier** barrier) {
  return open_into(client, name, barrier, [&] {
    heddle::BarrierOptions asked;
    if (options != nullptr) {
      fill_common(*options, &asked);
      asked.parties = number_of<std::uint32_t>(options->count);
    }
    return client->client.barrier(name, asked);
  });
}

void heddle_barrier_close(heddle_barrier* barrier) { delete barrier; }

const char* heddle_barrier_name(const heddle_barrier* barrier) {
  return barrier != nullptr ? barrier->barrier.name().c_str() : "";
}

heddle_reason heddle_barrier_arrive(heddle_barrier* barrier, int (*action)(void* context),
                                    void* context, int64_t timeout_ns, uint32_t* index) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] {
    const auto timeout = timeout_of(timeout_ns);
    if (action == nullptr) return give(barrier->barrier.arrive(timeout), index);
    const auto run = [&]() -> Status {
      if (action(context) == 0) return {};
      return Status(Reason::kBrokenBarrier, "the action failed, so the barrier is broken");
    };
    return give(barrier->barrier.arrive(run, timeout), index);
  });
}

heddle_reason heddle_barrier_abort(heddle_barrier* barrier) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return barrier->barrier.abort(); });
}

heddle_reason heddle_barrier_reset(heddle_barrier* barrier) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return barrier->barrier.reset(); });
}

heddle_reason heddle_barrier_broken(heddle_barrier* barrier, bool* broken) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return give<bool>(barrier->barrier.broken(), broken); });
}

heddle_reason heddle_barrier_join(heddle_barrier* barrier) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return barrier->barrier.join(); });
}

heddle_reason heddle_barrier_leave(heddle_barrier* barrier) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return barrier->barrier.leave(); });
}

heddle_reason heddle_barrier_parties(heddle_barrier* barrier, uint32_t* parties) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return give(barrier->barrier.parties(), parties); });
}

heddle_reason heddle_barrier_waiting(heddle_barrier* barrier, uint32_t* waiting) {
  if (barrier == nullptr) return missing("barrier");
  return c_call([&] { return give(barrier->barrier.waiting(), waiting); });
}

}  // extern "C"
