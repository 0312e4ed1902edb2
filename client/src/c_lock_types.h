// What stands behind the opaque types of c_lock.h.
#ifndef HEDDLE_CLIENT_SRC_C_LOCK_TYPES_H_
#define HEDDLE_CLIENT_SRC_C_LOCK_TYPES_H_

#include <heddle/c_lock.h>

#include "client/src/c_types.h"

struct heddle_lock {
  heddle::Lock lock;
};
struct heddle_semaphore {
  heddle::Semaphore semaphore;
};
struct heddle_condition {
  heddle::Condition condition;
};
struct heddle_event {
  heddle::Event event;
};
struct heddle_barrier {
  heddle::Barrier barrier;
};

namespace heddle::detail {

inline Status put_grant(const Result<Grant>& from, heddle_grant* to) {
  if (!from) return from.status();
  if (to == nullptr) return {};
  *to = {.token = from->token,
         .abandoned = from->abandoned,
         .previous_session = from->previous_session,
         .previous_thread = from->previous_thread,
         .previous_pid = from->previous_pid};
  return {};
}

// The options that every kind has.
template <typename Options>
void fill_common(const heddle_lock_options& from, Options* to) {
  to->lifetime = choice_of<Lifetime>(from.lifetime);
  to->mode = number_of<std::uint32_t>(from.mode);
  if (from.group != nullptr) to->group = from.group;
  to->presence = static_cast<Presence>(from.presence);
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_C_LOCK_TYPES_H_
