// A handle on one named queue: first in, first out, any number of producers and consumers, bounded.
#ifndef HEDDLE_QUEUE_H_
#define HEDDLE_QUEUE_H_

#include <heddle/message.h>
#include <heddle/options.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace heddle {

namespace detail {
class QueueHandle;
struct LoanAccess;
}  // namespace detail

// Waits without end.
inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

// What a write shows so that it is refused once somebody else has been granted the lock:
//   queue.put(body, guard.fence());
struct Fence {
  std::string lock;         // Name; of any kind of Lock, also of another daemon's.
  std::uint64_t token = 0;  // Grant::token.
};

// A Result<bool> that cannot be mistaken for its value: `if (queue.empty())` does not compile,
// `if (queue.empty().value())` or `*queue.empty()` does.
class Answer : public Result<bool> {
 public:
  Answer(Result<bool> result) : Result<bool>(std::move(result)) {}  // NOLINT
  explicit operator bool() const = delete;
};

struct QueueCounts {
  std::uint64_t ready = 0;
  std::uint64_t leased = 0;
  std::uint64_t returned = 0;  // Nacked, or their holder died; delivered before the ready ones.
  std::uint64_t buried = 0;
  std::uint64_t unfinished = 0;  // ready + leased + returned.
  std::uint64_t bytes = 0;       // Of all bodies held.
  std::uint64_t puts = 0;        // Totals since the queue was created.
  std::uint64_t gets = 0;
  std::uint64_t acks = 0;
  std::uint64_t drops = 0;      // By overflow = drop_oldest.
  std::uint32_t producers = 0;  // Registered now.
  bool closed = false;
};

struct QueueInfo {
  std::string name;
  std::uint64_t object_id = 0;
  QueueOptions options;  // Every field set to what holds.
  std::uint32_t owner_uid = 0;
  std::uint32_t owner_gid = 0;
  std::uint32_t attached = 0;  // Sessions that have it open.
  QueueCounts counts;
};

// One message as browse sees it; holder fields are set for leased messages only.
struct BrowseRow {
  std::uint64_t id = 0;
  unsigned state = 0;  // One of MessageStates.
  std::uint32_t delivery_count = 0;
  BodyKind kind = BodyKind::kData;
  std::uint64_t length = 0;  // Of the whole body, bytes.
  std::string body;          // Its first BrowseOptions::max_body bytes.
  std::uint16_t owner = 0;   // Session number of the holder.
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::string command;
  std::chrono::milliseconds age{};  // Since the state was entered; 0 if unknown.
};

struct PutManyResult {
  std::size_t done = 0;  // The first `done` bodies are in the queue, the rest are not.
  Status status;         // Why it stopped before the end, or OK.
};

struct JoinReport {
  Status status;                   // OK, or TIMED_OUT.
  std::vector<BrowseRow> holders;  // When it timed out: who holds what.
};

// Room for one message inside the queue's memory, to be filled in place. Dropped uncommitted, the
// room goes back and nobody has seen anything. Threads: one at a time. Does not cross fork.
class HEDDLE_API Loan {
 public:
  Loan() noexcept;
  Loan(Loan&&) noexcept;
  Loan& operator=(Loan&&) noexcept;
  ~Loan();

  // At least as long as asked for. Lifetime: until committed, moved from or destroyed.
  std::span<std::byte> bytes() const noexcept { return {data_, capacity_}; }

  // Puts the first `length` bytes as one message and gives its id. Blocks while the queue is full,
  // up to `timeout`; the loan stays valid when the outcome is FULL or TIMED_OUT.
  Result<std::uint64_t> commit(std::size_t length, BodyKind kind = BodyKind::kData,
                               std::chrono::nanoseconds timeout = kForever);

 private:
  friend struct detail::LoanAccess;
  void release() noexcept;

  std::shared_ptr<detail::QueueHandle> queue_;
  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0;
  alignas(8) std::array<std::byte, 64> state_{};
};

// Registration as a producer. While one is open the queue knows that more may come; with
// eos = last_producer the last close() ends the queue. A process that dies with one open is a
// death, told apart by on_producer_death. Threads: one at a time.
class HEDDLE_API Producer {
 public:
  Producer() noexcept = default;
  Producer(Producer&& other) noexcept;
  Producer& operator=(Producer&& other) noexcept;
  // Closes cleanly, unless an exception is unwinding the stack: a failed producer must not pass for
  // a finished one, so then it stays registered until the process ends, which is a death.
  ~Producer();

  // The clean end. OK if closed already.
  Status close();

 private:
  friend class Queue;
  std::shared_ptr<detail::QueueHandle> queue_;
  std::uint64_t cell_ = 0;
  int exceptions_ = 0;
};

// Ordinary outcomes are values: put may end FULL, TIMED_OUT, CLOSED; get may end EMPTY, TIMED_OUT,
// END_OF_STREAM. Then status().outcome() is true and status().reason() tells which. Anything else
// that is not OK is a failure (a get that meets a stream cut short by a death: PRODUCER_DIED) and
// names the object, the limit and the actual value.
//
// Threads: all methods may be called from any number of threads at once. Copies are the same
// handle. With Ack::kOnNext and Ack::kTask the *handle* keeps the unsettled messages, so give each
// consuming thread a handle of its own (Client::queue is cheap the second time).
// Fork: what the parent holds stays with it. On the shared-memory plane the child's first call
// attaches a session of its own; over gRPC its calls are UNSUPPORTED: it connects anew.
// Cost: on the shared-memory plane put and get of small messages make no system call, take no lock
// and allocate nothing, unless they have to sleep or to wake somebody.
class HEDDLE_API Queue {
 public:
  Queue() noexcept = default;  // No queue: every method fails with INVALID_ARGUMENT.

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  const std::string& name() const;

