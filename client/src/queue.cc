// The public queue handle: timeouts become deadlines, ack modes become leases, the rest is passed
// to the channel.
#include <heddle/queue.h>

#include <time.h>

#include <exception>
#include <utility>

#include "client/src/channel.h"
#include "client/src/queue_handle.h"

namespace heddle {

using detail::kNever;
using detail::kTry;
using detail::MessageAccess;

namespace detail {

std::int64_t deadline_after(std::chrono::nanoseconds timeout) {
  if (timeout <= std::chrono::nanoseconds::zero()) return kTry;
  if (timeout == kForever) return kNever;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_ns = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  return timeout.count() > kNever - 1 - now_ns ? kNever - 1 : now_ns + timeout.count();
}

}  // namespace detail

namespace {

Status no_queue() {
  return Status(Reason::kInvalidArgument,
                "this handle has no queue; get one from Client::queue or create_queue");
}

// What an operation does on a handle without a queue.
#define HEDDLE_NEED_QUEUE()            \
  if (handle_ == nullptr) [[unlikely]] \
  return no_queue()

bool keeps(Ack ack) { return ack == Ack::kOnNext || ack == Ack::kTask; }

// What the handle itself settles: the deliveries before this one, and later this one.
[[gnu::noinline]] Status take_and_keep(detail::QueueHandle& handle, Message& message,
                                       const detail::TakeOptions& take, Ack ack) {
  Status status = handle.settle_previous();
  if (status.failed()) return status;
  status = handle.channel().take(take, &message);
  if (status.ok() && keeps(ack)) handle.hold(message, ack);
  return status;
}

inline Status take_until(detail::QueueHandle& handle, Message& message, std::int64_t deadline_ns,
                         const GetOptions& options) {
  const detail::TakeOptions take{.leased = options.ack != Ack::kAuto,
                                 .lease_ms = options.lease.count(),
                                 .deadline_ns = deadline_ns};
  if (handle.has_previous() || keeps(options.ack)) [[unlikely]] {
    return take_and_keep(handle, message, take, options.ack);
  }
  return handle.channel().take(take, &message);
}

Result<Message> get_until(detail::QueueHandle& handle, std::int64_t deadline_ns,
                          const GetOptions& options) {
  Message message;
  Status status = take_until(handle, message, deadline_ns, options);
  if (!status.ok()) return status;
  return message;
}

Status take_many_until(detail::QueueHandle& handle, std::vector<Message>& messages,
                       std::int64_t deadline_ns, const GetManyOptions& options) {
  if (options.max == 0) return Status(Reason::kInvalidArgument, "get_many: max must be at least 1");
  Status status = handle.settle_previous();
  if (status.failed()) return status;
  const detail::TakeOptions take{.leased = options.ack != Ack::kAuto,
                                 .lease_ms = options.lease.count(),
                                 .deadline_ns = deadline_ns};
  status = handle.channel().take_many(take, options.max, options.max_bytes, &messages);
  if (status.ok() && keeps(options.ack)) {
    for (Message& message : messages) handle.hold(message, options.ack);
  }
  return status;
}

}  // namespace

const std::string& Queue::name() const {
  static const std::string kNone;
  return handle_ ? handle_->channel().name() : kNone;
}

Result<std::uint64_t> Queue::put(const Body& body) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().put(body, kNever);
}

Result<std::uint64_t> Queue::try_put(const Body& body) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().put(body, kTry);
}

Result<std::uint64_t> Queue::put_for(const Body& body, std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().put(body, detail::deadline_after(timeout));
}

PutManyResult Queue::put_many(std::span<const Body> bodies, std::chrono::nanoseconds timeout,
                              std::span<std::uint64_t> ids) {
  if (handle_ == nullptr) return {.done = 0, .status = no_queue()};
  PutManyResult result;
  if (!ids.empty() && ids.size() < bodies.size()) {
    result.status = Status(Reason::kInvalidArgument, "put_many: ids has too little room")
                        .with_limit(ids.size(), bodies.size());
    return result;
  }
  result.status = handle_->channel().put_many(bodies, detail::deadline_after(timeout), &result.done,
                                              ids.empty() ? nullptr : ids.data());
  return result;
}

Result<std::uint64_t> Queue::put(const Body& body, const Fence& fence,
                                 std::chrono::nanoseconds timeout) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().put_fenced(body, fence, detail::deadline_after(timeout));
}

PutManyResult Queue::put_many(std::span<const Body> bodies, const Fence& fence,
                              std::chrono::nanoseconds timeout, std::span<std::uint64_t> ids) {
  if (handle_ == nullptr) return {.done = 0, .status = no_queue()};
  PutManyResult result;
  if (!ids.empty() && ids.size() < bodies.size()) {
    result.status = Status(Reason::kInvalidArgument, "put_many: ids has too little room")
                        .with_limit(ids.size(), bodies.size());
    return result;
  }
  const std::int64_t deadline_ns = detail::deadline_after(timeout);
  for (const Body& body : bodies) {
    auto id = handle_->channel().put_fenced(body, fence, deadline_ns);
    if (!id) {
      result.status = std::move(id).status();
      break;
    }
    if (!ids.empty()) ids[result.done] = *id;
    ++result.done;
  }
  return result;
}

