#include "client/cli/lock_runner.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "client/cli/child.h"

namespace heddle::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kForwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};
constexpr std::chrono::seconds kKillAfter{5};

// Blocks what is forwarded, and SIGCHLD, which must not be ignored or there is no status.
class Signals {
 public:
  Signals() {
    ::signal(SIGCHLD, SIG_DFL);
    sigemptyset(&set_);
    sigaddset(&set_, SIGCHLD);
    for (const int signal : kForwarded) sigaddset(&set_, signal);
    ::sigprocmask(SIG_BLOCK, &set_, &before_);
  }
  ~Signals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  const sigset_t& before() const { return before_; }
  // 0 if nothing came in time.
  int wait(long ns, siginfo_t* info) const {
    const timespec tick{ns / 1'000'000'000, ns % 1'000'000'000};
    const int signal = ::sigtimedwait(&set_, info, &tick);
    return signal < 0 ? 0 : signal;
  }

 private:
  sigset_t set_;
  sigset_t before_;
};

// True when it has ended.
bool reap(pid_t pid, int* status) {
  int word = 0;
  pid_t got;
  while ((got = ::waitpid(pid, &word, WNOHANG)) < 0 && errno == EINTR) {
  }
  if (got == 0) return false;
  *status = got < 0 ? kExitNotRun : WIFEXITED(word) ? WEXITSTATUS(word) : 128 + WTERMSIG(word);
  return true;
}

void end_of(pid_t pid, const Signals& signals, const Errand& errand, ErrandEnd* end) {
  const pid_t target = errand.own_group ? -pid : pid;
  const long tick_ns = errand.still_wanted ? 50'000'000 : 1'000'000'000;
  Clock::time_point kill_at = Clock::time_point::max();
  while (!reap(pid, &end->status)) {
    siginfo_t info{};
    const int signal = signals.wait(tick_ns, &info);
    // The terminal's signals go to its whole group, and the command is in it.
    const bool told = info.si_code == SI_KERNEL && !errand.own_group;
    if (signal != 0 && signal != SIGCHLD && !told) ::kill(target, signal);
    if (!end->stopped && errand.still_wanted && !errand.still_wanted()) {
      end->stopped = true;
      kill_at = Clock::now() + kKillAfter;
      ::kill(target, SIGTERM);
      ::kill(target, SIGCONT);  // one that is stopped would not see it
    }
    if (Clock::now() >= kill_at) ::kill(target, SIGKILL);
  }
  // What it left behind in its group was only wanted as long as it was.
  if (end->stopped && errand.own_group) ::kill(target, SIGKILL);
}

}  // namespace

ErrandEnd run_errand(const Invocation& run, const Errand& errand) {
  ErrandEnd end;
  const Signals signals;
  const Spawn child =
      spawn_here(run.command, errand.environment, errand.own_group, signals.before());
  if (child.error != 0) {
    end.status = child.error == ENOENT ? kExitNotFoundToRun : kExitCannotRun;
    (void)run.fail(Status(Reason::kInvalidArgument,
                          "cannot run " + run.command[0] + ": " + std::strerror(child.error)));
    return end;
  }
  end.ran = true;
  end_of(child.pid, signals, errand, &end);
  return end;
}

void show_as_command(const Invocation& run) {
  const std::string& path = run.command[0];
  // 15 bytes of it; the kernel cuts off the rest.
  ::prctl(PR_SET_NAME, path.substr(path.rfind('/') + 1).c_str());
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
      help.insert(at + usage.size(), " -- COMMAND [ARGUMENT...]");
    }
    return help;
  });
}

}  // namespace heddle::cli
