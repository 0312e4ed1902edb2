#include "daemon/supervisor/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>

#include "daemon/config/options_json.h"
#include "daemon/os/clock.h"
#include "daemon/os/files.h"
#include "daemon/os/log.h"

namespace heddle::supervisor {

using os::LogLevel;

namespace {

constexpr std::int64_t kHealthyMs = 10'000;      // of service forgive earlier deaths
constexpr std::int64_t kPingMs = 10'000;         // without a watchdog: for the log alone
constexpr std::int64_t kLastWordMs = 1'000;      // after the drain, before the kill
constexpr std::int64_t kCloseToExitMs = 2'000;   // a broker that hung up must be ending

// Descriptors are a budget; the broker inherits the limit.
void raise_descriptor_limit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Supervisor::Supervisor(config::CommandLine command_line, config::Loaded loaded,
                       StartReport* report)
    : command_line_(std::move(command_line)),
      options_(std::move(loaded.options)),
      config_file_(std::move(loaded.file)),
      report_(report),
      notifier_(os::Notifier::from_environment()),
      vault_(&notifier_) {}

Status Supervisor::prepare(std::vector<os::PassedFd> passed) {
  raise_descriptor_limit();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::string why;
  if (!find_broker(&broker_path_, &why)) return Status(Reason::kNotFound, why);
  // SIGPIPE: sends use MSG_NOSIGNAL, but a log on a closed pipe would kill.
  ::signal(SIGPIPE, SIG_IGN);
  if (!loop_.ok() ||
      !loop_.add_signals({SIGTERM, SIGINT, SIGHUP, SIGCHLD}, [this](int s) { on_signal(s); })) {
    return Status::from_errno(errno, "cannot set up the event loop");
  }
  vault_.adopt(&passed);
  Status status = open_listeners(options_, &passed, &listeners_);
  if (!status.ok()) return status;
  park_listeners(&notifier_, listeners_);
  for (const Listener& listener : listeners_) {
    os::log(LogLevel::kInfo, "listening on %s", listener.address.c_str());
  }
  return Status();
}

int Supervisor::run() {
  os::log(LogLevel::kNotice, "starting; configuration %s, runtime directory %s",
          config_file_.empty() ? "is the default" : config_file_.c_str(),
          options_.runtime_dir.c_str());
  start_broker();
  check_health();
  loop_.run();
  link_.reset();
  // Under a manager the sockets may be parked, and clients may wait on them during a restart; at
  // a real stop it removes the directory.
  if (!notifier_.active()) unlink_listeners(listeners_);
  return exit_status_;
}

void Supervisor::on_signal(int signal) {
  switch (signal) {
    case SIGCHLD: return reap();
    case SIGHUP: return reload();
    case SIGINT:
      if (state_ == State::kStopping) broker_.signal(SIGKILL);  // asked twice: now
      return stop();
    default: return stop();
  }
}

// As subreaper we inherit orphans of the broker too; none may stay a zombie.
void Supervisor::reap() {
  os::Exit exit;
  for (pid_t pid; (pid = os::reap_any(&exit)) > 0;) {
    if (pid == broker_.pid()) {
      on_broker_exit(exit);
    } else {
      os::log(LogLevel::kDebug, "reaped process %d: %s", pid, os::exit_text(exit).c_str());
    }
  }
}

void Supervisor::start_broker() {
  state_ = State::kStarting;
  std::string why;
  if (!broker_.start(broker_path_, &why)) {
    if (!ever_ready_) return fail_start(why);
    return restart_later(why);
  }
  os::log(LogLevel::kInfo, "started broker %d", broker_.pid());
  pings_ = pongs_ = health_ping_ = 0;
  silence_logged_ = false;
  reloaded();  // it asks for the configuration when it starts
  link_broker();
  start_timer_ = loop_.after_ms(static_cast<std::int64_t>(options_.start_ms_max), [this] {
    os::log(LogLevel::kError, "broker %d is not ready after %llu ms: killing it", broker_.pid(),
            static_cast<unsigned long long>(options_.start_ms_max));
    broker_.signal(SIGKILL);
  });
}

void Supervisor::link_broker() {
  BrokerLink::Host host;
  host.on_ready = [this] { on_broker_ready(); };
  host.on_status = [this](std::string text) {
    broker_status_ = std::move(text);
    notifier_.status(status_text());
  };
  host.on_stopping = [this] { os::log(LogLevel::kInfo, "broker %d is draining", broker_.pid()); };
  host.on_pong = [this](std::uint64_t number) {
    pongs_ = std::max(pongs_, number);
    if (pongs_ >= reload_ping_) reloaded();
  };
  host.on_closed = [this](const char* why) { on_link_closed(why); };
  host.config = [this] { return config::options_to_json(options_); };
  link_ = std::make_unique<BrokerLink>(&loop_, &vault_, &listeners_, broker_.take_link(),
                                       std::move(host));
}

void Supervisor::on_broker_ready() {
  if (state_ != State::kStarting) return;
  loop_.cancel(std::exchange(start_timer_, 0));
  state_ = State::kServing;
  ready_since_ms_ = os::monotonic_ms();
  os::log(LogLevel::kNotice, "serving; broker %d, %zu descriptors kept", broker_.pid(),
          vault_.size());
  notifier_.ready(status_text());
  if (!std::exchange(ever_ready_, true)) report_->succeeded();
}

// EOF comes a moment before the exit status of a broker that dies. One that lives on without its
// keeper is of no use: what it creates could not be kept.
void Supervisor::on_link_closed(const char* why) {
  const pid_t pid = broker_.pid();
  os::log(LogLevel::kDebug, "broker %d: keeper socket: %s", pid, why);
  loop_.after_ms(kCloseToExitMs, [this, pid] {
    if (broker_.pid() != pid || state_ == State::kStopping) return;
    os::log(LogLevel::kError, "broker %d lives without its keeper socket: killing it", pid);
    broker_.signal(SIGKILL);
  });
}

void Supervisor::on_broker_exit(const os::Exit& exit) {
  const std::string how =
      "broker " + std::to_string(broker_.pid()) + " ended: " + os::exit_text(exit);
  loop_.cancel(std::exchange(start_timer_, 0));
  broker_.ended();
  link_.reset();
  broker_status_.clear();
  if (state_ == State::kStopping) {
    os::log(LogLevel::kInfo, "%s", how.c_str());
    return finish(0);
  }
  if (!ever_ready_) return fail_start(how + " before it was ready");
  restart_later(how);
}

void Supervisor::restart_later(const std::string& why) {
  const std::int64_t now = os::monotonic_ms();
  const bool healthy = ready_since_ms_ != 0 && now - ready_since_ms_ >= kHealthyMs;
  if (healthy) delay_ms_ = 0;
  if (restarts_ == 0) delay_ms_ = 0;
  ready_since_ms_ = 0;
  ++restarts_;
  os::log(LogLevel::kError, "%s; %zu descriptors are kept, restarting in %llu ms", why.c_str(),
          vault_.size(), static_cast<unsigned long long>(delay_ms_));
  state_ = State::kWaiting;
  notifier_.status(status_text());
  loop_.after_ms(static_cast<std::int64_t>(delay_ms_), [this] {
    if (state_ == State::kWaiting) start_broker();
  });
  delay_ms_ = std::clamp(delay_ms_ * 2, options_.broker_restart_ms_min,
                         options_.broker_restart_ms_max);
}

void Supervisor::fail_start(const std::string& why) {
  os::log(LogLevel::kError, "%s", why.c_str());
  report_->failed(1, why);
  finish(1);
}

void Supervisor::finish(int status) {
  exit_status_ = status;
  loop_.stop();
}

void Supervisor::stop() {
  if (state_ == State::kStopping) return;
  const bool never_served = !ever_ready_;
  state_ = State::kStopping;
  os::log(LogLevel::kNotice, "stopping; %llu ms to drain",
          static_cast<unsigned long long>(options_.drain_ms));
  notifier_.stopping("draining");
  notifier_.send("EXTEND_TIMEOUT_USEC=" +
                 std::to_string((options_.drain_ms + 2 * kLastWordMs) * 1'000));
  if (never_served) report_->failed(1, "stopped by a signal before it was ready");
  loop_.cancel(std::exchange(start_timer_, 0));
  if (broker_.pid() == 0) return finish(0);
  if (never_served) broker_.signal(SIGTERM);  // it may not listen to its keeper yet
  if (link_) link_->stop(static_cast<std::uint32_t>(options_.drain_ms));
  loop_.after_ms(static_cast<std::int64_t>(options_.drain_ms) + kLastWordMs, [this] {
    os::log(LogLevel::kWarning, "broker %d did not end within %llu ms: killing it", broker_.pid(),
            static_cast<unsigned long long>(options_.drain_ms));
    broker_.signal(SIGKILL);
  });
}

void Supervisor::reload() {
  if (state_ == State::kStopping) return;
  notifier_.reloading();
  const Status status = reload_options();
  if (!status.ok()) {
    os::log(LogLevel::kError, "reload failed, the configuration stays as it was: %s",
            std::string(status.message()).c_str());
    notifier_.ready("reload failed: " + std::string(status.message()));
    return;
  }
  reload_ping_ = ++pings_;
  if (!link_) return reloaded();
  link_->push_config(config::options_to_json(options_));
  link_->ping(reload_ping_);
}

// Said when it is true: the broker answers in order, so its pong comes after the configuration is
// in force there.
void Supervisor::reloaded() {
  if (std::exchange(reload_ping_, 0) == 0) return;
  os::log(LogLevel::kNotice, "configuration reloaded");
  if (ever_ready_ && state_ != State::kStopping) notifier_.ready(status_text());
}

Status Supervisor::reload_options() {
  std::string why;
  if (!os::reopen_log_file(&why)) os::log(LogLevel::kError, "%s", why.c_str());
  std::vector<std::string> later;
  auto reloaded = config::reload_options(command_line_, options_, &later);
  if (!reloaded.ok()) return reloaded.status();
  options_ = std::move(reloaded.value());
  os::LogLevel level;
  if (os::parse_log_level(options_.log_level, &level)) os::set_log_level(level);
  for (const std::string& key : later) {
    os::log(LogLevel::kWarning, "\"%s\" was changed; that takes effect at the next start",
            key.c_str());
  }
  return Status();
}

// The manager hears that we are well only while the broker answers. Between two brokers we are:
// the restart has its own deadline.
void Supervisor::check_health() {
  const bool answered = pongs_ >= health_ping_;
  if (state_ != State::kServing || answered) {
    notifier_.watchdog();
    if (std::exchange(silence_logged_, false)) {
      os::log(LogLevel::kNotice, "broker %d answers again", broker_.pid());
    }
  } else if (!std::exchange(silence_logged_, true)) {
    os::log(LogLevel::kError, "broker %d does not answer; it may be stopped or stuck",
            broker_.pid());
  }
  if (state_ == State::kServing && link_ && answered) link_->ping(health_ping_ = ++pings_);
  const std::int64_t watchdog_ms = notifier_.watchdog_ms();
  loop_.after_ms(watchdog_ms > 0 ? std::max<std::int64_t>(watchdog_ms / 3, 1) : kPingMs,
                 [this] { check_health(); });
}

std::string Supervisor::status_text() const {
  std::string text;
  switch (state_) {
    case State::kStarting: text = "starting the broker"; break;
    case State::kServing: text = "serving"; break;
    case State::kWaiting: text = "the broker died; restarting it"; break;
    case State::kStopping: text = "draining"; break;
  }
  if (broker_.pid() != 0) text += "; broker " + std::to_string(broker_.pid());
  text += ", " + std::to_string(vault_.size()) + " descriptors kept";
  if (restarts_ != 0) text += ", " + std::to_string(restarts_) + " restarts";
  if (!broker_status_.empty()) text += "; " + broker_status_;
  return text;
}

}  // namespace heddle::supervisor
