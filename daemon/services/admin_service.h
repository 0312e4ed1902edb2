// AdminService: what a person asks the broker about itself.
#pragma once

#include "daemon/services/call.h"
#include "heddle/v1/admin_service.grpc.pb.h"

namespace heddle::services {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  AdminService(Env& env, std::string version) : env_(env), version_(std::move(version)) {}

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;

  Reactor* List(Context* context, const v1::AdminServiceListRequest* request,
                v1::AdminServiceListResponse* response) override;
  Reactor* Describe(Context* context, const v1::AdminServiceDescribeRequest* request,
                    v1::AdminServiceDescribeResponse* response) override;
  Reactor* Sessions(Context* context, const v1::AdminServiceSessionsRequest* request,
                    v1::AdminServiceSessionsResponse* response) override;
  Reactor* Stats(Context* context, const v1::AdminServiceStatsRequest* request,
                 v1::AdminServiceStatsResponse* response) override;
  Reactor* Status(Context* context, const v1::AdminServiceStatusRequest* request,
                  v1::AdminServiceStatusResponse* response) override;

 private:
  Env& env_;
  const std::string version_;
};

}  // namespace heddle::services
