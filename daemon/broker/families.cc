#include "daemon/broker/families.h"

#include <charconv>
#include <filesystem>
#include <string>
#include <system_error>

#include "daemon/os/files.h"

namespace heddle::broker {

pid_t waited_child(pid_t pid) {
  const std::string place = "/proc/" + std::to_string(pid);
  std::string text;
  if (!os::read_file(place + "/wchan", 64, &text) || text.find("do_wait") == std::string::npos) {
    return 0;
  }
  // "Threads:" in status would be another file of many lines; a second thread may have children of
  // its own, which are then missing here, and the first one seldom sleeps in wait().
  if (!os::read_file(place + "/task/" + std::to_string(pid) + "/children", 64, &text)) return 0;
  pid_t child = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, child);
  const bool alone = error == std::errc() &&
                     text.find_first_not_of(" \n", stop - text.data()) == std::string::npos;
  return alone ? child : 0;
}

uint32_t threads_if_childless(pid_t pid) {
  if (pid <= 0) return 0;
  const std::string place = "/proc/" + std::to_string(pid);
  std::string text;
  if (!os::read_file(place + "/stat", 512, &text)) return 0;
  // The name before the state may have any characters.
  const size_t state = text.rfind(')');
  if (state == std::string::npos || state + 2 >= text.size()) return 0;
  if (text[state + 2] == 'Z' || text[state + 2] == 'X') return 0;
  uint32_t threads = 0;
  std::error_code error;
  std::filesystem::directory_iterator at(place + "/task", error), end;
  for (; !error && at != end; at.increment(error), ++threads) {
    if (!os::read_file(at->path() / "children", 16, &text) || !text.empty()) return 0;
  }
  return error ? 0 : threads;
}

}  // namespace heddle::broker
