#include "daemon/services/pipe_wire.h"

#include <algorithm>

#include "daemon/services/batch_wire.h"
#include "daemon/services/body.h"
#include "daemon/services/queue_wire.h"

namespace heddle::services {
namespace {

constexpr size_t kConnectionsShownMax = 100;

std::string text_of(objects::PipeGot& got, size_t* at, const objects::PipeGot::Part& part) {
  if (got.large) return {reinterpret_cast<const char*>(got.large.get()), part.length};
  *at += part.length;
  return got.bodies.substr(*at - part.length, part.length);
}

}  // namespace

Status pipe_options_from(const v1::PipeOptions& wire, broker::PipeOptions* out) {
  *out = {};
  const auto take = [out](bool given, auto value, auto* field, uint32_t bit) {
    if (!given) return;
    *field = static_cast<std::remove_pointer_t<decltype(field)>>(value);
    out->given |= bit;
  };
  if (wire.mode() < 0 || wire.mode() > v1::PipeOptions::MODE_BYTES) {
    return {Reason::kInvalidArgument, "unknown options.mode"};
  }
  take(wire.mode() != 0, wire.mode() - 1, &out->pipe_mode, local::kGivenPipeMode);
  take(wire.has_duplex(), wire.duplex(), &out->duplex, local::kGivenDuplex);
  take(wire.has_capacity(), wire.capacity(), &out->capacity, local::kGivenCapacity);
  take(wire.has_max_msg_bytes(), wire.max_msg_bytes(), &out->max_msg_bytes,
       local::kGivenMaxMsgBytes);
  take(wire.has_resumable(), wire.resumable(), &out->resumable, local::kGivenResumable);
  take(wire.has_access(), wire.access(), &out->mode, local::kGivenMode);
  if (wire.has_group()) out->given |= local::kGivenGroup;
  return {};
}

void pipe_options_to(const broker::PipeOptions& options, v1::PipeOptions* wire) {
  wire->set_mode(static_cast<v1::PipeOptions::Mode>(options.pipe_mode + 1));
  wire->set_duplex(options.duplex != 0);
  wire->set_capacity(options.capacity);
  wire->set_max_msg_bytes(options.max_msg_bytes);
  wire->set_resumable(options.resumable != 0);
  wire->set_access(options.mode);
}

void pipe_end_to(broker::Broker& broker, const shm::PipeEndInfo& end, v1::PipeEnd* wire) {
  wire->set_state(objects::end_state_name(end.state));
  for (uint32_t i = 0; i < end.user_count; ++i) {
    auto* user = wire->add_users();
    peer_to(broker.describe_owner(end.users[i]), user->mutable_peer());
    user->mutable_peer()->set_owner(end.users[i]);
    user->set_sending(end.users[i] == end.sending);
    user->set_receiving(end.users[i] == end.receiving);
  }
  wire->set_bytes_sent(end.bytes_sent);
  wire->set_bytes_queued(end.bytes_queued);
  wire->set_shut(end.shut);
  if (end.send_blocked_ms != 0)
    wire->set_send_blocked_ms(objects::blocked_for_ms(end.send_blocked_ms));
  if (end.receive_blocked_ms != 0) {
    wire->set_receive_blocked_ms(objects::blocked_for_ms(end.receive_blocked_ms));
  }
  wire->set_died_pid(static_cast<int32_t>(end.died_pid));
}

void pipe_to(broker::Broker& broker, const broker::PipeInfo& info, v1::PipeInfo* wire) {
  wire->set_name(info.name);
  pipe_options_to(info.options, wire->mutable_options());
  wire->mutable_options()->set_group(std::to_string(info.gid));
  wire->set_uid(info.uid);
  wire->set_gid(info.gid);
  wire->set_object_id(info.object_id);
  wire->set_listeners(info.listeners);
  wire->set_connection_count(info.connections.size());
  for (const broker::PipeConnectionInfo& one : info.connections) {
    if (static_cast<size_t>(wire->connections_size()) == kConnectionsShownMax) break;
    auto* connection = wire->add_connections();
    connection->set_id(one.object_id);
    connection->set_named(one.named);
    pipe_end_to(broker, one.ends[0], connection->mutable_a());
    pipe_end_to(broker, one.ends[1], connection->mutable_b());
  }
}

Status pipe_bodies_from(const google::protobuf::RepeatedPtrField<v1::Message>& messages,
                        std::vector<std::string>* storage, std::vector<objects::Body>* out) {
  storage->resize(static_cast<size_t>(messages.size()));
  for (int i = 0; i < messages.size(); ++i) {
    Status status =
        body_from(messages[i], &(*storage)[static_cast<size_t>(i)], &out->emplace_back());
    if (!status.ok()) return status;
  }
  return {};
}

Status pipe_bodies_from(const v1::PipeServiceAttachRequest& request,
                        std::vector<std::string>* storage, std::vector<objects::Body>* out) {
  if (!request.has_packed()) return pipe_bodies_from(request.messages(), storage, out);
  if (request.messages_size() == 0) return unpack(request.packed(), out);
  return {Reason::kInvalidArgument, "a request has messages or packed ones, not both"};
}

grpc::ByteBuffer write_received(objects::PipeGot got) {
  v1::PackedBodies heads;
  bool same_kind = true;
  uint64_t bytes = 0;
  for (const auto& part : got.parts) {
    heads.add_lengths(static_cast<uint32_t>(part.length));
    same_kind &= part.kind == got.parts.front().kind;
    bytes += part.length;
  }
  if (!same_kind) {
    for (const auto& part : got.parts) heads.add_kinds(wire_kind(part.kind));
  } else if (!got.parts.empty() && got.parts.front().kind != 0) {
    heads.add_kinds(wire_kind(got.parts.front().kind));
  }
  std::string front;
  append_packed(v1::PipeServiceAttachResponse::kReceivedFieldNumber, heads, bytes, &front);
  const grpc::Slice slices[] = {grpc::Slice(front), got.large
                                                        ? owned_slice(std::move(got.large), bytes)
                                                        : owned_slice(std::move(got.bodies))};
  return {slices, 2};
}

Status received_to(objects::PipeGot got, v1::BodyAs as, v1::PipeServiceReceiveResponse* out) {
  size_t at = 0;
  for (const auto& part : got.parts) {
    std::string text = text_of(got, &at, part);
    if (Status status = body_to(part.kind, as, text, out->add_messages()); !status.ok()) {
      return status;
    }
  }
  return {};
}

}  // namespace heddle::services
