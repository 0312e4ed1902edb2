#include "daemon/services/batch_wire.h"

#include <numeric>
#include <utility>

#include "daemon/services/body.h"

namespace heddle::services {
namespace {

using ProduceRequest = v1::QueueServiceProduceRequest;

constexpr uint32_t kVarint = 0, kBytes = 2;
constexpr uint32_t tag(int field, uint32_t type) {
  return static_cast<uint32_t>(field) << 3 | type;
}

constexpr size_t kHeadMax = 16;        // tag and length of a body, or its kind
constexpr size_t kDeliveryMax = 128;   // all of a delivery that is not its body
constexpr size_t kDeliveryUsual = 36;  // the same without a lease

// Reads what a protobuf writer wrote. Every method gives false at the end and at what is malformed.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}
  bool done() const { return at_ == end_; }
  bool varint(uint64_t* out) {
    if (at_ != end_ && static_cast<signed char>(*at_) >= 0) [[likely]] {
      *out = static_cast<unsigned char>(*at_++);
      return true;
    }
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return *out = value, true;
    }
    return false;
  }
  bool bytes(std::string_view* out) {
    uint64_t length;
    if (!varint(&length) || length > static_cast<uint64_t>(end_ - at_)) return false;
    *out = {at_, static_cast<size_t>(length)};
    at_ += length;
    return true;
  }

 private:
  const char* at_;
  const char* const end_;
};

// False: not just data or text.
bool read_plain_message(std::string_view bytes, objects::Body* out) {
  uint64_t kind = v1::BODY_KIND_UNSPECIFIED;
  *out = {};
  for (WireReader in(bytes); !in.done();) {
    uint64_t what;
    if (!in.varint(&what)) return false;
    if (what == tag(v1::Message::kDataFieldNumber, kBytes)) {
      out->kind = v1::BODY_KIND_DATA - 1;
      if (!in.bytes(&out->bytes)) return false;
    } else if (what == tag(v1::Message::kTextFieldNumber, kBytes)) {
      out->kind = v1::BODY_KIND_TEXT - 1;
      if (!in.bytes(&out->bytes) || !is_utf8(out->bytes)) return false;
    } else if (what == tag(v1::Message::kKindFieldNumber, kVarint)) {
      if (!in.varint(&kind)) return false;
    } else {
      return false;
    }
  }
  if (kind > v1::BODY_KIND_TEXT) return false;
  // A text stays one, as in body_from().
  if (out->kind == v1::BODY_KIND_DATA - 1 && kind != 0) out->kind = static_cast<uint8_t>(kind - 1);
  return true;
}

size_t varint_bytes(uint64_t value) {
  return static_cast<size_t>((63 - __builtin_clzll(value | 1)) * 9 + 73) / 64;
}

char* put_varint(char* at, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

char* put_tag(char* at, int field, uint32_t type) { return put_varint(at, tag(field, type)); }

char* put_bytes(char* at, std::string_view bytes) { return at + bytes.copy(at, bytes.size()); }

// The field of the body where that takes no more than a look at it, else 0.
int plain_field(uint8_t kind, v1::BodyAs as, std::string_view body) {
  const bool is_json = kind >= v1::BODY_KIND_JSON - 1;
  switch (as) {
    case v1::BODY_AS_DATA:
      return v1::Message::kDataFieldNumber;
    case v1::BODY_AS_TEXT:
      return is_utf8(body) ? v1::Message::kTextFieldNumber : 0;
    case v1::BODY_AS_UNSPECIFIED:
    case v1::BODY_AS_AUTO:
      return is_json         ? 0
             : is_utf8(body) ? v1::Message::kTextFieldNumber
                             : v1::Message::kDataFieldNumber;
    default:
      return 0;
  }
}

void begin_field(int field, size_t bytes, std::string* out) {
  char head[kHeadMax];
  out->append(head, put_varint(put_tag(head, field, kBytes), bytes));
}

// Of a field with a number below 16.
size_t field_bytes(size_t bytes) { return 1 + varint_bytes(bytes) + bytes; }

size_t packed_bytes(const v1::PackedBodies& heads, size_t body_bytes) {
  return heads.ByteSizeLong() + field_bytes(body_bytes);
}

}  // namespace

grpc::Slice owned_slice(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  return {owned->data(), owned->size(), [](void* user) { delete static_cast<std::string*>(user); },
          owned};
}

grpc::Slice owned_slice(std::unique_ptr<std::byte[]> bytes, size_t length) {
  std::byte* const owned = bytes.release();
  return {owned, length, [](void* user) { delete[] static_cast<std::byte*>(user); }, owned};
}

void append_packed(int field, const v1::PackedBodies& heads, size_t body_bytes,
                   std::string* front) {
  begin_field(field, packed_bytes(heads, body_bytes), front);
  heads.AppendToString(front);
  begin_field(v1::PackedBodies::kBodiesFieldNumber, body_bytes, front);
}

