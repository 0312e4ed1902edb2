// The C interface: creating, looking, managing. Rows go out through visitors, so nothing has to be
// freed by the caller.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "client/src/c_types.h"

using heddle::Reason;
using heddle::Result;
using heddle::Status;
using heddle::detail::c_call;
using heddle::detail::give;
using heddle::detail::missing;
using heddle::detail::timeout_of;

namespace {

template <typename T>
void set_number(std::optional<T>& to, std::uint64_t from) {
  if (from != HEDDLE_UNSET) to = static_cast<T>(std::min<std::uint64_t>(from, T(-1)));
}

template <typename T>
void set_choice(std::optional<T>& to, int from) {
  if (from != HEDDLE_UNSET_CHOICE) to = static_cast<T>(from);
}

heddle::QueueOptions options_of(const heddle_queue_options* from) {
  heddle::QueueOptions options;
  if (from == nullptr) return options;
  set_number(options.max_len, from->max_len);
  set_number(options.max_bytes, from->max_bytes);
  set_number(options.max_msg_bytes, from->max_msg_bytes);
  set_number(options.max_leases, from->max_leases);
  set_number(options.max_deliveries, from->max_deliveries);
  set_number(options.mode, from->mode);
  set_choice(options.overflow, from->overflow);
  set_choice(options.eos, from->eos);
  set_choice(options.on_producer_death, from->on_producer_death);
  set_choice(options.lifetime, from->lifetime);
  if (from->group != nullptr) options.group = from->group;
  options.open_existing = from->open_existing;
  return options;
}

template <typename T>
int choice(const std::optional<T>& value) {
  return value ? static_cast<int>(*value) : HEDDLE_UNSET_CHOICE;
}

template <std::size_t N>
void copy_text(char (&to)[N], const std::string& from) {
  const std::size_t length = std::min(from.size(), N - 1);
  std::memcpy(to, from.data(), length);
  to[length] = '\0';
}

heddle_queue_counts counts_of(const heddle::QueueCounts& from) {
  heddle_queue_counts counts{};
  counts.struct_bytes = sizeof counts;
  counts.ready = from.ready;
  counts.leased = from.leased;
  counts.returned = from.returned;
  counts.buried = from.buried;
  counts.unfinished = from.unfinished;
  counts.bytes = from.bytes;
  counts.puts = from.puts;
  counts.gets = from.gets;
  counts.acks = from.acks;
  counts.drops = from.drops;
  counts.producers = from.producers;
  counts.closed = from.closed;
  return counts;
}

int visit_info(const heddle::QueueInfo& from, heddle_queue_visitor visit, void* context) {
  const heddle::QueueOptions& options = from.options;
  heddle_queue_info info{};
  info.name = from.name.c_str();
  info.object_id = from.object_id;
  info.options.max_len = options.max_len.value_or(HEDDLE_UNSET);
  info.options.max_bytes = options.max_bytes.value_or(HEDDLE_UNSET);
  info.options.max_msg_bytes = options.max_msg_bytes.value_or(HEDDLE_UNSET);
  info.options.max_leases = options.max_leases.value_or(0);
  info.options.max_deliveries = options.max_deliveries.value_or(0);
  info.options.mode = options.mode.value_or(0);
  info.options.overflow = choice(options.overflow);
  info.options.eos = choice(options.eos);
  info.options.on_producer_death = choice(options.on_producer_death);
  info.options.lifetime = choice(options.lifetime);
  info.options.group = options.group.c_str();
  info.owner_uid = from.owner_uid;
  info.owner_gid = from.owner_gid;
  info.attached = from.attached;
  info.counts = counts_of(from.counts);
  return visit(&info, context);
}

int visit_row(const heddle::BrowseRow& from, heddle_row_visitor visit, void* context) {
  heddle_row row{};
  row.id = from.id;
  row.state = from.state;
  row.delivery_count = from.delivery_count;
  row.kind = static_cast<heddle_kind>(from.kind);
  row.length = from.length;
  row.body = from.body.data();
  row.body_bytes = from.body.size();
  row.owner = from.owner;
  row.pid = from.pid;
  row.uid = from.uid;
  row.age_ms = from.age.count();
  row.command = from.command.c_str();
  return visit(&row, context);
}

template <typename Open>
heddle_reason open_into(heddle_queue** queue, const char* name, Open open) {
  if (queue == nullptr) return missing("queue");
  if (name == nullptr) return missing("name");
  return c_call([&]() -> Status {
    Result<heddle::Queue> opened = open();
    if (!opened) return opened.status();
    *queue = new heddle_queue{std::move(*opened)};
    return {};
  });
}

// An older caller's struct is shorter: it gets the part it knows.
template <typename T>
heddle_reason give_struct(T value, T* to) {
  if (to == nullptr) return missing("the struct to fill");
  const std::size_t known = to->struct_bytes;
  if (known < sizeof(std::size_t) || known > sizeof(T)) {
    return heddle::detail::end_call(
        Status(Reason::kInvalidArgument, "struct_bytes must be set to the sizeof of the struct")
            .with_limit(sizeof(T), known));
  }
  value.struct_bytes = known;
  std::memcpy(to, &value, known);
  return HEDDLE_OK;
}

}  // namespace

