// The public structs against the messages of heddle.v1, and the one place where a gRPC failure
// becomes a Status.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "client/src/channel.h"
#include "heddle/v1/admin_service.pb.h"
#include "heddle/v1/queue_service.pb.h"

namespace heddle::detail {

// By the ErrorInfo of its details, else by its code.
Status status_from(const grpc::Status& status);
// True for a failure that did not come from the broker: it is away, or its connection is.
bool broker_is_away(const grpc::Status& status);
// OK, or the outcome with what the broker tells of it.
Status status_from(v1::Outcome outcome, const v1::OutcomeDetail& detail);
template <class Response>
Status outcome_from(const Response& response) {
  return status_from(response.outcome(), response.outcome_detail());
}

void body_to(const Body& body, v1::Message* wire);
// Takes the body and, if `queue` is given, the lease. INTERNAL for a lease that cannot be read.
Status delivery_from(const v1::Delivery& wire, std::shared_ptr<QueueChannel> queue, Message* out);

void add_to(const Body& body, v1::PackedBodies* packed);
// The same as delivery_from for a batch, in whichever form it came. The messages in `out` are used.
Status messages_from(const v1::QueueServiceConsumeResponse& batch,
                     const std::shared_ptr<QueueChannel>& queue, std::vector<Message>* out);

// The wire names a lease by 32 characters of URL-safe base64.
std::string lease_to(const Lease& lease);
bool lease_from(std::string_view text, Lease* out);

void options_to(const QueueOptions& options, v1::QueueOptions* wire);
QueueInfo info_from(const v1::QueueInfo& wire);
BrowseRow row_from(const v1::BrowseRow& wire);
template <class Request>
void states_to(unsigned states, Request* request) {
  for (unsigned bit = 0; bit < 4; ++bit) {
    if (states & 1u << bit) request->add_states(static_cast<v1::MessageState>(bit + 1));
  }
}

std::int64_t monotonic_ns();

// 0 for kTry, else what is left, at least 1 ms. A put that names no timeout would not wait, so
// kNever is said as well.
template <class Request>
void timeout_to(std::int64_t deadline_ns, Request* request) {
  if (deadline_ns == kNever) return request->set_timeout_ms(INT64_MAX);
  const std::int64_t left = deadline_ns == kTry ? 0 : deadline_ns - monotonic_ns();
  request->set_timeout_ms(left <= 0 ? deadline_ns != kTry : (left + 999'999) / 1'000'000);
}

}  // namespace heddle::detail
