// The one place where a heddle::Status becomes a gRPC one.
#pragma once

#include <grpcpp/grpcpp.h>
#include <heddle/status.h>

#include "heddle/v1/types.pb.h"

namespace heddle::services {

// Failures: code, sentence, and google.rpc.Status with ErrorInfo, plus RetryInfo, QuotaFailure,
// BadRequest or ResourceInfo where they fit. OK stays OK.
grpc::Status to_grpc(const Status& status);

// OUTCOME_UNSPECIFIED for a failure.
v1::Outcome outcome_of(const Status& status);
void detail_to(const Status& status, v1::OutcomeDetail* out);

// Moves an ordinary end from `status` into `response` and returns OK; a failure is returned as it
// is, and then the response has no outcome.
template <class Response>
Status set_outcome(Status status, Response* response) {
  const v1::Outcome outcome = outcome_of(status);
  if (outcome == v1::OUTCOME_UNSPECIFIED) return status;
  response->set_outcome(outcome);
  if (outcome != v1::OUTCOME_OK) detail_to(status, response->mutable_outcome_detail());
  return {};
}

}  // namespace heddle::services
