// The one place where a heddle::Status becomes a gRPC one.
#pragma once

#include <grpcpp/grpcpp.h>
#include <heddle/status.h>

#include "heddle/v1/types.pb.h"

namespace heddle::services {

// Failures: code, sentence, and google.rpc.Status with ErrorInfo, plus RetryInfo, QuotaFailure,
// BadRequest or ResourceInfo where they fit. OK stays OK.
grpc::Status to_grpc(const Status& status);

// Moves an ordinary end from `status` into `outcome` and leaves OK; a failure stays in `status`
// and the outcome unset. Never gives OUTCOME_UNSPECIFIED with an OK status.
Status split_outcome(Status status, v1::Outcome* outcome);

}  // namespace heddle::services
