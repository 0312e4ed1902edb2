// The C interface of pipes. Nothing but translation happens here.
#include <heddle/c_pipe.h>

#include <string>
#include <utility>
#include <vector>

#include "client/src/c_types.h"

using heddle::Reason;
using heddle::Result;
using heddle::Status;
using heddle::detail::c_call;
using heddle::detail::check_kind;
using heddle::detail::choice_of;
using heddle::detail::give;
using heddle::detail::missing;
using heddle::detail::timeout_of;

// One thread may send while another receives: each half is changed by its own thread only.
struct heddle_pipe {
  heddle::PipeEnd end;
  heddle::PipeRoom room;
  heddle::PipeView view;
};
struct heddle_pipe_listener {
  heddle::PipeListener listener;
};
struct heddle_pipe_message {
  heddle::PipeParcel message;
};

namespace {

static_assert(static_cast<int>(heddle::PipeMode::kBytes) == HEDDLE_PIPE_BYTES);
static_assert(static_cast<int>(heddle::PipeSide::kB) == HEDDLE_PIPE_B);

heddle::PipeOptions pipe_options_of(const heddle_pipe_options* from) {
  heddle::PipeOptions options;
  if (from == nullptr) return options;
  options.mode = choice_of<heddle::PipeMode>(from->mode);
  if (from->duplex != HEDDLE_UNSET_CHOICE) options.duplex = from->duplex != 0;
  if (from->capacity != HEDDLE_UNSET) options.capacity = from->capacity;
  if (from->max_msg_bytes != HEDDLE_UNSET) options.max_msg_bytes = from->max_msg_bytes;
  if (from->resumable != HEDDLE_UNSET_CHOICE) options.resumable = from->resumable != 0;
  options.lifetime = choice_of<heddle::Lifetime>(from->lifetime);
  options.access = heddle::detail::number_of<std::uint32_t>(from->access);
  if (from->group != nullptr) options.group = from->group;
  options.create = from->create;
  options.exclusive = from->exclusive;
  return options;
}

template <typename T>
int choice_in(const std::optional<T>& value) {
  return value ? static_cast<int>(*value) : HEDDLE_UNSET_CHOICE;
}

heddle_pipe_options pipe_options_in(const heddle::PipeOptions& from) {
  return {.capacity = from.capacity.value_or(HEDDLE_UNSET),
          .max_msg_bytes = from.max_msg_bytes.value_or(HEDDLE_UNSET),
          .access = from.access ? std::uint64_t{*from.access} : HEDDLE_UNSET,
          .mode = choice_in(from.mode),
          .duplex = choice_in(from.duplex),
          .resumable = choice_in(from.resumable),
          .lifetime = choice_in(from.lifetime),
          .group = nullptr,
          .create = from.create,
          .exclusive = from.exclusive};
}

std::int64_t blocked_ms(const std::optional<std::chrono::milliseconds>& blocked) {
  return blocked ? blocked->count() : -1;
}

std::vector<heddle_pipe_user> users_of(const std::vector<heddle::PipeUser>& from) {
  std::vector<heddle_pipe_user> users;
  for (const heddle::PipeUser& user : from) {
    users.push_back({.session = user.session,
                     .pid = user.pid,
                     .uid = user.uid,
                     .sending = user.sending,
                     .receiving = user.receiving,
                     .command = user.command.c_str()});
  }
  return users;
}

heddle_pipe_end_info end_info_of(const heddle::PipeEndInfo& from,
                                 const std::vector<heddle_pipe_user>& users) {
  return {.state = from.state.c_str(),
          .users = users.data(),
          .user_count = users.size(),
          .bytes_sent = from.bytes_sent,
          .bytes_queued = from.bytes_queued,
          .send_blocked_ms = blocked_ms(from.send_blocked),
          .receive_blocked_ms = blocked_ms(from.receive_blocked),
          .died_pid = from.died_pid,
          .shut = from.shut};
}

int visit_pipe(const heddle::PipeInfo& from, heddle_pipe_visitor visit, void* context) {
  // Their memory stays where it is when the outer list grows.
  std::vector<std::vector<heddle_pipe_user>> users;
  std::vector<heddle_pipe_connection_info> connections;
  for (const heddle::PipeConnectionInfo& one : from.connections) {
    users.push_back(users_of(one.a.users));
    const heddle_pipe_end_info a = end_info_of(one.a, users.back());
    users.push_back(users_of(one.b.users));
    const heddle_pipe_end_info b = end_info_of(one.b, users.back());
    connections.push_back({.id = one.id, .named = one.named, .a = a, .b = b});
  }
  const heddle_pipe_info info{.name = from.name.c_str(),
                              .uid = from.uid,
                              .gid = from.gid,
                              .options = pipe_options_in(from.options),
                              .listeners = from.listeners,
                              .connection_count = from.connection_count,
                              .connections = connections.data(),
                              .connections_here = connections.size()};
  return visit(&info, context);
}

Status put_pipe(Result<heddle::PipeEnd> from, heddle_pipe** to) {
  if (!from) return std::move(from).status();
  *to = new heddle_pipe{std::move(*from), {}, {}};
  return {};
}

}  // namespace

