#include "daemon/services/admin_service.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "daemon/services/queue_wire.h"

namespace heddle::services {
namespace {

using broker::ObjectKind;

constexpr uint32_t kPageMax = 1'000;

uint32_t page_size(uint32_t asked) { return asked == 0 ? kPageMax : std::min(asked, kPageMax); }

heddle::Status check_kind(const std::string& kind) {
  if (kind.empty() || kind == "queue") return {};
  return {Reason::kInvalidArgument, "there is no kind `" + kind.substr(0, 64) + "`; use queue"};
}

using Fields = google::protobuf::Map<std::string, google::protobuf::Value>;

google::protobuf::Value& at(Fields& fields, std::string key) { return fields[std::move(key)]; }

void put(Fields& fields, std::string key, uint64_t value) {
  at(fields, std::move(key)).set_number_value(static_cast<double>(value));
}

// The message's own JSON names are its keys.
void describe_to(const v1::QueueInfo& info, Fields& fields) {
  at(fields, "kind").set_string_value("queue");
  at(fields, "name").set_string_value(info.name());
  put(fields, "object_id", info.object_id());
  put(fields, "uid", info.uid());
  put(fields, "gid", info.gid());
  put(fields, "attached", info.attached());
  put(fields, "waiting", info.waiting());
  put(fields, "memory_bytes", info.memory_bytes());
  auto& options = *at(fields, "options").mutable_struct_value()->mutable_fields();
  put(options, "max_len", info.options().max_len());
  put(options, "max_bytes", info.options().max_bytes());
  put(options, "max_msg_bytes", info.options().max_msg_bytes());
  put(options, "max_leases", info.options().max_leases());
  put(options, "max_deliveries", info.options().max_deliveries());
  put(options, "mode", info.options().mode());
  static constexpr const char* kOverflow[] = {"", "block", "reject", "drop_oldest"};
  static constexpr const char* kEos[] = {"", "manual", "last_producer"};
  static constexpr const char* kDeath[] = {"", "wait", "close", "error"};
  static constexpr const char* kLifetime[] = {"", "kept", "attached", "session"};
  at(options, "overflow").set_string_value(kOverflow[info.options().overflow() & 3]);
  at(options, "eos").set_string_value(kEos[std::min<int>(info.options().eos(), 2)]);
  at(options, "on_producer_death").set_string_value(kDeath[info.options().on_producer_death() & 3]);
  at(options, "lifetime").set_string_value(kLifetime[info.options().lifetime() & 3]);
  auto& counts = *at(fields, "counts").mutable_struct_value()->mutable_fields();
  put(counts, "ready", info.counts().ready());
  put(counts, "leased", info.counts().leased());
  put(counts, "returned", info.counts().returned());
  put(counts, "buried", info.counts().buried());
  put(counts, "unfinished", info.counts().unfinished());
  put(counts, "bytes", info.counts().bytes());
  put(counts, "puts", info.counts().puts());
  put(counts, "gets", info.counts().gets());
  put(counts, "drops", info.counts().drops());
  put(counts, "producers", info.counts().producers());
  at(counts, "closed").set_bool_value(info.counts().closed());
}

}  // namespace

AdminService::Reactor* AdminService::List(Context* context,
                                          const v1::AdminServiceListRequest* request,
                                          v1::AdminServiceListResponse* response) {
  return answer(env_, context, [&](const Caller& caller) -> heddle::Status {
    if (auto status = check_kind(request->kind()); !status.ok()) return status;
    auto page = env_.broker.list(caller, ObjectKind::kQueue, request->prefix(),
                                 page_size(request->page_size()), request->page_token());
    if (!page.ok()) return page.status();
    for (const auto& info : page->objects) {
      auto* row = response->add_objects();
      row->set_kind("queue");
      row->set_name(info.name);
      row->set_uid(info.uid);
      row->set_gid(info.gid);
      row->set_mode(info.options.mode);
    }
    response->set_next_page_token(page->next_page_token);
    return {};
  });
}

AdminService::Reactor* AdminService::Describe(Context* context,
                                              const v1::AdminServiceDescribeRequest* request,
                                              v1::AdminServiceDescribeResponse* response) {
  return answer(env_, context, [&](const Caller& caller) -> heddle::Status {
    if (auto status = check_kind(request->kind()); !status.ok()) return status;
    auto info = env_.broker.describe(caller, ObjectKind::kQueue, request->name());
    if (!info.ok()) return info.status();
    v1::QueueInfo wire;
    info_to(*info, &wire);
    describe_to(wire, *response->mutable_description()->mutable_fields());
    return {};
  });
}

AdminService::Reactor* AdminService::Sessions(Context* context,
                                              const v1::AdminServiceSessionsRequest* request,
                                              v1::AdminServiceSessionsResponse* response) {
  return answer(env_, context, [&](const Caller& caller) -> heddle::Status {
    auto page =
        env_.broker.sessions(caller, page_size(request->page_size()), request->page_token());
    if (!page.ok()) return page.status();
    for (const auto& session : page->sessions) {
      auto* row = response->add_sessions();
      row->mutable_peer()->set_session(session.session_id);
      row->mutable_peer()->set_pid(session.pid);
      row->mutable_peer()->set_uid(session.uid);
      row->mutable_peer()->set_name(session.name);
      row->mutable_peer()->set_plane(session.remote ? "grpc" : "shm");
      row->mutable_peer()->set_owner(session.owner);
      row->set_generation(session.generation);
      row->set_command(session.command);
      row->set_attached(session.attached);
      row->set_age_ms(static_cast<uint64_t>(std::max<int64_t>(session.age_ms, 0)));
      row->set_lease_left_ms(static_cast<uint64_t>(std::max<int64_t>(session.lease_left_ms, 0)));
    }
    response->set_next_page_token(page->next_page_token);
    return {};
  });
}

AdminService::Reactor* AdminService::Stats(Context* context, const v1::AdminServiceStatsRequest*,
                                           v1::AdminServiceStatsResponse* response) {
  return answer(env_, context, [&](const Caller&) -> heddle::Status {
    const broker::Stats stats = env_.broker.stats();
    auto& fields = *response->mutable_stats()->mutable_fields();
    put(fields, "objects", stats.objects);
    put(fields, "sessions_local", stats.sessions_local);
    put(fields, "sessions_remote", stats.sessions_remote);
    put(fields, "memory_bytes", stats.memory_bytes);
    put(fields, "memory_bytes_max", stats.memory_bytes_max);
    put(fields, "sessions_reaped", stats.sessions_reaped);
    put(fields, "quarantined", stats.quarantined);
    put(fields, "waiting_callers", stats.waiting_callers);
    put(fields, "incarnation", stats.incarnation);
    put(fields, "uptime_ms", static_cast<uint64_t>(stats.uptime_ms));
    return {};
  });
}

AdminService::Reactor* AdminService::Status(Context* context,
                                            const v1::AdminServiceStatusRequest*,
                                            v1::AdminServiceStatusResponse* response) {
  return answer(env_, context, [&](const Caller&) -> heddle::Status {
    const broker::Stats stats = env_.broker.stats();
    response->set_version(version_);
    response->set_pid(getpid());
    response->set_supervisor_pid(getppid());
    response->set_uptime_ms(static_cast<uint64_t>(stats.uptime_ms));
    response->set_incarnation(static_cast<uint32_t>(stats.incarnation));
    response->set_objects(stats.objects);
    response->set_sessions(stats.sessions_local + stats.sessions_remote);
    response->set_memory_bytes(stats.memory_bytes);
    response->set_memory_bytes_max(stats.memory_bytes_max);
    return {};
  });
}

}  // namespace heddle::services
