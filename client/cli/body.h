// Bodies on their way to and from the command line.
#ifndef HEDDLE_CLIENT_CLI_BODY_H_
#define HEDDLE_CLIENT_CLI_BODY_H_

#include <heddle/message.h>
#include <heddle/options.h>
#include <heddle/queue.h>
#include <sys/types.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "client/cli/invocation.h"

namespace heddle::cli {

// Bytes of the UTF-8 character at the start of `text`; 0 if there is none.
std::size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);
std::string base64(std::string_view bytes);

// "data", "text", "json", "json_text".
const char* kind_name(BodyKind kind);
BodyKind kind_of(const std::string& word);  // one of those words

// {"text": ...} | {"json": ...} | {"json_text": ...} | {"data": base64}, and "kind": the fields of
// heddle.v1.Message. Data that is UTF-8 comes as text; JSON with numbers that a double cannot hold
// comes as json_text.
Json message_json(std::string_view body, BodyKind kind);

// Appends the next piece of stdin: how many bytes, 0 at the end, -1 with errno.
ssize_t read_stdin(std::string& buffer);
// What errno says about it.
Status cannot_read_stdin();
// What was typed, or for "-" all of stdin.
Result<std::string> whole_body(const std::string& word);

// Whether the body gets a newline when it is written for a person or a shell.
inline bool wants_newline(BodyKind kind) { return kind != BodyKind::kData; }

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_BODY_H_
