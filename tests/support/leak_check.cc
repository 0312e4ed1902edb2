#include "tests/support/leak_check.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace heddle::test {
namespace {

namespace fs = std::filesystem;
bool leaks_allowed = false;

// The descriptor that lists the directory is closed by the time its target is read.
void add_descriptors(std::vector<std::string>* found) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) paths.push_back(entry.path());
  for (const fs::path& path : paths) {
    std::error_code gone;
    const fs::path target = fs::read_symlink(path, gone);
    if (!gone) found->push_back("descriptor " + path.filename().string() + " -> " +
                                target.string());
  }
}

void add_memfd_mappings(std::vector<std::string>* found) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t at = line.find("/memfd:");
    if (at != std::string::npos) found->push_back("mapping of " + line.substr(at));
  }
}

void add_children(std::vector<std::string>* found) {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream children(task.path() / "children");
    for (std::string pid; children >> pid;) {
      siginfo_t info{};  // a zombie is a leak as well: somebody forgot to wait
      const bool ended = waitid(P_PID, static_cast<id_t>(std::stoul(pid)), &info,
                                WEXITED | WNOHANG | WNOWAIT) == 0 &&
                         info.si_pid != 0;
      found->push_back("child " + pid + (ended ? " (ended, not waited for)" : " (running)"));
    }
  }
}

std::vector<std::string> inventory() {
  std::vector<std::string> found;
  add_descriptors(&found);
  add_memfd_mappings(&found);
  add_children(&found);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

LeakCheck::LeakCheck() : before_(inventory()) {}

std::vector<std::string> LeakCheck::leaks() const {
  std::vector<std::string> extra;
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::vector<std::string> now = inventory();
    extra.clear();
    std::set_difference(now.begin(), now.end(), before_.begin(), before_.end(),
                        std::back_inserter(extra));
    if (extra.empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return extra;
}

void allow_leaks(const char* why) {
  std::printf("leak check off: %s\n", why);
  leaks_allowed = true;
}

bool take_leaks_allowed() { return std::exchange(leaks_allowed, false); }

}  // namespace heddle::test
