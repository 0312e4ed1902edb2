// The calls that wait: Acquire, AcquireMany, Convert, Wait, WaitEvent, Arrive. A reactor parks
// until its lock calls back. A cancelled wait ends with CANCELLED; a grant without a request id
// whose reply did not get out is given back.
#include <mutex>
#include <optional>
#include <utility>

#include "daemon/objects/lock_many.h"
#include "daemon/services/lock_service.h"
#include "daemon/services/lock_wire.h"

namespace heddle::services {
namespace {

using broker::LockRef;
using broker::Need;
using broker::ObjectKind;
using objects::LockAsk;
using objects::LockOp;
using objects::LockReply;
using objects::LockRequests;

constexpr int kWishesMax = 64;

// The clock says TIMED_OUT; who did not want to wait hears EMPTY.
Status as_asked(Status status, int64_t deadline_ns) {
  if (deadline_ns != shm::kTry || !status.is(Reason::kTimedOut)) return status;
  return Status(Reason::kEmpty, std::string(status.message()))
      .with_object(std::string(status.object()));
}

class LockCall : public Call {
 public:
  using Call::Call;

  // gRPC calls this from any thread, before or after the wait has begun.
  void OnCancel() override {
    std::function<void()> cancel;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      cancel = cancel_;
    }
    if (cancel) cancel();
  }

 protected:
  // `next(ref)` once it is found, or made by use, which is done on the worker.
  template <class Next>
  void with(ObjectKind kind, const std::string& name, Next next) {
    if (!identified_.ok()) return finish(identified_);
    bool missing = false;
    const auto ref = use_lock(env_, caller_, kind, name, false, &missing);
    if (ref.ok()) return next(*ref);
    if (!missing) return finish(ref.status());
    env_.worker.post([this, kind, &name, next = std::move(next)] {
      bool ignored;
      const auto made = use_lock(env_, caller_, kind, name, true, &ignored);
      made.ok() ? next(*made) : finish(made.status());
    });
  }

  // Begins the wait. However soon its end comes, settle() acts when this is over.
  template <class Begin>
  void park(Begin&& begin) {
    std::function<void()> cancel = begin();
    bool cancelled;
    {
      std::lock_guard lock(mutex_);
      cancel_ = cancel;
      cancelled = cancelled_;
    }
    if (cancelled) cancel();
    std::unique_lock lock(mutex_);
    parked_ = true;
    if (!settled_) return;
    const Status status = *std::move(settled_);
    lock.unlock();
    finish(status);
  }
  void settle(Status status) {
    {
      std::lock_guard lock(mutex_);
      if (!parked_) {
        settled_ = std::move(status);
        return;
      }
    }
    finish(status);
  }

  // As LockRequests::start if there is an id. `done(reply)` ends with settle().
  void park_request(const LockRequests::Key& key, LockRequests::Job job, objects::LockDone done) {
    if (Status bad = LockRequests::check(caller_, key.id); !bad.ok()) return finish(bad);
    if (key.id.empty()) return park([&] { return job.begin(std::move(done)); });
    park([&]() -> std::function<void()> {
      const auto call = env_.lock_requests.start(caller_, key, std::move(job), std::move(done));
      return [this, call] {
        if (env_.lock_requests.cancel(call)) {
          settle(Status(Reason::kInterrupted, "the caller went away"));
        }
      };
    });
  }

  LockRequests::Job job_of(const LockRef& ref, const LockAsk& ask, int64_t deadline_ns) {
    LockRequests::Job job;
    job.begin = [caller = caller_, lock = ref.lock, ask,
                 deadline_ns](objects::LockDone done) -> std::function<void()> {
      const auto wait = lock->start(caller, ask, deadline_ns, std::move(done));
      return [lock, wait] { lock->cancel(wait); };
    };
    job.keep_failures = ask.op == LockOp::kWait || ask.op == LockOp::kArrive;
    return job;
  }

