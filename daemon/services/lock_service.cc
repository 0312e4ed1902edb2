// The methods that answer at once (or after one word with the supervisor).
#include "daemon/services/lock_service.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <set>

#include "daemon/broker/lock_table.h"
#include "daemon/os/log.h"
#include "daemon/services/lock_wire.h"

namespace heddle::services {
namespace {

using broker::LockRef;
using broker::Need;
using broker::ObjectKind;
using objects::LockReply;
using objects::LockRequests;

constexpr uint32_t kPageMax = 1'000;

void describe(const LockRef& ref, v1::LockInfo* out) { info_to(ref, ref.lock->inspect(), out); }

// Finds it, then answers with `body(caller, ref)`.
template <class Body>
grpc::ServerUnaryReactor* with_lock(Env& env, grpc::CallbackServerContext* context, ObjectKind kind,
                                    const std::string& name, Need need, Body&& body) {
  return answer(env, context, [&](const Caller& caller) -> Status {
    const auto ref = env.broker.find_lock(caller, kind, name, need);
    return ref.ok() ? body(caller, *ref) : ref.status();
  });
}

// `run` once for one request id; *reply has its answer.
template <class Request, class Run>
Status once(Env& env, const Caller& caller, const Request& request, const LockRef& ref, char op,
            uint16_t thread, LockReply* reply, Run&& run) {
  if (Status bad = LockRequests::check(caller, request.request_id()); !bad.ok()) return bad;
  const LockRequests::Key key{ref.object_id, thread, op, request.request_id()};
  *reply = env.lock_requests.once(caller, key, run);
  return reply->status;
}

LockReply answered(Status status) {
  LockReply reply;
  reply.status = std::move(status);
  return reply;
}

// Sessions that hold it now.
std::set<uint64_t> holders_of(const LockRef& ref, uint16_t owner) {
  std::set<uint64_t> sessions;
  for (const objects::LockParty& party : ref.lock->inspect().parties) {
    const bool meant = owner == 0 || party.number == owner;
    if (!party.waits && meant && party.owner.remote) sessions.insert(party.owner.session_id);
  }
  return sessions;
}

// What may be said to the log of somebody's use of force.
void log_force(const char* what, const LockRef& ref, const Caller& caller) {
  os::log(os::LogLevel::kNotice, "%s of %s by uid %u, pid %d", what, ref.name.c_str(), caller.uid,
          static_cast<int>(caller.pid));
}

template <class Response>
grpc::ServerUnaryReactor* report(Env& env, grpc::CallbackServerContext* context, const char* what,
                                 Response* response) {
  return answer(env, context, [&](const Caller& caller) -> Status {
    const auto text = env.lock_report(caller, what);
    if (!text.ok()) return text.status();
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(*text, response->mutable_report());
    return parsed.ok() ? Status() : Status(Reason::kInternal, "the report cannot be read");
  });
}

}  // namespace

Result<LockRef> use_lock(Env& env, const Caller& caller, ObjectKind kind, const std::string& name,
                         bool make, bool* missing) {
  auto ref = env.broker.find_lock(caller, kind, name, Need::kWrite);
  const bool by_use = kind != ObjectKind::kSemaphore && kind != ObjectKind::kBarrier;
  *missing = by_use && ref.status().is(Reason::kNotFound);
  if (!*missing || !make) return ref;
  const auto made = env.broker.open_lock(caller, kind, name, {}, {}, {.create = true});
  if (!made.ok()) return made.status();
  return env.broker.find_lock(caller, kind, name, Need::kWrite);
}

#define HEDDLE_LOCK_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* LockService::Name(Context* context,                              \
                                              const v1::LockService##Name##Request* request, \
                                              v1::LockService##Name##Response* response)

HEDDLE_LOCK_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    ObjectKind kind{};
    broker::LockOptions options;
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    if (Status bad = options_from(request->options(), &options); !bad.ok()) return bad;
    const auto ref =
        env_.broker.open_lock(caller, kind, request->name(), options, request->options().group(),
                              {.create = true, .exclusive = request->exclusive()});
    if (!ref.ok()) return ref.status();
    response->set_created(ref->created);
    describe(*ref, response->mutable_lock());
    return {};
  });
}

