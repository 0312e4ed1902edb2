// The C interface: errors, client, producing, consuming. c_inspect.cc has the rest. Nothing but
// translation happens here.
#include <cstring>
#include <string>
#include <vector>

#include "client/src/c_types.h"
#include "client/src/channel.h"

using heddle::Reason;
using heddle::Status;
using heddle::detail::c_call;
using heddle::detail::check_kind;
using heddle::detail::give;
using heddle::detail::missing;
using heddle::detail::timeout_of;

namespace {

struct LastError {
  Status status;
  std::string object;
  std::string message;
  heddle_error error{};
};

LastError& last_error() {
  thread_local LastError last;
  return last;
}

heddle::Lease lease_of(const heddle_lease& lease) {
  return {{lease.words[0], lease.words[1], lease.words[2]}};
}

void put_lease(const heddle::Lease& from, heddle_lease* to) {
  for (int i = 0; i < 3; ++i) to->words[i] = from.words[i];
}

static_assert(static_cast<int>(Reason::kBrokenPipe) == HEDDLE_BROKEN_PIPE);
static_assert(static_cast<int>(Reason::kSessionLost) == HEDDLE_SESSION_LOST);
static_assert(static_cast<int>(Reason::kOutOfRange) == HEDDLE_OUT_OF_RANGE);
static_assert(heddle::kReasonCount == HEDDLE_OUT_OF_RANGE + 1, "c.h lacks a reason");
static_assert(static_cast<int>(heddle::Ack::kTask) == HEDDLE_ACK_TASK);
static_assert(static_cast<int>(heddle::BodyKind::kJsonText) == HEDDLE_KIND_JSON_TEXT);
static_assert(static_cast<int>(heddle::Plane::kGrpc) == HEDDLE_PLANE_GRPC);
static_assert(sizeof(heddle_reason) == sizeof(int));

}  // namespace

namespace heddle::detail {

heddle_reason end_call(Status status) {
  const auto reason = static_cast<heddle_reason>(status.reason());
  last_error().status = std::move(status);
  return reason;
}

Status check_kind(heddle_kind kind) {
  if (kind >= HEDDLE_KIND_DATA && kind <= HEDDLE_KIND_JSON_TEXT) return {};
  return Status(Reason::kInvalidArgument, "no such kind of body")
      .with_limit(HEDDLE_KIND_JSON_TEXT, static_cast<std::uint64_t>(kind));
}

}  // namespace heddle::detail

extern "C" {

const heddle_error* heddle_last_error(void) {
  LastError& last = last_error();
  const heddle::ReasonInfo& info = heddle::reason_info(last.status.reason());
  // The text is put together only when somebody asks for it.
  last.object = last.status.object();
  last.message = last.status.message();
  last.error = {.reason = static_cast<heddle_reason>(last.status.reason()),
                .code = static_cast<int>(last.status.code()),
                .errno_value = info.errno_value,
                .exit_code = info.exit_code,
                .is_outcome = info.is_outcome,
                .has_limit = last.status.has_limit(),
                .limit = last.status.limit(),
                .actual = last.status.actual(),
                .object = last.object.c_str(),
                .message = last.message.c_str()};
  return &last.error;
}

const char* heddle_reason_name(heddle_reason reason) {
  if (reason < 0 || static_cast<std::size_t>(reason) >= heddle::kReasonCount) return "UNKNOWN";
  return heddle::reason_info(static_cast<Reason>(reason)).name.data();
}

bool heddle_reason_is_outcome(heddle_reason reason) {
  if (reason < 0 || static_cast<std::size_t>(reason) >= heddle::kReasonCount) return false;
  return heddle::reason_info(static_cast<Reason>(reason)).is_outcome;
}

const char* heddle_version(void) { return heddle::version(); }

heddle_reason heddle_connect(const heddle_connect_options* options, heddle_client** client) {
  if (client == nullptr) return missing("client");
  return c_call([&]() -> Status {
    heddle::ConnectOptions connect;
    if (options != nullptr) {
      if (options->runtime_dir != nullptr) connect.runtime_dir = options->runtime_dir;
      if (options->address != nullptr) connect.address = options->address;
      if (options->name != nullptr) connect.name = options->name;
      connect.timeout = std::chrono::milliseconds(options->timeout_ms);
      connect.plane = static_cast<heddle::Plane>(options->plane);
      connect.sessionless = options->sessionless;
    }
    auto connected = heddle::Client::connect(connect);
    if (!connected) return connected.status();
    *client = new heddle_client{std::move(*connected)};
    return {};
  });
}

void heddle_client_close(heddle_client* client) { delete client; }
void heddle_queue_close(heddle_queue* queue) { delete queue; }

const char* heddle_queue_name(const heddle_queue* queue) { return queue->queue.name().c_str(); }

heddle_reason heddle_queue_delete(heddle_client* client, const char* name) {
  if (name == nullptr) return missing("name");
  return c_call([&] { return client->client.delete_queue(name); });
}

/* ---- producing ---- */

heddle_reason heddle_queue_put(heddle_queue* queue, const void* data, size_t length,
                               heddle_kind kind, int64_t timeout_ns, uint64_t* id) {
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    const heddle::Body body(data, length, static_cast<heddle::BodyKind>(kind));
    return give(queue->queue.put_for(body, timeout_of(timeout_ns)), id);
  });
}

