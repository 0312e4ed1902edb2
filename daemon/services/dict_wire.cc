#include "daemon/services/dict_wire.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "daemon/services/body.h"
#include "daemon/services/member_lookup.h"

namespace heddle::services {
namespace {

Status unknown(const char* field) {
  return {Reason::kInvalidArgument, std::string("unknown ") + field};
}

template <typename T>
void keep(T value, std::string* storage, const void** data, uint64_t* bytes) {
  storage->assign(reinterpret_cast<const char*>(&value), sizeof value);
  *data = storage->data();
  *bytes = storage->size();
}

template <typename T>
T scalar_in(const std::string& value) {
  T out{};
  std::memcpy(&out, value.data(), std::min(sizeof out, value.size()));
  return out;
}

int64_t in_ms(int64_t ttl_ms) {
  int64_t when = 0;
  if (__builtin_add_overflow(shm::dict_now_ms(), ttl_ms, &when)) return INT64_MAX;
  return std::max<int64_t>(when, 1);  // 0 would be never
}

}  // namespace

Status dict_options_from(const v1::DictOptions& wire, broker::MemberOptions* out) {
  *out = {};
  local::DictOptionsWire& options = out->dict;
  const auto take = [&options](bool given, auto value, auto* field, uint32_t bit) {
    take_given(given, value, field, bit, &options.given);
  };
  take(wire.has_max_entries(), wire.max_entries(), &options.max_entries, local::kGivenMaxEntries);
  take(wire.has_max_bytes(), wire.max_bytes(), &options.max_bytes, local::kGivenMaxBytes);
  take(wire.has_max_value_bytes(), wire.max_value_bytes(), &options.max_value_bytes,
       local::kGivenMaxValueBytes);
  take(wire.has_max_key_bytes(), wire.max_key_bytes(), &options.max_key_bytes,
       local::kGivenMaxKeyBytes);
  take(wire.has_history(), wire.history(), &options.history, local::kGivenHistory);
  take(wire.has_keep_previous(), wire.keep_previous(), &options.keep_previous,
       local::kGivenKeepPrevious);
  take(wire.has_default_ttl_ms(), wire.default_ttl_ms(), &options.default_ttl_ms,
       local::kGivenDefaultTtl);
  take(wire.has_mode(), wire.mode(), &options.mode, local::kGivenMode);
  if (wire.has_group()) options.given |= local::kGivenGroup;
  if (!given_word(wire.eviction(), 4, local::kGivenEviction, &options.eviction, &options.given)) {
    return unknown("options.eviction");
  }
  if (!given_word(wire.ttl_on_overwrite(), 3, local::kGivenTtlOnOverwrite,
                  &options.ttl_on_overwrite, &options.given)) {
    return unknown("options.ttl_on_overwrite");
  }
  if (!given_word(wire.lifetime(), 3, local::kGivenLifetime, &options.lifetime, &options.given)) {
    return unknown("options.lifetime");
  }
  return {};
}

void dict_info_to(const broker::MemberInfo& info, v1::DictInfo* wire) {
  wire->set_name(info.name);
  const local::DictOptionsWire& in_force = info.options.dict;
  auto* options = wire->mutable_options();
  options->set_max_entries(in_force.max_entries);
  options->set_max_bytes(in_force.max_bytes);
  options->set_max_value_bytes(in_force.max_value_bytes);
  options->set_max_key_bytes(in_force.max_key_bytes);
  options->set_history(in_force.history);
  options->set_keep_previous(in_force.keep_previous != 0);
  options->set_default_ttl_ms(in_force.default_ttl_ms);
  options->set_eviction(static_cast<v1::DictOptions::Eviction>(in_force.eviction + 1));
  options->set_ttl_on_overwrite(
      static_cast<v1::DictOptions::TtlOnOverwrite>(in_force.ttl_on_overwrite + 1));
  options->set_lifetime(static_cast<v1::DictOptions::Lifetime>(in_force.lifetime + 1));
  options->set_mode(in_force.mode);
  options->set_group(std::to_string(info.gid));
  wire->set_uid(info.uid);
  wire->set_gid(info.gid);
  wire->set_object_id(info.object_id);
  wire->set_memory_bytes(info.memory_bytes);
  wire->set_attached(info.attached);
  wire->set_watching(info.waiting);
  wire->set_quarantined(info.quarantined);
  const auto dict = std::static_pointer_cast<objects::Dict>(info.member);
  if (!dict) return;
  wire->set_entries(dict->len());
  wire->set_bytes(dict->bytes());
  wire->set_revision(dict->revision());
  wire->set_oldest_revision(dict->oldest_revision());
}

Status dict_value_from(const v1::DictValue& wire, std::string* storage, const void** data,
                       uint64_t* bytes, shm::DictKind* kind) {
  const auto lies_in = [&](const std::string& text, shm::DictKind as) {
    *data = text.data();
    *bytes = text.size();
    *kind = as;
  };
  *data = nullptr;
  *bytes = 0;
  switch (wire.value_case()) {
    case v1::DictValue::kBoolean:
      *kind = shm::DictKind::kBool;
      keep<uint8_t>(wire.boolean(), storage, data, bytes);
      return {};
    case v1::DictValue::kInteger:
      *kind = shm::DictKind::kInt64;
      keep<int64_t>(wire.integer(), storage, data, bytes);
      return {};
    case v1::DictValue::kNumber:
      *kind = shm::DictKind::kDouble;
      keep<double>(wire.number(), storage, data, bytes);
      return {};
    case v1::DictValue::kText:
      lies_in(wire.text(), shm::DictKind::kString);
      return {};
    case v1::DictValue::kTextData:
      lies_in(wire.text_data(), shm::DictKind::kString);
      return {};
    case v1::DictValue::kData:
      lies_in(wire.data(), shm::DictKind::kBytes);
      return {};
    case v1::DictValue::kJson:
    case v1::DictValue::kJsonText: {
      v1::Message message;
      objects::Body body;
      if (wire.has_json()) {
        *message.mutable_json() = wire.json();
      } else {
        message.set_json_text(wire.json_text());
      }
      if (Status bad = body_from(message, storage, &body); !bad.ok()) {
        return {Reason::kInvalidArgument, "the value is not JSON; send it as text or data"};
      }
      lies_in(wire.has_json() ? *storage : wire.json_text(), shm::DictKind::kJson);
      return {};
    }
    default:
      *kind = shm::DictKind::kNull;
      return {};
  }
}

void dict_value_to(uint8_t kind, std::string& value, v1::DictValue* wire) {
  switch (static_cast<shm::DictKind>(kind)) {
    case shm::DictKind::kBool:
      wire->set_boolean(scalar_in<uint8_t>(value) != 0);
      return;
    case shm::DictKind::kInt64:
      wire->set_integer(scalar_in<int64_t>(value));
      return;
    case shm::DictKind::kDouble:
      wire->set_number(scalar_in<double>(value));
      return;
    case shm::DictKind::kString:
    case shm::DictKind::kJson:
      if (!is_utf8(value)) return wire->set_text_data(std::move(value));
      if (kind == static_cast<uint8_t>(shm::DictKind::kString)) {
        return wire->set_text(std::move(value));
      }
      return wire->set_json_text(std::move(value));
    case shm::DictKind::kBytes:
      wire->set_data(std::move(value));
      return;
    default:
      wire->set_null(google::protobuf::NULL_VALUE);
      return;
  }
}

void dict_entry_to(local::DictItem& item, bool with_key, v1::DictEntry* wire) {
  if (with_key) {
    if (is_utf8(item.key)) {
      wire->set_key(std::move(item.key));
    } else {
      wire->set_key_data(std::move(item.key));
    }
  }
  const shm::DictEntry& entry = item.entry;
  if (shm::is_value(entry.kind)) dict_value_to(entry.kind, item.value, wire->mutable_value());
  wire->set_mod_revision(entry.mod_revision);
  wire->set_create_revision(entry.create_revision);
  wire->set_version(entry.version);
  wire->set_session(entry.owner);
  if (entry.expires_ms != 0) {
    wire->set_ttl_ms(std::max<int64_t>(entry.expires_ms - shm::dict_now_ms(), 0));
  }
}

v1::DictOutcome dict_outcome(shm::Outcome outcome) {
  switch (outcome) {
    case shm::Outcome::kOk:
      return v1::DICT_OUTCOME_OK;
    case shm::Outcome::kNotFound:
      return v1::DICT_OUTCOME_NOT_FOUND;
    case shm::Outcome::kExists:
      return v1::DICT_OUTCOME_EXISTS;
    default:
      return v1::DICT_OUTCOME_MISMATCH;
  }
}

void dict_changed_to(shm::Outcome outcome, const shm::DictWritten& written, v1::DictChanged* wire) {
  wire->set_outcome(dict_outcome(outcome));
  wire->set_existed(written.existed);
  wire->set_mod_revision(written.revision);
  wire->set_create_revision(written.create_revision);
  wire->set_version(written.version);
}

void dict_event_to(local::DictEvent& event, v1::DictEvent* wire) {
  switch (static_cast<shm::DictKind>(event.item.entry.kind)) {
    case shm::DictKind::kDeleted:
      wire->set_kind(v1::DictEvent::KIND_DELETE);
      break;
    case shm::DictKind::kExpired:
      wire->set_kind(v1::DictEvent::KIND_EXPIRE);
      break;
    case shm::DictKind::kEvicted:
      wire->set_kind(v1::DictEvent::KIND_EVICT);
      break;
    case shm::DictKind::kCleared:
      wire->set_kind(v1::DictEvent::KIND_CLEAR);
      break;
    default:
      wire->set_kind(v1::DictEvent::KIND_PUT);
      break;
  }
  wire->set_revision(event.revision);
  dict_entry_to(event.item, true, wire->mutable_entry());
  if (event.had_previous) dict_entry_to(event.previous, false, wire->mutable_previous());
}

Status dict_conditions_from(const v1::DictConditions& wire, std::string* storage,
                            shm::DictWrite* out) {
  if (wire.has_if_version()) out->if_version = wire.if_version();
  out->if_absent = wire.if_absent();
  out->if_present = wire.if_present();
  if (!wire.has_if_value()) return {};
  Status status = dict_value_from(wire.if_value(), storage, &out->if_value, &out->if_value_bytes,
                                  &out->if_value_kind);
  if (out->if_value == nullptr) out->if_value = storage->data();  // of null
  return status;
}

Status dict_expiry_from(const v1::DictExpiry& wire, shm::DictWrite* out) {
  using std::chrono::duration_cast;
  switch (wire.expiry_case()) {
    case v1::DictExpiry::kTtlMs:
      if (wire.ttl_ms() < 0) return {Reason::kInvalidArgument, "a ttl is not below 0"};
      out->expiry = shm::DictExpiry::kSet;
      out->expires_ms = in_ms(wire.ttl_ms());
      return {};
    case v1::DictExpiry::kExpireAtMs: {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      out->expiry = shm::DictExpiry::kSet;
      out->expires_ms =
          in_ms(wire.expire_at_ms() - duration_cast<std::chrono::milliseconds>(now).count());
      return {};
    }
    case v1::DictExpiry::kKeep:
      if (wire.keep()) out->expiry = shm::DictExpiry::kKeep;
      return {};
    case v1::DictExpiry::kNever:
      if (wire.never()) out->expiry = shm::DictExpiry::kClear;
      return {};
    default:
      return {};
  }
}

}  // namespace heddle::services
