// Descriptors in a socket that was closed at its other end: they wait there to be received, once,
// by whoever has it, and go with it.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_FD_BUNDLE_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_FD_BUNDLE_H_

#include <heddle/descriptor.h>
#include <heddle/result.h>

#include <span>
#include <vector>

#include "proto/local/fd.h"

namespace heddle::detail {

// Duplicates of `fds`, 1 to local::kBundleFdsMax. INVALID_ARGUMENT: one of them is not open; QUOTA:
// this user has too many descriptors on their way, or this process too many open.
Result<local::Fd> make_bundle(std::span<const int> fds);
// What is in it; empty if somebody was faster, or if it is no bundle. Does not wait. Close-on-exec.
std::vector<Descriptor> open_bundle(const local::Fd& bundle);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_FD_BUNDLE_H_
