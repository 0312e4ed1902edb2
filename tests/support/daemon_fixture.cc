#include "tests/support/daemon_fixture.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sstream>
#include <string_view>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace heddle::test {
namespace {

namespace fs = std::filesystem;

// The fields of /proc/PID/stat that follow the name, which may hold anything.
struct ProcessStat {
  std::string name;
  char state = 'X';
  pid_t parent = 0;
};

ProcessStat stat_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;  // a process that ends meanwhile is a failed read, not an exception
  std::getline(file, text, '\0');
  const size_t open = text.find('('), close = text.rfind(')');
  ProcessStat stat;
  if (close == std::string::npos) return stat;
  stat.name = text.substr(open + 1, close - open - 1);
  std::istringstream(text.substr(close + 1)) >> stat.state >> stat.parent;
  return stat;
}

// Ours because its parent ended. Its end is collected here.
bool is_adopted(pid_t pid) {
  return stat_of(pid).parent == getpid() && waitpid(pid, nullptr, WNOHANG) == 0;
}

void pause_briefly() { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }

// heddled says this each time a broker of its has taken over.
constexpr std::string_view kServing = "heddled: notice: serving; broker ";

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == name.npos) found.push_back(std::stoi(name));
  }
  return found;
}

// This process's environment without what would lead heddled elsewhere.
std::vector<std::string> clean_environment() {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool leads_elsewhere =
        text.starts_with("NOTIFY_SOCKET=") || text.starts_with("WATCHDOG_") ||
        text.starts_with("RUNTIME_DIRECTORY=") || text.starts_with("STATE_DIRECTORY=") ||
        text.starts_with("LISTEN_") ||
        (text.starts_with("HEDDLE_") && !text.starts_with("HEDDLE_TEST_"));
    if (!leads_elsewhere) result.emplace_back(text);
  }
#ifdef HEDDLE_BROKER
  result.emplace_back("HEDDLE_BROKER=" HEDDLE_BROKER);
#endif
  return result;
}

std::vector<char*> pointers(std::vector<std::string>* strings) {
  std::vector<char*> result;
  for (std::string& text : *strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// With standard output and error in log_path.
pid_t spawn(std::vector<std::string> command, std::vector<std::string> environment,
            const std::string& log_path) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, command[0].c_str(), &actions, nullptr,
                                pointers(&command).data(), pointers(&environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error(command[0] + ": " + std::strerror(error));
  return pid;
}

}  // namespace

std::string built(const std::string& path) {
  const char* dir = std::getenv("HEDDLE_BUILD_DIR");
  return std::string(dir != nullptr ? dir : HEDDLE_BUILD_DIR) + "/" + path;
}

Daemon::Daemon(Options options) {
  // What heddled leaves running becomes our child, where it is seen.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::ofstream(config_file()) << options.config;
  try {
    start(options);
    await_serving(1);
  } catch (...) {
    kill_all();
    throw;
  }
}

Daemon::~Daemon() {
  if (pid_ != 0) {
    const int status = stop();
    EXPECT_EQ(status, 0) << "heddled did not end cleanly; its log:\n" << log();
  }
}

void Daemon::start(const Options& options) {
  std::vector<std::string> command = {built("bin/heddled"), "--foreground",
                                      "--config",           config_file(),
                                      "--runtime-dir",      runtime_dir(),
                                      "--state-dir",        state_dir()};
  command.insert(command.end(), options.args.begin(), options.args.end());
  pid_ = spawn(command, clean_environment(), dir_.file("log"));
}

void Daemon::await_serving(size_t times) {
  while (count_of(log(), kServing) < times) {
    pause_briefly();
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      throw std::runtime_error("heddled ended before it was ready (wait status " +
                               std::to_string(status) + "); its log:\n" + log());
    }
  }
}

pid_t Daemon::broker_pid() const {
  for (const pid_t pid : descendants()) {
    const ProcessStat stat = stat_of(pid);
    if (stat.parent == pid_ && stat.name.starts_with("heddle-broker")) return pid;
  }
  return 0;
}

std::string Daemon::log() const {
  std::ifstream file(dir_.file("log"));
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void Daemon::signal(int number) const {
  if (pid_ != 0) kill(pid_, number);
}

void Daemon::kill_broker() {
  const pid_t old = broker_pid();
  if (old == 0) throw std::runtime_error("no heddle-broker to kill; the log:\n" + log());
  const size_t served = count_of(log(), kServing);
  kill(old, SIGKILL);
  await_serving(served + 1);
}

pid_t Daemon::kill_supervisor() {
  const pid_t broker = broker_pid();
  kill(pid_, SIGKILL);
  reap();
  pid_ = 0;
  return broker;
}

void Daemon::start_again() {
  const size_t served = count_of(log(), kServing);
  start({});
  await_serving(served + 1);
}

int Daemon::reap() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Parents come before their children in the result.
std::vector<pid_t> Daemon::descendants() const {
  std::vector<pid_t> found = {pid_};
  const std::vector<pid_t> all = all_processes();
  for (size_t i = 0; pid_ != 0 && i < found.size(); ++i) {
    for (const pid_t pid : all) {
      const ProcessStat stat = stat_of(pid);
      if (stat.parent == found[i] && stat.state != 'Z') found.push_back(pid);
    }
  }
  found.erase(found.begin());
  return found;
}

int Daemon::stop() {
  const std::vector<pid_t> started = descendants();
  kill(pid_, SIGTERM);
  kill(pid_, SIGCONT);  // a test may have stopped it
  const int status = reap();
  for (const pid_t pid : started) {
    for (int attempt = 0; attempt < 200 && is_adopted(pid); ++attempt) pause_briefly();
    if (!is_adopted(pid)) continue;
    ADD_FAILURE() << "heddled left process " << pid << " (" << stat_of(pid).name
                  << ") behind; its log:\n" << log();
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  pid_ = 0;
  EXPECT_EQ(log().find("Sanitizer"), std::string::npos) << log();
  EXPECT_EQ(log().find("runtime error"), std::string::npos) << log();
  if (!fs::exists(runtime_dir())) return status;
  for (const auto& entry : fs::directory_iterator(runtime_dir())) {
    // The pid file is a lock; taking it away would let two daemons hold one each.
    if (entry.path().filename() == "heddled.pid") continue;
    ADD_FAILURE() << "heddled left " << entry.path().filename() << " in its runtime directory";
  }
  return status;
}

void Daemon::kill_all() {
  if (pid_ == 0) return;
  const std::vector<pid_t> started = descendants();
  kill(pid_, SIGKILL);
  reap();
  for (const pid_t pid : started) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  pid_ = 0;
}

}  // namespace heddle::test
