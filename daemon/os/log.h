// Logging: one line, one write(2). Thread-safe, also while the target changes. Never throws;
// a line that cannot be written is lost.
#ifndef HEDDLE_DAEMON_OS_LOG_H_
#define HEDDLE_DAEMON_OS_LOG_H_

#include <string>
#include <string_view>

namespace heddle::os {

enum class LogLevel : int { kError = 3, kWarning = 4, kNotice = 5, kInfo = 6, kDebug = 7 };

bool parse_log_level(std::string_view text, LogLevel* out);  // error warning notice info debug
void set_log_level(LogLevel level);                          // kInfo at the start
LogLevel log_level();

// stderr is the target at the start. When it is the journal ($JOURNAL_STREAM names it), lines
// carry "<N>" priorities and no time.
void log_to_stderr(const char* program);
void log_to_syslog(const char* program);
// Appends to `path` (0640). false: `why`; the target stays as it was.
bool log_to_file(const char* program, const std::string& path, std::string* why);
bool reopen_log_file(std::string* why);  // after rotation; true when no file is the target

void log(LogLevel level, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace heddle::os

#endif  // HEDDLE_DAEMON_OS_LOG_H_
