// What goes to a person: colour, tables, one line of progress.
#ifndef HEDDLE_CLIENT_CLI_TERMINAL_H_
#define HEDDLE_CLIENT_CLI_TERMINAL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::cli {

enum class Paint { kError, kHeading, kGood, kBusy, kBad };

// `text` in colour if `stream` is a terminal and NO_COLOR is not set.
std::string paint(std::FILE* stream, Paint how, const std::string& text);

// Printable: control characters and bytes that are not UTF-8 become escapes, so that nobody's
// message drives somebody's terminal. Longer than `columns_max` ends with "...".
std::string visible(std::string_view text, std::size_t columns_max = SIZE_MAX);

// "350ms", "12.5s", "3m05s", "2h03m", "4d06h".
std::string age_text(std::chrono::milliseconds age);
// "1 message", "2 messages".
std::string counted(std::uint64_t count, const std::string& one);

// Left-aligned columns, numbers to the right, as wide as their contents.
class Table {
 public:
  explicit Table(std::vector<std::string> headings) : headings_(std::move(headings)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  // Rows of the column `column` get the paint that `choose` names for their text.
  using Choose = Paint (*)(const std::string&);
  void paint_column(std::size_t column, Choose choose) { painted_ = column, choose_ = choose; }
  // Nothing but the headings if there are no rows.
  void print() const;

 private:
  void print_row(const std::vector<std::string>& row, const std::vector<std::size_t>& widths,
                 bool heading) const;
  std::vector<std::string> headings_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t painted_ = SIZE_MAX;
  Choose choose_ = nullptr;
};

// One line on stderr, rewritten at most five times a second; silent unless that is a terminal.
class Progress {
 public:
  explicit Progress(bool wanted);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool shown() const { return shown_; }
  // True when it is time for another show().
  bool due() const;
  void show(const std::string& line);
  void clear();

 private:
  bool shown_;
  bool dirty_ = false;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_TERMINAL_H_
