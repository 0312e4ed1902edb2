#include "client/src/grpc_channel/wire.h"

#include <time.h>

#include <charconv>
#include <cstring>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace heddle::detail {
namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool error_info_of(const grpc::Status& status, google::rpc::ErrorInfo* out) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const auto& detail : details.details()) {
    if (detail.type_url() == "type.googleapis.com/google.rpc.ErrorInfo" &&
        out->ParseFromString(detail.value()) && out->domain() == "heddle") {
      return true;
    }
  }
  return false;
}

bool number_in(const google::rpc::ErrorInfo& info, const char* key, std::uint64_t* out) {
  const auto found = info.metadata().find(key);
  if (found == info.metadata().end()) return false;
  const std::string& text = found->second;
  return std::from_chars(text.data(), text.data() + text.size(), *out).ec == std::errc();
}

// The broker's sentence is "object: message (limit L, actual A) [REASON]"; the parts come by
// themselves as well, and to_string() would put them around it again.
std::string bare_message(std::string message, const std::string& object, bool has_limit) {
  const auto cut_tail = [&message](const char* open) {
    const auto at = message.rfind(open);
    if (at != std::string::npos && at != 0) message.resize(at);
  };
  cut_tail(" [");
  if (has_limit) cut_tail(" (limit ");
  if (!object.empty() && message.starts_with(object + ": ")) message.erase(0, object.size() + 2);
  return message;
}

// A request above the broker's limit is refused by gRPC itself, before anybody is there to say it
// in our words: "Received message larger than max (ACTUAL vs. LIMIT)".
bool larger_than_taken(const grpc::Status& status, std::uint64_t* actual, std::uint64_t* limit) {
  if (status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  const std::string& text = status.error_message();
  const auto open = text.find("larger than max (");
  const auto versus = text.find(" vs. ", open == std::string::npos ? 0 : open);
  if (open == std::string::npos || versus == std::string::npos) return false;
  const auto number_at = [&text](std::size_t at, std::uint64_t* out) {
    return std::from_chars(text.data() + at, text.data() + text.size(), *out).ec == std::errc();
  };
  return number_at(text.find('(', open) + 1, actual) && number_at(versus + 5, limit);
}

}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

bool broker_is_away(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty();
}

Status status_from(const grpc::Status& status) {
  if (status.ok()) return {};
  google::rpc::ErrorInfo info;
  if (!error_info_of(status, &info)) {
    std::uint64_t actual = 0, limit = 0;
    if (larger_than_taken(status, &actual, &limit)) {
      return Status(Reason::kTooLarge,
                    "the message, with what is sent around it, is larger than "
                    "grpc_message_bytes_max; raise that, or use shared memory")
          .with_limit(limit, actual);
    }
    const auto code = static_cast<Code>(status.error_code());
    const Reason reason = broker_is_away(status) ? Reason::kBrokerAway : reason_from_code(code);
    return Status(reason, status.error_message()).with_code(code);
  }
  const auto reason = reason_from_name(info.reason());
  std::string object;
  if (const auto at = info.metadata().find("object"); at != info.metadata().end()) {
    object = at->second;
  }
  std::uint64_t limit = 0, actual = 0;
  const bool has_limit = number_in(info, "limit", &limit) && number_in(info, "actual", &actual);
  Status out(reason.value_or(Reason::kInternal),
             bare_message(status.error_message(), object, has_limit));
  if (!object.empty()) out = std::move(out).with_object(object);
  if (has_limit) out = std::move(out).with_limit(limit, actual);
  return out;
}

Status status_from(v1::Outcome outcome, const v1::OutcomeDetail& detail) {
  static constexpr Reason kReasonOf[] = {
      Reason::kInternal,    Reason::kOk,           Reason::kEmpty,
      Reason::kFull,        Reason::kTimedOut,     Reason::kClosed,
      Reason::kEndOfStream, Reason::kProducerDied, Reason::kLeaseLost};
  if (outcome == v1::OUTCOME_OK) return {};
  if (outcome == v1::OUTCOME_EMPTY) return Reason::kEmpty;  // polling allocates nothing
  const auto named = reason_from_name(detail.reason());
  const bool known = outcome >= 0 && outcome <= v1::OUTCOME_LEASE_LOST;
  const Reason reason = known ? kReasonOf[outcome] : named.value_or(Reason::kInternal);
  Status status = detail.message().empty() ? Status(reason) : Status(reason, detail.message());
  if (!detail.object().empty()) status = std::move(status).with_object(detail.object());
  if (detail.has_limit()) status = std::move(status).with_limit(detail.limit(), detail.actual());
  return status;
}

