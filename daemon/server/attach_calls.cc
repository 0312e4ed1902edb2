#include "daemon/server/attach_calls.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "daemon/server/attach_dicts.h"
#include "daemon/server/attach_locks.h"
#include "daemon/server/attach_pipes.h"

namespace heddle::server {
namespace {

using nlohmann::json;

constexpr uint32_t kPageDefault = 100;
constexpr uint32_t kHoldersMax = 200;

// What the caller sends may hold any bytes; what goes out must be JSON all the same.
json counts_json(const shm::QueueCounts& counts) {
  return {{"ready", counts.ready},       {"leased", counts.leased},
          {"returned", counts.returned}, {"buried", counts.buried},
          {"size", counts.size()},       {"unfinished", counts.unfinished()},
          {"bytes", counts.bytes},       {"puts", counts.puts},
          {"takes", counts.takes},       {"drops", counts.drops},
          {"producers", counts.producers}, {"closed", counts.closed}};
}

json options_json(const broker::QueueOptions& options) {
  static constexpr const char* kOverflow[] = {"block", "reject", "drop_oldest"};
  static constexpr const char* kEos[] = {"manual", "last_producer"};
  static constexpr const char* kDeath[] = {"wait", "close", "error"};
  return {{"max_len", options.max_len},
          {"max_bytes", options.max_bytes},
          {"max_msg_bytes", options.max_msg_bytes},
          {"max_leases", options.max_leases},
          {"max_deliveries", options.max_deliveries},
          {"overflow", kOverflow[options.overflow % 3]},
          {"eos", kEos[options.eos % 2]},
          {"on_producer_death", kDeath[options.on_producer_death % 3]}};
}

json object_json(const broker::ObjectInfo& info) {
  static constexpr const char* kLifetime[] = {"kept", "attached", "session"};
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", info.options.mode & 0777u);
  return {{"kind", "queue"},
          {"name", info.name},
          {"id", info.object_id},
          {"uid", info.uid},
          {"gid", info.gid},
          {"mode", mode},
          {"lifetime", kLifetime[info.options.lifetime % 3]},
          {"options", options_json(info.options)},
          {"counts", counts_json(info.counts)},
          {"memory_bytes", info.memory_bytes},
          {"attached", info.attached},
          {"waiting", info.waiting},
          {"quarantined", info.quarantined}};
}

json session_json(const broker::SessionInfo& info) {
  json out = {{"id", info.session_id},  {"owner", info.owner},
              {"generation", info.generation}, {"plane", info.remote ? "grpc" : "shm"},
              {"pid", info.pid},        {"uid", info.uid},
              {"name", info.name},      {"command", info.command},
              {"age_ms", info.age_ms},  {"attached", info.attached}};
  if (info.remote) out["lease_left_ms"] = info.lease_left_ms;
  return out;
}

struct Arguments {
  std::string kind = "queue", name, prefix, page_token;
  uint32_t page_size = kPageDefault;
};

Result<Arguments> parse(std::string_view text) {
  Arguments out;
  // Depth is bounded by the packet; a callback refuses nesting before it costs anything.
  const auto flat = [](int depth, json::parse_event_t, json&) { return depth < 4; };
  const json value = json::parse(text.empty() ? "{}" : text, flat, false);
  if (!value.is_object()) {
    return Status(Reason::kInvalidArgument, "the arguments are not a JSON object");
  }
  const auto string_at = [&value](const char* key, std::string* to) {
    const auto at = value.find(key);
    if (at != value.end() && at->is_string()) *to = at->get<std::string>();
  };
  string_at("kind", &out.kind);
  string_at("name", &out.name);
  string_at("prefix", &out.prefix);
  string_at("page_token", &out.page_token);
  const auto size = value.find("page_size");
  if (size != value.end() && size->is_number_unsigned()) {
    out.page_size = static_cast<uint32_t>(std::clamp<uint64_t>(size->get<uint64_t>(), 1, 1000));
  }
  return out;
}

// Asks for smaller and smaller pages until one fits.
template <typename Page>
Result<std::string> fitting(uint32_t page_size, size_t bytes_max, const Page& page) {
  while (true) {
    const Result<json> value = page(page_size);
    if (!value.ok()) return value.status();
    std::string text = text_of(*value);
    if (text.size() <= bytes_max || page_size <= 1) return text;
    page_size /= 2;
  }
}

Result<std::string> list(broker::Core& core, const objects::Caller& caller, const Arguments& args,
                         size_t bytes_max) {
  return fitting(args.page_size, bytes_max, [&](uint32_t size) -> Result<json> {
    const auto page =
        core.list(caller, local::ObjectKind::kQueue, args.prefix, size, args.page_token);
    if (!page.ok()) return page.status();
    json out = {{"objects", json::array()}, {"next_page_token", page->next_page_token}};
    for (const auto& info : page->objects) out["objects"].push_back(object_json(info));
    return out;
  });
}

Result<std::string> sessions(broker::Core& core, const objects::Caller& caller,
                             const Arguments& args, size_t bytes_max) {
  return fitting(args.page_size, bytes_max, [&](uint32_t size) -> Result<json> {
    const auto page = core.sessions(caller, size, args.page_token);
    if (!page.ok()) return page.status();
    json out = {{"sessions", json::array()}, {"next_page_token", page->next_page_token}};
    for (const auto& info : page->sessions) out["sessions"].push_back(session_json(info));
    return out;
  });
}

Result<std::string> who(broker::Core& core, const objects::Caller& caller,
                        const Arguments& args) {
  objects::Caller looker = caller;
  looker.owner = objects::kNoOwner;  // looking is not using: it attaches nothing to the session
  const auto ref = core.find_queue(looker, args.name, broker::Need::kRead);
  if (!ref.ok()) return ref.status();
  objects::BrowseParams params;
  params.states = shm::kLeasedMask;
  params.count_max = kHoldersMax;
  json out = {{"name", ref->name}, {"holders", json::array()}};
  for (const auto& item : ref->queue->browse(params)) {
    out["holders"].push_back({{"id", item.id},
                              {"session", item.holder.session_id},
                              {"pid", item.holder.pid},
                              {"uid", item.holder.uid},
                              {"command", item.holder.command},
                              {"age_ms", item.age_ms}});
  }
  return text_of(out);
}

std::string stats(broker::Core& core, bool identity) {
  const broker::Stats now = core.stats();
  json out = {{"objects", now.objects},
              {"sessions_local", now.sessions_local},
              {"sessions_remote", now.sessions_remote},
              {"memory_bytes", now.memory_bytes},
              {"memory_bytes_max", now.memory_bytes_max},
              {"sessions_reaped", now.sessions_reaped},
              {"quarantined", now.quarantined},
              {"waiting_callers", now.waiting_callers},
              {"incarnation", now.incarnation},
              {"uptime_ms", now.uptime_ms}};
  if (identity) {
    out["version"] = HEDDLE_VERSION;
    out["broker_pid"] = ::getpid();
    out["supervisor_pid"] = ::getppid();
    out["draining"] = core.draining();
  }
  return text_of(out);
}

}  // namespace

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> answer_call(broker::Core& core, const objects::Caller& caller,
                                local::CallMethod method, std::string_view text,
                                size_t bytes_max) {
  if (method == local::CallMethod::kLockDo) {
    return answer_lock_call(core, caller, text, bytes_max);
  }
  if (method == local::CallMethod::kPipePeer) return pipe_peer_json(core, caller, text);
  const Result<Arguments> args = parse(text);
  if (!args.ok()) return args.status();
  switch (method) {
    case local::CallMethod::kLockDo:
    case local::CallMethod::kPipePeer: break;  // answered above
    case local::CallMethod::kList:
      if (args->kind == "pipe") {
        return list_pipes_json(core, caller, args->prefix, args->page_token, args->page_size,
                               bytes_max);
      }
      if (local::ObjectKind kind; member_kind(args->kind, &kind)) {
        return list_members_json(core, caller, kind, args->prefix, args->page_token,
                                 args->page_size, bytes_max);
      }
      return list(core, caller, *args, bytes_max);
    case local::CallMethod::kSessions: return sessions(core, caller, *args, bytes_max);
    case local::CallMethod::kWho: return who(core, caller, *args);
    case local::CallMethod::kStats: return stats(core, false);
    case local::CallMethod::kStatus: return stats(core, true);
    case local::CallMethod::kShare: {
      const auto name = core.share_queue(caller, args->name);
      if (!name.ok()) return name.status();
      return text_of({{"name", *name}});
    }
    case local::CallMethod::kDescribe: {
      if (args->kind == "pipe") return describe_pipe_json(core, caller, args->name, bytes_max);
      if (local::ObjectKind kind; member_kind(args->kind, &kind)) {
        return describe_member_json(core, caller, kind, args->name);
      }
      const auto info = core.describe(caller, local::ObjectKind::kQueue, args->name);
      if (!info.ok()) return info.status();
      return text_of(object_json(*info));
    }
  }
  return Status(Reason::kUnsupported, "there is no such call")
      .with_limit(static_cast<uint64_t>(local::CallMethod::kPipePeer),
                  static_cast<uint64_t>(method));
}

}  // namespace heddle::server
