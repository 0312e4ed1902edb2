#include "client/cli/dict_words.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "client/cli/body.h"
#include "client/cli/terminal.h"

namespace heddle::cli {

namespace {

constexpr std::array<const char*, 7> kTypeNames = {"null", "bool", "int", "double",
                                                   "text", "data", "json"};

template <typename T>
DictValue stored(DictType type, T value) {
  return {type, {reinterpret_cast<const char*>(&value), sizeof value}};
}

Status bad_value(const std::string& text, const char* what) {
  return {Reason::kInvalidArgument, "'" + text + "' is not " + what};
}

template <typename T>
bool parse_number(const std::string& text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

// Of base64, as base64() writes it.
std::optional<std::string> bytes_of(const std::string& text) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t word = 0;
    int given = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::size_t digit = kAlphabet.find(text[i + j]);
      const bool padding = text[i + j] == '=' && i + 4 == text.size() && j >= 2;
      if (digit == std::string_view::npos && !padding) return std::nullopt;
      if (!padding && given != static_cast<int>(j)) return std::nullopt;
      word = word << 6 | static_cast<std::uint32_t>(padding ? 0 : digit);
      given += !padding;
    }
    for (int j = 0; j < given - 1; ++j) out.push_back(static_cast<char>(word >> (16 - 8 * j)));
  }
  return out;
}

// What JSON has no number for.
Json double_json(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

std::optional<double> double_from(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::nan("");
  if (value == "inf") return HUGE_VAL;
  if (value == "-inf") return -HUGE_VAL;
  return std::nullopt;
}

}  // namespace

const char* type_name(DictType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kTypeNames.size() ? kTypeNames[index] : "unknown";
}

Result<DictValue> value_of(const std::string& text, const std::string& type) {
  if (type == "null") return DictValue{};
  if (type == "bool") {
    if (text != "true" && text != "false") return bad_value(text, "a bool; write true or false");
    return stored<std::uint8_t>(DictType::kBool, text == "true");
  }
  if (type == "int") {
    std::int64_t number = 0;
    if (!parse_number(text, &number)) return bad_value(text, "a whole number of 64 bits");
    return stored(DictType::kInt64, number);
  }
  if (type == "double") {
    double number = 0;
    if (!parse_number(text, &number)) return bad_value(text, "a number");
    return stored(DictType::kDouble, number);
  }
  if (type == "json") {
    if (!Json::accept(text)) return bad_value(visible(text, 60), "JSON");
    return DictValue{DictType::kJson, text};
  }
  if (type == "data") return DictValue{DictType::kBytes, text};
  return DictValue{DictType::kString, text};
}

Json value_json(const DictValue& value) {
  Json row = {{"type", type_name(value.type)}};
  switch (value.type) {
    case DictType::kNull:
      row["value"] = nullptr;
      break;
    case DictType::kBool:
      row["value"] = value.boolean().value_or(false);
      break;
    case DictType::kInt64:
      row["value"] = value.integer().value_or(0);
      break;
    case DictType::kDouble:
      row["value"] = double_json(value.number().value_or(0));
      break;
    case DictType::kString:
      if (is_utf8(value.stored)) {
        row["value"] = value.stored;
      } else {
        row["data"] = base64(value.stored);
      }
      break;
    case DictType::kBytes:
      row["data"] = base64(value.stored);
      break;
    case DictType::kJson:
      if (is_utf8(value.stored)) {
        row["json_text"] = value.stored;
      } else {
        row["data"] = base64(value.stored);
      }
      break;
  }
  return row;
}

Json entry_json(const DictEntry& entry, bool with_value) {
  Json row = Json::object();
  if (is_utf8(entry.key)) {
    row["key"] = entry.key;
  } else {
    row["key_data"] = base64(entry.key);
  }
  if (with_value) row.update(value_json(entry.value));
  row["mod_revision"] = entry.mod_revision;
  row["create_revision"] = entry.create_revision;
  row["version"] = entry.version;
  if (entry.ttl) row["ttl_ms"] = entry.ttl->count();
  if (entry.session != 0) row["session"] = entry.session;
  return row;
}

Result<std::string> key_from(const Json& row) {
  const auto text = row.find("key");
  if (text != row.end() && text->is_string()) return text->get<std::string>();
  const auto data = row.find("key_data");
  if (data != row.end() && data->is_string()) {
    if (auto bytes = bytes_of(data->get<std::string>())) return *std::move(bytes);
  }
  return Status(Reason::kInvalidArgument, "a line has no \"key\" and no \"key_data\" in base64");
}

