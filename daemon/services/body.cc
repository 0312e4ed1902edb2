#include "daemon/services/body.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace heddle::services {
namespace {

using Json = nlohmann::json;

constexpr uint8_t kData = 0, kText = 1, kJson = 2, kJsonText = 3;
constexpr double kExactMax = 9007199254740992.0;  // 2^53
// A receiver parses at most 100 nested protobuf messages, and one JSON level costs three.
constexpr int kDepthMax = 30;

Status invalid(const char* what) { return {Reason::kInvalidArgument, what}; }

Json from_value(const google::protobuf::Value& value, bool* finite) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kBoolValue: return value.bool_value();
    case google::protobuf::Value::kNumberValue: {
      const double number = value.number_value();
      if (!std::isfinite(number)) *finite = false;
      if (std::fabs(number) <= kExactMax && number == std::floor(number)) {
        return static_cast<int64_t>(number);
      }
      return number;
    }
    case google::protobuf::Value::kStringValue: return value.string_value();
    case google::protobuf::Value::kListValue: {
      Json list = Json::array();
      for (const auto& item : value.list_value().values()) list.push_back(from_value(item, finite));
      return list;
    }
    case google::protobuf::Value::kStructValue: {
      Json object = Json::object();
      for (const auto& [key, item] : value.struct_value().fields()) {
        object[key] = from_value(item, finite);
      }
      return object;
    }
    default: return nullptr;
  }
}

// false: a number would not survive, or it nests too deep.
bool to_value(const Json& json, int depth, google::protobuf::Value* out) {
  if (depth > kDepthMax) return false;
  switch (json.type()) {
    case Json::value_t::null: out->set_null_value(google::protobuf::NULL_VALUE); return true;
    case Json::value_t::boolean: out->set_bool_value(json.get<bool>()); return true;
    case Json::value_t::string:
      out->set_string_value(json.get_ref<const std::string&>());
      return true;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float: {
      const double number = json.get<double>();
      out->set_number_value(number);
      return json.is_number_float() || std::fabs(number) <= kExactMax;
    }
    case Json::value_t::array: {
      auto* list = out->mutable_list_value();
      for (const Json& item : json) {
        if (!to_value(item, depth + 1, list->add_values())) return false;
      }
      return true;
    }
    case Json::value_t::object: {
      auto& fields = *out->mutable_struct_value()->mutable_fields();
      for (const auto& [key, item] : json.items()) {
        if (!to_value(item, depth + 1, &fields[key])) return false;
      }
      return true;
    }
    default: return false;
  }
}

enum class Fit { kNotJson, kNotExact, kExact };

Fit parse_json(std::string_view bytes, google::protobuf::Value* out) {
  const Json json = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (json.is_discarded()) return Fit::kNotJson;
  return to_value(json, 0, out) ? Fit::kExact : Fit::kNotExact;
}

Status to_json(std::string& bytes, v1::Message* out) {
  switch (parse_json(bytes, out->mutable_json())) {
    case Fit::kExact: return {};
    case Fit::kNotJson: out->clear_body(); return invalid("the body is not JSON; use body_as DATA");
    case Fit::kNotExact: out->clear_body();
  }
  return invalid("the body has a number or a depth that a JSON value cannot carry; "
                 "use body_as JSON_TEXT");
}

void to_auto(uint8_t kind, std::string& bytes, v1::Message* out) {
  if (kind == kJson || kind == kJsonText) {
    const Fit fit = parse_json(bytes, out->mutable_json());
    if (fit == Fit::kExact) return;
    out->clear_body();
    if (fit == Fit::kNotExact) return out->set_json_text(std::move(bytes));
  }
  if (is_utf8(bytes)) return out->set_text(std::move(bytes));
  out->set_data(std::move(bytes));
}

}  // namespace

v1::BodyKind wire_kind(uint8_t kind) {
  return kind <= kJsonText ? static_cast<v1::BodyKind>(kind + 1) : v1::BODY_KIND_DATA;
}

bool is_utf8(std::string_view bytes) {
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto* const end = p + bytes.size();
  while (p < end) {
    uint64_t word;
    if (end - p >= 8 && (std::memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
      p += 8;
      continue;
    }
    const unsigned lead = *p++;
    if (lead < 0x80) continue;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || end - p < more) return false;
    const unsigned next = *p;
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) ||
        (lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f)) {
      return false;
    }
    for (int i = 0; i < more; ++i) {
      if ((*p++ & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

Status body_from(const v1::Message& message, std::string* storage, objects::Body* out) {
  switch (message.body_case()) {
    case v1::Message::kText: *out = {kText, message.text()}; break;
    case v1::Message::kJsonText: *out = {kJsonText, message.json_text()}; break;
    case v1::Message::kJson: {
      bool finite = true;
      *storage = from_value(message.json(), &finite).dump();
      if (!finite) return invalid("JSON has no NaN and no infinity");
      *out = {kJson, *storage};
      return {};
    }
    default: *out = {kData, message.data()}; break;
  }
  if (out->kind == kData && message.kind() != v1::BODY_KIND_UNSPECIFIED) {
    if (!v1::BodyKind_IsValid(message.kind())) return invalid("unknown message.kind");
    out->kind = static_cast<uint8_t>(message.kind() - 1);
  }
  if ((out->kind == kJson || out->kind == kJsonText) &&
      !Json::accept(out->bytes.begin(), out->bytes.end())) {
    return invalid("the body is not JSON; send it as text or data");
  }
  return {};
}

Status body_to(uint8_t kind, v1::BodyAs as, std::string& bytes, v1::Message* out) {
  out->set_kind(wire_kind(kind));
  switch (as) {
    case v1::BODY_AS_UNSPECIFIED:
    case v1::BODY_AS_AUTO: to_auto(kind, bytes, out); return {};
    case v1::BODY_AS_DATA: out->set_data(std::move(bytes)); return {};
    case v1::BODY_AS_TEXT:
      if (!is_utf8(bytes)) return invalid("the body is not UTF-8; use body_as DATA");
      out->set_text(std::move(bytes));
      return {};
    case v1::BODY_AS_JSON: return to_json(bytes, out);
    case v1::BODY_AS_JSON_TEXT:
      if (!Json::accept(bytes)) return invalid("the body is not JSON; use body_as DATA");
      out->set_json_text(std::move(bytes));
      return {};
    default: return invalid("unknown body_as");
  }
}

}  // namespace heddle::services
