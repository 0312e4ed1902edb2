#include "daemon/services/queue_wire.h"

#include <charconv>
#include <string_view>

#include "daemon/services/body.h"
#include "daemon/services/grpc_status.h"

namespace heddle::services {
namespace {

// Wire enumerators are the stored ones plus 1, with 0 for "not given".
bool given_enum(int wire, int count, uint32_t bit, uint8_t* field, uint32_t* given) {
  if (wire == 0) return true;
  if (wire < 0 || wire > count) return false;
  *field = static_cast<uint8_t>(wire - 1);
  *given |= bit;
  return true;
}

v1::MessageState wire_state(std::string_view state) {
  if (state == "ready") return v1::MESSAGE_STATE_READY;
  if (state == "leased") return v1::MESSAGE_STATE_LEASED;
  if (state == "returned") return v1::MESSAGE_STATE_RETURNED;
  if (state == "buried") return v1::MESSAGE_STATE_BURIED;
  return v1::MESSAGE_STATE_UNSPECIFIED;
}

}  // namespace

Status options_from(const v1::QueueOptions& wire, broker::QueueOptions* out) {
  *out = {};
  const auto take = [out](bool given, auto value, auto* field, uint32_t bit) {
    if (!given) return;
    *field = value;
    out->given |= bit;
  };
  take(wire.has_max_len(), wire.max_len(), &out->max_len, local::kGivenMaxLen);
  take(wire.has_max_bytes(), wire.max_bytes(), &out->max_bytes, local::kGivenMaxBytes);
  take(wire.has_max_msg_bytes(), wire.max_msg_bytes(), &out->max_msg_bytes,
       local::kGivenMaxMsgBytes);
  take(wire.has_max_leases(), wire.max_leases(), &out->max_leases, local::kGivenMaxLeases);
  take(wire.has_max_deliveries(), wire.max_deliveries(), &out->max_deliveries,
       local::kGivenMaxDeliveries);
  take(wire.has_mode(), wire.mode(), &out->mode, local::kGivenMode);
  if (wire.has_group()) out->given |= local::kGivenGroup;
  if (!given_enum(wire.overflow(), 3, local::kGivenOverflow, &out->overflow, &out->given)) {
    return {Reason::kInvalidArgument, "unknown options.overflow"};
  }
  if (!given_enum(wire.eos(), 2, local::kGivenEos, &out->eos, &out->given)) {
    return {Reason::kInvalidArgument, "unknown options.eos"};
  }
  if (!given_enum(wire.on_producer_death(), 3, local::kGivenOnProducerDeath,
                  &out->on_producer_death, &out->given)) {
    return {Reason::kInvalidArgument, "unknown options.on_producer_death"};
  }
  if (!given_enum(wire.lifetime(), 3, local::kGivenLifetime, &out->lifetime, &out->given)) {
    return {Reason::kInvalidArgument, "unknown options.lifetime"};
  }
  return {};
}

void options_to(const broker::QueueOptions& options, v1::QueueOptions* wire) {
  wire->set_max_len(options.max_len);
  wire->set_max_bytes(options.max_bytes);
  wire->set_max_msg_bytes(options.max_msg_bytes);
  wire->set_max_leases(options.max_leases);
  wire->set_max_deliveries(options.max_deliveries);
  wire->set_overflow(static_cast<v1::QueueOptions::Overflow>(options.overflow + 1));
  wire->set_eos(static_cast<v1::QueueOptions::Eos>(options.eos + 1));
  wire->set_on_producer_death(
      static_cast<v1::QueueOptions::OnProducerDeath>(options.on_producer_death + 1));
  wire->set_lifetime(static_cast<v1::QueueOptions::Lifetime>(options.lifetime + 1));
  wire->set_mode(options.mode);
}

void info_to(const broker::ObjectInfo& info, v1::QueueInfo* wire) {
  wire->set_name(info.name);
  options_to(info.options, wire->mutable_options());
  wire->mutable_options()->set_group(std::to_string(info.gid));
  const shm::QueueCounts& counts = info.counts;
  auto* out = wire->mutable_counts();
  out->set_ready(counts.ready);
  out->set_leased(counts.leased);
  out->set_returned(counts.returned);
  out->set_buried(counts.buried);
  out->set_unfinished(counts.unfinished());
  out->set_bytes(counts.bytes);
  out->set_puts(counts.puts);
  out->set_gets(counts.takes);
  out->set_drops(counts.drops);
  out->set_producers(counts.producers);
  out->set_closed(counts.closed);
  wire->set_uid(info.uid);
  wire->set_gid(info.gid);
  wire->set_object_id(info.object_id);
  wire->set_attached(info.attached);
  wire->set_waiting(info.waiting);
  wire->set_memory_bytes(info.memory_bytes);
}

void peer_to(const objects::OwnerInfo& owner, v1::Peer* wire) {
  wire->set_session(owner.session_id);
  wire->set_pid(owner.pid);
  wire->set_uid(owner.uid);
  wire->set_name(owner.command);
  wire->set_plane(owner.remote ? "grpc" : "shm");
}

void holders_to(const std::vector<objects::Holder>& holders,
                google::protobuf::RepeatedPtrField<v1::QueueUser>* wire) {
  for (const objects::Holder& holder : holders) {
    auto* user = wire->Add();
    peer_to(holder.owner, user->mutable_peer());
    user->set_leases(holder.leases);
    user->set_oldest_id(holder.oldest_id);
  }
}

Status delivery_to(objects::Delivery& delivery, v1::BodyAs as, bool show_lease,
                   v1::Delivery* wire) {
  if (Status status = body_to(delivery.kind, as, delivery.body, wire->mutable_message());
      !status.ok()) {
    return std::move(status).with_object("message " + std::to_string(delivery.id));
  }
  wire->set_id(delivery.id);
  wire->set_delivery_count(delivery.count);
  if (show_lease) wire->set_lease(objects::lease_name(delivery.ticket));
  return {};
}

void row_to(objects::BrowseItem& item, uint64_t body_bytes_max, v1::BodyAs as,
            v1::BrowseRow* wire) {
  wire->set_id(item.id);
  wire->set_state(wire_state(item.state));
  wire->set_bytes(item.length);
  // The queue counts deliveries that failed; the one under way is one more.
  wire->set_delivery_count(item.count + (wire->state() == v1::MESSAGE_STATE_LEASED));
  wire->set_since_ms(static_cast<uint64_t>(std::max<int64_t>(item.age_ms, 0)));
  wire->set_lease_left_ms(static_cast<uint64_t>(std::max<int64_t>(item.lease_ends_ms, 0)));
  if (wire->state() == v1::MESSAGE_STATE_LEASED) {
    peer_to(item.holder, wire->mutable_holder());
    wire->mutable_holder()->set_owner(item.ticket.owner);
  }
  wire->mutable_message()->set_kind(wire_kind(item.kind));
  if (body_bytes_max == 0) return;
  const bool whole = item.body.size() == item.length;
  if (!whole || !body_to(item.kind, as, item.body, wire->mutable_message()).ok()) {
    wire->mutable_message()->set_data(std::move(item.body));
  }
}

Status states_from(const google::protobuf::RepeatedField<int>& states, unsigned otherwise,
                   unsigned* mask) {
  *mask = 0;
  for (const int state : states) {
    if (state < 0 || state > v1::MESSAGE_STATE_BURIED) {
      return {Reason::kInvalidArgument, "unknown state in `states`"};
    }
    *mask |= state == 0 ? unsigned{shm::kAllMask} : 1u << (state - 1);
  }
  if (*mask == 0) *mask = otherwise;
  return {};
}

Status page_from(const std::string& token, uint64_t* after_id) {
  *after_id = 0;
  if (token.empty()) return {};
  const char* const end = token.data() + token.size();
  const auto [stop, error] = std::from_chars(token.data(), end, *after_id);
  if (error == std::errc() && stop == end) return {};
  return {Reason::kInvalidArgument, "page_token is not the next_page_token of an earlier page"};
}

}  // namespace heddle::services
