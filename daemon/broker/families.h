// Processes that wait for processes: what a lock's holder waits for outside the broker's sight.
#pragma once

#include <sys/types.h>

namespace heddle::broker {

/// The process `pid` waits for: it has one thread, which sleeps in wait(), and one child, so that
/// it goes on only when that child moves. 0: it does not wait so, or the kernel does not tell us
/// (it tells root and processes of the same user).
pid_t waited_child(pid_t pid);

}  // namespace heddle::broker