extern "C" {

/* ---- pipes by name ---- */

heddle_reason heddle_pipe_create(heddle_client* client, const char* name,
                                 const heddle_pipe_options* options) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  return c_call([&] { return client->client.create_pipe(name, pipe_options_of(options)); });
}

heddle_reason heddle_pipe_delete(heddle_client* client, const char* name) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  return c_call([&] { return client->client.delete_pipe(name); });
}

heddle_reason heddle_pipe_list(heddle_client* client, const char* prefix, heddle_pipe_visitor visit,
                               void* context) {
  if (client == nullptr || visit == nullptr) return missing(client ? "visit" : "client");
  return c_call([&]() -> Status {
    auto pipes = client->client.pipes(prefix != nullptr ? prefix : "");
    if (!pipes) return pipes.status();
    for (const heddle::PipeInfo& info : *pipes) {
      if (visit_pipe(info, visit, context) != 0) break;
    }
    return {};
  });
}

heddle_reason heddle_pipe_inspect(heddle_client* client, const char* name,
                                  heddle_pipe_visitor visit, void* context) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (visit == nullptr) return missing("visit");
  return c_call([&]() -> Status {
    auto info = client->client.pipe_info(name);
    if (!info) return info.status();
    (void)visit_pipe(*info, visit, context);
    return {};
  });
}

heddle_reason heddle_pipe_end(heddle_client* client, const char* name, heddle_pipe_side side,
                              const heddle_pipe_options* options, heddle_pipe** pipe) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] {
    return put_pipe(client->client.pipe_end(name, static_cast<heddle::PipeSide>(side),
                                            pipe_options_of(options)),
                    pipe);
  });
}

heddle_reason heddle_pipe_connect(heddle_client* client, const char* name,
                                  const heddle_pipe_options* options, int64_t timeout_ns,
                                  heddle_pipe** pipe) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] {
    return put_pipe(
        client->client.connect_pipe(name, timeout_of(timeout_ns), pipe_options_of(options)), pipe);
  });
}

heddle_reason heddle_pipe_listen(heddle_client* client, const char* name,
                                 const heddle_pipe_options* options,
                                 heddle_pipe_listener** listener) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (listener == nullptr) return missing("listener");
  return c_call([&]() -> Status {
    auto listening = client->client.listen_pipe(name, pipe_options_of(options));
    if (!listening) return listening.status();
    *listener = new heddle_pipe_listener{std::move(*listening)};
    return {};
  });
}

heddle_reason heddle_pipe_accept(heddle_pipe_listener* listener, int64_t timeout_ns,
                                 heddle_pipe** pipe) {
  if (listener == nullptr) return missing("listener");
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] { return put_pipe(listener->listener.accept(timeout_of(timeout_ns)), pipe); });
}

void heddle_pipe_listener_close(heddle_pipe_listener* listener) { delete listener; }

const char* heddle_pipe_listener_name(const heddle_pipe_listener* listener) {
  return listener != nullptr ? listener->listener.name().c_str() : "";
}

/* ---- one end ---- */

void heddle_pipe_close(heddle_pipe* pipe) { delete pipe; }

const char* heddle_pipe_name(const heddle_pipe* pipe) {
  return pipe != nullptr ? pipe->end.name().c_str() : "";
}

heddle_pipe_side heddle_pipe_side_of(const heddle_pipe* pipe) {
  return pipe != nullptr ? static_cast<heddle_pipe_side>(pipe->end.side()) : HEDDLE_PIPE_A;
}

