#include "daemon/config/option_text.h"

#include <algorithm>
#include <string_view>

#include "daemon/config/option_table.h"

namespace heddle::config {
namespace {

constexpr std::string_view kHelpHead =
    R"(Usage: heddled [FLAG]...

The Heddle supervisor: owns the sockets and the memory of every object, and starts the broker.

  --foreground            stay in the foreground (the default)
  --daemonize             become a background process; return when it is ready, or failed
  --config FILE           read FILE instead of the default configuration file
  --check-config          check flags and configuration, then exit (0 good, 2 bad)
  --print-config          print the configuration in effect as JSON, then exit
  --version               print the version, then exit
  --help                  print this, then exit

Every key of the configuration file is a flag as well, and the flag wins:

)";

constexpr std::string_view kHelpTail =
    R"(
Signals: TERM and INT stop it, HUP reads the configuration again.
Exit status: 0 clean, 1 failed, 2 usage or configuration, 3 already running.
)";

std::string default_of(const OptionRow& row) {
  return row.default_text.empty() ? value_text(row, Options()) : std::string(row.default_text);
}

// Breaks at spaces; `width` counts the indentation.
std::string wrapped(std::string_view text, std::string_view indent, std::size_t width) {
  std::string out(indent);
  std::size_t column = indent.size();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    if (column > indent.size() && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent);
      column = indent.size();
    } else if (column > indent.size()) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + "\n";
}

std::string facts_of(const OptionRow& row) {
  const std::string expected = expectation_of(row);
  std::string facts = static_cast<char>(expected[0] - 'a' + 'A') + expected.substr(1);
  facts += ". Default: " + default_of(row) + ".";
  facts += row.reloadable ? " Changed by SIGHUP." : " Needs a restart.";
  return facts;
}

// A leading dot or quote would be a request, a hyphen a typographic one.
std::string roff(std::string_view text) {
  std::string out;
  if (!text.empty() && (text[0] == '.' || text[0] == '\'')) out = "\\&";
  for (char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string help_text() {
  std::string out(kHelpHead);
  for (const OptionRow& row : option_table()) {
    out += "  " + flag_of(row) + " VALUE\n";
    out += wrapped(row.help, "      ", 92);
    out += wrapped(facts_of(row), "      ", 92);
  }
  return out + std::string(kHelpTail);
}

std::string manual_keys_roff() {
  std::string out;
  for (const OptionRow& row : option_table()) {
    out += ".TP\n.B " + std::string(row.name) + "\n" + roff(row.help) + "\n" +
           roff(facts_of(row)) + "\n";
  }
  return out;
}

std::string example_json() {
  std::string out =
      "// Configuration of heddled. Every key with its default; see heddled.json(5).\n"
      "// Check a change with `heddled --check-config`, apply it with `systemctl reload heddled`\n"
      "// or SIGHUP. Every key is a flag too: drain_ms is --drain-ms, and the flag wins.\n"
      "{\n";
  bool first = true;
  for (const OptionRow& row : option_table()) {
    out += first ? "" : ",\n\n";
    first = false;
    out += wrapped(row.help, "  // ", 96) + wrapped(facts_of(row), "  // ", 96);
    out += "  \"" + std::string(row.name) + "\": " + value_text(row, Options());
  }
  return out + "\n}\n";
}

}  // namespace heddle::config
