// SessionService: remote sessions with leases.
#pragma once

#include <memory>
#include <mutex>
#include <set>

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

 private:
  friend class SessionStream;
  Env& env_;
  std::mutex mutex_;  // before the streams' own
  std::set<SessionStream*> streams_;
};

}  // namespace heddle::services