  // --- Producing: the message's id, once it is in the queue.
  // Blocks while full (overflow = block). TOO_LARGE, MEMORY_EXHAUSTED, DENIED are failures.
  Result<std::uint64_t> put(const Body& body);
  // Never blocks: FULL.
  Result<std::uint64_t> try_put(const Body& body);
  // Blocks up to `timeout`: TIMED_OUT.
  Result<std::uint64_t> put_for(const Body& body, std::chrono::nanoseconds timeout);
  // In order, as far as it gets. `ids`, if not empty, must have room for all of them.
  PutManyResult put_many(std::span<const Body> bodies, std::chrono::nanoseconds timeout = kForever,
                         std::span<std::uint64_t> ids = {});
  // Fenced: only if nobody has been granted the lock after this token, as far as the lock's daemon
  // or this queue has seen, over restarts of the broker too. Else STALE_FENCE, a failure that names
  // the lock and both tokens; nothing was put. The broker does the check and the put in one turn,
  // so this costs a round trip to it. BROKER_AWAY: it may or may not have been put.
  // INVALID_ARGUMENT: a token that was never granted.
  Result<std::uint64_t> put(const Body& body, const Fence& fence,
                            std::chrono::nanoseconds timeout = kForever);
  // Each of them is checked.
  PutManyResult put_many(std::span<const Body> bodies, const Fence& fence,
                         std::chrono::nanoseconds timeout = kForever,
                         std::span<std::uint64_t> ids = {});
  // Zero-copy: room for up to `bytes`. TOO_LARGE, MEMORY_EXHAUSTED.
  Result<Loan> loan(std::size_t bytes);
  Result<Producer> producer();

  // --- Consuming.
  Result<Message> get(const GetOptions& options = {});
  Result<Message> try_get(const GetOptions& options = {});
  Result<Message> get_for(std::chrono::nanoseconds timeout, const GetOptions& options = {});
  // The same into an existing object, which keeps its buffer: nothing is allocated in a loop.
  // A delivery that `message` still holds is given back first. Left empty unless OK.
  Status get_into(Message& message, std::chrono::nanoseconds timeout = kForever,
                  const GetOptions& options = {});
  // Waits for the first message, then takes what is there, up to `max`. Never empty when OK.
  Result<std::vector<Message>> get_many(std::chrono::nanoseconds timeout = kForever,
                                        const GetManyOptions& options = {});
  // The same into an existing vector, whose messages keep their buffers. Deliveries that they still
  // hold are given back first. Left empty unless OK.
  Status get_many_into(std::vector<Message>& messages, std::chrono::nanoseconds timeout = kForever,
                       const GetManyOptions& options = {});

  // --- Settling deliveries by their lease (Message::detach, Message::lease). As Message's methods.
  Status ack(const Lease& lease);
  Status nack(const Lease& lease, bool counted = true);
  Status bury(const Lease& lease);
  Status extend(const Lease& lease, std::chrono::milliseconds duration);
  // Acks the oldest message this handle got with Ack::kTask. INVALID_ARGUMENT (ValueError in
  // Python) when there is none.
  Status task_done();
  // Blocks until nothing is unfinished. The caller's own unsettled deliveries count too.
  Status join();
  JoinReport join_for(std::chrono::nanoseconds timeout);

  // --- Looking. Exact when no operation is in flight, else a value that held during the call.
  Result<QueueCounts> counts();
  Result<std::uint64_t> size();        // Ready + returned.
  Result<std::uint64_t> unfinished();  // Ready + returned + leased.
  Answer empty();
  Answer full();
  Result<QueueInfo> info();
  // The message that would be delivered next, with up to `max_body` of its body; EMPTY.
  Result<BrowseRow> peek(std::uint64_t max_body = 4096);
  // Oldest first. Changes nothing, counts nothing.
  Result<std::vector<BrowseRow>> browse(const BrowseOptions& options = {});

  // --- Managing.
  // Buried messages go back into circulation, counts reset: how many.
  Result<std::uint64_t> kick(std::uint64_t max = UINT64_MAX);
  // Removes messages in the given states: how many. Holders of leased ones get LEASE_LOST.
  Result<std::uint64_t> purge(unsigned states = kReady | kReturned);
  // The end: puts fail CLOSED, gets drain what is there, then every present and future consumer
  // gets END_OF_STREAM. immediate = discard what is there as well. OK if closed already.
  Status shutdown(bool immediate = false);
  // Opens a closed queue again. OK if it is open.
  Status reopen();

 private:
  friend class Client;
  explicit Queue(std::shared_ptr<detail::QueueHandle> handle) : handle_(std::move(handle)) {}
  std::shared_ptr<detail::QueueHandle> handle_;
};

}  // namespace heddle

#endif  // HEDDLE_QUEUE_H_
