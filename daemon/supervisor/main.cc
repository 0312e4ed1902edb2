// heddled: flags, exit status, and the order of a start.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "daemon/config/command_line.h"
#include "daemon/config/load.h"
#include "daemon/config/option_text.h"
#include "daemon/config/options_json.h"
#include "daemon/os/files.h"
#include "daemon/os/log.h"
#include "daemon/os/notify.h"
#include "daemon/os/pidfile.h"
#include "daemon/supervisor/daemonize.h"
#include "daemon/supervisor/supervisor.h"

namespace heddle::supervisor {
namespace {

enum ExitStatus : int { kClean = 0, kFailed = 1, kUsage = 2, kAlreadyRunning = 3 };

int complain(int status, const std::string& what) {
  std::fprintf(stderr, "heddled: %s\n", what.c_str());
  return status;
}

// What is missing is made; the directory in /tmp is for its owner alone.
bool make_directories(const config::Options& options, std::string* why) {
  const bool in_tmp = options.runtime_dir == "/tmp/heddle-" + std::to_string(::geteuid());
  return os::make_directory(options.runtime_dir, in_tmp ? 0700 : 0755, why) &&
         os::make_directory(options.state_dir, 0700, why);
}

bool start_log(const config::Options& options, bool daemonize, std::string* why) {
  os::LogLevel level;
  if (os::parse_log_level(options.log_level, &level)) os::set_log_level(level);
  if (options.log_file == "syslog" || (options.log_file.empty() && daemonize)) {
    os::log_to_syslog("heddled");
  } else if (!options.log_file.empty()) {
    return os::log_to_file("heddled", options.log_file, why);
  } else {
    os::log_to_stderr("heddled");
  }
  return true;
}

int serve(config::CommandLine command_line, config::Loaded loaded) {
  std::string why;
  const config::Options options = loaded.options;
  if (!make_directories(options, &why)) return complain(kFailed, why);
  os::PidFile pid_file;
  pid_t holder = 0;
  const std::string pid_path = options.runtime_dir + "/heddled.pid";
  switch (pid_file.acquire(pid_path, &holder, &why)) {
    case os::PidFile::Outcome::kHeld: break;
    case os::PidFile::Outcome::kTaken:
      return complain(kAlreadyRunning,
                      (holder != 0 ? "already running with pid " + std::to_string(holder) + " in "
                                   : "already running in ") +
                          options.runtime_dir);
    case os::PidFile::Outcome::kFailed: return complain(kFailed, why);
  }
  // Also before the forks: a second start meanwhile names this one.
  if (!pid_file.write(::getpid(), &why)) return complain(kFailed, why);
  if (!start_log(options, command_line.daemonize, &why)) return complain(kFailed, why);
  for (const std::string& warning : loaded.warnings) {
    os::log(os::LogLevel::kWarning, "%s", warning.c_str());
  }
  std::vector<os::PassedFd> passed = os::take_passed_fds();  // before a fork changes our pid
  StartReport report;
  const bool daemonize = command_line.daemonize;
  if (daemonize && !report.daemonize(&why)) return complain(kFailed, why);
  if (!pid_file.write(::getpid(), &why)) {
    report.failed(kFailed, why);
    return complain(kFailed, why);
  }
  Supervisor supervisor(std::move(command_line), std::move(loaded), &report);
  if (const Status status = supervisor.prepare(std::move(passed)); !status.ok()) {
    os::log(os::LogLevel::kError, "%s", status.to_string().c_str());
    report.failed(kFailed, status.to_string());
    return kFailed;
  }
  if (daemonize) detach_output(options.log_file == "syslog" ? "" : options.log_file);
  const int status = supervisor.run();
  pid_file.clear();
  return status;
}

int run(const std::vector<std::string>& arguments) {
  using Action = config::CommandLine::Action;
  auto command_line = config::parse_command_line(arguments);
  if (!command_line.ok()) return complain(kUsage, std::string(command_line.status().message()));
  switch (command_line->action) {
    case Action::kHelp: std::fputs(config::help_text().c_str(), stdout); return kClean;
    case Action::kVersion: std::puts("heddled " HEDDLE_VERSION); return kClean;
    default: break;
  }
  auto loaded = config::load_options(*command_line);
  if (!loaded.ok()) return complain(kUsage, std::string(loaded.status().message()));
  switch (command_line->action) {
    case Action::kCheckConfig:
      for (const std::string& warning : loaded->warnings) {
        std::fprintf(stderr, "heddled: warning: %s\n", warning.c_str());
      }
      std::printf("%s: good\n", loaded->file.empty() ? "no configuration file, defaults"
                                                     : loaded->file.c_str());
      return kClean;
    case Action::kPrintConfig:
      std::puts(config::options_to_json(loaded->options).c_str());
      return kClean;
    default: return serve(std::move(command_line.value()), std::move(loaded.value()));
  }
}

}  // namespace
}  // namespace heddle::supervisor

int main(int argc, char** argv) {
  return heddle::supervisor::run(std::vector<std::string>(argv + 1, argv + argc));
}