 private:
  std::mutex mutex_;
  std::function<void()> cancel_;
  bool cancelled_ = false, parked_ = false;
  std::optional<Status> settled_;
};

class AcquireCall final : public LockCall {
 public:
  AcquireCall(Env& env, grpc::CallbackServerContext* context,
              const v1::LockServiceAcquireRequest& request,
              v1::LockServiceAcquireResponse* response)
      : LockCall(env, context), request_(request), response_(response) {}

  void start() {
    ObjectKind kind{};
    if (Status bad = kind_from(request_.kind(), &kind); !bad.ok()) return finish(bad);
    if (Status bad = mode_from(request_.mode(), &ask_.mode); !bad.ok()) return finish(bad);
    if (Status bad = thread_from(request_.thread(), &ask_.thread); !bad.ok()) return finish(bad);
    ask_.n = std::max<uint32_t>(request_.permits(), 1);
    ask_.priority = request_.priority();
    with(kind, request_.name(), [this](const LockRef& ref) { acquire(ref); });
  }
  void OnDone() override {
    if (granted_ && context_.IsCancelled()) give_back(*lock_, caller_, ask_);
    Call::OnDone();
  }

 private:
  static void give_back(objects::Lock& lock, const Caller& caller, const LockAsk& ask) {
    // Fails only if it was lost meanwhile.
    (void)lock.release(caller, ask.mode, ask.n, ask.thread);
  }

  void acquire(const LockRef& ref) {
    lock_ = ref.lock;
    deadline_ns_ = deadline_ns(context_, timeout_of(request_), shm::kForever);
    const auto lock = ref.lock;
    if (!request_.request_id().empty()) {
      ask_.request = objects::request_number(caller_, 'a', request_.request_id());
    }
    LockRequests::Job job = job_of(ref, ask_, deadline_ns_);
    if (!request_.request_id().empty()) {
      const auto holds = [lock, caller = caller_, ask = ask_](const LockReply& reply) {
        return lock->holds(caller, ask, reply.grant.token);
      };
      job.stands = holds;
      job.undo = [lock, caller = caller_, ask = ask_](const LockReply&) {
        give_back(*lock, caller, ask);
      };
    }
    park_request({ref.object_id, ask_.thread, 'a', request_.request_id()}, std::move(job),
                 [this](LockReply reply) { acquired(reply); });
  }

  void acquired(LockReply& reply) {
    granted_ = reply.status.ok() && request_.request_id().empty();
    if (reply.status.ok()) grant_to(reply, response_->mutable_grant());
    settle(set_outcome(as_asked(std::move(reply.status), deadline_ns_), response_));
  }

  const v1::LockServiceAcquireRequest& request_;
  v1::LockServiceAcquireResponse* const response_;
  std::shared_ptr<objects::Lock> lock_;
  LockAsk ask_;
  int64_t deadline_ns_ = 0;
  bool granted_ = false;
};

class AcquireManyCall final : public LockCall {
 public:
  AcquireManyCall(Env& env, grpc::CallbackServerContext* context,
                  const v1::LockServiceAcquireManyRequest& request,
                  v1::LockServiceAcquireManyResponse* response)
      : LockCall(env, context), request_(request), response_(response) {}

  void start() {
    if (!identified_.ok()) return finish(identified_);
    if (request_.wishes_size() > kWishesMax) {
      return finish(Status(Reason::kInvalidArgument, "too many wishes")
                        .with_limit(kWishesMax, static_cast<uint64_t>(request_.wishes_size())));
    }
    bool missing = false;
    if (Status status = find(false, &missing); missing) {
      env_.worker.post([this] {
        bool ignored;
        Status made = find(true, &ignored);
        made.ok() ? acquire() : finish(made);
      });
    } else {
      status.ok() ? acquire() : finish(status);
    }
  }
  void OnDone() override {
    if (granted_ && context_.IsCancelled()) objects::LockMany::release(caller_, wishes_);
    Call::OnDone();
  }