heddle_reason heddle_pipe_options_of(const heddle_pipe* pipe, heddle_pipe_options* options) {
  if (pipe == nullptr || options == nullptr) return missing(pipe ? "options" : "pipe");
  return c_call([&]() -> Status {
    *options = pipe_options_in(pipe->end.options());
    return {};
  });
}

heddle_reason heddle_pipe_share(const heddle_pipe* pipe, heddle_pipe** other) {
  if (pipe == nullptr || other == nullptr) return missing(pipe ? "other" : "pipe");
  return c_call([&] { return put_pipe(pipe->end.share(), other); });
}

heddle_reason heddle_pipe_shutdown_write(heddle_pipe* pipe) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] { return pipe->end.shutdown_write(); });
}

heddle_reason heddle_pipe_peer(heddle_pipe* pipe, heddle_pipe_user_visitor visit, void* context) {
  if (pipe == nullptr || visit == nullptr) return missing(pipe ? "visit" : "pipe");
  return c_call([&]() -> Status {
    const auto peer = pipe->end.peer();
    if (!peer) return peer.status();
    for (const heddle_pipe_user& user : users_of(*peer)) {
      if (visit(&user, context) != 0) break;
    }
    return {};
  });
}

/* ---- sending ---- */

heddle_reason heddle_pipe_send(heddle_pipe* pipe, const void* data, size_t length, heddle_kind kind,
                               int64_t timeout_ns, size_t* sent) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    const heddle::Body body(data, length, static_cast<heddle::BodyKind>(kind));
    return give(pipe->end.send(body, timeout_of(timeout_ns)), sent);
  });
}

heddle_reason heddle_pipe_send_with(heddle_pipe* pipe, const void* data, size_t length,
                                    heddle_kind kind, const int* fds, size_t fd_count,
                                    int64_t timeout_ns, size_t* sent) {
  if (pipe == nullptr) return missing("pipe");
  if (fds == nullptr && fd_count != 0) return missing("fds");
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    const heddle::Body body(data, length, static_cast<heddle::BodyKind>(kind));
    return give(pipe->end.send_with(body, {fds, fd_count}, timeout_of(timeout_ns)), sent);
  });
}

heddle_reason heddle_pipe_send_many(heddle_pipe* pipe, const heddle_body* bodies, size_t count,
                                    int64_t timeout_ns, size_t* done) {
  if (done != nullptr) *done = 0;
  if (pipe == nullptr) return missing("pipe");
  if (bodies == nullptr && count != 0) return missing("bodies");
  return c_call([&]() -> Status {
    std::vector<heddle::Body> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (Status bad = check_kind(bodies[i].kind); !bad.ok()) return bad;
      list.emplace_back(bodies[i].data, bodies[i].length,
                        static_cast<heddle::BodyKind>(bodies[i].kind));
    }
    auto result = pipe->end.send_many(list, timeout_of(timeout_ns));
    if (done != nullptr) *done = result.done;
    return std::move(result.status);
  });
}

heddle_reason heddle_pipe_hold(heddle_pipe* pipe, int64_t timeout_ns) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] { return pipe->end.hold(timeout_of(timeout_ns)); });
}

void heddle_pipe_let_go(heddle_pipe* pipe) {
  if (pipe != nullptr) pipe->end.let_go();
}

heddle_reason heddle_pipe_reserve(heddle_pipe* pipe, size_t bytes, int64_t timeout_ns, void** data,
                                  size_t* length) {
  if (pipe == nullptr) return missing("pipe");
  if (data == nullptr || length == nullptr) return missing(data ? "length" : "data");
  return c_call([&]() -> Status {
    pipe->room = {};  // the one before keeps everybody out, this one too
    auto room = pipe->end.reserve(bytes, timeout_of(timeout_ns));
    if (!room) return room.status();
    pipe->room = std::move(*room);
    *data = pipe->room.bytes().data();
    *length = pipe->room.bytes().size();
    return {};
  });
}

heddle_reason heddle_pipe_commit(heddle_pipe* pipe, size_t length, heddle_kind kind) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    return pipe->room.commit(length, static_cast<heddle::BodyKind>(kind));
  });
}

