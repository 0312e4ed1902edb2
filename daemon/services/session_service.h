// SessionService: remote sessions with leases.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "daemon/services/call.h"
#include "heddle/v1/session_service.grpc.pb.h"

namespace heddle::services {

class SessionStream;

class SessionService final : public v1::SessionService::CallbackService {
 public:
  explicit SessionService(Env& env) : env_(env) {}

  grpc::ServerBidiReactor<v1::SessionServiceOpenRequest, v1::SessionServiceOpenResponse>* Open(
      grpc::CallbackServerContext* context) override;

  // Tells every open stream that the broker will stop.
  void announce_drain();
  // Tells that session that `what`, "lock ledger", was taken away from it.
  void tell_lost(uint64_t session_id, const std::string& what);

 private:
  friend class SessionStream;
  Env& env_;
  std::mutex mutex_;  // before the streams' own
  std::set<SessionStream*> streams_;
};

}  // namespace heddle::services
