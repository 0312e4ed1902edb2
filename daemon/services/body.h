// Message bodies between the wire and the queue.
#pragma once

#include <heddle/status.h>

#include <string>
#include <string_view>

#include "daemon/objects/queue.h"
#include "heddle/v1/types.pb.h"

namespace heddle::services {

// What the queue stores for `message`. The view lies in `message` or, for a JSON value, in
// `storage`. INVALID_ARGUMENT: text that is not JSON where JSON was promised, NaN.
Status body_from(const v1::Message& message, std::string* storage, objects::Body* out);

// Moves `bytes` into `out` in the form asked for. INVALID_ARGUMENT where the form does not fit, and
// then `bytes` is unchanged.
Status body_to(uint8_t kind, v1::BodyAs as, std::string& bytes, v1::Message* out);

// The stored kind as the wire names it.
v1::BodyKind wire_kind(uint8_t kind);

bool is_utf8(std::string_view bytes);

}  // namespace heddle::services
