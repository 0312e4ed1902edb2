// Options of a dict as asked, as in force, and how they differ.
#pragma once

#include <heddle/result.h>

#include "proto/local/attach.h"
#include "proto/shm/dict_layout.h"

namespace heddle::broker {

// The given fields over the defaults, all marked as given. INVALID_ARGUMENT names the field, the
// limit and the value.
Result<local::DictOptionsWire> complete_dict(const local::DictOptionsWire& asked);
// EXISTS_OTHER_OPTIONS naming the first given field that differs, with both values.
Status check_same_dict(const local::DictOptionsWire& in_force, const local::DictOptionsWire& asked);
shm::DictLimits dict_limits_of(const local::DictOptionsWire& options);
const char* eviction_name(uint8_t eviction);
const char* ttl_on_overwrite_name(uint8_t policy);

}  // namespace heddle::broker
