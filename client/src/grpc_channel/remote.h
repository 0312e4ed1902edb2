// One gRPC connection, and how a call on it is made.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "client/src/grpc_channel/remote_session.h"
#include "client/src/grpc_channel/wire.h"
#include "heddle/v1/admin_service.grpc.pb.h"
#include "heddle/v1/block_service.grpc.pb.h"
#include "heddle/v1/dict_service.grpc.pb.h"
#include "heddle/v1/list_service.grpc.pb.h"
#include "heddle/v1/lock_service.grpc.pb.h"
#include "heddle/v1/pipe_service.grpc.pb.h"
#include "heddle/v1/queue_service.grpc.pb.h"

namespace heddle::detail {

struct Remote {
  Remote(std::string target, const ConnectOptions& options);
  ~Remote();

  // DAEMON_UNREACHABLE or what the broker says.
  Status connect();

  // Runs `attempt(context)` with the session's metadata. When the broker is away it is tried again
  // for up to options.timeout, but not beyond `deadline_ns`; so `attempt` must be repeatable.
  // `deadline_ns` is how long the call itself may wait (kTry: it does not). `asked_before` is for a
  // call that must not end with its effect unknown: it becomes true when an attempt may have been
  // carried out without a reply, and after that only options.timeout ends the attempts. `bytes` are
  // how large a message may be that goes over with the call: it gets the time for that.
  template <class Attempt>
  Status call(std::int64_t deadline_ns, Attempt&& attempt, bool* asked_before = nullptr,
              std::uint64_t bytes = 0) {
    std::int64_t give_up_ns = 0;
    for (;;) {
      grpc::ClientContext context;
      std::string token;
      if (Status status = prepare(deadline_ns, bytes, &context, &token); !status.ok())
        return status;
      const grpc::Status result = attempt(context);
      if (result.ok()) return {};
      if (asked_before != nullptr && broker_is_away(result)) *asked_before = true;
      const std::int64_t until_ns = asked_before != nullptr ? kTry : deadline_ns;
      if (Status status = after_failure(result, until_ns, token, &give_up_ns); !status.ok()) {
        return status;
      }
    }
  }

  // The session's token, waiting for one if need be; stays empty without a session. UNSUPPORTED in
  // the child of a fork.
  Status enter_session(std::string* token);
  // Sets metadata and deadline.
  Status prepare(std::int64_t deadline_ns, std::uint64_t bytes, grpc::ClientContext* context,
                 std::string* token);
  // OK: worth another attempt.
  Status after_failure(const grpc::Status& result, std::int64_t deadline_ns,
                       const std::string& token, std::int64_t* give_up_ns);
  std::string next_request_id();
  // Numbers of producer handles, unique in the session.
  std::uint64_t next_producer() {
    return producer_number_.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  bool forked() const { return pid != getpid(); }

  const std::string target;
  const ConnectOptions options;
  const pid_t pid = getpid();
  std::string version;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::QueueService::Stub> queues;
  std::unique_ptr<v1::LockService::Stub> locks;
  std::unique_ptr<v1::PipeService::Stub> pipes;
  std::unique_ptr<v1::DictService::Stub> dicts;
  std::unique_ptr<v1::ListService::Stub> lists;
  std::unique_ptr<v1::BlockService::Stub> blocks;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<RemoteSession> session;

 private:
  Status await_connection();

  std::string request_prefix_;
  std::atomic<std::uint64_t> request_number_{0};
  std::atomic<std::uint64_t> producer_number_{0};
};

}  // namespace heddle::detail