heddle_reason heddle_queue_put_many(heddle_queue* queue, const heddle_body* bodies, size_t count,
                                    int64_t timeout_ns, size_t* done, uint64_t* ids) {
  *done = 0;
  return c_call([&]() -> Status {
    std::vector<heddle::Body> list;
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      if (Status bad = check_kind(bodies[i].kind); !bad.ok()) return bad;
      list.emplace_back(bodies[i].data, bodies[i].length,
                        static_cast<heddle::BodyKind>(bodies[i].kind));
    }
    auto result =
        queue->queue.put_many(list, timeout_of(timeout_ns), {ids, ids != nullptr ? count : 0});
    *done = result.done;
    return std::move(result.status);
  });
}

heddle_reason heddle_queue_put_fenced(heddle_queue* queue, const void* data, size_t length,
                                      heddle_kind kind, const char* lock, uint64_t token,
                                      int64_t timeout_ns, uint64_t* id) {
  if (lock == nullptr) return missing("lock");
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    const heddle::Body body(data, length, static_cast<heddle::BodyKind>(kind));
    return give(queue->queue.put(body, {lock, token}, timeout_of(timeout_ns)), id);
  });
}

heddle_reason heddle_queue_loan(heddle_queue* queue, size_t bytes, heddle_loan** loan) {
  if (loan == nullptr) return missing("loan");
  return c_call([&]() -> Status {
    auto room = queue->queue.loan(bytes);
    if (!room) return room.status();
    *loan = new heddle_loan{std::move(*room)};
    return {};
  });
}

void* heddle_loan_data(heddle_loan* loan) { return loan->loan.bytes().data(); }
size_t heddle_loan_capacity(const heddle_loan* loan) { return loan->loan.bytes().size(); }

heddle_reason heddle_loan_commit(heddle_loan* loan, size_t length, heddle_kind kind,
                                 int64_t timeout_ns, uint64_t* id) {
  return c_call([&]() -> Status {
    if (Status bad = check_kind(kind); !bad.ok()) return bad;
    return give(
        loan->loan.commit(length, static_cast<heddle::BodyKind>(kind), timeout_of(timeout_ns)), id);
  });
}

void heddle_loan_free(heddle_loan* loan) { delete loan; }

heddle_reason heddle_queue_producer(heddle_queue* queue, heddle_producer** producer) {
  if (producer == nullptr) return missing("producer");
  return c_call([&]() -> Status {
    auto registered = queue->queue.producer();
    if (!registered) return registered.status();
    *producer = new heddle_producer{std::move(*registered)};
    return {};
  });
}

heddle_reason heddle_producer_close(heddle_producer* producer) {
  if (producer == nullptr) return HEDDLE_OK;
  const heddle_reason reason = c_call([&] { return producer->producer.close(); });
  delete producer;
  return reason;
}

/* ---- consuming ---- */

heddle_message* heddle_message_new(void) { return new (std::nothrow) heddle_message; }
void heddle_message_free(heddle_message* message) { delete message; }

