#include <heddle/limits.h>
#include <heddle/name.h>

#include <cstdio>

namespace heddle {
namespace {

constexpr std::string_view kGrammar = "names are 1-200 bytes of A-Z a-z 0-9 . _ / -";

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '/' || c == '-';
}

// Printable ASCII stays itself, the rest becomes \xNN: names go to logs and terminals.
std::string printable(std::string_view text) {
  std::string out;
  for (const unsigned char c : text.substr(0, kNameBytesMax)) {
    if (c >= 0x20 && c < 0x7f) {
      out += static_cast<char>(c);
      continue;
    }
    char escaped[5];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
    out += escaped;
  }
  return out;
}

Status invalid(std::string_view name, std::string why) {
  return Status(Reason::kInvalidName, "invalid name \"" + printable(name) + "\": " +
                                          std::move(why) + "; " + std::string(kGrammar));
}

}  // namespace

Status check_object_name(std::string_view name) {
  if (name.empty()) return invalid(name, "it is empty");
  if (name.size() > kNameBytesMax) {
    return invalid(name, "it is too long").with_limit(kNameBytesMax, name.size());
  }
  if (name.front() == '/' || name.front() == '.') {
    return invalid(name, std::string("it begins with '") + name.front() + "'");
  }
  for (size_t i = 0; i < name.size(); ++i) {
    if (is_name_byte(name[i])) continue;
    return invalid(name, "byte " + std::to_string(i) + " is '" + printable(name.substr(i, 1)) +
                             "'");
  }
  return {};
}

bool is_reserved_object_name(std::string_view name) {
  return name == "sys" || name.substr(0, 4) == "sys/";
}

Result<std::string> expand_object_name(std::string_view name, uint32_t uid) {
  std::string full(name);
  if (name.substr(0, 2) == "~/") {
    full = "uid-" + std::to_string(uid) + "/" + std::string(name.substr(2));
    if (name.size() == 2) return invalid(name, "nothing follows \"~/\"");
  }
  if (Status status = check_object_name(full); !status.ok()) return status;
  return full;
}

}  // namespace heddle
