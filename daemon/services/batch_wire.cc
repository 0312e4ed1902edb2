#include "daemon/services/batch_wire.h"

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

}  // namespace

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
  return {};
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
  std::string* const bytes = bytes_.release();
  const grpc::Slice slice(
      bytes->data(), bytes->size(), [](void* user) { delete static_cast<std::string*>(user); },
      bytes);
  return {&slice, 1};
}

}  // namespace heddle::services
