// Object names: 1-200 bytes of [A-Za-z0-9._/-], no leading '/' or '.', one name space per kind.
// "~/x" stands for the caller's own "uid-N/x". "sys/" belongs to the daemon.
#ifndef HEDDLE_NAME_H_
#define HEDDLE_NAME_H_

#include <cstdint>
#include <string>
#include <string_view>

#include <heddle/export.h>
#include <heddle/result.h>

namespace heddle {

// The grammar. INVALID_NAME says which byte at which offset is wrong, or the length and its
// limit. "~/x" does not pass: expand first. "sys/..." passes: the daemon reads its own objects.
HEDDLE_API Status check_object_name(std::string_view name);

// "sys" and everything under it: not for users to create or delete.
HEDDLE_API bool is_reserved_object_name(std::string_view name);

// "~/x" -> "uid-N/x"; any other name unchanged. The result has passed check_object_name.
HEDDLE_API Result<std::string> expand_object_name(std::string_view name, uint32_t uid);

}  // namespace heddle

#endif  // HEDDLE_NAME_H_
