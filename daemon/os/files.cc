#include "daemon/os/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace heddle::os {
namespace {

bool write_all(int fd, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t n = ::write(fd, contents.data(), contents.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    contents.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool fail(std::string* why, const std::string& path, const char* what) {
  const int error = errno;
  *why = path + ": cannot " + what + ": " + errno_text(error);
  errno = error;
  return false;
}

}  // namespace

std::string errno_text(int error) {
  const char* text = ::strerrordesc_np(error);
  return text ? text : "error " + std::to_string(error);
}

std::string parent_directory(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool read_file(const std::string& path, std::size_t bytes_max, std::string* out) {
  out->clear();
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  char chunk[4096];
  while (out->size() < bytes_max) {
    const std::size_t room = bytes_max - out->size();
    const ssize_t n = ::read(fd.get(), chunk, room < sizeof chunk ? room : sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    out->append(chunk, static_cast<std::size_t>(n));
  }
  return true;
}

bool write_file_atomically(const std::string& path, std::string_view contents, mode_t mode,
                           std::string* why) {
  std::string temporary = path + ".XXXXXX";
  Fd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return fail(why, path, "make a temporary file beside it");
  if (!write_all(fd.get(), contents) || ::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    fail(why, path, "write it");
    ::unlink(temporary.c_str());
    return false;
  }
  const Fd directory(::open(parent_directory(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return fail(why, path, "sync its directory");
  return true;
}

bool make_directory(const std::string& path, mode_t mode, std::string* why) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    const std::string parent = parent_directory(path);
    if (errno != ENOENT) return fail(why, path, "look at it");
    if (parent != path && ::access(parent.c_str(), F_OK) != 0 &&
        !make_directory(parent, 0755, why)) {
      return false;
    }
    if (::mkdir(path.c_str(), mode) == 0) {
      // Not what the umask leaves of it.
      return ::chmod(path.c_str(), mode) == 0 || fail(why, path, "set its mode");
    }
    if (errno != EEXIST || ::stat(path.c_str(), &status) != 0) {
      return fail(why, path, "make the directory");
    }
  }
  if (!S_ISDIR(status.st_mode)) {
    *why = path + ": is not a directory";
    return false;
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    *why = path + ": belongs to uid " + std::to_string(status.st_uid) + ", not to uid " +
           std::to_string(::geteuid()) + "; remove it or choose another directory";
    return false;
  }
  if (status.st_mode & S_IWOTH) {
    *why = path + ": is writable by everybody; choose another directory or run chmod o-w";
    return false;
  }
  return true;
}

Fd make_sealed_memfd(const char* name, std::uint64_t bytes) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fd;
  if (::fchmod(fd.get(), 0600) != 0 || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const int error = errno;
    fd.reset();
    errno = error;
  }
  return fd;
}

}  // namespace heddle::os
