#include "client/src/grpc_channel/grpc_queue.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

constexpr std::size_t kBatchMessages = 1'024;
constexpr std::size_t kBatchBytes = 1u << 20;

// The connection of a stream broke, or the broker refused: what gRPC says about it.
template <class Stream>
grpc::Status broken(std::unique_ptr<Stream>& stream) {
  grpc::Status status = stream->stream->Finish();
  stream->stream.reset();
  if (status.ok()) return {grpc::StatusCode::UNAVAILABLE, "the stream was ended"};
  return status;
}

}  // namespace

GrpcQueue::~GrpcQueue() {
  if (!remote_->forked()) return;
  producing_.forget();
  consuming_auto_.forget();
  consuming_leased_.forget();
}

Status GrpcQueue::named(Status status) const {
  if (!status.is(Reason::kTooLarge) || !status.object().empty()) return status;
  return std::move(status).with_object("queue " + name_);
}

Result<std::uint64_t> GrpcQueue::put(const Body& body, std::int64_t deadline_ns) {
  return put_one(body, nullptr, deadline_ns);
}

Result<std::uint64_t> GrpcQueue::put_fenced(const Body& body, const Fence& fence,
                                            std::int64_t deadline_ns) {
  return put_one(body, &fence, deadline_ns);
}

// With a request id a repeated attempt is harmless: the broker answers as the first time.
Result<std::uint64_t> GrpcQueue::put_one(const Body& body, const Fence* fence,
                                         std::int64_t deadline_ns) {
  v1::QueueServicePutRequest request;
  v1::QueueServicePutResponse response;
  request.set_name(name_);
  request.set_request_id(remote_->next_request_id());
  body_to(body, request.mutable_message());
  if (fence != nullptr) {
    request.mutable_fence()->set_lock(fence->lock);
    request.mutable_fence()->set_token(fence->token);
  }
  const auto attempt = [&](grpc::ClientContext& context) {
    timeout_to(deadline_ns, &request);
    return remote_->queues->Put(&context, request, &response);
  };
  Status status = remote_->call(deadline_ns, attempt, nullptr, body.length);
  if (status.ok()) status = outcome_from(response);
  if (!status.ok()) return named(std::move(status));
  return response.id();
}

Status GrpcQueue::put_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                           std::size_t* done, std::uint64_t* ids) {
  *done = 0;
  v1::QueueServiceProduceRequest request;
  v1::QueueServiceProduceResponse response;
  std::int64_t give_up_ns = 0;
  while (*done < bodies.size()) {
    v1::PackedBodies& packed = *request.mutable_packed();
    packed.Clear();
    for (const Body& body : bodies.subspan(*done)) {
      const auto count = static_cast<std::size_t>(packed.lengths_size());
      const std::size_t bytes = packed.bodies().size() + body.length;
      if (count == kBatchMessages || (count != 0 && bytes > kBatchBytes)) break;
      add_to(body, &packed);
    }
    timeout_to(deadline_ns, &request);
    request.set_want_ids(ids != nullptr);
    std::string token;
    if (Status status = remote_->enter_session(&token); !status.ok()) return status;
    bool sent = false;
    if (const auto result = produce(request, &response, token, &sent); !result.ok()) {
      Status status = status_from(result);
      // What was sent is not repeated: whether it got in is not known.
      if (!sent) status = remote_->after_failure(result, deadline_ns, token, &give_up_ns);
      if (!status.ok()) return named(std::move(status));
      continue;
    }
    give_up_ns = 0;
    for (std::size_t i = 0; ids != nullptr && i < static_cast<std::size_t>(response.ids_size());
         ++i) {
      ids[*done + i] = response.ids(static_cast<int>(i));
    }
    *done += response.done();
    if (Status status = outcome_from(response); !status.ok()) return status;
  }
  return {};
}

grpc::Status GrpcQueue::produce(v1::QueueServiceProduceRequest& request,
                                v1::QueueServiceProduceResponse* response, const std::string& token,
                                bool* sent) {
  auto stream = producing_.take();
  if (!stream) {
    stream = std::make_unique<ProduceStream>();
    if (!token.empty()) stream->context.AddMetadata("heddle-session", token);
    stream->stream = remote_->queues->Produce(&stream->context);
  }
  stream->first ? request.set_name(name_) : request.clear_name();
  stream->first = false;
  *sent = stream->stream->Write(request);
  if (!*sent || !stream->stream->Read(response)) return broken(stream);
  producing_.give(std::move(stream));
  return grpc::Status::OK;
}

