// The methods that answer at once (or after one word with the supervisor).
#include "daemon/services/queue_service.h"

#include <algorithm>

#include "daemon/services/queue_leases.h"
#include "daemon/services/queue_wire.h"

namespace heddle::services {
namespace {

using broker::Need;
using broker::ObjectKind;
using objects::Queue;

constexpr uint32_t kPageMax = 1'000;
constexpr uint32_t kWaitingStates = shm::kReadyMask | shm::kReturnedMask;

uint32_t page_size(uint32_t asked) { return asked == 0 ? kPageMax : std::min(asked, kPageMax); }

// Finds the queue, then answers with `body(caller, queue)`.
template <class Request, class Body>
grpc::ServerUnaryReactor* with_queue(Env& env, grpc::CallbackServerContext* context,
                                     const Request* request, Need need, Body&& body) {
  return answer(env, context, [&](const Caller& caller) -> Status {
    auto queue = env.broker.find_queue(caller, request->name(), need);
    if (!queue.ok()) return queue.status();
    return body(caller, *queue->queue);
  });
}

Status describe(Env& env, const Caller& caller, const std::string& name, v1::QueueInfo* out) {
  auto info = env.broker.describe(caller, ObjectKind::kQueue, name);
  if (!info.ok()) return info.status();
  info_to(*info, out);
  return {};
}

bool never_before(const shm::Ticket&) { return false; }

// The leases of a request, each settled by `settle`; lost ones are listed. `done_before` tells
// whether one that has ended was ended by the same request, whose reply was lost.
template <class Request, class Response, class Settle,
          class DoneBefore = bool (&)(const shm::Ticket&)>
Status settle_all(const Request& request, Response* response, Settle&& settle,
                  DoneBefore&& done_before = never_before) {
  uint32_t done = 0;
  response->set_outcome(v1::OUTCOME_OK);
  for (const std::string& lease : request.leases()) {
    shm::Ticket ticket;
    Status status = ticket_from(lease, &ticket);
    if (status.ok()) status = settle(ticket);
    if (status.is(Reason::kLeaseLost) && done_before(ticket)) status = Status();
    if (status.ok()) {
      ++done;
    } else if (status.is(Reason::kLeaseLost)) {
      response->add_lost(lease);
      (void)set_outcome(std::move(status), response);
    } else {
      return status;
    }
  }
  response->set_done(done);
  return {};
}

}  // namespace

#define HEDDLE_QUEUE_METHOD(Name)                                                              \
  grpc::ServerUnaryReactor* QueueService::Name(Context* context,                               \
                                               const v1::QueueService##Name##Request* request, \
                                               v1::QueueService##Name##Response* response)

HEDDLE_QUEUE_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    broker::QueueOptions options;
    if (Status status = options_from(request->options(), &options); !status.ok()) return status;
    const broker::OpenFlags flags{
        .create = true, .exclusive = request->exclusive(), .anonymous = request->anonymous()};
    if (flags.anonymous && !request->name().empty()) {
      return {Reason::kInvalidArgument, "an anonymous queue has no name to give"};
    }
    auto queue =
        env_.broker.open_queue(caller, request->name(), options, request->options().group(), flags);
    if (!queue.ok()) return queue.status();
    response->set_created(queue->created);
    return describe(env_, caller, queue->name, response->mutable_queue());
  });
}

HEDDLE_QUEUE_METHOD(Open) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    broker::QueueOptions options;
    if (Status status = options_from(request->options(), &options); !status.ok()) return status;
    auto queue =
        env_.broker.open_queue(caller, request->name(), options, request->options().group(), {});
    if (!queue.ok()) return queue.status();
    if (request->share()) {
      const auto shared = env_.broker.share_queue(caller, queue->name);
      if (!shared.ok()) return shared.status();
    }
    return describe(env_, caller, queue->name, response->mutable_queue());
  });
}

HEDDLE_QUEUE_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) {
    return env_.broker.delete_queue(caller, request->name());
  });
}

HEDDLE_QUEUE_METHOD(Info) {
  return answer(env_, context, [&](const Caller& caller) {
    return describe(env_, caller, request->name(), response->mutable_queue());
  });
}

HEDDLE_QUEUE_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    auto page = env_.broker.list(caller, ObjectKind::kQueue, request->prefix(),
                                 page_size(request->page_size()), request->page_token());
    if (!page.ok()) return page.status();
    for (const auto& info : page->objects) info_to(info, response->add_queues());
    response->set_next_page_token(page->next_page_token);
    return {};
  });
}

HEDDLE_QUEUE_METHOD(Ack) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    return settle_all(
        *request, response, [&](const shm::Ticket& ticket) { return queue.ack(caller, ticket); },
        [&](const shm::Ticket& ticket) {
          return request->asked_before() && !queue.contains(ticket.id, shm::kAllMask);
        });
  });
}