Result<DictValue> value_from(const Json& row) {
  const auto bad = [](const std::string& why) {
    return Status(Reason::kInvalidArgument, "a value cannot be read: " + why);
  };
  const auto at = [&row](const char* name) {
    const auto found = row.find(name);
    return found == row.end() ? Json(Json::value_t::discarded) : *found;
  };
  const Json type = at("type"), value = at("value"), data = at("data"), text = at("json_text");
  const std::string word = type.is_string() ? type.get<std::string>() : "";
  DictType as = DictType::kNull;
  bool known = word.empty();
  for (std::size_t i = 0; i < kTypeNames.size(); ++i) {
    if (word != kTypeNames[i]) continue;
    as = static_cast<DictType>(i);
    known = true;
  }
  if (!known) return bad("no type " + word);
  if (data.is_string()) {
    auto bytes = bytes_of(data.get<std::string>());
    if (!bytes) return bad("data is not base64");
    return DictValue{word.empty() ? DictType::kBytes : as, *std::move(bytes)};
  }
  if (text.is_string()) return DictValue{DictType::kJson, text.get<std::string>()};
  if (value.is_discarded()) return bad("it has no value, data or json_text");
  if (as == DictType::kDouble || (word.empty() && value.is_number_float())) {
    const auto number = double_from(value);
    return number ? Result<DictValue>(stored(DictType::kDouble, *number)) : bad("no number");
  }
  if (value.is_null()) return DictValue{};
  if (value.is_boolean()) return stored<std::uint8_t>(DictType::kBool, value.get<bool>());
  if (value.is_number_integer()) return stored(DictType::kInt64, value.get<std::int64_t>());
  if (value.is_string()) return DictValue{DictType::kString, value.get<std::string>()};
  return DictValue{DictType::kJson, value.dump()};
}

std::string value_words(const DictValue& value) {
  if (value.type == DictType::kBytes) return visible(value.stored, 60);
  if (value.type >= DictType::kString) return visible(value.stored, 60);
  return value.to_json();
}

void write_value(const DictValue& value, bool raw) {
  const std::string text = value.type >= DictType::kString ? value.stored : value.to_json();
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (!raw && value.type != DictType::kBytes) std::fputc('\n', stdout);
}

Result<DictSetOptions> WriteOptions::options() const {
  DictSetOptions out;
  out.if_version = if_version;
  out.if_absent = if_absent;
  out.if_present = if_present;
  out.session = session;
  if (int{ttl.has_value()} + int{keep_ttl} + int{never} > 1) {
    return Status(Reason::kInvalidArgument, "of --ttl, --keep-ttl and --persist one may be given");
  }
  if (ttl) out.expiry = *ttl;
  if (keep_ttl) out.expiry = DictExpiry::keep();
  if (never) out.expiry = DictExpiry::never();
  if (!fence.empty()) {
    const std::size_t colon = fence.rfind(':');
    Fence given;
    const bool whole = colon != std::string::npos && colon != 0 &&
                       parse_number(fence.substr(colon + 1), &given.token);
    if (!whole) {
      return Status(Reason::kInvalidArgument,
                    "--fence takes LOCK:TOKEN, such as \"$HEDDLE_FENCE\" under heddle lock run");
    }
    given.lock = fence.substr(0, colon);
    out.fence = given;
  }
  return out;
}

void add_conditions(CLI::App& verb, WriteOptions& options) {
  add_count(verb, "--if-version", options.if_version, 0, UINT64_MAX,
            "Only if its mod_revision is this one; 0: only if it is absent", "REVISION");
  verb.add_flag("--if-absent", options.if_absent, "Only if it is not there");
  verb.add_flag("--if-present", options.if_present, "Only if it is there");
}

void add_expiry(CLI::App& verb, WriteOptions& options) {
  add_duration(verb, "--ttl", options.ttl, "It is gone after so long");
  verb.add_flag("--keep-ttl", options.keep_ttl, "Its expiry stays as it is");
  verb.add_flag("--persist", options.never, "It has no expiry");
}

void add_fence(CLI::App& verb, WriteOptions& options) {
  verb.add_option("--fence", options.fence,
                  "Refused once somebody else has been granted the lock (LOCK:TOKEN)")
      ->type_name("FENCE");
}

Result<Dict> open_dict(const Invocation& run, const std::string& name) {
  auto client = run.connect();
  if (!client) return std::move(client).status();
  return client->dict(name);
}

int changed_exit(const Invocation& run, const std::string& name, const std::string& key,
                 const DictChanged& changed, const Json& more, const std::string& mismatch) {
  Json document = {{"name", name},
                   {"outcome", dict_outcome_name(changed.outcome)},
                   {"existed", changed.existed},
                   {"mod_revision", changed.mod_revision},
                   {"version", changed.version},
                   {"revision", changed.revision}};
  document.update(more);
  if (changed) {
    if (run.json) run.print(document);
    return kExitOk;
  }
  const std::string subject = "dict " + name + ": " + visible(key, 60);
  switch (changed.outcome) {
    case DictOutcome::kNotFound:
      return run.fail(Reason::kNotFound, subject + ": no such key", document);
    case DictOutcome::kExists:
      return run.fail(Reason::kExists, subject + ": it is there already", document);
    default:
      return run.fail(Reason::kMismatch,
                      subject + ": " +
                          (mismatch.empty() ? "it is not what was asked for; its mod_revision is " +
                                                  std::to_string(changed.mod_revision)
                                            : mismatch),
                      document);
  }
}

}  // namespace heddle::cli
