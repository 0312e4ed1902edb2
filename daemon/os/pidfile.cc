#include "daemon/os/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/os/files.h"

namespace heddle::os {

PidFile::Outcome PidFile::acquire(const std::string& path, pid_t* holder, std::string* why) {
  path_ = path;
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) {
    *why = path + ": cannot open the pid file: " + errno_text(errno);
    return Outcome::kFailed;
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) {
    fd_ = std::move(fd);
    return Outcome::kHeld;
  }
  if (errno != EAGAIN && errno != EACCES) {
    *why = path + ": cannot lock the pid file: " + errno_text(errno);
    return Outcome::kFailed;
  }
  std::string text;
  *holder = read_file(path, 32, &text) ? std::atoi(text.c_str()) : 0;
  return Outcome::kTaken;
}

bool PidFile::write(pid_t pid, std::string* why) {
  const std::string text = std::to_string(pid) + "\n";
  if (::ftruncate(fd_.get(), 0) == 0 &&
      ::pwrite(fd_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    return true;
  }
  *why = path_ + ": cannot write the pid: " + errno_text(errno);
  return false;
}

void PidFile::clear() {
  if (fd_ && ::ftruncate(fd_.get(), 0) != 0) return;  // the lock is what counts
}

}  // namespace heddle::os
