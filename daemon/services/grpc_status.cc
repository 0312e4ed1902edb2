#include "daemon/services/grpc_status.h"

#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace heddle::services {
namespace {

// How long a caller should wait before it tries again; nothing where a retry is no help.
std::optional<int64_t> retry_delay_ms(Reason reason) {
  switch (reason) {
    case Reason::kBrokerAway: return 100;
    case Reason::kMemoryExhausted:
    case Reason::kTooManyLeases:
    case Reason::kQuota: return 1'000;
    default: return std::nullopt;
  }
}

void add_error_info(const Status& status, google::rpc::Status* out) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason_name(status.reason())));
  info.set_domain("heddle");
  auto& metadata = *info.mutable_metadata();
  if (!status.object().empty()) metadata["object"] = std::string(status.object());
  if (status.has_limit()) {
    metadata["limit"] = std::to_string(status.limit());
    metadata["actual"] = std::to_string(status.actual());
  }
  out->add_details()->PackFrom(info);
}

void add_object(const Status& status, google::rpc::Status* out) {
  if (status.object().empty()) return;
  const std::string object(status.object());
  const size_t space = object.find(' ');
  google::rpc::ResourceInfo info;
  if (space != std::string::npos) info.set_resource_type(object.substr(0, space));
  info.set_resource_name(space == std::string::npos ? object : object.substr(space + 1));
  info.set_description(std::string(status.message()));
  out->add_details()->PackFrom(info);
}

void add_reason_details(const Status& status, google::rpc::Status* out) {
  if (const auto delay_ms = retry_delay_ms(status.reason())) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(*delay_ms / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(*delay_ms % 1000) * 1'000'000);
    out->add_details()->PackFrom(retry);
  }
  switch (status.code()) {
    case Code::kResourceExhausted: {
      google::rpc::QuotaFailure quota;
      auto* violation = quota.add_violations();
      violation->set_subject(std::string(status.object()));
      violation->set_description(status.to_string());
      out->add_details()->PackFrom(quota);
      break;
    }
    case Code::kInvalidArgument: {
      google::rpc::BadRequest bad;
      auto* violation = bad.add_field_violations();
      violation->set_field(status.is(Reason::kInvalidName) ? "name"
                           : status.is(Reason::kTooLarge)  ? "message"
                                                           : "");
      violation->set_description(status.to_string());
      out->add_details()->PackFrom(bad);
      break;
    }
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied: add_object(status, out); break;
    default: break;
  }
}

}  // namespace

grpc::Status to_grpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int32_t>(status.code()));
  details.set_message(status.to_string());
  add_error_info(status, &details);
  add_reason_details(status, &details);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(),
                      details.SerializeAsString());
}

v1::Outcome outcome_of(const Status& status) {
  switch (status.reason()) {
    case Reason::kOk: return v1::OUTCOME_OK;
    case Reason::kEmpty: return v1::OUTCOME_EMPTY;
    case Reason::kFull: return v1::OUTCOME_FULL;
    case Reason::kTimedOut: return v1::OUTCOME_TIMED_OUT;
    case Reason::kClosed: return v1::OUTCOME_CLOSED;
    case Reason::kEndOfStream: return v1::OUTCOME_END_OF_STREAM;
    case Reason::kProducerDied: return v1::OUTCOME_PRODUCER_DIED;
    case Reason::kLeaseLost: return v1::OUTCOME_LEASE_LOST;
    default: return v1::OUTCOME_UNSPECIFIED;
  }
}

void detail_to(const Status& status, v1::OutcomeDetail* out) {
  out->set_reason(std::string(reason_name(status.reason())));
  out->set_message(std::string(status.message()));
  out->set_object(std::string(status.object()));
  if (!status.has_limit()) return;
  out->set_limit(status.limit());
  out->set_actual(status.actual());
}

}  // namespace heddle::services
