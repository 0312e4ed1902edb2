#include "client/cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "client/cli/body.h"

namespace heddle::cli {

namespace {

constexpr std::chrono::milliseconds kProgressInterval{200};

const char* escape_of(Paint how) {
  switch (how) {
    case Paint::kError:
    case Paint::kBad:
      return "\033[31m";
    case Paint::kHeading:
      return "\033[1m";
    case Paint::kGood:
      return "\033[32m";
    case Paint::kBusy:
      return "\033[33m";
  }
  return "";
}

bool coloured(std::FILE* stream) {
  const char* no = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  if (no != nullptr && *no != 0) return false;
  if (terminal != nullptr && std::string_view(terminal) == "dumb") return false;
  return ::isatty(::fileno(stream)) == 1;
}

bool numeric(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Characters, not bytes: continuation bytes take no column.
std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](unsigned char byte) { return (byte & 0xc0) != 0x80; }));
}

std::string escaped(unsigned char byte) {
  if (byte == '\n') return "\\n";
  if (byte == '\t') return "\\t";
  if (byte == '\r') return "\\r";
  char text[8];
  std::snprintf(text, sizeof text, "\\x%02x", byte);
  return text;
}

}  // namespace

std::string paint(std::FILE* stream, Paint how, const std::string& text) {
  return coloured(stream) ? escape_of(how) + text + "\033[0m" : text;
}

std::string visible(std::string_view text, std::size_t columns_max) {
  std::string out;
  std::size_t columns = 0;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);  // 0: not UTF-8
    const auto first = static_cast<unsigned char>(text[0]);
    // C1 controls (U+0080-U+009F) move cursors too.
    const unsigned char second = length == 2 ? static_cast<unsigned char>(text[1]) : 0;
    const bool control = first < 0x20 || first == 0x7f || (first == 0xc2 && second < 0xa0);
    const bool plain = length != 0 && !control;
    std::string piece = plain ? std::string(text.substr(0, length)) : escaped(first);
    if (control && length == 2) piece += escaped(second);
    columns += columns_of(piece);
    if (columns > columns_max) return out + "...";
    out += piece;
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string age_text(std::chrono::milliseconds age) {
  const long long ms = std::max<long long>(age.count(), 0);
  const long long s = ms / 1000, m = s / 60, h = m / 60;
  char text[32];
  if (ms < 1000) {
    std::snprintf(text, sizeof text, "%lldms", ms);
  } else if (s < 60) {
    std::snprintf(text, sizeof text, "%lld.%llds", s, ms % 1000 / 100);
  } else if (m < 60) {
    std::snprintf(text, sizeof text, "%lldm%02llds", m, s % 60);
  } else if (h < 24) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", h, m % 60);
  } else {
    std::snprintf(text, sizeof text, "%lldd%02lldh", h / 24, h % 24);
  }
  return text;
}

std::string counted(std::uint64_t count, const std::string& one) {
  return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

void Table::print() const {
  std::vector<std::size_t> widths;
  for (const std::string& heading : headings_) widths.push_back(columns_of(heading));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(row[i]));
    }
  }
  print_row(headings_, widths, true);
  for (const auto& row : rows_) print_row(row, widths, false);
}

void Table::print_row(const std::vector<std::string>& row, const std::vector<std::size_t>& widths,
                      bool heading) const {
  std::string line;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::string room(widths[i] - columns_of(row[i]), ' ');
    // A heading stands over its column: to the right where the first row is a number.
    const bool right = heading ? !rows_.empty() && numeric(rows_[0][i]) : numeric(row[i]);
    std::string cell = heading ? paint(stdout, Paint::kHeading, row[i]) : row[i];
    if (!heading && i == painted_) cell = paint(stdout, choose_(row[i]), row[i]);
    if (i != 0) line += "  ";
    line += right ? room + cell : i + 1 == row.size() ? cell : cell + room;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  std::printf("%s\n", line.c_str());
}

Progress::Progress(bool wanted) : shown_(wanted && ::isatty(STDERR_FILENO) == 1) {}

bool Progress::due() const { return shown_ && std::chrono::steady_clock::now() >= next_; }

void Progress::show(const std::string& line) {
  if (!shown_) return;
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  dirty_ = true;
  next_ = std::chrono::steady_clock::now() + kProgressInterval;
}

void Progress::clear() {
  if (!dirty_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  dirty_ = false;
}

}  // namespace heddle::cli
