#include "proto/local/json_document.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace heddle::local {
namespace {

using Json = nlohmann::ordered_json;
using Pointer = Json::json_pointer;

Status bad(std::string message) { return {Reason::kInvalidArgument, std::move(message)}; }

// What the library says, without its own numbering: "[json.exception.parse_error.107] ...".
std::string words_of(const Json::exception& error) {
  const std::string words = error.what();
  const size_t end = words.find("] ");
  return end == std::string::npos ? words : words.substr(end + 2);
}

Result<Json> parse(std::string_view text, const char* what) {
  Json value = Json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return bad(std::string(what) + " is not JSON");
  return value;
}

std::string text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A copy with what `text` adds: integers stay integers while they fit.
Result<Json> sum_of(const Json& before, const Json& by, const JsonEdit& edit) {
  if (!before.is_null() && !before.is_number()) {
    return bad("what is at " + std::string(edit.pointer) + " is not a number");
  }
  if (!by.is_number()) return bad("the increment is not a number");
  Json sum;
  int64_t whole = 0;
  if (by.is_number_integer() && (before.is_null() || before.is_number_integer())) {
    const int64_t start = before.is_null() ? 0 : before.get<int64_t>();
    if (__builtin_add_overflow(start, by.get<int64_t>(), &whole)) {
      return bad("the sum does not fit 64 bits");
    }
    sum = whole;
  } else {
    sum = (before.is_null() ? 0.0 : before.get<double>()) + by.get<double>();
  }
  const double size = sum.get<double>();
  if ((edit.least && size < *edit.least) || (edit.most && size > *edit.most)) {
    return bad("the sum " + text_of(sum) + " would pass the bound; it stays " + text_of(before));
  }
  return sum;
}

Status remove_at(Json& document, const Pointer& pointer) {
  if (pointer.empty()) {
    document = nullptr;
    return {};
  }
  Json& parent = document.at(pointer.parent_pointer());
  const std::string& last = pointer.back();
  if (parent.is_array()) {
    (void)parent.at(Pointer("/" + last));  // throws for what is no index, or beyond the end
    parent.erase(static_cast<size_t>(std::stoull(last)));
    return {};
  }
  if (!parent.is_object() || parent.erase(last) == 0) {
    return {Reason::kNotFound, "nothing is at " + pointer.to_string()};
  }
  return {};
}

Status apply(Json& document, const JsonEdit& edit, std::string* at) {
  const Pointer pointer{std::string(edit.pointer)};
  if (edit.what == JsonEdit::What::kRemove) return remove_at(document, pointer);
  const Result<Json> given = parse(edit.text, "what was given");
  if (!given.ok()) return given.status();
  switch (edit.what) {
    case JsonEdit::What::kPatch:
      document = document.patch(*given);
      *at = text_of(document);
      return {};
    case JsonEdit::What::kMerge:
      document[pointer].merge_patch(*given);
      break;
    case JsonEdit::What::kIncrement: {
      Json& place = document[pointer];
      Result<Json> sum = sum_of(place, *given, edit);
      if (!sum.ok()) return sum.status();
      place = *std::move(sum);
      break;
    }
    default: {
      Json& place = document[pointer];
      place = *given;
      *at = text_of(place);  // "-" names another place now
      return {};
    }
  }
  *at = text_of(document.at(pointer));
  return {};
}

}  // namespace

bool is_json(std::string_view text) { return Json::accept(text.begin(), text.end()); }

Result<std::string> json_at(std::string_view document, std::string_view pointer) {
  const Result<Json> whole = parse(document, "the value");
  if (!whole.ok()) return whole.status();
  if (pointer.empty()) return std::string(document);
  try {
    const Pointer place{std::string(pointer)};
    if (!whole->contains(place)) {
      return Status(Reason::kNotFound, "nothing is at " + std::string(pointer));
    }
    return text_of(whole->at(place));
  } catch (const Json::exception& error) {
    return bad(words_of(error));
  }
}

Result<std::string> json_edited(std::optional<std::string_view> document, const JsonEdit& edit,
                                std::string* at) {
  at->clear();
  const bool makes = edit.what != JsonEdit::What::kRemove && edit.what != JsonEdit::What::kPatch;
  if (!document && !makes) return Status(Reason::kNotFound, "there is no document yet");
  Result<Json> whole = document ? parse(*document, "the value") : Result<Json>(Json());
  if (!whole.ok()) return whole.status();
  try {
    Status status = apply(*whole, edit, at);
    if (!status.ok()) return status;
  } catch (const Json::out_of_range& error) {
    return Status(Reason::kNotFound, words_of(error));
  } catch (const Json::exception& error) {
    return bad(words_of(error));
  }
  return text_of(*whole);
}

}  // namespace heddle::local
