// A queue over shared memory: every operation ends in the same shm::Queue function that the broker
// calls for remote clients.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_QUEUE_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/src/channel.h"
#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_mutex.h"

namespace heddle::detail {

class ShmChannel;

class ShmQueue final : public QueueChannel {
 public:
  ShmQueue(std::shared_ptr<ShmChannel> channel, std::shared_ptr<Attachment> attachment);
  ~ShmQueue() override;

  const std::string& name() const override { return name_; }

  Result<std::uint64_t> put(const Body& body, std::int64_t deadline_ns) override;
  Status put_many(std::span<const Body> bodies, std::int64_t deadline_ns, std::size_t* done,
                  std::uint64_t* ids) override;
  Result<std::uint64_t> put_fenced(const Body& body, const Fence& fence,
                                   std::int64_t deadline_ns) override;
  Status loan(std::size_t bytes, LoanRoom* room) override;
  Result<std::uint64_t> commit(LoanRoom& room, std::size_t length, BodyKind kind,
                               std::int64_t deadline_ns) override;
  void discard(LoanRoom& room) noexcept override;

  Status take(const TakeOptions& options, Message* out) override;
  Status take_many(const TakeOptions& options, std::size_t max, std::uint64_t max_bytes,
                   std::vector<Message>* out) override;
  Status ack(const Lease& lease) override;
  Status nack(const Lease& lease, bool counted) override;
  Status bury(const Lease& lease) override;
  Status extend(const Lease& lease, std::int64_t duration_ms) override;
  Status join(std::int64_t deadline_ns) override;

  Result<QueueCounts> counts() override;
  Result<bool> full() override;
  Result<QueueInfo> info() override;
  Result<std::vector<BrowseRow>> browse(const BrowseOptions& options) override;
  Result<std::uint64_t> kick(std::uint64_t max) override;
  Result<std::uint64_t> purge(unsigned states) override;
  Status shutdown(bool immediate) override;
  Status reopen() override;
  Status open_producer(std::uint64_t* cell) override;
  Status close_producer(std::uint64_t cell) override;

 private:
  // The calling thread's hands, or null and why. Attaches anew after a fork or a lost session.
  [[gnu::always_inline]] Hands* hands(Status* status) {
    Hands* hands = hands_now();
    return hands != nullptr ? hands : hands_slow(status);
  }
  // Null now and then: whoever goes the slow way looks whether the session still stands.
  [[gnu::always_inline]] Hands* hands_now() {
    Hands* hands = cached_hands(key_.load(std::memory_order_relaxed));
    if (hands == nullptr || hands->uses == kUsesPerLook) return nullptr;
    ++hands->uses;
    return hands;
  }
  Hands* hands_slow(Status* status);
  // The hands that hold what `owner` (or attachment `key`) got; SESSION_LOST if that was another
  // session. Never attaches: there would be nothing to settle.
  Hands* hands_of_owner(std::uint16_t owner, Status* status);
  Hands* hands_of_key(std::uint64_t key, Status* status);
  Hands* hands_here(Status* status);

  // Tries once without waiting, then waits in slices of a second and looks at the connection in
  // between, so that nobody waits for ever on memory that has no daemon any more.
  template <class Attempt>
  shm::Outcome wait(Hands& hands, std::int64_t deadline_ns, Status* status, Attempt attempt);
  Status look(Attachment& attachment);
  // After MEMORY_EXHAUSTED: asks the broker for more of the queue's memory. True: try again; else
  // *status says why not, or nothing if that was not what is lacking. In shm_queue_grow.cc.
  struct Asking {
    std::uint32_t fruitless = 0, asked = 0;
  };
  Status ask_memory(Hands& hands, const shm::QueueGrant& at_least, std::int64_t until_ns);
  bool more_memory(Hands& hands, std::int64_t deadline_ns, Asking* asking, Status* status);
  shm::Outcome join_told(Hands& hands, std::int64_t deadline_ns, Status* status);

  Result<std::uint64_t> put_waiting(const shm::MessageIn& in, std::int64_t deadline_ns);
  Status take_waiting(const TakeOptions& options, Message* out);
  Status deliver(Hands& hands, const TakeOptions& options, const shm::Taken& taken, Message* out);
  Status explain(shm::Outcome outcome, Attachment& attachment, std::uint64_t length = 0);
  void name_holders(std::vector<BrowseRow>& rows);

  static constexpr std::uint32_t kUsesPerLook = 4096;

  const std::shared_ptr<ShmChannel> channel_;
  std::atomic<std::uint64_t> key_;  // Of attachment_; 0 = attach anew.
  ProcessMutex mutex_;
  std::shared_ptr<Attachment> attachment_;            // Guarded by mutex_.
  std::vector<std::shared_ptr<Attachment>> retired_;  // May still be in use by other threads.
  bool loss_told_ = false;                            // Guarded by mutex_.
  const std::string name_;
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_QUEUE_H_