Result<Message> Queue::get(const GetOptions& options) {
  HEDDLE_NEED_QUEUE();
  return get_until(*handle_, kNever, options);
}

Result<Message> Queue::try_get(const GetOptions& options) {
  HEDDLE_NEED_QUEUE();
  return get_until(*handle_, kTry, options);
}

Result<Message> Queue::get_for(std::chrono::nanoseconds timeout, const GetOptions& options) {
  HEDDLE_NEED_QUEUE();
  return get_until(*handle_, detail::deadline_after(timeout), options);
}

Status Queue::get_into(Message& message, std::chrono::nanoseconds timeout,
                       const GetOptions& options) {
  MessageAccess::clear(message);
  HEDDLE_NEED_QUEUE();
  return take_until(*handle_, message, detail::deadline_after(timeout), options);
}

Result<std::vector<Message>> Queue::get_many(std::chrono::nanoseconds timeout,
                                             const GetManyOptions& options) {
  std::vector<Message> messages;
  Status status = get_many_into(messages, timeout, options);
  if (!status.ok()) return status;
  return messages;
}

Status Queue::get_many_into(std::vector<Message>& messages, std::chrono::nanoseconds timeout,
                            const GetManyOptions& options) {
  for (Message& message : messages) MessageAccess::clear(message);
  Status status = handle_ == nullptr ? no_queue()
                                     : take_many_until(*handle_, messages,
                                                       detail::deadline_after(timeout), options);
  if (!status.ok()) messages.clear();
  return status;
}

Status Queue::ack(const Lease& lease) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().ack(lease);
}

Status Queue::nack(const Lease& lease, bool counted) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().nack(lease, counted);
}

Status Queue::bury(const Lease& lease) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().bury(lease);
}

Status Queue::extend(const Lease& lease, std::chrono::milliseconds duration) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().extend(lease, duration.count());
}

Status Queue::task_done() {
  HEDDLE_NEED_QUEUE();
  Lease lease;
  if (!handle_->pop(&lease)) {
    return Status(Reason::kInvalidArgument,
                  "task_done called more often than this handle got messages with Ack::kTask")
        .with_object("queue " + name());
  }
  return handle_->channel().ack(lease);
}

Status Queue::join() {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().join(kNever);
}

JoinReport Queue::join_for(std::chrono::nanoseconds timeout) {
  if (handle_ == nullptr) return {.status = no_queue(), .holders = {}};
  JoinReport report{.status = handle_->channel().join(detail::deadline_after(timeout)),
                    .holders = {}};
  // A join that does not wait is a question too: both answers carry the holders.
  if (report.status.is(Reason::kTimedOut) || report.status.is(Reason::kEmpty)) {
    report.status = Reason::kTimedOut;
    auto rows = browse({.states = kLeased});
    if (rows) report.holders = std::move(*rows);
  }
  return report;
}

Result<QueueCounts> Queue::counts() {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().counts();
}

Result<std::uint64_t> Queue::size() {
  auto now = counts();
  if (!now) return now.status();
  return now->ready + now->returned;
}

Result<std::uint64_t> Queue::unfinished() {
  auto now = counts();
  if (!now) return now.status();
  return now->unfinished;
}

Answer Queue::empty() {
  auto now = size();
  if (!now) return Result<bool>(now.status());
  return Result<bool>(*now == 0);
}

Answer Queue::full() {
  if (handle_ == nullptr) return Result<bool>(no_queue());
  return handle_->channel().full();
}

Result<QueueInfo> Queue::info() {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().info();
}

Result<BrowseRow> Queue::peek(std::uint64_t max_body) {
  HEDDLE_NEED_QUEUE();
  // Returned messages are delivered before ready ones, whatever their ids.
  for (unsigned state : {kReturned, kReady}) {
    auto rows = browse({.states = state, .limit = 1, .max_body = max_body});
    if (!rows) return rows.status();
    if (!rows->empty()) return std::move(rows->front());
  }
  return Reason::kEmpty;
}

Result<std::vector<BrowseRow>> Queue::browse(const BrowseOptions& options) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().browse(options);
}

Result<std::uint64_t> Queue::kick(std::uint64_t max) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().kick(max);
}

Result<std::uint64_t> Queue::purge(unsigned states) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().purge(states);
}

Status Queue::shutdown(bool immediate) {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().shutdown(immediate);
}

Status Queue::reopen() {
  HEDDLE_NEED_QUEUE();
  return handle_->channel().reopen();
}

Result<Loan> Queue::loan(std::size_t bytes) {
  HEDDLE_NEED_QUEUE();
  Loan loan;
  Status status = detail::LoanAccess::open(loan, handle_, bytes);
  if (!status.ok()) return status;
  return loan;
}

Result<Producer> Queue::producer() {
  HEDDLE_NEED_QUEUE();
  std::uint64_t cell = 0;
  Status status = handle_->channel().open_producer(&cell);
  if (!status.ok()) return status;
  Producer producer;
  producer.queue_ = handle_;
  producer.cell_ = cell;
  producer.exceptions_ = std::uncaught_exceptions();
  return producer;
}

}  // namespace heddle
