// What the broker says about dicts, lists and blocks, as JSON.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_MEMBER_JSON_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_MEMBER_JSON_H_

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "client/src/shm_channel/shm_channel.h"

namespace heddle::detail {

template <typename T>
void json_field(const nlohmann::json& object, const char* key, T* out) {
  const auto at = object.find(key);
  if (at != object.end() && (at->is_number() || at->is_boolean() || at->is_string())) {
    at->get_to(*out);
  }
}

// Which of the words the field is; nothing if it is none.
template <typename Enum>
void json_word(const nlohmann::json& object, const char* key,
               std::initializer_list<const char*> words, std::optional<Enum>* out) {
  std::string text;
  json_field(object, key, &text);
  const auto at = std::find(words.begin(), words.end(), text);
  if (at != words.end()) *out = static_cast<Enum>(at - words.begin());
}

// What all of them have. Gives the options, for the rest of them.
template <class Info>
nlohmann::json member_fields(const nlohmann::json& row, Info* info) {
  json_field(row, "name", &info->name);
  json_field(row, "id", &info->object_id);
  json_field(row, "uid", &info->uid);
  json_field(row, "gid", &info->gid);
  json_field(row, "memory_bytes", &info->memory_bytes);
  json_field(row, "attached", &info->attached);
  json_field(row, "watching", &info->watching);
  json_field(row, "quarantined", &info->quarantined);
  std::string mode;
  json_field(row, "mode", &mode);
  std::uint32_t bits = 0;
  if (std::from_chars(mode.data(), mode.data() + mode.size(), bits, 8).ec == std::errc()) {
    info->options.mode = bits;
  }
  json_word(row, "lifetime", {"kept", "attached", "session"}, &info->options.lifetime);
  info->options.group = std::to_string(info->gid);
  const auto in_force = row.find("options");
  return in_force != row.end() && in_force->is_object() ? *in_force : nlohmann::json::object();
}

// One of a kind, and all of a kind; `read` makes an Info of a row.
template <class Info>
Result<Info> describe_member(ShmChannel& channel, const char* kind, std::string_view name,
                             Info (*read)(const nlohmann::json&)) {
  auto text = channel.call(local::CallMethod::kDescribe,
                           nlohmann::json{{"kind", kind}, {"name", name}}.dump());
  if (!text) return text.status();
  const nlohmann::json row = nlohmann::json::parse(*text, nullptr, false);
  if (!row.is_object()) return Status(Reason::kInternal, "the broker's answer is not JSON");
  return read(row);
}

template <class Info>
Result<std::vector<Info>> list_members(ShmChannel& channel, const char* kind,
                                       std::string_view prefix,
                                       Info (*read)(const nlohmann::json&)) {
  constexpr std::uint32_t kPageRows = 100;
  std::vector<Info> rows;
  std::string token;
  do {
    const nlohmann::json arguments{
        {"kind", kind}, {"prefix", prefix}, {"page_size", kPageRows}, {"page_token", token}};
    auto text = channel.call(local::CallMethod::kList, arguments.dump());
    if (!text) return text.status();
    const nlohmann::json page = nlohmann::json::parse(*text, nullptr, false);
    if (!page.is_object() || !page.contains("objects")) {
      return Status(Reason::kInternal, "the broker's answer is not JSON");
    }
    for (const nlohmann::json& row : page["objects"]) rows.push_back(read(row));
    token.clear();
    json_field(page, "next_page_token", &token);
  } while (!token.empty());
  return rows;
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_MEMBER_JSON_H_