HEDDLE_QUEUE_METHOD(Nack) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    return settle_all(
        *request, response,
        [&](const shm::Ticket& ticket) {
          return queue.nack(caller, ticket, !request->uncounted());
        },
        [&](const shm::Ticket&) { return request->asked_before(); });
  });
}

HEDDLE_QUEUE_METHOD(Extend) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    int64_t lease = 0;
    if (Status status = lease_ns(*request, &lease); !status.ok()) return status;
    return settle_all(*request, response, [&](const shm::Ticket& ticket) {
      return queue.extend(caller, ticket, lease).status();
    });
  });
}

HEDDLE_QUEUE_METHOD(Bury) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    return settle_all(
        *request, response, [&](const shm::Ticket& ticket) { return queue.bury(caller, ticket); },
        [&](const shm::Ticket& ticket) {
          return request->asked_before() && queue.contains(ticket.id, shm::kBuriedMask);
        });
  });
}

HEDDLE_QUEUE_METHOD(Kick) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller&, Queue& queue) {
    const auto kicked =
        queue.kick(request->max_messages() == 0 ? UINT32_MAX : request->max_messages());
    if (kicked.ok()) response->set_done(*kicked);
    return kicked.status();
  });
}

HEDDLE_QUEUE_METHOD(Peek) {
  return with_queue(env_, context, request, Need::kRead, [&](const Caller&, Queue& queue) {
    const uint32_t wanted = std::clamp<uint32_t>(request->max_messages(), 1, kPageMax);
    objects::BrowseParams params;
    params.body_bytes_max = UINT64_MAX;
    // Returned messages are taken before ready ones.
    for (const unsigned state : {unsigned{shm::kReturnedMask}, unsigned{shm::kReadyMask}}) {
      params.states = state;
      params.count_max = wanted - static_cast<uint32_t>(response->deliveries_size());
      if (params.count_max == 0) break;
      for (auto& item : queue.browse(params)) {
        objects::Delivery delivery;
        delivery.id = item.id;
        delivery.kind = item.kind;
        delivery.count = item.count;
        delivery.body = std::move(item.body);
        if (Status status =
                delivery_to(delivery, request->body_as(), false, response->add_deliveries());
            !status.ok()) {
          return status;
        }
      }
    }
    if (response->deliveries_size() > 0) return set_outcome(Status(), response);
    return set_outcome(Status(Reason::kEmpty).with_object("queue " + queue.name()), response);
  });
}

HEDDLE_QUEUE_METHOD(Browse) {
  return with_queue(env_, context, request, Need::kRead, [&](const Caller&, Queue& queue) {
    objects::BrowseParams params;
    params.count_max = page_size(request->page_size());
    params.body_bytes_max = request->max_body_bytes();
    if (Status status = page_from(request->page_token(), &params.after_id); !status.ok()) {
      return status;
    }
    if (Status status = states_from(request->states(), shm::kAllMask, &params.states);
        !status.ok()) {
      return status;
    }
    auto items = queue.browse(params);
    for (auto& item : items) {
      row_to(item, params.body_bytes_max, request->body_as(), response->add_rows());
    }
    if (items.size() >= params.count_max) {
      response->set_next_page_token(std::to_string(items.back().id));
    }
    return Status();
  });
}

HEDDLE_QUEUE_METHOD(Who) {
  return with_queue(env_, context, request, Need::kRead, [&](const Caller&, Queue& queue) {
    holders_to(queue.holders(), response->mutable_users());
    response->set_waiting(queue.waiting_callers());
    response->set_producers(queue.counts().producers);
    return Status();
  });
}

HEDDLE_QUEUE_METHOD(Purge) {
  return with_queue(env_, context, request, Need::kOwner, [&](const Caller&, Queue& queue) {
    unsigned states = 0;
    if (Status status = states_from(request->states(), kWaitingStates, &states); !status.ok()) {
      return status;
    }
    const auto purged = queue.purge(states);
    if (purged.ok()) response->set_done(*purged);
    return purged.status();
  });
}

HEDDLE_QUEUE_METHOD(Shutdown) {
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller&, Queue& queue) {
    return set_outcome(queue.shutdown(request->immediate()), response);
  });
}

HEDDLE_QUEUE_METHOD(Reopen) {
  (void)response;
  return with_queue(env_, context, request, Need::kWrite,
                    [](const Caller&, Queue& queue) { return queue.reopen(); });
}

HEDDLE_QUEUE_METHOD(TaskDone) {
  (void)response;
  return with_queue(env_, context, request, Need::kWrite,
                    [](const Caller& caller, Queue& queue) { return ack_oldest(caller, queue); });
}

HEDDLE_QUEUE_METHOD(RegisterProducer) {
  (void)response;
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    return queue.register_producer(caller, request->producer());
  });
}

HEDDLE_QUEUE_METHOD(UnregisterProducer) {
  (void)response;
  return with_queue(env_, context, request, Need::kWrite, [&](const Caller& caller, Queue& queue) {
    return queue.unregister_producer(caller, request->producer());
  });
}

#undef HEDDLE_QUEUE_METHOD

}  // namespace heddle::services
