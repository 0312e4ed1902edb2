#include "tests/support/daemon_fixture.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <spawn.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
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
  pid_t group = 0;
};

ProcessStat stat_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t open = text.find('('), close = text.rfind(')');
  ProcessStat stat;
  if (close == std::string::npos) return stat;
  stat.name = text.substr(open + 1, close - open - 1);
  std::istringstream(text.substr(close + 1)) >> stat.state >> stat.parent >> stat.group;
  return stat;
}

void pause_briefly() { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }

// heddled tells this socket when it is ready, as it would tell systemd.
int notify_socket(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error("notify socket " + path + ": " + std::strerror(errno));
  }
  return fd;
}

// This process's environment without what would lead heddled elsewhere.
std::vector<std::string> clean_environment(const std::string& notify_path) {
  std::vector<std::string> result = {"NOTIFY_SOCKET=" + notify_path};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool leads_elsewhere =
        text.starts_with("NOTIFY_SOCKET=") || text.starts_with("WATCHDOG_") ||
        text.starts_with("RUNTIME_DIRECTORY=") || text.starts_with("STATE_DIRECTORY=") ||
        text.starts_with("LISTEN_") ||
        (text.starts_with("HEDDLE_") && !text.starts_with("HEDDLE_TEST_"));
    if (!leads_elsewhere) result.emplace_back(text);
  }
  return result;
}

std::vector<char*> pointers(std::vector<std::string>* strings) {
  std::vector<char*> result;
  for (std::string& text : *strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// In a process group of its own, with standard output and error in log_path.
pid_t spawn(std::vector<std::string> command, std::vector<std::string> environment,
            const std::string& log_path) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, command[0].c_str(), &actions, &attributes,
                                pointers(&command).data(), pointers(&environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
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
  notify_fd_ = notify_socket(dir_.file("notify"));
  try {
    start(options);
    await_ready();
  } catch (...) {
    kill_all();
    close(notify_fd_);
    throw;
  }
}

Daemon::~Daemon() {
  if (pid_ != 0) {
    const int status = stop();
    EXPECT_EQ(status, 0) << "heddled did not end cleanly; its log:\n" << log();
  }
  close(notify_fd_);
}

void Daemon::start(const Options& options) {
  std::vector<std::string> command = {built("bin/heddled"), "--foreground",
                                      "--config",           config_file(),
                                      "--runtime-dir",      runtime_dir(),
                                      "--state-dir",        state_dir()};
  command.insert(command.end(), options.args.begin(), options.args.end());
  pid_ = spawn(command, clean_environment(dir_.file("notify")), dir_.file("log"));
}

void Daemon::await_ready() {
  for (;;) {
    pollfd ready{notify_fd_, POLLIN, 0};
    if (poll(&ready, 1, 20) > 0) {
      char text[4096];
      const ssize_t length = recv(notify_fd_, text, sizeof text, 0);
      if (length > 0 && std::string_view(text, static_cast<size_t>(length)).find("READY=1") !=
                            std::string_view::npos) {
        return;
      }
      continue;
    }
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      throw std::runtime_error("heddled ended before it was ready (wait status " +
                               std::to_string(status) + "); its log:\n" + log());
    }
  }
}

pid_t Daemon::broker_pid() const {
  for (const pid_t pid : processes()) {
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
  char drop[4096];
  while (recv(notify_fd_, drop, sizeof drop, MSG_DONTWAIT) > 0) {
  }
  kill(old, SIGKILL);
  await_ready();
}

int Daemon::reap() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::vector<pid_t> Daemon::processes() const {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = std::stoi(name);
    const ProcessStat stat = stat_of(pid);
    if (pid_ != 0 && stat.group == pid_ && stat.state != 'Z' && stat.state != 'X') {
      found.push_back(pid);
    }
  }
  return found;
}

int Daemon::stop() {
  kill(pid_, SIGTERM);
  kill(pid_, SIGCONT);  // a test may have stopped it
  const int status = reap();
  for (int attempt = 0; attempt < 200 && !processes().empty(); ++attempt) pause_briefly();
  for (const pid_t pid : processes()) {
    ADD_FAILURE() << "heddled left process " << pid << " (" << stat_of(pid).name
                  << ") behind; its log:\n" << log();
  }
  if (fs::exists(runtime_dir())) {
    for (const auto& entry : fs::directory_iterator(runtime_dir())) {
      ADD_FAILURE() << "heddled left " << entry.path().filename() << " in its runtime directory";
    }
  }
  kill_all();
  return status;
}

void Daemon::kill_all() {
  if (pid_ == 0) return;
  kill(-pid_, SIGKILL);
  while (waitpid(-pid_, nullptr, 0) > 0) {
  }
  pid_ = 0;
}

}  // namespace heddle::test
