#include "daemon/config/load.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/config/options_json.h"
#include "daemon/os/files.h"
#include "daemon/os/memory.h"

namespace heddle::config {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

std::string variable(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

// systemd may name several directories, separated by colons; the first is ours.
std::string first_directory(const char* name) {
  const std::string value = variable(name);
  return value.substr(0, value.find(':'));
}

std::string home_place(const char* xdg_variable, const char* below_home) {
  const std::string set = variable(xdg_variable);
  if (!set.empty() && set[0] == '/') return set;
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + below_home;
}

std::string default_runtime_dir() {
  if (const std::string given = first_directory("RUNTIME_DIRECTORY"); !given.empty()) return given;
  if (::geteuid() == 0) return "/run/heddle";
  if (const std::string xdg = variable("XDG_RUNTIME_DIR"); !xdg.empty()) return xdg + "/heddle";
  return "/tmp/heddle-" + std::to_string(::geteuid());
}

std::string default_state_dir() {
  if (const std::string given = first_directory("STATE_DIRECTORY"); !given.empty()) return given;
  if (::geteuid() == 0) return "/var/lib/heddle";
  const std::string place = home_place("XDG_STATE_HOME", "/.local/state");
  return place.empty() ? "/tmp/heddle-" + std::to_string(::geteuid()) + "/state"
                       : place + "/heddle";
}

std::vector<std::string> default_files() {
  std::vector<std::string> files;
  if (::geteuid() != 0) {
    const std::string place = home_place("XDG_CONFIG_HOME", "/.config");
    if (!place.empty()) files.push_back(place + "/heddle/heddled.json");
  }
  files.push_back("/etc/heddle/heddled.json");
  return files;
}

// A file that exists but cannot be read is an error, never a reason to take the defaults.
Status read_config(const std::string& path, Loaded* out) {
  std::string text;
  if (!os::read_file(path, kFileBytesMax + 1, &text)) {
    return Status::from_errno(errno, path + ": cannot read the configuration");
  }
  if (text.size() > kFileBytesMax) {
    return Status(Reason::kTooLarge, path + ": the configuration is larger than 1 MiB");
  }
  return options_from_json(text, path, &out->options, &out->lines);
}

Status apply_file(const CommandLine& command_line, Loaded* out) {
  if (!command_line.config_file.empty()) {
    out->file = command_line.config_file;
    return read_config(out->file, out);
  }
  for (const std::string& path : default_files()) {
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) continue;
    out->file = path;
    return read_config(path, out);
  }
  return Status();
}

Status check_absolute(const char* key, const std::string& path) {
  if (!path.empty() && path[0] == '/') return Status();
  return Status(Reason::kInvalidArgument,
                "\"" + std::string(key) + "\" must be an absolute path; it is \"" + path + "\"");
}

// Where the first of the keys that a message has in quotes was given: "--flag: " or "file:line: ".
std::string place_of(std::string_view message, const CommandLine& command_line,
                     const Loaded& loaded) {
  for (std::size_t at = message.find('"'); at != message.npos; at = message.find('"', at + 1)) {
    const std::size_t end = message.find('"', at + 1);
    if (end == message.npos) break;
    const OptionRow* row = find_option(message.substr(at + 1, end - at - 1));
    if (!row) continue;
    for (const auto& [given, text] : command_line.options) {
      if (given == row) return flag_of(*row) + ": ";
    }
    const auto line = loaded.lines.find(std::string(row->name));
    if (line != loaded.lines.end()) {
      return loaded.file + ":" + std::to_string(line->second) + ": ";
    }
  }
  return "";
}

Status check_together(const Options& options) {
  for (const auto& [key, path] : {std::pair{"runtime_dir", &options.runtime_dir},
                                  std::pair{"state_dir", &options.state_dir}}) {
    if (Status status = check_absolute(key, *path); !status.ok()) return status;
  }
  if (Status status = validate(options); !status.ok()) return status;
  const std::string& log = options.log_file;
  return log.empty() || log == "syslog" ? Status() : check_absolute("log_file", log);
}

void warn(const CommandLine& command_line, Loaded* out) {
  const Options& options = out->options;
  if (options.queue_max_msg_bytes <= options.grpc_message_bytes_max) return;
  const std::string what =
      "\"queue_max_msg_bytes\" (" + std::to_string(options.queue_max_msg_bytes) +
      ") is above \"grpc_message_bytes_max\" (" + std::to_string(options.grpc_message_bytes_max) +
      "): larger messages go over shared memory only";
  out->warnings.push_back(place_of(what, command_line, *out) + what);
}

}  // namespace

Result<Loaded> load_options(const CommandLine& command_line) {
  Loaded out;
  Options& options = out.options;
  if (Status status = apply_file(command_line, &out); !status.ok()) return status;
  if (const std::string set = variable("HEDDLE_RUNTIME_DIR"); !set.empty()) {
    options.runtime_dir = set;
  }
  if (const std::string set = variable("HEDDLE_STATE_DIR"); !set.empty()) options.state_dir = set;
  for (const auto& [row, text] : command_line.options) {
    const Status set = set_from_text(*row, text, &options);
    if (!set.ok()) {
      return Status(Reason::kInvalidArgument, flag_of(*row) + ": " + std::string(set.message()));
    }
  }
  if (options.runtime_dir.empty()) options.runtime_dir = default_runtime_dir();
  if (options.state_dir.empty()) options.state_dir = default_state_dir();
  if (const Status status = check_together(options); !status.ok()) {
    const std::string message(status.message());
    return Status(Reason::kInvalidArgument, place_of(message, command_line, out) + message);
  }
  warn(command_line, &out);
  out.memory_max_automatic = options.memory_max == 0;
  if (out.memory_max_automatic) options.memory_max = os::memory_available_bytes() / 2;
  return out;
}

Result<Options> reload_options(const CommandLine& command_line, const Options& current,
                               std::vector<std::string>* later) {
  Result<Loaded> loaded = load_options(command_line);
  if (!loaded.ok()) return loaded.status();
  Options options = std::move(loaded->options);
  // What is left now is left beside our own objects.
  if (loaded->memory_max_automatic) options.memory_max = current.memory_max;
  for (const OptionRow& row : option_table()) {
    std::visit(
        [&](auto field) {
          if (row.reloadable || options.*field == current.*field) return;
          options.*field = current.*field;
          later->emplace_back(row.name);
        },
        row.field);
  }
  return options;
}

}  // namespace heddle::config