 private:
  Status find(bool make, bool* missing) {
    wishes_.clear();
    for (const v1::LockWish& wish : request_.wishes()) {
      ObjectKind kind{};
      objects::LockWish& out = wishes_.emplace_back();
      if (Status bad = kind_from(wish.kind(), &kind); !bad.ok()) return bad;
      if (Status bad = mode_from(wish.mode(), &out.ask.mode); !bad.ok()) return bad;
      if (Status bad = thread_from(request_.thread(), &out.ask.thread); !bad.ok()) return bad;
      out.ask.n = std::max<uint32_t>(wish.permits(), 1);
      out.ask.priority = request_.priority();
      if (!request_.request_id().empty()) {
        out.ask.request = objects::request_number(
            caller_, 'm', request_.request_id() + "/" + std::to_string(wishes_.size()));
      }
      const auto ref = use_lock(env_, caller_, kind, wish.name(), make, missing);
      if (!ref.ok()) return ref.status();
      out.lock = ref->lock;
    }
    return {};
  }

  void acquire() {
    deadline_ns_ = deadline_ns(context_, timeout_of(request_), shm::kForever);
    LockRequests::Job job;
    job.begin = [caller = caller_, wishes = wishes_,
                 deadline = deadline_ns_](objects::LockDone done) -> std::function<void()> {
      const auto many = objects::LockMany::start(caller, wishes, deadline, std::move(done));
      return [many] { many->cancel(); };
    };
    job.stands = [caller = caller_, wishes = wishes_](const LockReply& reply) {
      for (size_t i = 0; i < wishes.size(); ++i) {
        if (!wishes[i].lock->holds(caller, wishes[i].ask, reply.many[i].grant.token)) return false;
      }
      return true;
    };
    job.undo = [caller = caller_, wishes = wishes_](const LockReply&) {
      objects::LockMany::release(caller, wishes);
    };
    uint16_t thread = 0;
    (void)thread_from(request_.thread(), &thread);
    park_request({0, thread, 'm', request_.request_id()}, std::move(job),
                 [this](LockReply reply) { acquired(reply); });
  }

  void acquired(LockReply& reply) {
    granted_ = reply.status.ok() && request_.request_id().empty();
    for (size_t i = 0; i < reply.many.size(); ++i) {
      if (!reply.status.ok() && !reply.many[i].grant.abandoned) continue;
      grant_to(reply.many[i], response_->add_grants());
      response_->add_index(static_cast<uint32_t>(i));
    }
    settle(set_outcome(as_asked(std::move(reply.status), deadline_ns_), response_));
  }