void heddle_pipe_abandon(heddle_pipe* pipe) {
  if (pipe != nullptr) pipe->room = {};
}

/* ---- receiving ---- */

heddle_reason heddle_pipe_receive(heddle_pipe* pipe, size_t bytes_max, int64_t timeout_ns,
                                  heddle_pipe_message** message) {
  if (pipe == nullptr || message == nullptr) return missing(pipe ? "message" : "pipe");
  return c_call([&]() -> Status {
    auto got = pipe->end.receive(timeout_of(timeout_ns), bytes_max);
    if (!got) return got.status();
    *message = new heddle_pipe_message{{std::move(*got), {}, 0}};
    return {};
  });
}

heddle_reason heddle_pipe_receive_with(heddle_pipe* pipe, int64_t timeout_ns,
                                       heddle_pipe_message** message) {
  if (pipe == nullptr || message == nullptr) return missing(pipe ? "message" : "pipe");
  return c_call([&]() -> Status {
    auto got = pipe->end.receive_with(timeout_of(timeout_ns));
    if (!got) return std::move(got).status();
    *message = new heddle_pipe_message{std::move(*got)};
    return {};
  });
}

size_t heddle_pipe_message_fd_count(const heddle_pipe_message* message) {
  return message->message.fds.size();
}

size_t heddle_pipe_message_fds_lost(const heddle_pipe_message* message) {
  return message->message.fds_lost;
}

int heddle_pipe_message_take_fd(heddle_pipe_message* message, size_t index) {
  auto& fds = message->message.fds;
  return index < fds.size() ? fds[index].release() : -1;
}

void heddle_pipe_message_free(heddle_pipe_message* message) { delete message; }

const void* heddle_pipe_message_data(const heddle_pipe_message* message) {
  return message->message.bytes.data();
}
size_t heddle_pipe_message_length(const heddle_pipe_message* message) {
  return message->message.bytes.size();
}
heddle_kind heddle_pipe_message_kind(const heddle_pipe_message* message) {
  return static_cast<heddle_kind>(message->message.kind);
}

heddle_reason heddle_pipe_receive_into(heddle_pipe* pipe, void* to, size_t capacity,
                                       int64_t timeout_ns, size_t* length, heddle_kind* kind) {
  if (pipe == nullptr || length == nullptr) return missing(pipe ? "length" : "pipe");
  if (to == nullptr && capacity != 0) return missing("the memory to receive into");
  return c_call([&]() -> Status {
    heddle::BodyKind of{};
    Status status = give(pipe->end.receive_into({static_cast<std::byte*>(to), capacity},
                                                timeout_of(timeout_ns), &of),
                         length);
    if (status.ok() && kind != nullptr) *kind = static_cast<heddle_kind>(of);
    return status;
  });
}

heddle_reason heddle_pipe_view(heddle_pipe* pipe, int64_t timeout_ns, const void** data,
                               size_t* length, heddle_kind* kind) {
  if (pipe == nullptr) return missing("pipe");
  if (data == nullptr || length == nullptr) return missing(data ? "length" : "data");
  return c_call([&]() -> Status {
    pipe->view = {};  // its end would end the next one
    auto view = pipe->end.view(timeout_of(timeout_ns));
    if (!view) return view.status();
    pipe->view = std::move(*view);
    *data = pipe->view.bytes().data();
    *length = pipe->view.bytes().size();
    if (kind != nullptr) *kind = static_cast<heddle_kind>(pipe->view.kind());
    return {};
  });
}

heddle_reason heddle_pipe_consume(heddle_pipe* pipe, size_t length) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] { return pipe->view.consume(length); });
}

void heddle_pipe_unview(heddle_pipe* pipe) {
  if (pipe != nullptr) pipe->view = {};
}

heddle_reason heddle_pipe_poll(heddle_pipe* pipe, int64_t timeout_ns) {
  if (pipe == nullptr) return missing("pipe");
  return c_call([&] { return pipe->end.poll(timeout_of(timeout_ns)); });
}

heddle_reason heddle_pipe_ready_fd(heddle_pipe* pipe, int* fd) {
  if (pipe == nullptr || fd == nullptr) return missing(pipe ? "fd" : "pipe");
  return c_call([&] { return give(pipe->end.ready_fd(), fd); });
}

}  // extern "C"