Status GrpcQueue::loan(std::size_t bytes, LoanRoom* room) {
  if (bytes > max_msg_bytes_) {
    return Status(Reason::kTooLarge, "the message is larger than max_msg_bytes")
        .with_object("queue " + name_)
        .with_limit(max_msg_bytes_, bytes);
  }
  room->data = static_cast<std::byte*>(std::malloc(std::max<std::size_t>(bytes, 1)));
  if (room->data == nullptr) return Status(Reason::kMemoryExhausted, "no memory for the loan");
  room->capacity = bytes;
  return {};
}

Result<std::uint64_t> GrpcQueue::commit(LoanRoom& room, std::size_t length, BodyKind kind,
                                        std::int64_t deadline_ns) {
  auto id = put(Body(room.data, length, kind), deadline_ns);
  if (id) discard(room);
  return id;
}

void GrpcQueue::discard(LoanRoom& room) noexcept {
  std::free(room.data);
  room = {};
}

Status GrpcQueue::take(const TakeOptions& options, Message* out) {
  v1::QueueServiceGetRequest request;
  v1::QueueServiceGetResponse response;
  request.set_name(name_);
  request.set_body_as(v1::BODY_AS_DATA);
  request.set_ack_mode(options.leased ? v1::ACK_MODE_MANUAL : v1::ACK_MODE_AUTO);
  if (options.lease_ms > 0) request.set_lease_ms(options.lease_ms);
  const auto attempt = [&](grpc::ClientContext& context) {
    timeout_to(options.deadline_ns, &request);
    return remote_->queues->Get(&context, request, &response);
  };
  Status status = remote_->call(options.deadline_ns, attempt, nullptr, max_msg_bytes_);
  if (status.ok()) status = outcome_from(response);
  if (!status.ok()) return status;
  return delivery_from(response.delivery(), holder(options.leased), out);
}

Status GrpcQueue::take_many(const TakeOptions& options, std::size_t max, std::uint64_t max_bytes,
                            std::vector<Message>* out) {
  v1::QueueServiceConsumeResponse taken;
  const auto count = static_cast<std::uint32_t>(std::clamp<std::size_t>(max, 1, 4'096));
  Status status = take_batch(options, count, max_bytes, &taken);
  if (!status.ok()) return status;
  return messages_from(taken, holder(options.leased), out);
}

// A byte limit goes by a unary call; without one an open stream saves a third of the time.
Status GrpcQueue::take_batch(const TakeOptions& options, std::uint32_t max, std::uint64_t max_bytes,
                             v1::QueueServiceConsumeResponse* out) {
  Status status;
  if (max_bytes != 0) {
    v1::QueueServiceGetManyRequest request;
    v1::QueueServiceGetManyResponse response;
    request.set_name(name_);
    request.set_max_messages(max);
    request.set_max_bytes(max_bytes);
    request.set_body_as(v1::BODY_AS_DATA);
    request.set_ack_mode(options.leased ? v1::ACK_MODE_MANUAL : v1::ACK_MODE_AUTO);
    if (options.lease_ms > 0) request.set_lease_ms(options.lease_ms);
    const auto attempt = [&](grpc::ClientContext& context) {
      timeout_to(options.deadline_ns, &request);
      return remote_->queues->GetMany(&context, request, &response);
    };
    status = remote_->call(options.deadline_ns, attempt, nullptr, max_bytes + max_msg_bytes_);
    if (status.ok()) status = outcome_from(response);
    out->mutable_deliveries()->Swap(response.mutable_deliveries());
  } else {
    v1::QueueServiceConsumeRequest request;
    request.set_take(max);
    if (options.lease_ms > 0) request.set_lease_ms(options.lease_ms);
    status = remote_->call(options.deadline_ns, [&](grpc::ClientContext&) {
      std::string token;
      (void)remote_->enter_session(&token);  // `call` has just done so, and retries
      timeout_to(options.deadline_ns, &request);
      return consume(request, options.leased, out, token);
    });
    if (status.ok()) status = outcome_from(*out);
  }
  return status;
}

grpc::Status GrpcQueue::consume(v1::QueueServiceConsumeRequest& request, bool leased,
                                v1::QueueServiceConsumeResponse* response,
                                const std::string& token) {
  auto& pool = leased ? consuming_leased_ : consuming_auto_;
  auto stream = pool.take();
  if (!stream) {
    stream = std::make_unique<ConsumeStream>();
    if (!token.empty()) stream->context.AddMetadata("heddle-session", token);
    stream->stream = remote_->queues->Consume(&stream->context);
  }
  if (stream->first) {
    request.set_name(name_);
    request.set_ack_mode(leased ? v1::ACK_MODE_MANUAL : v1::ACK_MODE_AUTO);
    request.set_packed(true);
    stream->first = false;
  }
  if (!stream->stream->Write(request) || !stream->stream->Read(response)) return broken(stream);
  pool.give(std::move(stream));
  return grpc::Status::OK;
}

}  // namespace heddle::detail
