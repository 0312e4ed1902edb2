// What every call has in common: who asks, over which connection, until when.
#pragma once

#include <grpcpp/grpcpp.h>
#include <heddle/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/broker/broker.h"
#include "daemon/objects/lock_requests.h"
#include "daemon/services/grpc_status.h"
#include "daemon/services/worker.h"

namespace heddle::services {

using objects::Caller;

// One call in flight on a connection; the count goes down when this goes away.
class Admission {
 public:
  virtual ~Admission() = default;
};

// Who is behind a connection. Implemented by the server, which accepted it.
class Peers {
 public:
  virtual ~Peers() = default;
  // Fills in uid, gid, groups and pid, and counts the call. DENIED for a connection that is not
  // known (any more), QUOTA when it has too many calls in flight.
  virtual Status admit(const std::string& peer, Caller* caller,
                       std::unique_ptr<Admission>* admission) = 0;
};

class SessionTable;

// What the services work with. Outlives them all.
struct Env {
  broker::Broker& broker;
  Peers& peers;
  SessionTable& sessions;
  Worker& worker;
  objects::LockRequests& lock_requests;
  // What the broker tells of waits as JSON text: "deadlocks", "graph", "orders".
  std::function<Result<std::string>(const Caller& caller, const char* what)> lock_report;
  // A session lost "lock ledger" to somebody.
  std::function<void(uint64_t session_id, const std::string& what)> tell_lost;
};

// Credentials of the connection plus the session of the `heddle-session` metadata, if any.
Status identify(Env& env, const grpc::CallbackServerContext& context, Caller* caller,
                std::unique_ptr<Admission>* admission);

// CLOCK_MONOTONIC now.
int64_t now_ns();
// The sooner of `timeout_ms` from now and 20 ms, or a quarter of what is left, before the deadline
// of the RPC: TIMED_OUT is answered while the caller still listens, and a message that comes in the
// last moment stays for the next one. `absent_ns` counts when timeout_ms is absent. <= 0 gives
// shm::kTry.
int64_t deadline_ns(const grpc::CallbackServerContext& context, std::optional<int64_t> timeout_ms,
                    int64_t absent_ns);
template <class Request>
std::optional<int64_t> timeout_of(const Request& request) {
  return request.has_timeout_ms() ? std::optional(request.timeout_ms()) : std::nullopt;
}

// A unary call; it deletes itself when gRPC is done with it.
class Call : public grpc::ServerUnaryReactor {
 public:
  Call(Env& env, grpc::CallbackServerContext* context) : env_(env), context_(*context) {
    identified_ = identify(env, *context, &caller_, &admission_);
  }
  void OnDone() override { delete this; }
  // Else gRPC hands OnDone and OnCancel to a thread of its executor, once for each call. Both are
  // short and never wait, so they may run where the call ends.
  bool InternalInlineable() override { return true; }

  const Status& identified() const { return identified_; }
  const Caller& caller() const { return caller_; }
  void finish(const Status& status) { Finish(to_grpc(status)); }

 protected:
  ~Call() override = default;

  Env& env_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::unique_ptr<Admission> admission_;
  Status identified_;
};

// Answers at once with what `body(caller)` returns.
template <class Body>
grpc::ServerUnaryReactor* answer(Env& env, grpc::CallbackServerContext* context, Body&& body) {
  auto* call = new Call(env, context);
  call->finish(call->identified().ok() ? body(call->caller()) : call->identified());
  return call;
}

// The same on the worker thread, for what waits for the supervisor.
template <class Body>
grpc::ServerUnaryReactor* answer_later(Env& env, grpc::CallbackServerContext* context, Body body) {
  auto* call = new Call(env, context);
  if (!call->identified().ok()) {
    call->finish(call->identified());
  } else {
    env.worker.post([call, body = std::move(body)] { call->finish(body(call->caller())); });
  }
  return call;
}

}  // namespace heddle::services
