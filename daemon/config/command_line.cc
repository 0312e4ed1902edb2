#include "daemon/config/command_line.h"

#include <algorithm>

namespace heddle::config {
namespace {

Status usage_error(const std::string& what) {
  return Status(Reason::kInvalidArgument, what + "; see heddled --help");
}

bool take_switch(const std::string& flag, CommandLine* out) {
  using Action = CommandLine::Action;
  if (flag == "--help" || flag == "-h") {
    out->action = Action::kHelp;
  } else if (flag == "--version" || flag == "-V") {
    out->action = Action::kVersion;
  } else if (flag == "--check-config") {
    out->action = Action::kCheckConfig;
  } else if (flag == "--print-config") {
    out->action = Action::kPrintConfig;
  } else if (flag == "--daemonize") {
    out->daemonize = true;
  } else if (flag == "--foreground") {
    out->daemonize = false;
  } else {
    return false;
  }
  return true;
}

}  // namespace

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
  CommandLine out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (take_switch(argument, &out)) continue;
    if (argument.rfind("--", 0) != 0) {
      return usage_error("unexpected argument \"" + argument + "\"");
    }
    const std::size_t equals = std::min(argument.find('='), argument.size());
    const std::string flag = argument.substr(0, equals);
    std::string key = flag.substr(2);
    std::replace(key.begin(), key.end(), '-', '_');
    const OptionRow* row = find_option(key);
    if (!row && key != "config") {
      const OptionRow* meant = find_option(nearest_option(key));
      return usage_error("unknown flag " + flag + "; " +
                         (meant ? "did you mean " + flag_of(*meant) + "?" : "see --help"));
    }
    if (equals == argument.size() && i + 1 == arguments.size()) {
      return usage_error(flag + " needs a value");
    }
    std::string value = equals < argument.size() ? argument.substr(equals + 1) : arguments[++i];
    if (row) {
      out.options.emplace_back(row, std::move(value));
    } else {
      out.config_file = std::move(value);
    }
  }
  return out;
}

}  // namespace heddle::config
