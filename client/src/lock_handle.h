// What the handles on locks and their kin share.
#ifndef HEDDLE_CLIENT_SRC_LOCK_HANDLE_H_
#define HEDDLE_CLIENT_SRC_LOCK_HANDLE_H_

#include <heddle/lock.h>

#include <memory>
#include <string>
#include <utility>

#include "client/src/channel.h"

namespace heddle::detail {

struct LockAccess {
  template <class Handle>
  static Handle make(std::shared_ptr<LockChannel> channel) {
    Handle handle;
    handle.channel_ = std::move(channel);
    return handle;
  }
  static const std::shared_ptr<LockChannel>& channel(const Lock& lock) { return lock.channel_; }
};

inline Status no_object() {
  return Status(Reason::kInvalidArgument,
                "this handle is empty; get one from the Client, for instance Client::lock");
}

inline const std::string& name_of(const std::shared_ptr<LockChannel>& channel) {
  static const std::string kNone;
  return channel ? channel->name() : kNone;
}

Result<Grant> acquire_from(const std::shared_ptr<LockChannel>& channel, const LockAsk& ask);

// The ways that make no virtual call when the lock is free, or held by the caller alone. False:
// nothing was done, ask the channel.
bool acquire_at_once(const LockChannel& channel, Grant* grant);
bool release_at_once(const LockChannel& channel);

}  // namespace heddle::detail

// What an operation does on a handle without an object.
#define HEDDLE_NEED_OBJECT()            \
  if (channel_ == nullptr) [[unlikely]] \
  return detail::no_object()

#endif  // HEDDLE_CLIENT_SRC_LOCK_HANDLE_H_