void body_to(const Body& body, v1::Message* wire) {
  wire->set_data(body.data, body.length);
  wire->set_kind(static_cast<v1::BodyKind>(static_cast<int>(body.kind) + 1));
}

namespace {

BodyKind kind_from(int wire) { return static_cast<BodyKind>(wire < 1 ? 0 : (wire - 1) & 3); }

Status fill(std::string_view bytes, Message* out) {
  std::byte* to = MessageAccess::own_bytes(*out, bytes.size());
  if (to == nullptr) return Status(Reason::kMemoryExhausted, "no memory for the message");
  std::memcpy(to, bytes.data(), bytes.size());
  return {};
}

Status take_lease(std::string_view wire, const std::shared_ptr<QueueChannel>& queue, Message* out) {
  Lease lease;
  if (!lease_from(wire, &lease)) return Status(Reason::kInternal, "unreadable lease");
  MessageAccess::lease(*out, lease, *queue);
  return {};
}

// All columns have a row for each message.
bool is_whole(const v1::PackedDeliveries& packed, bool leased) {
  const v1::PackedBodies& bodies = packed.bodies();
  const int count = packed.ids_size();
  std::uint64_t sum = 0;
  for (const std::uint32_t length : bodies.lengths()) sum += length;
  const auto has = [count](int rows) { return rows == count; };
  return has(bodies.lengths_size()) && sum == bodies.bodies().size() &&
         (bodies.kinds_size() <= 1 || has(bodies.kinds_size())) &&
         (packed.delivery_counts_size() == 0 || has(packed.delivery_counts_size())) &&
         (!leased || has(packed.leases_size()));
}

}  // namespace

Status delivery_from(const v1::Delivery& wire, std::shared_ptr<QueueChannel> queue, Message* out) {
  if (Status status = fill(wire.message().data(), out); !status.ok()) return status;
  MessageAccess::describe(*out, wire.id(), kind_from(wire.message().kind()), wire.delivery_count());
  return queue ? take_lease(wire.lease(), std::move(queue), out) : Status();
}

void add_to(const Body& body, v1::PackedBodies* packed) {
  const auto kind = static_cast<v1::BodyKind>(static_cast<int>(body.kind) + 1);
  const int count = packed->lengths_size(), kinds = packed->kinds_size();
  packed->mutable_bodies()->append(reinterpret_cast<const char*>(body.data), body.length);
  packed->add_lengths(static_cast<std::uint32_t>(body.length));
  if (count == 0) return packed->add_kinds(kind);
  if (kinds == 1 && packed->kinds(0) == kind) return;
  // No longer all of one kind.
  for (int i = kinds; i < count; ++i) packed->add_kinds(packed->kinds(0));
  packed->add_kinds(kind);
}

Status messages_from(const v1::QueueServiceConsumeResponse& batch,
                     const std::shared_ptr<QueueChannel>& queue, std::vector<Message>* out) {
  const v1::PackedDeliveries& packed = batch.packed();
  if (!is_whole(packed, queue != nullptr)) return Status(Reason::kInternal, "unreadable batch");
  out->resize(static_cast<std::size_t>(batch.deliveries_size() + packed.ids_size()));
  auto next = out->begin();
  for (const v1::Delivery& one : batch.deliveries()) {
    if (Status status = delivery_from(one, queue, &*next++); !status.ok()) return status;
  }
  std::string_view bodies = packed.bodies().bodies();
  const auto& kinds = packed.bodies().kinds();
  for (int i = 0; i < packed.ids_size(); ++i, ++next) {
    const std::size_t length = packed.bodies().lengths(i);
    Status status = fill(bodies.substr(0, length), &*next);
    if (!status.ok()) return status;
    bodies.remove_prefix(length);
    const int kind = kinds.empty() ? 0 : kinds[kinds.size() == 1 ? 0 : i];
    const bool first = packed.delivery_counts().empty();
    MessageAccess::describe(*next, packed.ids(i), kind_from(kind),
                            first ? 1 : packed.delivery_counts(i));
    if (queue) status = take_lease(packed.leases(i), queue, &*next);
    if (!status.ok()) return status;
  }
  return {};
}

std::string lease_to(const Lease& lease) {
  unsigned char bytes[24];
  static_assert(sizeof lease.words == sizeof bytes);
  std::memcpy(bytes, lease.words.data(), sizeof bytes);
  std::string text;
  text.reserve(32);
  for (std::size_t i = 0; i < sizeof bytes; i += 3) {
    const unsigned word = bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6) text.push_back(kAlphabet[word >> shift & 63]);
  }
  return text;
}

