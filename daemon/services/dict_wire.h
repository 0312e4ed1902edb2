// Dicts between the messages of heddle.v1 and the memory protocol.
#pragma once

#include <heddle/status.h>

#include <string>
#include <string_view>

#include "daemon/broker/broker.h"
#include "daemon/objects/dict.h"
#include "heddle/v1/dict_service.pb.h"

namespace heddle::services {

Status dict_options_from(const v1::DictOptions& wire, broker::MemberOptions* out);
void dict_info_to(const broker::MemberInfo& info, v1::DictInfo* wire);

// `key`, or `key_data` where that is set.
template <class Message>
std::string_view dict_key_from(const Message& message) {
  return message.key_data().empty() ? std::string_view(message.key())
                                    : std::string_view(message.key_data());
}
// The bytes lie in `wire` or in *storage. INVALID_ARGUMENT: no JSON, NaN in it.
Status dict_value_from(const v1::DictValue& wire, std::string* storage, const void** data,
                       uint64_t* bytes, shm::DictKind* kind);
void dict_value_to(uint8_t kind, std::string& value, v1::DictValue* wire);
// With its key unless told otherwise; takes the strings of `item`.
void dict_entry_to(local::DictItem& item, bool with_key, v1::DictEntry* wire);
v1::DictOutcome dict_outcome(shm::Outcome outcome);
void dict_changed_to(shm::Outcome outcome, const shm::DictWritten& written, v1::DictChanged* wire);
void dict_event_to(local::DictEvent& event, v1::DictEvent* wire);
// For a write; `storage` is for if_value.
Status dict_conditions_from(const v1::DictConditions& wire, std::string* storage,
                            shm::DictWrite* out);
Status dict_expiry_from(const v1::DictExpiry& wire, shm::DictWrite* out);

}  // namespace heddle::services