extern "C" {

heddle_reason heddle_client_describe(heddle_client* client, heddle_connection_info* info) {
  const heddle::ConnectionInfo from = client->client.describe();
  heddle_connection_info to{};
  to.plane = static_cast<heddle_plane>(from.plane);
  to.owner = from.owner;
  to.generation = from.generation;
  copy_text(to.address, from.address);
  copy_text(to.broker_version, from.broker_version);
  return give_struct(to, info);
}

heddle_reason heddle_ping(heddle_client* client, int64_t* round_trip_ns) {
  return c_call([&]() -> Status {
    auto time = client->client.ping();
    if (!time) return time.status();
    if (round_trip_ns != nullptr) *round_trip_ns = time->count();
    return {};
  });
}

heddle_reason heddle_status(heddle_client* client, heddle_broker_status* status) {
  heddle_broker_status to{};
  const heddle_reason reason = c_call([&]() -> Status {
    auto from = client->client.status();
    if (!from) return from.status();
    copy_text(to.version, from->version);
    to.pid = from->pid;
    to.supervisor_pid = from->supervisor_pid;
    to.incarnation = from->incarnation;
    to.uptime_ms = from->uptime.count();
    to.queues = from->queues;
    to.sessions = from->sessions;
    to.memory_bytes = from->memory_bytes;
    to.memory_budget_bytes = from->memory_budget_bytes;
    return {};
  });
  return reason == HEDDLE_OK ? give_struct(to, status) : reason;
}

heddle_reason heddle_sessions(heddle_client* client, heddle_session_visitor visit,
                              void* context) {
  return c_call([&]() -> Status {
    auto sessions = client->client.sessions();
    if (!sessions) return sessions.status();
    for (const heddle::SessionInfo& from : *sessions) {
      const heddle_session_info session{.owner = from.owner,
                                        .generation = from.generation,
                                        .plane = static_cast<heddle_plane>(from.plane),
                                        .pid = from.pid,
                                        .uid = from.uid,
                                        .attached = from.attached,
                                        .age_ms = from.age.count(),
                                        .name = from.name.c_str(),
                                        .command = from.command.c_str()};
      if (visit(&session, context) != 0) break;
    }
    return {};
  });
}

heddle_reason heddle_queue_create(heddle_client* client, const char* name,
                                  const heddle_queue_options* options, heddle_queue** queue) {
  return open_into(queue, name != nullptr ? name : "", [&] {
    heddle::Client& to = client->client;
    return name != nullptr ? to.create_queue(name, options_of(options))
                           : to.create_anonymous_queue(options_of(options));
  });
}

heddle_reason heddle_queue_share(heddle_client* client, const char* name) {
  if (name == nullptr) return missing("name");
  return c_call([&]() -> Status { return client->client.share_queue(name).status(); });
}

heddle_reason heddle_queue_open(heddle_client* client, const char* name,
                                const heddle_queue_options* options, heddle_queue** queue) {
  return open_into(queue, name,
                   [&] { return client->client.open_queue(name, options_of(options)); });
}

heddle_reason heddle_queue_list(heddle_client* client, const char* prefix,
                                heddle_queue_visitor visit, void* context) {
  return c_call([&]() -> Status {
    auto queues = client->client.list(prefix != nullptr ? prefix : "");
    if (!queues) return queues.status();
    for (const heddle::QueueInfo& info : *queues) {
      if (visit_info(info, visit, context) != 0) break;
    }
    return {};
  });
}

heddle_reason heddle_queue_join(heddle_queue* queue, int64_t timeout_ns,
                                heddle_row_visitor visit, void* context) {
  return c_call([&] {
    auto report = queue->queue.join_for(timeout_of(timeout_ns));
    for (const heddle::BrowseRow& row : report.holders) {
      if (visit == nullptr || visit_row(row, visit, context) != 0) break;
    }
    return std::move(report.status);
  });
}

heddle_reason heddle_queue_count(heddle_queue* queue, heddle_queue_counts* counts) {
  heddle_queue_counts to{};
  const heddle_reason reason = c_call([&]() -> Status {
    auto from = queue->queue.counts();
    if (!from) return from.status();
    to = counts_of(*from);
    return {};
  });
  return reason == HEDDLE_OK ? give_struct(to, counts) : reason;
}

heddle_reason heddle_queue_size(heddle_queue* queue, uint64_t* size) {
  return c_call([&] { return give(queue->queue.size(), size); });
}
heddle_reason heddle_queue_unfinished(heddle_queue* queue, uint64_t* unfinished) {
  return c_call([&] { return give(queue->queue.unfinished(), unfinished); });
}
heddle_reason heddle_queue_empty(heddle_queue* queue, bool* empty) {
  return c_call([&] { return give<bool>(queue->queue.empty(), empty); });
}
heddle_reason heddle_queue_full(heddle_queue* queue, bool* full) {
  return c_call([&] { return give<bool>(queue->queue.full(), full); });
}

heddle_reason heddle_queue_inspect(heddle_queue* queue, heddle_queue_visitor visit,
                                   void* context) {
  return c_call([&]() -> Status {
    auto info = queue->queue.info();
    if (!info) return info.status();
    visit_info(*info, visit, context);
    return {};
  });
}

heddle_reason heddle_queue_peek(heddle_queue* queue, uint64_t max_body, heddle_row_visitor visit,
                                void* context) {
  return c_call([&]() -> Status {
    auto row = queue->queue.peek(max_body);
    if (!row) return row.status();
    visit_row(*row, visit, context);
    return {};
  });
}

heddle_reason heddle_queue_browse(heddle_queue* queue, unsigned states, uint64_t after_id,
                                  size_t limit, uint64_t max_body, heddle_row_visitor visit,
                                  void* context) {
  return c_call([&]() -> Status {
    auto rows = queue->queue.browse(
        {.states = states, .after_id = after_id, .limit = limit, .max_body = max_body});
    if (!rows) return rows.status();
    for (const heddle::BrowseRow& row : *rows) {
      if (visit_row(row, visit, context) != 0) break;
    }
    return {};
  });
}

heddle_reason heddle_queue_kick(heddle_queue* queue, uint64_t max, uint64_t* kicked) {
  return c_call([&] { return give(queue->queue.kick(max), kicked); });
}
heddle_reason heddle_queue_purge(heddle_queue* queue, unsigned states, uint64_t* purged) {
  return c_call([&] { return give(queue->queue.purge(states), purged); });
}
heddle_reason heddle_queue_shutdown(heddle_queue* queue, bool immediate) {
  return c_call([&] { return queue->queue.shutdown(immediate); });
}
heddle_reason heddle_queue_reopen(heddle_queue* queue) {
  return c_call([&] { return queue->queue.reopen(); });
}

}  // extern "C"
