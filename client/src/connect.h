// Which daemon, and by which plane.
#ifndef HEDDLE_CLIENT_SRC_CONNECT_H_
#define HEDDLE_CLIENT_SRC_CONNECT_H_

#include <memory>

#include "client/src/channel.h"

namespace heddle::detail {

// Follows the search order of ConnectOptions. The error lists every place that was tried.
Result<std::shared_ptr<Channel>> connect_channel(const ConnectOptions& options);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_CONNECT_H_
