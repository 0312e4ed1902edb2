// heddle-broker: started by heddled with one inherited socket, over which it gets its listeners,
// its configuration and everything that an earlier broker left. See keeper.h.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/broker/core.h"
#include "daemon/broker/loop.h"
#include "daemon/broker/orphan.h"
#include "daemon/config/options_json.h"
#include "daemon/os/log.h"
#include "daemon/server/attach_locks.h"
#include "daemon/server/attach_server.h"
#include "daemon/server/grpc_server.h"
#include "proto/local/keeper.h"

namespace heddle::broker {
namespace {

using os::LogLevel;

class Process {
 public:
  explicit Process(local::Fd socket) : keeper_(std::move(socket)) {}
  ~Process() {
    if (drainer_.joinable()) drainer_.join();
  }

  // False: it cannot serve; the reason is in the log.
  bool start();
  void run() {
    loop_.run();
    if (!replaced_) core_->settle_tokens();  // else they are another's by now
  }

 private:
  bool configure(const std::string& json);
  bool listen();
  bool watch_signals();
  void on_keeper();
  void on_supervisor_death();
  void drain(int64_t drain_ms);

  Loop loop_;
  local::Keeper keeper_;
  config::Options options_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<server::AttachServer> attach_;
  std::unique_ptr<server::GrpcServer> grpc_;
  local::Fd signals_;
  std::thread drainer_;
  std::unique_ptr<Orphan> orphan_;
  bool draining_ = false;
  bool replaced_ = false;
};

bool Process::configure(const std::string& json) {
  config::Options options;
  const Status status = config::options_from_json(json, "configuration", &options);
  if (!status.ok()) {
    os::log(LogLevel::kError, "%s", status.to_string().c_str());
    return false;
  }
  options_ = options;
  LogLevel level;
  if (os::parse_log_level(options.log_level, &level)) os::set_log_level(level);
  if (core_) core_->set_options(options_);
  if (attach_) {
    attach_->set_connections_max(static_cast<uint32_t>(options_.connections_per_uid_max));
  }
  if (grpc_) {
    grpc_->set_connections_per_uid(static_cast<uint32_t>(options_.connections_per_uid_max));
  }
  return true;
}

bool Process::start() {
  std::string json;
  if (!keeper_.config(&json).ok() || !configure(json)) {
    os::log(LogLevel::kError, "the supervisor gave no usable configuration");
    return false;
  }
  auto core = Core::start(loop_, keeper_, options_);
  if (!core.ok()) {
    os::log(LogLevel::kError, "cannot start: %s", core.status().to_string().c_str());
    return false;
  }
  core_ = *std::move(core);
  if (!watch_signals() || !listen()) return false;
  loop_.watch(keeper_.poll_fd(), EPOLLIN, [this](uint32_t) { on_keeper(); });
  (void)keeper_.ready();
  const Stats stats = core_->stats();
  os::log(LogLevel::kInfo, "serving: broker %llu, %llu objects, %llu sessions",
          static_cast<unsigned long long>(stats.incarnation),
          static_cast<unsigned long long>(stats.objects),
          static_cast<unsigned long long>(stats.sessions_local + stats.sessions_remote));
  return true;
}

bool Process::listen() {
  std::vector<local::Kept> listeners;
  if (!keeper_.listeners(&listeners).ok()) {
    os::log(LogLevel::kError, "the supervisor gave no listening sockets");
    return false;
  }
  std::vector<server::GrpcListener> grpc;
  for (local::Kept& one : listeners) {
    const auto kind = static_cast<local::ListenerKind>(one.kind);
    if (kind == local::ListenerKind::kLocal) {
      attach_ = std::make_unique<server::AttachServer>(
          loop_, *core_, std::move(one.fd),
          static_cast<uint32_t>(options_.connections_per_uid_max));
    } else {
      grpc.push_back({std::move(one.fd), kind == local::ListenerKind::kTcp});
    }
  }
  if (grpc.empty()) return true;
  server::GrpcOptions options;
  options.version = HEDDLE_VERSION;
  options.limits.connections_per_uid = static_cast<uint32_t>(options_.connections_per_uid_max);
  options.limits.calls_per_connection =
      static_cast<uint32_t>(options_.streams_per_connection_max);
  options.message_bytes_max = options_.grpc_message_bytes_max;
  options.lock_report = [core = core_.get()](const Caller& caller, const char* what) {
    return server::answer_lock_call(*core, caller, "{\"do\":\"" + std::string(what) + "\"}",
                                    SIZE_MAX);
  };
  auto started = server::GrpcServer::start(*core_, options, std::move(grpc));
  if (!started.ok()) {
    os::log(LogLevel::kError, "gRPC: %s", started.status().to_string().c_str());
    return false;
  }
  grpc_ = *std::move(started);
  return true;
}

bool Process::watch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, number);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return false;
  return loop_.watch(signals_.get(), EPOLLIN, [this](uint32_t) {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      // Reloading is the supervisor's: it sends the whole new configuration.
      if (info.ssi_signo != SIGHUP) drain(static_cast<int64_t>(options_.drain_ms));
    }
  });
}

void Process::on_keeper() {
  local::KeeperEvent event;
  while (keeper_.next_event(&event)) {
    switch (event.kind) {
      case local::KeeperEvent::Kind::kPing: (void)keeper_.pong(event.ping); break;
      case local::KeeperEvent::Kind::kStop: drain(event.drain_ms); break;
      case local::KeeperEvent::Kind::kConfig: (void)configure(event.text); break;
      case local::KeeperEvent::Kind::kGone:
        on_supervisor_death();
        break;
    }
  }
}

void Process::on_supervisor_death() {
  loop_.unwatch(keeper_.poll_fd());
  os::log(LogLevel::kError,
          "the supervisor is gone: nothing new can be made, who is attached is served on. Take out "
          "what the queues hold over gRPC (heddle queue get --plane grpc), then start heddled "
          "again: this process (pid %d) ends then, or when nobody is attached and nothing is left",
          static_cast<int>(::getpid()));
  orphan_ = std::make_unique<Orphan>(
      loop_, *core_, options_.runtime_dir + "/heddled.pid", [this](Orphan::End end) {
        replaced_ = end == Orphan::End::kReplaced;
        os::log(LogLevel::kNotice, replaced_ ? "ending: another heddled serves here now"
                                             : "ending: nobody is attached and nothing is left");
        drain(0);
      });
}

// Local clients need nothing more from here: they are told and go on with their mappings. Remote
// calls get their time, on a thread of their own, because they finish through this one.
void Process::drain(int64_t drain_ms) {
  if (draining_) return;
  draining_ = true;
  core_->drain();
  (void)keeper_.stopping();
  if (attach_) attach_->drain(drain_ms);
  if (!grpc_) return loop_.stop();
  drainer_ = std::thread([this, drain_ms] {
    grpc_->drain(drain_ms);
    loop_.stop();
  });
}

int run() {
  os::log_to_stderr("heddle-broker");
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::sigaddset(&set, number);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);  // before any thread; all inherit it
  local::Fd socket = local::Keeper::socket_from_environment();
  if (!socket) {
    os::log(LogLevel::kError, "started by hand: heddled starts this program");
    return 2;
  }
  Process process(std::move(socket));
  if (!process.start()) return 1;
  process.run();
  return 0;
}

}  // namespace
}  // namespace heddle::broker

int main() { return heddle::broker::run(); }