HEDDLE_LOCK_METHOD(Open) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    ObjectKind kind{};
    broker::LockOptions options;
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    if (Status bad = options_from(request->options(), &options); !bad.ok()) return bad;
    const auto ref = env_.broker.open_lock(caller, kind, request->name(), options,
                                           request->options().group(), {});
    if (!ref.ok()) return ref.status();
    describe(*ref, response->mutable_lock());
    return {};
  });
}

HEDDLE_LOCK_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) -> Status {
    ObjectKind kind{};
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    return env_.broker.delete_lock(caller, kind, request->name());
  });
}

HEDDLE_LOCK_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    ObjectKind kind{};
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    const uint32_t rows =
        request->page_size() == 0 ? kPageMax : std::min(request->page_size(), kPageMax);
    const auto refs =
        env_.broker.list_locks(caller, kind, request->prefix(), request->page_token(), rows);
    for (const LockRef& ref : refs) describe(ref, response->add_locks());
    if (refs.size() == rows) response->set_next_page_token(refs.back().name);
    return {};
  });
}

HEDDLE_LOCK_METHOD(Inspect) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    ObjectKind kind{};
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    const auto ref = env_.broker.find_lock(caller, kind, request->name(), Need::kRead);
    if (!ref.ok()) return ref.status();
    const objects::LockInfo info = ref->lock->inspect();
    info_to(*ref, info, response->mutable_lock());
    if (request->brief()) return {};
    parties_to(info, env_.broker.local_waiters(*ref), response->mutable_lock());
    return {};
  });
}

HEDDLE_LOCK_METHOD(Release) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    using Request = v1::LockServiceReleaseRequest;
    ObjectKind kind{};
    shm::LockMode mode;
    uint16_t thread;
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    if (Status bad = mode_from(request->mode(), &mode); !bad.ok()) return bad;
    if (Status bad = thread_from(request->thread(), &thread); !bad.ok()) return bad;
    const auto ref = env_.broker.find_lock(caller, kind, request->name(), Need::kWrite);
    if (!ref.ok()) return ref.status();
    objects::Lock& lock = *ref->lock;
    LockReply reply;
    Status status = once(env_, caller, *request, *ref, 'r', thread, &reply, [&] {
      if (request->holder() == Request::HOLDER_ANY) return answered(lock.release_any(caller));
      if (request->holder() == Request::HOLDER_SESSION) {
        return answered(lock.release_any(caller, true));
      }
      const uint64_t number = request->request_id().empty()
                                  ? 0
                                  : objects::request_number(caller, 'r', request->request_id());
      return answered(
          lock.release(caller, mode, std::max<uint32_t>(request->permits(), 1), thread, number));
    });
    if (status.ok()) env_.lock_requests.released(caller, ref->object_id, thread);
    return set_outcome(std::move(status), response);
  });
}

HEDDLE_LOCK_METHOD(Notify) {
  return with_lock(env_, context, ObjectKind::kCondition, request->name(), Need::kWrite,
                   [&](const Caller& caller, const LockRef& ref) {
                     LockReply reply;
                     Status status = once(env_, caller, *request, ref, 'n', 0, &reply, [&] {
                       const auto told = ref.lock->notify(
                           caller, std::max<uint32_t>(request->waiters(), 1), request->all());
                       LockReply done = answered(told.status());
                       done.index = told.ok() ? *told : 0;
                       return done;
                     });
                     response->set_done(reply.index);
                     return status;
                   });
}

HEDDLE_LOCK_METHOD(SetEvent) {
  (void)response;
  auto* call = new Call(env_, context);
  const auto set = [this, call, request](bool make, bool* missing) {
    const auto ref =
        use_lock(env_, call->caller(), ObjectKind::kEvent, request->name(), make, missing);
    if (!make && *missing) return;
    call->finish(ref.ok() ? ref->lock->set_event(!request->clear()) : ref.status());
  };
  bool missing = false;
  if (!call->identified().ok()) {
    call->finish(call->identified());
  } else if (set(false, &missing); missing) {
    env_.worker.post([set] {
      bool ignored;
      set(true, &ignored);
    });
  }
  return call;
}

