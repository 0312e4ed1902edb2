#include "daemon/os/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/os/clock.h"
#include "daemon/os/files.h"

namespace heddle::os {
namespace {

constexpr int64_t kHolderMsMax = 100;  // a holder writes its pid at once

// The pid in the file if such a process runs. Between taking the lock and writing its pid, a
// holder leaves there what stood there before: nothing, or the pid of one that was killed.
pid_t live_holder(const std::string& path) {
  std::string text;
  const pid_t pid = read_file(path, 32, &text) ? std::atoi(text.c_str()) : 0;
  return pid > 0 && (::kill(pid, 0) == 0 || errno != ESRCH) ? pid : 0;
}

pid_t await_holder(const std::string& path) {
  const int64_t end = monotonic_ms() + kHolderMsMax;
  while (true) {
    const pid_t pid = live_holder(path);
    if (pid != 0 || monotonic_ms() >= end) return pid;
    ::usleep(2'000);
  }
}

}  // namespace

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
  *holder = await_holder(path);
  return Outcome::kTaken;
}

// Written before it is cut to length: whoever reads meanwhile finds a number, never nothing.
bool PidFile::write(pid_t pid, std::string* why) {
  const std::string text = std::to_string(pid) + "\n";
  const auto bytes = static_cast<ssize_t>(text.size());
  if (::pwrite(fd_.get(), text.data(), text.size(), 0) == bytes &&
      ::ftruncate(fd_.get(), bytes) == 0) {
    return true;
  }
  *why = path_ + ": cannot write the pid: " + errno_text(errno);
  return false;
}

void PidFile::clear() {
  if (fd_ && ::ftruncate(fd_.get(), 0) != 0) return;  // the lock is what counts
}

bool pid_file_locked(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fd && ::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace heddle::os
