// Files, directories and memfds.
#ifndef HEDDLE_DAEMON_OS_FILES_H_
#define HEDDLE_DAEMON_OS_FILES_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "proto/local/fd.h"

namespace heddle::os {

using local::Fd;

// Reads at most `bytes_max` bytes. false: errno.
bool read_file(const std::string& path, std::size_t bytes_max, std::string* out);

// Replaces `path` as a whole: temporary file beside it, fsync, rename, fsync of the directory. A
// reader sees the old or the new contents. false: `why` says what failed; the old file stays.
bool write_file_atomically(const std::string& path, std::string_view contents, mode_t mode,
                           std::string* why);

// Makes `path` and what is missing above it (0755); `mode` is for the last part and is set only
// when it is made here. An existing directory must belong to us or to root, and must not be
// writable by others. false: `why`.
bool make_directory(const std::string& path, mode_t mode, std::string* why);

// A memfd of `bytes`, zeroed, close-on-exec, mode 0600, sealed against shrinking, growing and
// further seals. No memory is reserved. Empty: errno.
Fd make_sealed_memfd(const char* name, std::uint64_t bytes);

std::string parent_directory(const std::string& path);
std::string errno_text(int error);  // "Permission denied"

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_FILES_H_