Status parse(const grpc::ByteBuffer& buffer, google::protobuf::Message* out) {
  grpc::Slice slice;
  if (buffer.DumpToSingleSlice(&slice).ok() &&
      out->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return {};
  }
  return {Reason::kInvalidArgument, "the bytes are not a " + out->GetTypeName()};
}

grpc::ByteBuffer serialise(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

Status ProduceBatch::read(const grpc::ByteBuffer& buffer) {
  if (!buffer.TrySingleSlice(&slice_).ok() && !buffer.DumpToSingleSlice(&slice_).ok()) {
    return {Reason::kInternal, "the request cannot be read"};
  }
  const std::string_view bytes(reinterpret_cast<const char*>(slice_.begin()), slice_.size());
  return read_plain(bytes) ? Status() : read_any(bytes);
}

// False: something in it is not plain, or malformed.
bool ProduceBatch::read_plain(std::string_view bytes) {
  request_.reset();
  plain_.clear();
  name_.clear();
  timeout_ms_.reset();
  want_ids_ = false;
  for (WireReader in(bytes); !in.done();) {
    uint64_t what, number;
    std::string_view part;
    if (!in.varint(&what)) return false;
    if (what == tag(ProduceRequest::kMessagesFieldNumber, kBytes)) [[likely]] {
      if (!in.bytes(&part) || !read_plain_message(part, &plain_.emplace_back())) return false;
    } else if (what == tag(ProduceRequest::kPackedFieldNumber, kBytes)) {
      // Once, and behind all messages: else protobuf knows better what it means.
      if (!in.bytes(&part) || !in.done() || !unpack_plain(part)) return false;
    } else if (what == tag(ProduceRequest::kNameFieldNumber, kBytes)) {
      if (!in.bytes(&part) || !is_utf8(part)) return false;
      name_ = part;
    } else if (what == tag(ProduceRequest::kTimeoutMsFieldNumber, kVarint)) {
      if (!in.varint(&number)) return false;
      timeout_ms_ = static_cast<int64_t>(number);
    } else if (what == tag(ProduceRequest::kWantIdsFieldNumber, kVarint)) {
      if (!in.varint(&number)) return false;
      want_ids_ = number != 0;
    } else {
      return false;
    }
  }
  return true;
}

bool ProduceBatch::unpack_plain(std::string_view bytes) {
  return packed_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
         unpack(packed_, &plain_).ok();
}

Status ProduceBatch::read_any(std::string_view bytes) {
  request_ = std::make_unique<ProduceRequest>();
  if (!request_->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return {Reason::kInvalidArgument, "the bytes are not a " + request_->GetTypeName()};
  }
  name_ = request_->name();
  timeout_ms_.reset();
  if (request_->has_timeout_ms()) timeout_ms_ = request_->timeout_ms();
  want_ids_ = request_->want_ids();
  return {};
}

Status ProduceBatch::bodies(std::vector<objects::Body>* out) {
  if (!request_) {
    *out = plain_;
    return {};
  }
  const auto count = static_cast<size_t>(request_->messages_size());
  out->resize(count);
  storage_.assign(count, {});
  for (size_t i = 0; i < count; ++i) {
    const auto& message = request_->messages(static_cast<int>(i));
    if (Status status = body_from(message, &storage_[i], &(*out)[i]); !status.ok()) return status;
  }
  return request_->has_packed() ? unpack(request_->packed(), out) : Status();
}

Status unpack(const v1::PackedBodies& packed, std::vector<objects::Body>* out) {
  const std::string_view bodies = packed.bodies();
  const int count = packed.lengths_size(), kinds = packed.kinds_size();
  if (kinds > 1 && kinds != count) {
    return Status(Reason::kInvalidArgument, "packed needs no kind, one, or one for each length")
        .with_limit(static_cast<uint64_t>(count), static_cast<uint64_t>(kinds));
  }
  const uint64_t sum =
      std::accumulate(packed.lengths().begin(), packed.lengths().end(), uint64_t{0});
  if (sum != bodies.size()) {
    return Status(Reason::kInvalidArgument, "the lengths of packed do not add up to its bodies")
        .with_limit(bodies.size(), sum);
  }
  out->reserve(out->size() + static_cast<size_t>(count));
  size_t at = 0;
  for (int i = 0; i < count; ++i) {
    objects::Body& body = out->emplace_back();
    body.bytes = bodies.substr(at, packed.lengths(i));
    at += packed.lengths(i);
    const int kind = kinds == 0 ? v1::BODY_KIND_DATA : packed.kinds(kinds == 1 ? 0 : i);
    if (kind == v1::BODY_KIND_DATA || kind == v1::BODY_KIND_TEXT) {
      body.kind = static_cast<uint8_t>(kind - 1);
      continue;
    }
    v1::Message checked;
    checked.set_data(std::string(body.bytes));
    checked.set_kind(static_cast<v1::BodyKind>(kind));
    std::string storage;
    objects::Body same;
    if (Status status = body_from(checked, &storage, &same); !status.ok()) return status;
    body.kind = same.kind;
  }
  return {};
}

grpc::ByteBuffer write_packed(const std::vector<objects::Delivery>& messages, std::string bodies,
                              bool show_leases, const v1::QueueServiceConsumeResponse& rest) {
  using Wire = v1::PackedDeliveries;
  Wire columns;
  v1::PackedBodies heads;  // all but the bodies, which are not copied
  bool same_kind = true, first_time = true;
  for (const objects::Delivery& one : messages) {
    columns.add_ids(one.id);
    heads.add_lengths(static_cast<uint32_t>(one.body_bytes));
    same_kind &= one.kind == messages.front().kind;
    first_time &= one.count == 1;
    if (show_leases) columns.add_leases(objects::lease_name(one.ticket));
  }
  for (const objects::Delivery& one : messages) {
    if (!first_time) columns.add_delivery_counts(one.count);
    if (!same_kind) heads.add_kinds(wire_kind(one.kind));
  }
  if (same_kind && !messages.empty() && messages.front().kind != 0) {
    heads.add_kinds(wire_kind(messages.front().kind));
  }
  std::string front = rest.SerializeAsString();
  const std::string lines = columns.SerializeAsString();
  begin_field(v1::QueueServiceConsumeResponse::kPackedFieldNumber,
              lines.size() + field_bytes(packed_bytes(heads, bodies.size())), &front);
  front += lines;
  append_packed(Wire::kBodiesFieldNumber, heads, bodies.size(), &front);
  const grpc::Slice slices[] = {grpc::Slice(front), owned_slice(std::move(bodies))};
  return {slices, 2};
}

ConsumeWriter::ConsumeWriter(size_t messages, size_t body_bytes)
    : bytes_(std::make_unique<std::string>(messages * kDeliveryUsual + body_bytes + kDeliveryMax,
                                           '\0')) {}

Status ConsumeWriter::add(const objects::Delivery& delivery, std::string_view body, v1::BodyAs as,
                          bool show_lease) {
  if (const int field = plain_field(delivery.kind, as, body); field != 0) {
    char head[kHeadMax], tail[kHeadMax];
    const char* head_end = put_varint(put_tag(head, field, kBytes), body.size());
    const char* tail_end =
        put_varint(put_tag(tail, v1::Message::kKindFieldNumber, kVarint), wire_kind(delivery.kind));
    add_message(delivery, {head, head_end}, body, {tail, tail_end}, show_lease);
    return {};
  }
  v1::Message message;
  std::string copy(body);
  if (Status status = body_to(delivery.kind, as, copy, &message); !status.ok()) {
    return std::move(status).with_object("message " + std::to_string(delivery.id));
  }
  add_message(delivery, {}, message.SerializeAsString(), {}, show_lease);
  return {};
}

// `head`, `body` and `tail` together are the serialised Message.
void ConsumeWriter::add_message(const objects::Delivery& delivery, std::string_view head,
                                std::string_view body, std::string_view tail, bool show_lease) {
  using Wire = v1::Delivery;
  const std::string lease = show_lease ? objects::lease_name(delivery.ticket) : std::string();
  const size_t message_bytes = head.size() + body.size() + tail.size();
  size_t bytes = 1 + varint_bytes(delivery.id) + 1 + varint_bytes(message_bytes) + message_bytes +
                 1 + varint_bytes(delivery.count);
  if (show_lease) bytes += 1 + varint_bytes(lease.size()) + lease.size();
  const size_t needed = written_ + kDeliveryMax + body.size();
  if (needed > bytes_->size()) bytes_->resize(needed + needed / 2);
  char* const begin = bytes_->data() + written_;
  char* at = put_tag(begin, v1::QueueServiceConsumeResponse::kDeliveriesFieldNumber, kBytes);
  at = put_varint(at, bytes);
  at = put_varint(put_tag(at, Wire::kIdFieldNumber, kVarint), delivery.id);
  at = put_varint(put_tag(at, Wire::kMessageFieldNumber, kBytes), message_bytes);
  at = put_bytes(put_bytes(put_bytes(at, head), body), tail);
  at = put_varint(put_tag(at, Wire::kDeliveryCountFieldNumber, kVarint), delivery.count);
  if (show_lease) {
    at = put_bytes(put_varint(put_tag(at, Wire::kLeaseFieldNumber, kBytes), lease.size()), lease);
  }
  written_ += static_cast<size_t>(at - begin);
}

grpc::ByteBuffer ConsumeWriter::finish(const v1::QueueServiceConsumeResponse& rest) {
  bytes_->resize(written_);
  rest.AppendToString(bytes_.get());
  const grpc::Slice slice = owned_slice(std::move(*bytes_));
  return {&slice, 1};
}

}  // namespace heddle::services
