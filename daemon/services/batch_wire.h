// Batches of Produce and Consume in their serialised form. A stream carries so many small messages
// that making an object of each and taking it apart again would cost more than the queue does.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/objects/queue.h"
#include "heddle/v1/queue_service.pb.h"

namespace heddle::services {

// INVALID_ARGUMENT: the bytes are not such a message.
Status parse(const grpc::ByteBuffer& buffer, google::protobuf::Message* out);
grpc::ByteBuffer serialise(const google::protobuf::Message& message);

// One request of Produce. Bodies of data and text are left where they came in; a request with
// anything else in it is parsed as usual.
class ProduceBatch {
 public:
  // Replaces what was read before. INVALID_ARGUMENT: not a request of Produce.
  Status read(const grpc::ByteBuffer& buffer);

  const std::string& name() const { return name_; }  // empty: not given
  std::optional<int64_t> timeout_ms() const { return timeout_ms_; }
  bool want_ids() const { return want_ids_; }
  // Null: not fenced.
  const v1::Fence* fence() const {
    return request_ && request_->has_fence() ? &request_->fence() : nullptr;
  }
  // Once. They lie in here until the next read(). INVALID_ARGUMENT: one cannot be stored.
  Status bodies(std::vector<objects::Body>* out);

 private:
  bool read_plain(std::string_view bytes);
  bool unpack_plain(std::string_view bytes);
  Status read_any(std::string_view bytes);

  grpc::Slice slice_;
  std::unique_ptr<v1::QueueServiceProduceRequest> request_;  // of one that is not plain
  std::vector<std::string> storage_;                         // of its JSON values
  v1::PackedBodies packed_;                                  // of one that is plain
  std::vector<objects::Body> plain_;
  std::string name_;
  std::optional<int64_t> timeout_ms_;
  bool want_ids_ = false;
};

// Appends views of them. INVALID_ARGUMENT: the lengths do not add up, or one cannot be stored.
Status unpack(const v1::PackedBodies& packed, std::vector<objects::Body>* out);

// A field of type PackedBodies at the end of `front`: `heads`, and then `body_bytes` of bodies,
// which follow as slices of their own.
void append_packed(int field, const v1::PackedBodies& heads, size_t body_bytes, std::string* front);
// Nothing is copied.
grpc::Slice owned_slice(std::string bytes);
grpc::Slice owned_slice(std::unique_ptr<std::byte[]> bytes, size_t length);

// One response of Consume whose messages are packed; `bodies` has them end to end.
grpc::ByteBuffer write_packed(const std::vector<objects::Delivery>& messages, std::string bodies,
                              bool show_leases, const v1::QueueServiceConsumeResponse& rest);

// One response of Consume.
class ConsumeWriter {
 public:
  ConsumeWriter(size_t messages, size_t body_bytes);
  // INVALID_ARGUMENT: the body cannot be shown so.
  Status add(const objects::Delivery& delivery, std::string_view body, v1::BodyAs as,
             bool show_lease);
  // With all other fields. Once.
  grpc::ByteBuffer finish(const v1::QueueServiceConsumeResponse& rest);

 private:
  void add_message(const objects::Delivery& delivery, std::string_view head, std::string_view body,
                   std::string_view tail, bool show_lease);

  std::unique_ptr<std::string> bytes_;  // the first `written_` count
  size_t written_ = 0;
};

}  // namespace heddle::services