  const v1::LockServiceAcquireManyRequest& request_;
  v1::LockServiceAcquireManyResponse* const response_;
  std::vector<objects::LockWish> wishes_;
  int64_t deadline_ns_ = 0;
  bool granted_ = false;
};

class ConvertCall final : public LockCall {
 public:
  using LockCall::LockCall;
  void start(const v1::LockServiceConvertRequest& request, v1::LockServiceConvertResponse* out) {
    LockAsk ask{.op = LockOp::kConvert};
    if (Status bad = mode_from(request.from(), &ask.from); !bad.ok()) return finish(bad);
    if (Status bad = mode_from(request.to(), &ask.mode); !bad.ok()) return finish(bad);
    if (Status bad = thread_from(request.thread(), &ask.thread); !bad.ok()) return finish(bad);
    with(ObjectKind::kLock, request.name(), [this, &request, out, ask](const LockRef& ref) {
      int64_t deadline = deadline_ns(context_, timeout_of(request), shm::kForever);
      if (ask.from == shm::LockMode::kShared) deadline = shm::kTry;
      LockRequests::Job job = job_of(ref, ask, deadline);
      job.stands = [lock = ref.lock, caller = caller_, ask](const LockReply& reply) {
        return lock->holds(caller, ask, reply.grant.token);
      };
      park_request({ref.object_id, ask.thread, 'c', request.request_id()}, std::move(job),
                   [this, out, deadline](LockReply reply) {
                     if (reply.status.ok()) grant_to(reply, out->mutable_grant());
                     settle(set_outcome(as_asked(std::move(reply.status), deadline), out));
                   });
    });
  }
};

class WaitCall final : public LockCall {
 public:
  using LockCall::LockCall;
  void start(const v1::LockServiceWaitRequest& request, v1::LockServiceWaitResponse* out) {
    LockAsk ask{.op = LockOp::kWait};
    if (Status bad = thread_from(request.thread(), &ask.thread); !bad.ok()) return finish(bad);
    with(ObjectKind::kCondition, request.name(), [this, &request, out, ask](const LockRef& ref) {
      LockAsk whole = ask;
      if (!request.lock().empty()) {
        auto guard =
            env_.broker.find_lock(caller_, ObjectKind::kLock, request.lock(), Need::kWrite);
        if (!guard.ok()) return finish(guard.status());
        whole.guard = guard->lock;
      }
      const int64_t deadline = deadline_ns(context_, timeout_of(request), shm::kForever);
      park_request({ref.object_id, ask.thread, 'w', request.request_id()},
                   job_of(ref, whole, deadline), [this, out](LockReply reply) {
                     grant_to(reply, out->mutable_grant());
                     settle(set_outcome(std::move(reply.status), out));
                   });
    });
  }
};

class WaitEventCall final : public LockCall {
 public:
  using LockCall::LockCall;
  void start(const v1::LockServiceWaitEventRequest& request,
             v1::LockServiceWaitEventResponse* out) {
    with(ObjectKind::kEvent, request.name(), [this, &request, out](const LockRef& ref) {
      const int64_t deadline = deadline_ns(context_, timeout_of(request), shm::kForever);
      park_request({}, job_of(ref, {.op = LockOp::kWaitEvent}, deadline),
                   [this, out, deadline](LockReply reply) {
                     settle(set_outcome(as_asked(std::move(reply.status), deadline), out));
                   });
    });
  }
};

class ArriveCall final : public LockCall {
 public:
  using LockCall::LockCall;
  void start(const v1::LockServiceArriveRequest& request, v1::LockServiceArriveResponse* out) {
    LockAsk ask{.op = LockOp::kArrive, .action = request.action()};
    if (Status bad = thread_from(request.thread(), &ask.thread); !bad.ok()) return finish(bad);
    with(ObjectKind::kBarrier, request.name(), [this, &request, out, ask](const LockRef& ref) {
      const int64_t deadline = deadline_ns(context_, timeout_of(request), shm::kForever);
      park_request({ref.object_id, ask.thread, 'b', request.request_id()},
                   job_of(ref, ask, deadline), [this, out](LockReply reply) {
                     if (reply.status.ok()) {
                       out->set_index(reply.index);
                       out->set_lead(reply.lead);
                     }
                     settle(set_outcome(std::move(reply.status), out));
                   });
    });
  }
};

}  // namespace

#define HEDDLE_LOCK_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* LockService::Name(Context* context,                              \
                                              const v1::LockService##Name##Request* request, \
                                              v1::LockService##Name##Response* response)

HEDDLE_LOCK_METHOD(Acquire) {
  auto* call = new AcquireCall(env_, context, *request, response);
  call->start();
  return call;
}

HEDDLE_LOCK_METHOD(AcquireMany) {
  auto* call = new AcquireManyCall(env_, context, *request, response);
  call->start();
  return call;
}

HEDDLE_LOCK_METHOD(Convert) {
  auto* call = new ConvertCall(env_, context);
  call->start(*request, response);
  return call;
}

HEDDLE_LOCK_METHOD(Wait) {
  auto* call = new WaitCall(env_, context);
  call->start(*request, response);
  return call;
}

HEDDLE_LOCK_METHOD(WaitEvent) {
  auto* call = new WaitEventCall(env_, context);
  call->start(*request, response);
  return call;
}

HEDDLE_LOCK_METHOD(Arrive) {
  auto* call = new ArriveCall(env_, context);
  call->start(*request, response);
  return call;
}

}  // namespace heddle::services