heddle_reason heddle_queue_get(heddle_queue* queue, heddle_message* message, heddle_ack ack,
                               int64_t lease_ms, int64_t timeout_ns) {
  if (message == nullptr) return missing("message");
  return c_call([&] {
    return queue->queue.get_into(
        message->message, timeout_of(timeout_ns),
        {.ack = static_cast<heddle::Ack>(ack), .lease = std::chrono::milliseconds(lease_ms)});
  });
}

heddle_reason heddle_queue_get_many(heddle_queue* queue, heddle_message** messages, size_t max,
                                    uint64_t max_bytes, heddle_ack ack, int64_t lease_ms,
                                    int64_t timeout_ns, size_t* count) {
  *count = 0;
  return c_call([&]() -> Status {
    auto got =
        queue->queue.get_many(timeout_of(timeout_ns), {.ack = static_cast<heddle::Ack>(ack),
                                                       .lease = std::chrono::milliseconds(lease_ms),
                                                       .max = max,
                                                       .max_bytes = max_bytes});
    if (!got) return got.status();
    for (heddle::Message& message : *got) messages[(*count)++]->message = std::move(message);
    return {};
  });
}

const void* heddle_message_data(const heddle_message* m) { return m->message.data().data(); }
size_t heddle_message_length(const heddle_message* m) { return m->message.size(); }
heddle_kind heddle_message_kind(const heddle_message* m) {
  return static_cast<heddle_kind>(m->message.kind());
}
uint64_t heddle_message_id(const heddle_message* m) { return m->message.id(); }
uint32_t heddle_message_delivery_count(const heddle_message* m) {
  return m->message.delivery_count();
}
bool heddle_message_leased(const heddle_message* m) { return m->message.leased(); }

heddle_reason heddle_message_ack(heddle_message* message) {
  return c_call([&] { return message->message.ack(); });
}
heddle_reason heddle_message_nack(heddle_message* message, bool counted) {
  return c_call([&] { return message->message.nack(counted); });
}
heddle_reason heddle_message_bury(heddle_message* message) {
  return c_call([&] { return message->message.bury(); });
}
heddle_reason heddle_message_extend(heddle_message* message, int64_t lease_ms) {
  return c_call([&] { return message->message.extend(std::chrono::milliseconds(lease_ms)); });
}
heddle_reason heddle_message_detach(heddle_message* message, heddle_lease* lease) {
  return c_call([&]() -> Status {
    if (!message->message.leased()) {
      return Status(Reason::kInvalidArgument, "this message holds no lease");
    }
    put_lease(message->message.detach(), lease);
    return {};
  });
}

heddle_reason heddle_queue_ack(heddle_queue* queue, const heddle_lease* lease) {
  return c_call([&] { return queue->queue.ack(lease_of(*lease)); });
}
heddle_reason heddle_queue_nack(heddle_queue* queue, const heddle_lease* lease, bool counted) {
  return c_call([&] { return queue->queue.nack(lease_of(*lease), counted); });
}
heddle_reason heddle_queue_bury(heddle_queue* queue, const heddle_lease* lease) {
  return c_call([&] { return queue->queue.bury(lease_of(*lease)); });
}
heddle_reason heddle_queue_extend(heddle_queue* queue, const heddle_lease* lease,
                                  int64_t lease_ms) {
  return c_call(
      [&] { return queue->queue.extend(lease_of(*lease), std::chrono::milliseconds(lease_ms)); });
}

void heddle_lease_text(const heddle_lease* lease, char text[49]) {
  static const char kDigits[] = "0123456789abcdef";
  for (int i = 0; i < 48; ++i) text[i] = kDigits[(lease->words[i / 16] >> (60 - i % 16 * 4)) & 15];
  text[48] = '\0';
}

heddle_reason heddle_lease_parse(const char* text, heddle_lease* lease) {
  if (text == nullptr) return missing("text");
  return c_call([&]() -> Status {
    auto parsed = heddle::Lease::parse(text);
    if (!parsed) return parsed.status();
    put_lease(*parsed, lease);
    return {};
  });
}

heddle_reason heddle_queue_task_done(heddle_queue* queue) {
  return c_call([&] { return queue->queue.task_done(); });
}

}  // extern "C"
