#include "daemon/os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <iterator>
#include <mutex>

#include "daemon/os/clock.h"
#include "daemon/os/files.h"

namespace heddle::os {
namespace {

enum class Target { kStderr, kJournal, kFile, kSyslog };

struct Log {
  std::mutex mutex;
  Target target = Target::kStderr;
  std::string program = "heddle";
  std::string path;
  Fd file;
};

std::atomic<int> level_now{static_cast<int>(LogLevel::kInfo)};

Log& the_log() {
  static Log* log = new Log;  // never destroyed: threads may log until the end
  return *log;
}

constexpr const char* kLevelNames[] = {"error", "warning", "notice", "info", "debug"};

bool stderr_is_journal() {
  const char* stream = ::getenv("JOURNAL_STREAM");
  struct stat status;
  unsigned long long device, inode;
  return stream && std::sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
         ::fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
         status.st_ino == inode;
}

Fd open_log(const std::string& path, std::string* why) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640));
  if (!fd) *why = path + ": cannot open the log file: " + errno_text(errno);
  return fd;
}

void write_line(Log& log, int level, const char* text, std::size_t length) {
  if (log.target == Target::kSyslog) {
    ::syslog(level, "%.*s", static_cast<int>(length), text);
    return;
  }
  char line[2304];
  int head = 0;
  const char* name = kLevelNames[level - static_cast<int>(LogLevel::kError)];
  if (log.target == Target::kJournal) {
    head = std::snprintf(line, sizeof line, "<%d>", level);
  } else if (log.target == Target::kFile) {
    head = std::snprintf(line, sizeof line, "%s %s[%d] %s: ", utc_text(wall_ms()).c_str(),
                         log.program.c_str(), static_cast<int>(::getpid()), name);
  } else {
    head = std::snprintf(line, sizeof line, "%s: %s: ", log.program.c_str(), name);
  }
  const std::size_t start = static_cast<std::size_t>(std::clamp(head, 0, 255));
  const std::size_t body = std::min(length, sizeof line - start - 1);
  std::copy_n(text, body, line + start);
  std::replace(line + start, line + start + body, '\n', ' ');
  line[start + body] = '\n';
  const int fd = log.target == Target::kFile ? log.file.get() : STDERR_FILENO;
  [[maybe_unused]] const ssize_t n = ::write(fd, line, start + body + 1);
}

}  // namespace

bool parse_log_level(std::string_view text, LogLevel* out) {
  const auto found = std::find(std::begin(kLevelNames), std::end(kLevelNames), text);
  if (found == std::end(kLevelNames)) return false;
  *out = static_cast<LogLevel>(static_cast<int>(LogLevel::kError) +
                               (found - std::begin(kLevelNames)));
  return true;
}

void set_log_level(LogLevel level) { level_now = static_cast<int>(level); }
LogLevel log_level() { return static_cast<LogLevel>(level_now.load()); }

void log_to_stderr(const char* program) {
  Log& log = the_log();
  std::lock_guard lock(log.mutex);
  log.program = program;
  log.target = stderr_is_journal() ? Target::kJournal : Target::kStderr;
  log.file.reset();
}

void log_to_syslog(const char* program) {
  Log& log = the_log();
  std::lock_guard lock(log.mutex);
  log.program = program;
  ::openlog(log.program.c_str(), LOG_PID | LOG_NDELAY, LOG_DAEMON);
  log.target = Target::kSyslog;
  log.file.reset();
}

bool log_to_file(const char* program, const std::string& path, std::string* why) {
  Fd fd = open_log(path, why);
  if (!fd) return false;
  Log& log = the_log();
  std::lock_guard lock(log.mutex);
  log.program = program;
  log.path = path;
  log.file = std::move(fd);
  log.target = Target::kFile;
  return true;
}

bool reopen_log_file(std::string* why) {
  Log& log = the_log();
  std::lock_guard lock(log.mutex);
  if (log.target != Target::kFile) return true;
  Fd fd = open_log(log.path, why);
  if (!fd) return false;
  log.file = std::move(fd);
  return true;
}

void log(LogLevel level, const char* format, ...) {
  if (static_cast<int>(level) > level_now.load(std::memory_order_relaxed)) return;
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  Log& log = the_log();
  std::lock_guard lock(log.mutex);
  write_line(log, static_cast<int>(level), text,
             std::min(static_cast<std::size_t>(length), sizeof text - 1));
}

}  // namespace heddle::os
