#include "daemon/server/attach_pipes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "daemon/broker/pipe_options.h"
#include "daemon/server/attach_calls.h"

namespace heddle::server {
namespace {

using nlohmann::json;

// Nothing for 0.
json blocked_for(uint32_t since_ms) {
  return since_ms == 0 ? json() : json(objects::blocked_for_ms(since_ms));
}

json users_json(broker::Core& core, const shm::PipeEndInfo& end) {
  json users = json::array();
  for (uint32_t i = 0; i < end.user_count; ++i) {
    const objects::OwnerInfo owner = core.describe_owner(end.users[i]);
    users.push_back({{"owner", end.users[i]},
                     {"pid", owner.pid},
                     {"uid", owner.uid},
                     {"command", owner.command},
                     {"sending", end.users[i] == end.sending},
                     {"receiving", end.users[i] == end.receiving}});
  }
  return users;
}

json end_json(broker::Core& core, const shm::PipeEndInfo& end) {
  json out = {{"state", objects::end_state_name(end.state)},
              {"users", users_json(core, end)},
              {"bytes_sent", end.bytes_sent},
              {"bytes_queued", end.bytes_queued},
              {"shut", end.shut},
              {"send_blocked_ms", blocked_for(end.send_blocked_ms)},
              {"receive_blocked_ms", blocked_for(end.receive_blocked_ms)}};
  if (end.died_pid != 0) out["died_pid"] = end.died_pid;
  return out;
}

json pipe_json(broker::Core& core, const broker::PipeInfo& info, size_t connections_max) {
  static constexpr const char* kLifetime[] = {"kept", "attached", "session"};
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", info.options.mode & 0777u);
  json connections = json::array();
  for (const auto& connection : info.connections) {
    if (connections.size() == connections_max) break;
    connections.push_back({{"id", connection.object_id},
                           {"named", connection.named},
                           {"a", end_json(core, connection.ends[0])},
                           {"b", end_json(core, connection.ends[1])}});
  }
  json out = {{"kind", "pipe"},
              {"name", info.name},
              {"id", info.object_id},
              {"uid", info.uid},
              {"gid", info.gid},
              {"mode", mode},
              {"lifetime", kLifetime[info.options.lifetime % 3]},
              {"options",
               {{"mode", broker::pipe_mode_name(info.options.pipe_mode)},
                {"duplex", info.options.duplex != 0},
                {"capacity", info.options.capacity},
                {"max_msg_bytes", info.options.max_msg_bytes},
                {"resumable", info.options.resumable != 0}}},
              {"listeners", info.listeners},
              {"connection_count", info.connections.size()},
              {"connections", std::move(connections)}};
  if (out["connections"].size() < info.connections.size()) {
    out["left_off"] = info.connections.size() - out["connections"].size();
  }
  return out;
}

}  // namespace

Result<std::string> list_pipes_json(broker::Core& core, const objects::Caller& caller,
                                    std::string_view prefix, std::string_view page_token,
                                    uint32_t page_size, size_t bytes_max) {
  std::string start(prefix);
  if (start.starts_with("~/")) start = "uid-" + std::to_string(caller.uid) + start.substr(1);
  const auto found = core.list_pipes(caller, start, page_token, page_size + size_t{1});
  json out = {{"objects", json::array()}, {"next_page_token", ""}};
  size_t bytes = kPageFrameBytes;
  for (size_t i = 0; i < found.size(); ++i) {
    json row = pipe_json(core, found[i], 1);
    bytes += text_of(row).size() + 1;
    if (i > 0 && (i == page_size || bytes > bytes_max)) {
      out["next_page_token"] = found[i - 1].name;
      break;
    }
    out["objects"].push_back(std::move(row));
  }
  return text_of(out);
}

Result<std::string> describe_pipe_json(broker::Core& core, const objects::Caller& caller,
                                       std::string_view name, size_t bytes_max) {
  const auto info = core.describe_pipe(caller, name);
  if (!info.ok()) return info.status();
  for (size_t most = info->connections.size();; most /= 2) {
    std::string text = text_of(pipe_json(core, *info, most));
    if (text.size() <= bytes_max || most == 0) return text;
  }
}

Result<std::string> pipe_peer_json(broker::Core& core, const objects::Caller& caller,
                                   std::string_view arguments) {
  const json asked = json::parse(arguments, nullptr, false);
  const auto number = [&asked](const char* key) -> std::optional<uint64_t> {
    const auto at = asked.is_object() ? asked.find(key) : asked.end();
    if (!asked.is_object() || at == asked.end() || !at->is_number_unsigned()) return std::nullopt;
    return at->get<uint64_t>();
  };
  const auto id = number("id"), side = number("side");
  if (!id || !side || *side > 1) {
    return Status(Reason::kInvalidArgument, "which end of which connection is not said");
  }
  const auto peer = core.pipe_peer(caller, *id, static_cast<shm::PipeSide>(*side));
  if (!peer.ok()) return peer.status();
  return text_of({{"users", users_json(core, *peer)}});
}

}  // namespace heddle::server
