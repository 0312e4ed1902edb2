#include "daemon/config/options_json.h"

#include <cstddef>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "daemon/config/option_table.h"

namespace heddle::config {
namespace {

using Json = nlohmann::json;

// Feeds the parser and counts lines: when it reports a key, the reader stands right behind it.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n' && line_) ++*line_;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  std::size_t* line_;
};

Status error_at(const std::string& source, std::size_t line, const std::string& what) {
  return Status(Reason::kInvalidArgument, source + ":" + std::to_string(line) + ": " + what);
}

// "[json.exception.parse_error.101] parse error at line 3, column 5: syntax error ...".
std::string plain_text(const Json::exception& error) {
  const std::string text = error.what();
  const std::size_t colon = text.find(": ");
  return colon == std::string::npos ? text : text.substr(colon + 2);
}

// No value here nests more than two deep. The parser itself does not recurse, but the tree that
// it would build for a megabyte of brackets is large.
constexpr int kDepthMax = 8;

Status set_from_json(const OptionRow& row, const Json& value, Options* options) {
  const auto wrong = [&] {
    std::string shown = value.dump();
    if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
    return Status(Reason::kInvalidArgument, "\"" + std::string(row.name) + "\" must be " +
                                                expectation_of(row) + "; it is " + shown + " (" +
                                                value.type_name() + ")");
  };
  if (const auto* list = std::get_if<std::vector<std::string> Options::*>(&row.field)) {
    if (!value.is_array()) return wrong();
    for (const Json& item : value) {
      if (!item.is_string()) return wrong();
    }
    options->**list = value.get<std::vector<std::string>>();
    return Status();
  }
  const bool number = std::holds_alternative<std::uint64_t Options::*>(row.field);
  if (number && value.is_number_unsigned()) {
    return set_number(row, value.get<std::uint64_t>(), options);
  }
  if (!value.is_string() || (number && row.unit == Unit::kNone)) return wrong();
  return set_from_text(row, value.get_ref<const std::string&>(), options);
}

}  // namespace

Status options_from_json(std::string_view text, const std::string& source, Options* options,
                         std::map<std::string, std::size_t>* lines_of_keys) {
  std::size_t line = 1;
  std::map<std::string, std::size_t> lines;
  Status problem;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDepthMax && problem.ok()) problem = error_at(source, line, "nested too deep");
    if (event != Json::parse_event_t::key || depth != 1) return depth <= kDepthMax;
    const auto [entry, fresh] = lines.emplace(parsed.get<std::string>(), line);
    if (!fresh && problem.ok()) {
      problem = error_at(source, line, "\"" + entry->first + "\" is given twice; first in line " +
                                           std::to_string(entry->second));
    }
    return true;
  };
  Json root;
  try {
    root = Json::parse(CountingIterator(text.data(), &line),
                       CountingIterator(text.data() + text.size(), nullptr), watch, true, true);
  } catch (const Json::exception& error) {
    return error_at(source, line, plain_text(error));
  }
  if (problem.failed()) return problem;
  if (!root.is_object()) {
    return error_at(source, 1, std::string("must be a JSON object; it is ") + root.type_name());
  }
  for (const auto& [key, value] : root.items()) {
    const OptionRow* row = find_option(key);
    if (!row) {
      const std::string meant(nearest_option(key));
      return error_at(source, lines[key],
                      "unknown key \"" + key + "\"; " +
                          (meant.empty() ? "heddled.json(5) has those that there are"
                                         : "did you mean \"" + meant + "\"?"));
    }
    const Status set = set_from_json(*row, value, options);
    if (!set.ok()) return error_at(source, lines[key], std::string(set.message()));
  }
  if (lines_of_keys) *lines_of_keys = std::move(lines);
  return Status();
}

std::string options_to_json(const Options& options) {
  nlohmann::ordered_json root;
  for (const OptionRow& row : option_table()) {
    std::visit([&](auto field) { root[std::string(row.name)] = options.*field; }, row.field);
  }
  return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace heddle::config
