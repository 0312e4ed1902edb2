#include "daemon/broker/families.h"

#include <charconv>
#include <string>

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

}  // namespace heddle::broker
