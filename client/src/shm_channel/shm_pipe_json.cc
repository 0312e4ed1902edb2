// What the broker tells about pipes, read from its JSON.
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/shm_channel.h"

namespace heddle::detail {

namespace {

using PipeJson = nlohmann::json;

// Fields are read as they were written; one that is missing or of another type is the default.
template <typename T>
T field(const PipeJson& json, const char* name, T missing = {}) {
  const auto found = json.is_object() ? json.find(name) : json.end();
  if (!json.is_object() || found == json.end()) return missing;
  if constexpr (std::is_same_v<T, std::string>) {
    return found->is_string() ? found->get<T>() : missing;
  } else if constexpr (std::is_same_v<T, bool>) {
    return found->is_boolean() ? found->get<T>() : missing;
  } else {
    return found->is_number_integer() ? found->get<T>() : missing;
  }
}

PipeJson part(const PipeJson& json, const char* name) {
  return json.is_object() && json.contains(name) ? json.at(name) : PipeJson();
}

std::optional<std::chrono::milliseconds> blocked(const PipeJson& json, const char* name) {
  if (!part(json, name).is_number_integer()) return std::nullopt;
  return std::chrono::milliseconds(field<std::int64_t>(json, name));
}

std::vector<PipeUser> users_of(const PipeJson& json) {
  std::vector<PipeUser> users;
  for (const PipeJson& user : part(json, "users")) {
    users.push_back({.session = field<std::uint16_t>(user, "owner"),
                     .pid = field<std::int32_t>(user, "pid"),
                     .uid = field<std::uint32_t>(user, "uid"),
                     .command = field<std::string>(user, "command"),
                     .sending = field<bool>(user, "sending"),
                     .receiving = field<bool>(user, "receiving")});
  }
  return users;
}

PipeEndInfo end_of(const PipeJson& json) {
  PipeEndInfo end;
  end.state = field<std::string>(json, "state");
  end.users = users_of(json);
  end.bytes_sent = field<std::uint64_t>(json, "bytes_sent");
  end.bytes_queued = field<std::uint64_t>(json, "bytes_queued");
  end.shut = field<bool>(json, "shut");
  end.send_blocked = blocked(json, "send_blocked_ms");
  end.receive_blocked = blocked(json, "receive_blocked_ms");
  end.died_pid = field<std::int32_t>(json, "died_pid");
  return end;
}

PipeInfo pipe_of(const PipeJson& json) {
  PipeInfo info;
  info.name = field<std::string>(json, "name");
  info.uid = field<std::uint32_t>(json, "uid");
  info.gid = field<std::uint32_t>(json, "gid");
  info.listeners = field<std::uint32_t>(json, "listeners");
  info.connection_count = field<std::uint64_t>(json, "connection_count");
  const PipeJson options = part(json, "options");
  info.options.mode =
      field<std::string>(options, "mode") == "bytes" ? PipeMode::kBytes : PipeMode::kMessage;
  info.options.duplex = field<bool>(options, "duplex");
  info.options.capacity = field<std::uint64_t>(options, "capacity");
  info.options.max_msg_bytes = field<std::uint64_t>(options, "max_msg_bytes");
  info.options.resumable = field<bool>(options, "resumable");
  const std::string lifetime = field<std::string>(json, "lifetime");
  info.options.lifetime = lifetime == "session"    ? Lifetime::kSession
                          : lifetime == "attached" ? Lifetime::kAttached
                                                   : Lifetime::kKept;
  info.options.access = static_cast<std::uint32_t>(
      std::strtoul(field<std::string>(json, "mode", "0").c_str(), nullptr, 8));
  for (const PipeJson& one : part(json, "connections")) {
    info.connections.push_back({.id = field<std::uint64_t>(one, "id"),
                                .named = field<bool>(one, "named"),
                                .a = end_of(part(one, "a")),
                                .b = end_of(part(one, "b"))});
  }
  return info;
}

}  // namespace

Result<std::vector<PipeInfo>> ShmChannel::pipes(std::string_view prefix) {
  std::vector<PipeInfo> found;
  std::string token;
  do {
    const PipeJson ask = {
        {"kind", "pipe"}, {"prefix", prefix}, {"page_size", 100}, {"page_token", token}};
    auto text = call(local::CallMethod::kList, ask.dump());
    if (!text) return std::move(text).status();
    const PipeJson page = PipeJson::parse(*text, nullptr, false);
    for (const PipeJson& one : part(page, "objects")) found.push_back(pipe_of(one));
    token = field<std::string>(page, "next_page_token");
  } while (!token.empty());
  return found;
}

Result<PipeInfo> ShmChannel::pipe_info(std::string_view name) {
  const PipeJson ask = {{"kind", "pipe"}, {"name", name}};
  auto text = call(local::CallMethod::kDescribe, ask.dump());
  if (!text) return std::move(text).status();
  return pipe_of(PipeJson::parse(*text, nullptr, false));
}

Result<std::vector<PipeUser>> ShmChannel::pipe_peer(std::uint64_t connection, PipeSide side) {
  const PipeJson ask = {{"id", connection}, {"side", static_cast<unsigned>(side)}};
  auto text = call(local::CallMethod::kPipePeer, ask.dump());
  if (!text) return std::move(text).status();
  return users_of(PipeJson::parse(*text, nullptr, false));
}

}  // namespace heddle::detail
