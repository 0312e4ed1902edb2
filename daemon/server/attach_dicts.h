// Dicts, lists and blocks over the attach protocol: what people ask, and the writes to a dict that
// the broker does for local clients.
#pragma once

#include <heddle/result.h>

#include <string>
#include <string_view>

#include "daemon/broker/core.h"

namespace heddle::server {

// A page of objects of that family after the name `page_token`, as many as fit.
Result<std::string> list_members_json(broker::Core& core, const objects::Caller& caller,
                                      local::ObjectKind kind, std::string_view prefix,
                                      std::string_view page_token, uint32_t page_size,
                                      size_t bytes_max);
Result<std::string> describe_member_json(broker::Core& core, const objects::Caller& caller,
                                         local::ObjectKind kind, std::string_view name);
// The kind of a family by its noun; false: it is none.
bool member_kind(std::string_view noun, local::ObjectKind* out);

// `body`: a DictFenced, key and value; see PutFenced in proto/local/attach.h.
Result<local::PutDone> write_dict_fenced(broker::Core& core, const objects::Caller& caller,
                                         const local::PutFenced& head, std::string_view body);

}  // namespace heddle::server
