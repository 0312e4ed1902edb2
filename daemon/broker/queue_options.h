// Options of a queue as asked, as in force, and how they differ.
#pragma once

#include <heddle/result.h>

#include <string>

#include "daemon/broker/broker.h"
#include "daemon/config/options.h"

namespace heddle::broker {

// The given fields over the defaults, all marked as given. INVALID_ARGUMENT names the field, the
// limit and the value. Mode bits beyond 0666 are refused.
Result<QueueOptions> complete(const QueueOptions& asked, const config::Options& defaults);
shm::QueueLimits limits_of(const QueueOptions& options);
// EXISTS_OTHER_OPTIONS naming the first given field that differs, with both values. A group
// given is compared by number.
Status check_same(const QueueOptions& in_force, const QueueOptions& asked, gid_t gid_in_force,
                  gid_t gid_asked, const std::string& name);

}  // namespace heddle::broker
