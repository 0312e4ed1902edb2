// Closes descriptors that clients sent. Closing one may take as long as its owner likes (a socket
// that lingers, a file of a file system of the client's own), and neither broker nor supervisor may
// wait for that: a thread does, which is there while there is something to close. The supervisor
// must not have the last duplicate, so it drops its own first.
#pragma once

#include <memory>

#include "proto/local/fd.h"

namespace heddle::broker {

// A descriptor that ends in the closer, whoever is the last to let go of it.
using Bundle = std::shared_ptr<local::Fd>;

// Threads: any. Never blocks.
Bundle hold_bundle(local::Fd fd);
void close_apart(int fd);

}  // namespace heddle::broker
