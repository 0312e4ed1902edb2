// What a Queue points to: the channel's queue and the deliveries that the handle itself settles.
#ifndef HEDDLE_CLIENT_SRC_QUEUE_HANDLE_H_
#define HEDDLE_CLIENT_SRC_QUEUE_HANDLE_H_

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "client/src/channel.h"

namespace heddle::detail {

class QueueHandle {
 public:
  explicit QueueHandle(std::shared_ptr<QueueChannel> channel) : channel_(std::move(channel)) {}
  ~QueueHandle() {
    for (const Lease& lease : held_) (void)channel_->nack(lease, false);
  }
  QueueHandle(const QueueHandle&) = delete;
  QueueHandle& operator=(const QueueHandle&) = delete;

  QueueChannel& channel() const { return *channel_; }

  // One look before every get; no lock unless on_next is in use.
  bool has_previous() const { return on_next_.load(std::memory_order_relaxed); }
  Status settle_previous() {
    if (!has_previous()) return {};
    std::lock_guard lock(mutex_);
    on_next_.store(false, std::memory_order_relaxed);
    Status status;
    for (; !held_.empty(); held_.pop_front()) {
      Status one = channel_->ack(held_.front());
      if (!one.ok()) status = std::move(one);
    }
    return status;
  }

  void hold(Message& message, Ack ack) {
    const Lease lease = message.detach();
    std::lock_guard lock(mutex_);
    held_.push_back(lease);
    if (ack == Ack::kOnNext) on_next_.store(true, std::memory_order_relaxed);
  }

  // The oldest held delivery, or false.
  bool pop(Lease* lease) {
    std::lock_guard lock(mutex_);
    if (held_.empty()) return false;
    *lease = held_.front();
    held_.pop_front();
    return true;
  }

 private:
  const std::shared_ptr<QueueChannel> channel_;
  std::atomic<bool> on_next_{false};
  std::mutex mutex_;
  std::deque<Lease> held_;
};

struct LoanAccess {
  static Status open(Loan& loan, std::shared_ptr<QueueHandle> queue, std::size_t bytes);
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_QUEUE_HANDLE_H_
