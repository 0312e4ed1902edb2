// Leases as calls name them.
#pragma once

#include <heddle/limits.h>
#include <heddle/status.h>

#include <string>
#include <string_view>

#include "daemon/objects/queue.h"

namespace heddle::services {

inline Status ticket_from(std::string_view lease, shm::Ticket* out) {
  if (objects::parse_lease_name(lease, out)) return {};
  return {Reason::kInvalidArgument,
          "`" + std::string(lease.substr(0, 64)) + "` is not a lease as a delivery names it"};
}

// 0: the queue's default. INVALID_ARGUMENT below 1 ms or above 30 days.
template <class Request>
Status lease_ns(const Request& request, int64_t* out) {
  constexpr int64_t kLeaseMsMax = int64_t{30} * 24 * 3'600'000;
  *out = 0;
  if (!request.has_lease_ms()) return {};
  if (request.lease_ms() < 1 || request.lease_ms() > kLeaseMsMax) {
    return {Reason::kInvalidArgument, "lease_ms must be 1 to 2,592,000,000 (30 days)"};
  }
  *out = request.lease_ms() * 1'000'000;
  return {};
}

// Acknowledges the lease of the caller's session with the smallest id. INVALID_ARGUMENT when it
// has none or there is no session.
Status ack_oldest(const objects::Caller& caller, objects::Queue& queue);

}  // namespace heddle::services
