// Loan and Producer: RAII around what a channel gives.
#include <heddle/queue.h>

#include <exception>
#include <utility>

#include "client/src/channel.h"
#include "client/src/queue_handle.h"

namespace heddle {

Loan::Loan() noexcept = default;

Loan::Loan(Loan&& other) noexcept
    : queue_(std::move(other.queue_)),
      data_(std::exchange(other.data_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)),
      state_(other.state_) {}

Loan& Loan::operator=(Loan&& other) noexcept {
  if (this != &other) {
    release();
    queue_ = std::move(other.queue_);
    data_ = std::exchange(other.data_, nullptr);
    capacity_ = std::exchange(other.capacity_, 0);
    state_ = other.state_;
  }
  return *this;
}

Loan::~Loan() { release(); }

void Loan::release() noexcept {
  if (!queue_) return;
  detail::LoanRoom room{.data = data_, .capacity = capacity_, .state = state_};
  queue_->channel().discard(room);
  queue_.reset();
  data_ = nullptr;
  capacity_ = 0;
}

Result<std::uint64_t> Loan::commit(std::size_t length, BodyKind kind,
                                   std::chrono::nanoseconds timeout) {
  if (!queue_) {
    return Status(Reason::kInvalidArgument, "this loan is empty: committed or moved from already");
  }
  if (length > capacity_) {
    return Status(Reason::kInvalidArgument, "commit: longer than the loan")
        .with_object("queue " + queue_->channel().name())
        .with_limit(capacity_, length);
  }
  detail::LoanRoom room{.data = data_, .capacity = capacity_, .state = state_};
  auto id = queue_->channel().commit(room, length, kind, detail::deadline_after(timeout));
  state_ = room.state;
  if (!id) return id;
  queue_.reset();
  data_ = nullptr;
  capacity_ = 0;
  return id;
}

Producer::Producer(Producer&& other) noexcept
    : queue_(std::move(other.queue_)), cell_(other.cell_), exceptions_(other.exceptions_) {}

Producer& Producer::operator=(Producer&& other) noexcept {
  if (this != &other) {
    (void)close();
    queue_ = std::move(other.queue_);
    cell_ = other.cell_;
    exceptions_ = other.exceptions_;
  }
  return *this;
}

Producer::~Producer() {
  if (std::uncaught_exceptions() <= exceptions_) (void)close();
}

Status Producer::close() {
  if (!queue_) return {};
  auto queue = std::exchange(queue_, nullptr);
  return queue->channel().close_producer(cell_);
}

namespace detail {

Status LoanAccess::open(Loan& loan, std::shared_ptr<QueueHandle> queue, std::size_t bytes) {
  LoanRoom room;
  Status status = queue->channel().loan(bytes, &room);
  if (!status.ok()) return status;
  loan.queue_ = std::move(queue);
  loan.data_ = room.data;
  loan.capacity_ = room.capacity;
  loan.state_ = room.state;
  return status;
}

}  // namespace detail
}  // namespace heddle
