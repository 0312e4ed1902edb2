// Mapping a pipe's segment: the header once, each ring twice in a row.
#pragma once

#include "proto/shm/pipe_layout.h"

namespace heddle::shm {

/// The whole segment behind `fd`, in one stretch of pipe_mapped_bytes(options). Null when the
/// kernel refuses (errno), or when the file is not of the size that the options ask for (EINVAL).
void* map_pipe(int fd, const PipeOptions& options);
void unmap_pipe(void* base, const PipeOptions& options);

}  // namespace heddle::shm
