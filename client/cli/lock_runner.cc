#include "client/cli/lock_runner.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "client/cli/child.h"

namespace heddle::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kForwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
constexpr std::chrono::seconds kKillAfter{5};
constexpr long kLookNs = 50'000'000;

// Where signals go; for the handler.
volatile sig_atomic_t target = 0;
volatile sig_atomic_t target_is_here = 0;
volatile sig_atomic_t kept[NSIG];  // came before there was a target

void forward(int signal, siginfo_t* info, void*) {
  // The terminal's signals go to its whole group, and the command may be in it.
  if (info->si_code == SI_KERNEL && target_is_here != 0) return;
  if (target == 0) {
    kept[signal] = 1;
    return;
  }
  const int error = errno;
  ::kill(target, signal);
  errno = error;
}

// Keeps what is forwarded until there is somebody to forward it to. Blocks it until then, and
// SIGCHLD, which must not be ignored or there is no status: in this thread only, and gRPC has
// others, so the handlers are there before the command is.
class Signals {
 public:
  explicit Signals(bool own_group) {
    ::signal(SIGCHLD, SIG_DFL);
    target_is_here = own_group ? 0 : 1;
    sigemptyset(&set_);
    for (const int signal : kForwarded) sigaddset(&set_, signal);
    sigemptyset(&child_);
    sigaddset(&child_, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &set_, &before_);
    ::sigprocmask(SIG_BLOCK, &child_, nullptr);
    struct sigaction action {};
    action.sa_sigaction = forward;
    action.sa_flags = SA_SIGINFO;
    for (const int signal : kForwarded) ::sigaction(signal, &action, nullptr);
  }
  ~Signals() {
    send_on_no_more();
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  const sigset_t& before() const { return before_; }
  void send_on(pid_t to) const {
    target = to;
    for (const int signal : kForwarded) {
      if (kept[signal] != 0) ::kill(to, signal);
      kept[signal] = 0;
    }
    ::sigprocmask(SIG_UNBLOCK, &set_, nullptr);
  }
  void send_on_no_more() const {
    ::sigprocmask(SIG_BLOCK, &set_, nullptr);
    target = 0;
    for (const int signal : kForwarded) ::signal(signal, SIG_DFL);
  }
  // Until a child ends, a signal was sent on, or this time is over.
  void wait_child(long ns) const {
    const timespec tick{0, ns};
    ::sigtimedwait(&child_, nullptr, &tick);
  }

 private:
  sigset_t set_;
  sigset_t child_;
  sigset_t before_;
};

// Whether it has ended; it keeps its number until it is reaped.
bool ended(pid_t pid, int options) {
  siginfo_t info{};
  const int got = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT | options);
  return (got == 0 && info.si_pid == pid) || (got < 0 && errno != EINTR);
}

int reap(pid_t pid) {
  int word = 0;
  pid_t got;
  while ((got = ::waitpid(pid, &word, 0)) < 0 && errno == EINTR) {
  }
  if (got < 0) return kExitNotRun;
  return WIFEXITED(word) ? WEXITSTATUS(word) : 128 + WTERMSIG(word);
}

// Looks whether the command is still wanted, and ends it if not. True if it was not.
bool watch(pid_t pid, const Signals& signals, const Errand& errand) {
  const pid_t whom = errand.own_group ? -pid : pid;
  bool stopped = false;
  Clock::time_point kill_at = Clock::time_point::max();
  while (!ended(pid, WNOHANG)) {
    signals.wait_child(kLookNs);
    if (!stopped && !errand.still_wanted()) {
      stopped = true;
      kill_at = Clock::now() + kKillAfter;
      ::kill(whom, SIGTERM);
      ::kill(whom, SIGCONT);  // one that is stopped would not see it
    }
    if (Clock::now() >= kill_at) ::kill(whom, SIGKILL);
  }
  // What it left behind in its group was only wanted as long as it was.
  if (stopped && errand.own_group) ::kill(whom, SIGKILL);
  return stopped;
}

}  // namespace

ErrandEnd run_errand(const Invocation& run, const Errand& errand) {
  ErrandEnd end;
  const Signals signals(errand.own_group);
  const Spawn child =
      spawn_here(run.command, errand.environment, errand.own_group, signals.before());
  if (child.error != 0) {
    end.status = child.error == ENOENT ? kExitNotFoundToRun : kExitCannotRun;
    (void)run.fail(Status(Reason::kInvalidArgument,
                          "cannot run " + run.command[0] + ": " + std::strerror(child.error)));
    return end;
  }
  end.ran = true;
  signals.send_on(errand.own_group ? -child.pid : child.pid);
  if (errand.still_wanted) {
    end.stopped = watch(child.pid, signals, errand);
  } else {
    // In wait() itself, not in a sleep: who looks for deadlocks sees what we wait for.
    while (!ended(child.pid, 0)) {
    }
  }
  signals.send_on_no_more();
  end.status = reap(child.pid);
  return end;
}

Status need_command(const Invocation& run, const std::string& usage) {
  if (run.has_command && !run.command.empty()) return {};
  return Status(Reason::kInvalidArgument,
                "a command is missing: " + usage + " -- COMMAND [ARGUMENT...]");
}

void show_command(CLI::App& verb) {
  verb.formatter_fn([](const CLI::App* app, std::string name, CLI::AppFormatMode mode) {
    CLI::Formatter formatter;
    formatter.label("Positionals", "Arguments");
    formatter.label("REQUIRED", "");
    std::string help = formatter.make_help(app, std::move(name), mode);
    const std::string usage = "[OPTIONS] NAME";
    if (const auto at = help.find(usage); at != std::string::npos) {
      help.insert(std::min(help.find('\n', at), help.size()), " -- COMMAND [ARGUMENT...]");
    }
    return help;
  });
}

}  // namespace heddle::cli
