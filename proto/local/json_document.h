// JSON documents that are values of a dict: read and changed in part. The one implementation behind
// both planes; nothing here knows about dicts.
//
// A document is text. One that is changed is written anew: members keep their order, numbers beyond
// 64 bits become doubles, white space goes. One that is not changed keeps its text.
#pragma once

#include <heddle/result.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::local {

struct JsonEdit {
  enum class What : uint8_t {
    kSet = 0,        // text at pointer; members on the way are made, "-" appends to an array
    kRemove = 1,     // what is at pointer
    kMerge = 2,      // RFC 7396: text is merged into what is at pointer
    kPatch = 3,      // RFC 6902: text is a list of operations on the whole document
    kIncrement = 4,  // the number at pointer by text; missing: begins at 0
  };
  What what = What::kSet;
  std::string_view pointer;  // RFC 6901; "" is the whole document
  std::string_view text;     // JSON
  // With kIncrement: refused beyond them.
  std::optional<double> least = {}, most = {};
};

bool is_json(std::string_view text);
/// What is at `pointer`, as text. NOT_FOUND: nothing is. INVALID_ARGUMENT: no pointer, no JSON.
Result<std::string> json_at(std::string_view document, std::string_view pointer);
/// The new document; *at is what stands at the pointer now ("" after a removal). `document` is
/// absent where there is none yet: then kSet, kMerge and kIncrement begin with an empty one.
/// NOT_FOUND: nothing there to remove, or a patch names something that is not there.
/// INVALID_ARGUMENT: no pointer, no JSON, a test of the patch failed, not a number, a bound.
Result<std::string> json_edited(std::optional<std::string_view> document, const JsonEdit& edit,
                                std::string* at);

}  // namespace heddle::local
