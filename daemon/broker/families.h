// What the kernel tells of processes: of those that wait for processes, which is what a lock's
// holder may do outside the broker's sight, and how many threads there are that could do something.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace heddle::broker {

/// The process `pid` waits for: it has one thread, which sleeps in wait(), and one child, so that
/// it goes on only when that child moves. 0: it does not wait so, or the kernel does not tell us
/// (it tells root and processes of the same user).
pid_t waited_child(pid_t pid);

/// How many threads `pid` has; 0: it has children, which may use what they have from it, or is not
/// there any more, or the kernel does not tell us.
uint32_t threads_if_childless(pid_t pid);

}  // namespace heddle::broker
