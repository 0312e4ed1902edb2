#include "daemon/os/memory.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "daemon/os/files.h"

namespace heddle::os {
namespace {

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

std::uint64_t number_in(const std::string& path) {
  std::string text;
  if (!read_file(path, 64, &text) || text.empty() || text[0] < '0' || text[0] > '9') {
    return kNoLimit;  // absent, or "max"
  }
  return std::strtoull(text.c_str(), nullptr, 10);
}

std::uint64_t left_in_group(const std::string& directory, const char* limit, const char* used) {
  const std::uint64_t max = number_in(directory + limit);
  const std::uint64_t now = number_in(directory + used);
  if (max == kNoLimit) return kNoLimit;
  return now == kNoLimit || now > max ? max : max - now;
}

std::uint64_t left_in_cgroups() {
  std::string text;
  if (!read_file("/proc/self/cgroup", 65536, &text)) return kNoLimit;
  std::uint64_t least = kNoLimit;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const std::size_t path_at = line.find(':', line.find(':') + 1);
    if (path_at == std::string::npos) continue;
    const bool second = line.rfind("0::", 0) == 0;
    if (!second && line.find(":memory:") == std::string::npos) continue;
    const std::string root = second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string group = line.substr(path_at + 1); !group.empty();
         group = group == "/" ? "" : parent_directory(group)) {
      const std::string directory = root + (group == "/" ? "" : group) + "/";
      least = std::min(least, second ? left_in_group(directory, "memory.max", "memory.current")
                                     : left_in_group(directory, "memory.limit_in_bytes",
                                                     "memory.usage_in_bytes"));
    }
  }
  return least;
}

}  // namespace

std::uint64_t memory_available_bytes() {
  std::uint64_t available = kNoLimit;
  std::string text;
  if (read_file("/proc/meminfo", 4096, &text)) {
    const std::size_t at = text.find("MemAvailable:");
    if (at != std::string::npos) {
      available = std::strtoull(text.c_str() + at + 13, nullptr, 10) * 1024;
    }
  }
  const std::uint64_t least = std::min(available, left_in_cgroups());
  return least == kNoLimit ? 0 : least;
}

}  // namespace heddle::os
