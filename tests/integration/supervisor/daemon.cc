#include "tests/integration/supervisor/daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "daemon/os/clock.h"
#include "daemon/os/files.h"

namespace heddle::test {

using local::Fd;

bool eventually(const std::function<bool()>& holds) {
  const std::int64_t end = os::monotonic_ms() + 10'000;
  while (!holds()) {
    if (os::monotonic_ms() > end) return false;
    ::usleep(5'000);
  }
  return true;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool process_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

bool process_ended(pid_t pid) {
  std::string stat;
  return !os::read_file("/proc/" + std::to_string(pid) + "/stat", 512, &stat) ||
         stat.find(") Z ") != std::string::npos;
}

Heddled::Heddled() {
  write_config("{\"drain_ms\": 2000}");
  environment["HEDDLE_BROKER"] = FAKE_BROKER;
}

Heddled::~Heddled() {
  if (pid_ == 0) return;
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0) << log();
}

void Heddled::write_config(const std::string& json) {
  std::string why;
  EXPECT_TRUE(os::write_file_atomically(file("heddled.json"), json, 0600, &why)) << why;
}

std::string Heddled::log() const {
  std::string text;
  os::read_file(file("err"), 1 << 20, &text);
  return text;
}

std::vector<std::string> Heddled::usual() const {
  std::vector<std::string> arguments = {"--config",    file("heddled.json"), "--runtime-dir",
                                        file("run"),   "--state-dir",        file("state")};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return arguments;
}

pid_t Heddled::launch(const std::vector<std::string>& arguments) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid_ = pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that hangs is killed; nothing may stay
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::dup2(::open(file("out").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
  ::dup2(::open(file("err").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
  std::string names;
  std::vector<int> high;  // out of the way of 3, 4, ...
  for (const auto& [name, fd] : passed_fds) {
    names += (names.empty() ? "" : ":") + name;
    high.push_back(::fcntl(fd, F_DUPFD, 500));
  }
  ::closefrom(600);
  for (int fd = 3; fd < 500; ++fd) ::close(fd);
  for (std::size_t i = 0; i < high.size(); ++i) {
    ::dup2(high[i], 3 + static_cast<int>(i));
    ::close(high[i]);
  }
  if (!high.empty()) {
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(high.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  }
  std::vector<char*> argv = {const_cast<char*>("heddled")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(HEDDLED, argv.data());
  ::_exit(99);
}

void Heddled::start() {
  launch(usual());
  ASSERT_NE(tell("pid"), "") << log();
}

int Heddled::wait() {
  int status = 0;
  const pid_t pid = std::exchange(pid_, 0);
  if (::waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Ended Heddled::run(const std::vector<std::string>& arguments) {
  ::unlink(file("out").c_str());
  ::unlink(file("err").c_str());
  const pid_t before = pid_;
  launch(arguments);
  Ended ended;
  ended.status = wait();
  pid_ = before;
  os::read_file(file("out"), 1 << 20, &ended.out);
  os::read_file(file("err"), 1 << 20, &ended.err);
  return ended;
}

void Heddled::signal(int number) const { ::kill(pid_, number); }

std::string Heddled::tell(const std::string& command) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, file("run/local.sock").c_str(), sizeof name.sun_path - 1);
  std::string reply;
  const bool answered = eventually([&] {
    const Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    char text[65536];
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) return false;
    if (::send(fd.get(), command.data(), command.size(), MSG_NOSIGNAL) < 0) return false;
    const ssize_t n = ::recv(fd.get(), text, sizeof text, 0);
    if (n <= 0) return false;
    reply.assign(text, static_cast<std::size_t>(n));
    return true;
  });
  EXPECT_TRUE(answered) << "no answer to " << command << "\n" << log();
  return reply;
}

}  // namespace heddle::test
