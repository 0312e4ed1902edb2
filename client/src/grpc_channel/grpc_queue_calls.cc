// The operations of a queue that are one unary call each.
#include <algorithm>

#include "client/src/grpc_channel/grpc_queue.h"
#include "client/src/grpc_channel/thread_number.h"
#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

// Fills in the name, calls, and leaves the answer in `response`.
template <class Request, class Response, class Method>
Status unary(Remote& remote, const std::string& name, Method method, Request& request,
             Response* response, std::int64_t deadline_ns = kTry) {
  request.set_name(name);
  return remote.call(deadline_ns, [&](grpc::ClientContext& context) {
    return (remote.queues.get()->*method)(&context, request, response);
  });
}

using Stub = v1::QueueService::Stub;

}  // namespace

#define HEDDLE_UNARY(Name, deadline)         \
  v1::QueueService##Name##Response response; \
  Status status = unary(*remote_, name_, &Stub::Name, request, &response, deadline)

// Ends one lease. A repeated attempt may find it ended by the one before, and says so.
#define HEDDLE_END_LEASE(Name)                                  \
  request.set_name(name_);                                      \
  request.add_leases(lease_to(lease));                          \
  v1::QueueService##Name##Response response;                    \
  bool asked_before = false;                                    \
  const auto attempt = [&](grpc::ClientContext& context) {      \
    request.set_asked_before(asked_before);                     \
    return remote_->queues->Name(&context, request, &response); \
  };                                                            \
  Status status = remote_->call(kTry, attempt, &asked_before);  \
  return status.ok() ? outcome_from(response) : status

Status GrpcQueue::ack(const Lease& lease) {
  v1::QueueServiceAckRequest request;
  HEDDLE_END_LEASE(Ack);
}

Status GrpcQueue::nack(const Lease& lease, bool counted) {
  v1::QueueServiceNackRequest request;
  request.set_uncounted(!counted);
  HEDDLE_END_LEASE(Nack);
}

Status GrpcQueue::bury(const Lease& lease) {
  v1::QueueServiceBuryRequest request;
  HEDDLE_END_LEASE(Bury);
}

Status GrpcQueue::extend(const Lease& lease, std::int64_t duration_ms) {
  v1::QueueServiceExtendRequest request;
  request.add_leases(lease_to(lease));
  request.set_lease_ms(duration_ms);
  HEDDLE_UNARY(Extend, kTry);
  return status.ok() ? outcome_from(response) : status;
}

Status GrpcQueue::join(std::int64_t deadline_ns) {
  v1::QueueServiceJoinRequest request;
  timeout_to(deadline_ns, &request);
  request.set_thread(ThreadNumber::known());
  HEDDLE_UNARY(Join, deadline_ns);
  return status.ok() ? outcome_from(response) : status;
}

Result<QueueCounts> GrpcQueue::counts() {
  Result<QueueInfo> all = info();
  if (!all.ok()) return all.status();
  return all->counts;
}

Result<bool> GrpcQueue::full() {
  Result<QueueInfo> all = info();
  if (!all.ok()) return all.status();
  const QueueCounts& counts = all->counts;
  return counts.ready + counts.returned >= *all->options.max_len ||
         counts.bytes >= *all->options.max_bytes;
}

Result<QueueInfo> GrpcQueue::info() {
  v1::QueueServiceInfoRequest request;
  HEDDLE_UNARY(Info, kTry);
  if (!status.ok()) return status;
  return info_from(response.queue());
}

Result<std::vector<BrowseRow>> GrpcQueue::browse(const BrowseOptions& options) {
  v1::QueueServiceBrowseRequest request;
  states_to(options.states, &request);
  request.set_body_as(v1::BODY_AS_DATA);
  request.set_max_body_bytes(
      static_cast<std::uint32_t>(std::min<std::uint64_t>(options.max_body, UINT32_MAX)));
  if (options.after_id != 0) request.set_page_token(std::to_string(options.after_id));
  std::vector<BrowseRow> rows;
  while (rows.size() < options.limit) {
    request.set_page_size(
        static_cast<std::uint32_t>(std::min<std::size_t>(options.limit - rows.size(), 1'000)));
    HEDDLE_UNARY(Browse, kTry);
    if (!status.ok()) return status;
    for (const auto& row : response.rows()) rows.push_back(row_from(row));
    if (response.next_page_token().empty()) break;
    request.set_page_token(response.next_page_token());
  }
  return rows;
}

Result<std::uint64_t> GrpcQueue::kick(std::uint64_t max) {
  if (max == 0) return std::uint64_t{0};
  v1::QueueServiceKickRequest request;
  request.set_max_messages(static_cast<std::uint32_t>(std::min<std::uint64_t>(max, UINT32_MAX)));
  HEDDLE_UNARY(Kick, kTry);
  if (!status.ok()) return status;
  return std::uint64_t{response.done()};
}

Result<std::uint64_t> GrpcQueue::purge(unsigned states) {
  if ((states & kAllStates) == 0) return std::uint64_t{0};
  v1::QueueServicePurgeRequest request;
  states_to(states, &request);
  HEDDLE_UNARY(Purge, kTry);
  if (!status.ok()) return status;
  return std::uint64_t{response.done()};
}

Status GrpcQueue::shutdown(bool immediate) {
  v1::QueueServiceShutdownRequest request;
  request.set_immediate(immediate);
  HEDDLE_UNARY(Shutdown, kTry);
  return status;  // closed already is as good
}

Status GrpcQueue::reopen() {
  v1::QueueServiceReopenRequest request;
  HEDDLE_UNARY(Reopen, kTry);
  return status;
}

// The number makes a repeated attempt harmless.
Status GrpcQueue::open_producer(std::uint64_t* cell) {
  *cell = remote_->next_producer();
  v1::QueueServiceRegisterProducerRequest request;
  request.set_producer(*cell);
  HEDDLE_UNARY(RegisterProducer, kTry);
  return status;
}

Status GrpcQueue::close_producer(std::uint64_t cell) {
  v1::QueueServiceUnregisterProducerRequest request;
  request.set_producer(cell);
  HEDDLE_UNARY(UnregisterProducer, kTry);
  return status;
}

#undef HEDDLE_UNARY

}  // namespace heddle::detail