bool lease_from(std::string_view text, Lease* out) {
  if (text.size() != 32) return false;
  unsigned char bytes[24];
  for (std::size_t i = 0; i < 8; ++i) {
    unsigned word = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const char c = text[4 * i + j];
      const char* at = c == 0 ? nullptr : std::strchr(kAlphabet, c);
      if (at == nullptr) return false;
      word = word << 6 | static_cast<unsigned>(at - kAlphabet);
    }
    for (std::size_t j = 0; j < 3; ++j) {
      bytes[3 * i + j] = static_cast<unsigned char>(word >> (16 - 8 * j));
    }
  }
  std::memcpy(out->words.data(), bytes, sizeof bytes);
  return true;
}

void options_to(const QueueOptions& options, v1::QueueOptions* wire) {
  if (options.max_len) {
    wire->set_max_len(static_cast<std::uint32_t>(std::min<std::uint64_t>(*options.max_len, ~0u)));
  }
  if (options.max_bytes) wire->set_max_bytes(*options.max_bytes);
  if (options.max_msg_bytes) wire->set_max_msg_bytes(*options.max_msg_bytes);
  if (options.max_leases) wire->set_max_leases(*options.max_leases);
  if (options.max_deliveries) wire->set_max_deliveries(*options.max_deliveries);
  if (options.mode) wire->set_mode(*options.mode);
  if (!options.group.empty()) wire->set_group(options.group);
  if (options.overflow) {
    wire->set_overflow(static_cast<v1::QueueOptions_Overflow>(int(*options.overflow) + 1));
  }
  if (options.eos) wire->set_eos(static_cast<v1::QueueOptions_Eos>(int(*options.eos) + 1));
  if (options.lifetime) {
    wire->set_lifetime(static_cast<v1::QueueOptions_Lifetime>(int(*options.lifetime) + 1));
  }
  if (options.on_producer_death) {
    wire->set_on_producer_death(
        static_cast<v1::QueueOptions_OnProducerDeath>(int(*options.on_producer_death) + 1));
  }
}

QueueInfo info_from(const v1::QueueInfo& wire) {
  QueueInfo info;
  info.name = wire.name();
  info.object_id = wire.object_id();
  info.owner_uid = wire.uid();
  info.owner_gid = wire.gid();
  info.attached = wire.attached();
  const auto& options = wire.options();
  info.options.max_len = options.max_len();
  info.options.max_bytes = options.max_bytes();
  info.options.max_msg_bytes = options.max_msg_bytes();
  info.options.max_leases = options.max_leases();
  info.options.max_deliveries = options.max_deliveries();
  info.options.mode = options.mode();
  info.options.group = options.group();
  info.options.overflow = static_cast<Overflow>(std::max(0, int(options.overflow()) - 1));
  info.options.eos = static_cast<Eos>(std::max(0, int(options.eos()) - 1));
  info.options.on_producer_death =
      static_cast<OnProducerDeath>(std::max(0, int(options.on_producer_death()) - 1));
  info.options.lifetime = static_cast<Lifetime>(std::max(0, int(options.lifetime()) - 1));
  const auto& counts = wire.counts();
  info.counts.ready = counts.ready();
  info.counts.leased = counts.leased();
  info.counts.returned = counts.returned();
  info.counts.buried = counts.buried();
  info.counts.unfinished = counts.unfinished();
  info.counts.bytes = counts.bytes();
  info.counts.puts = counts.puts();
  // The wire counts a message as got once it is settled.
  info.counts.gets = counts.gets() + counts.leased();
  info.counts.acks = counts.gets();
  info.counts.drops = counts.drops();
  info.counts.producers = counts.producers();
  info.counts.closed = counts.closed();
  return info;
}

BrowseRow row_from(const v1::BrowseRow& wire) {
  BrowseRow row;
  row.id = wire.id();
  row.state = wire.state() == 0 ? 0 : 1u << (wire.state() - 1);
  row.delivery_count = wire.delivery_count();
  row.kind = static_cast<BodyKind>(std::max(0, int(wire.message().kind()) - 1));
  row.length = wire.bytes();
  row.body = wire.message().data();
  row.owner = static_cast<std::uint16_t>(wire.holder().owner());
  row.pid = wire.holder().pid();
  row.uid = wire.holder().uid();
  row.command = wire.holder().name();
  row.age = std::chrono::milliseconds(wire.since_ms());
  return row;
}

}  // namespace heddle::detail