HEDDLE_LOCK_METHOD(FinishAction) {
  return with_lock(env_, context, ObjectKind::kBarrier, request->name(), Need::kWrite,
                   [&](const Caller& caller, const LockRef& ref) -> Status {
                     uint16_t thread;
                     LockReply reply;
                     Status bad = thread_from(request->thread(), &thread);
                     if (!bad.ok()) return bad;
                     return set_outcome(
                         once(env_, caller, *request, ref, 'f', thread, &reply,
                              [&] { return answered(ref.lock->finish_action(caller, thread)); }),
                         response);
                   });
}

HEDDLE_LOCK_METHOD(AbortBarrier) {
  (void)response;
  return with_lock(env_, context, ObjectKind::kBarrier, request->name(), Need::kWrite,
                   [](const Caller&, const LockRef& ref) { return ref.lock->break_barrier(true); });
}

HEDDLE_LOCK_METHOD(ResetBarrier) {
  (void)response;
  return with_lock(env_, context, ObjectKind::kBarrier, request->name(), Need::kWrite,
                   [](const Caller&, const LockRef& ref) { return ref.lock->reset_barrier(); });
}

HEDDLE_LOCK_METHOD(JoinBarrier) {
  return with_lock(
      env_, context, ObjectKind::kBarrier, request->name(), Need::kWrite,
      [&](const Caller& caller, const LockRef& ref) -> Status {
        uint16_t thread;
        LockReply reply;
        Status bad = thread_from(request->thread(), &thread);
        if (!bad.ok()) return bad;
        const bool join = !request->leave();
        return set_outcome(
            once(env_, caller, *request, ref, join ? 'j' : 'l', thread, &reply,
                 [&] { return answered(ref.lock->join_barrier(caller, thread, join)); }),
            response);
      });
}

HEDDLE_LOCK_METHOD(ForceRelease) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    ObjectKind kind{};
    uint16_t thread;
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    if (Status bad = thread_from(request->thread(), &thread); !bad.ok()) return bad;
    if (request->owner() > UINT16_MAX) {
      return Status(Reason::kInvalidArgument, "owner is a number of 16 bits")
          .with_limit(UINT16_MAX, request->owner());
    }
    const auto ref = env_.broker.find_lock(caller, kind, request->name(), Need::kOwner);
    if (!ref.ok()) return ref.status();
    log_force("force_release", *ref, caller);
    const auto owner = static_cast<uint16_t>(request->owner());
    const auto losers = holders_of(*ref, owner);
    Status status = ref->lock->force_release(owner, request->has_thread() ? int{thread} : -1);
    const std::string what = broker::noun_of(ref->kind) + (" " + ref->name);
    if (status.ok()) {
      for (const uint64_t session : losers) env_.tell_lost(session, what);
    }
    return set_outcome(std::move(status), response);
  });
}

HEDDLE_LOCK_METHOD(Repair) {
  (void)response;
  return answer(env_, context, [&](const Caller& caller) -> Status {
    ObjectKind kind{};
    if (Status bad = kind_from(request->kind(), &kind); !bad.ok()) return bad;
    const auto ref = env_.broker.find_lock(caller, kind, request->name(), Need::kOwner);
    if (!ref.ok()) return ref.status();
    log_force("repair", *ref, caller);
    return ref->lock->repair();
  });
}

HEDDLE_LOCK_METHOD(Deadlocks) {
  (void)request;
  return report(env_, context, "deadlocks", response);
}

HEDDLE_LOCK_METHOD(Graph) {
  (void)request;
  return report(env_, context, "graph", response);
}

HEDDLE_LOCK_METHOD(Orders) {
  (void)request;
  return report(env_, context, "orders", response);
}

}  // namespace heddle::services
