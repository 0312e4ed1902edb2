// The seam between the public handles and the two planes. A Channel is one connection, a
// QueueChannel one opened queue on it; shm_channel/ and grpc_channel/ implement both. The handles
// (client.cc, queue.cc, message.cc) hold all behaviour that does not depend on the plane: on_next
// and task bookkeeping, RAII, timeouts turned into deadlines.
//
// Deadlines are CLOCK_MONOTONIC nanoseconds: kTry does not wait, kNever waits without end. A wait
// that ends by its deadline gives EMPTY or FULL for kTry, else TIMED_OUT. All methods are called by
// any number of threads at once and throw nothing.
#ifndef HEDDLE_CLIENT_SRC_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_CHANNEL_H_

#include <heddle/client.h>
#include <heddle/message.h>
#include <heddle/options.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/src/dict_channel.h"
#include "client/src/list_channel.h"
#include "client/src/lock_channel.h"
#include "client/src/pipe_channel.h"

namespace heddle::detail {

inline constexpr std::int64_t kTry = 0;
inline constexpr std::int64_t kNever = INT64_MAX;

// CLOCK_MONOTONIC now plus `timeout`, saturating; <= 0 gives kTry, kForever gives kNever.
std::int64_t deadline_after(std::chrono::nanoseconds timeout);

struct TakeOptions {
  bool leased = false;        // false: settled by the delivery (Ack::kAuto).
  std::int64_t lease_ms = 0;  // 0: the plane's default.
  std::int64_t deadline_ns = kNever;
};

// Room for one message. `state` is the implementation's own.
struct LoanRoom {
  std::byte* data = nullptr;
  std::size_t capacity = 0;
  alignas(8) std::array<std::byte, 64> state{};
};

class HEDDLE_API QueueChannel : public std::enable_shared_from_this<QueueChannel> {
 public:
  virtual ~QueueChannel() = default;

  virtual const std::string& name() const = 0;

  // These give the id.
  virtual Result<std::uint64_t> put(const Body& body, std::int64_t deadline_ns) = 0;
  virtual Result<std::uint64_t> put_fenced(const Body& body, const Fence& fence,
                                           std::int64_t deadline_ns) = 0;
  virtual Result<std::uint64_t> commit(LoanRoom& room, std::size_t length, BodyKind kind,
                                       std::int64_t deadline_ns) = 0;
  // `ids` is null or has room for all; *done is set in every case.
  virtual Status put_many(std::span<const Body> bodies, std::int64_t deadline_ns, std::size_t* done,
                          std::uint64_t* ids) = 0;
  virtual Status loan(std::size_t bytes, LoanRoom* room) = 0;
  virtual void discard(LoanRoom& room) noexcept = 0;

  // Fills `out` (empty, its buffer reusable) through MessageAccess.
  virtual Status take(const TakeOptions& options, Message* out) = 0;
  // Waits for the first, then what is there. `out` comes with messages that are reusable, as `take`
  // has them, and leaves with those taken; OK means at least one.
  virtual Status take_many(const TakeOptions& options, std::size_t max, std::uint64_t max_bytes,
                           std::vector<Message>* out) = 0;
  virtual Status ack(const Lease& lease) = 0;
  virtual Status nack(const Lease& lease, bool counted) = 0;
  virtual Status bury(const Lease& lease) = 0;
  virtual Status extend(const Lease& lease, std::int64_t duration_ms) = 0;
  virtual Status join(std::int64_t deadline_ns) = 0;

  virtual Result<QueueCounts> counts() = 0;
  virtual Result<bool> full() = 0;
  virtual Result<QueueInfo> info() = 0;
  virtual Result<std::vector<BrowseRow>> browse(const BrowseOptions& options) = 0;
  virtual Result<std::uint64_t> kick(std::uint64_t max) = 0;
  virtual Result<std::uint64_t> purge(unsigned states) = 0;
  virtual Status shutdown(bool immediate) = 0;
  virtual Status reopen() = 0;
  virtual Status open_producer(std::uint64_t* cell) = 0;
  virtual Status close_producer(std::uint64_t cell) = 0;
};

class HEDDLE_API Channel {
 public:
  virtual ~Channel() = default;

  virtual ConnectionInfo describe() const = 0;
  // create: `options.open_existing` decides about a taken name; an empty name is for the broker to
  // choose. Else opens; options that are given
  // must agree.
  virtual Result<std::shared_ptr<QueueChannel>> open_queue(std::string_view name,
                                                           const QueueOptions& options,
                                                           bool create) = 0;
  // Counts as attached for a minute from now; gives the full name.
  virtual Result<std::string> share_queue(std::string_view name) = 0;
  virtual Status delete_queue(std::string_view name) = 0;
  virtual Result<std::vector<QueueInfo>> list(std::string_view prefix) = 0;
  virtual Status ping() = 0;
  virtual Result<BrokerStatus> status() = 0;
  virtual Result<std::vector<SessionInfo>> sessions() = 0;
  virtual SessionState session_state() const noexcept { return SessionState::kHeld; }

  // Pipes. A plane without them says UNSUPPORTED.
  virtual Status create_pipe(std::string_view, const PipeOptions&) { return Reason::kUnsupported; }
  virtual Result<std::shared_ptr<PipeChannel>> open_pipe_end(std::string_view, PipeSide,
                                                             const PipeOptions&) {
    return Reason::kUnsupported;
  }
  virtual Result<std::shared_ptr<PipeChannel>> connect_pipe(std::string_view, const PipeOptions&,
                                                            std::int64_t) {
    return Reason::kUnsupported;
  }
  virtual Result<std::shared_ptr<PipeHallChannel>> listen_pipe(std::string_view,
                                                               const PipeOptions&) {
    return Reason::kUnsupported;
  }
  virtual Status delete_pipe(std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::vector<PipeInfo>> pipes(std::string_view) { return Reason::kUnsupported; }
  virtual Result<PipeInfo> pipe_info(std::string_view) { return Reason::kUnsupported; }

  // Dicts; `create` as for queues.
  virtual Result<std::shared_ptr<DictChannel>> open_dict(std::string_view, const DictOptions&,
                                                         bool) {
    return Reason::kUnsupported;
  }
  virtual Status delete_dict(std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::vector<DictInfo>> dicts(std::string_view) { return Reason::kUnsupported; }
  virtual Result<DictInfo> dict_info(std::string_view) { return Reason::kUnsupported; }

  // Lists and blocks, likewise.
  virtual Result<std::shared_ptr<ListChannel>> open_list(std::string_view, const ListOptions&,
                                                         bool) {
    return Reason::kUnsupported;
  }
  virtual Status delete_list(std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::vector<ListInfo>> lists(std::string_view) { return Reason::kUnsupported; }
  virtual Result<ListInfo> list_info(std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::shared_ptr<BlockChannel>> open_block(std::string_view, const BlockOptions&,
                                                           bool) {
    return Reason::kUnsupported;
  }
  virtual Status delete_block(std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::vector<BlockInfo>> blocks(std::string_view) { return Reason::kUnsupported; }
  virtual Result<BlockInfo> block_info(std::string_view) { return Reason::kUnsupported; }

  // Locks and their kin. A plane without them says UNSUPPORTED.
  virtual Result<std::shared_ptr<LockChannel>> open_lock(std::string_view, const LockSpec&) {
    return Reason::kUnsupported;
  }
  virtual Status delete_lock(SyncKind, std::string_view) { return Reason::kUnsupported; }
  virtual Result<std::vector<LockInfo>> locks(SyncKind, std::string_view) {
    return Reason::kUnsupported;
  }
  virtual Result<LockInfo> lock_info(SyncKind, std::string_view) { return Reason::kUnsupported; }
  // From one session, or whoever holds it: 0.
  virtual Status force_release(SyncKind, std::string_view, std::uint16_t) {
    return Reason::kUnsupported;
  }
  virtual Result<std::string> lock_report(LockReport) { return Reason::kUnsupported; }
};

// How an implementation fills a Message.
struct HEDDLE_API MessageAccess {
  static constexpr std::size_t kInlineBytes = Message::kInlineBytes;
  // Room for `length` bytes owned by the message (inline if it fits, else its buffer, grown if
  // needed); data() then shows it. Null when memory is out.
  static std::byte* own_bytes(Message& message, std::size_t length);
  // kInlineBytes inside the message, to be filled before view_bytes() shows them.
  static std::byte* inline_room(Message& message) { return message.inline_.data(); }
  // What an earlier body has left, for the next one; may be empty.
  static std::span<std::byte> own_room(Message& message) {
    return {message.buffer_.get(), message.buffer_bytes_};
  }
  // data() shows inline_room(), or foreign memory that is valid while the lease holds.
  static void view_bytes(Message& message, const std::byte* data, std::size_t length) {
    message.data_ = data;
    message.length_ = length;
  }
  static void describe(Message& message, std::uint64_t id, BodyKind kind, std::uint32_t count) {
    message.id_ = id;
    message.kind_ = kind;
    message.delivery_count_ = count;
  }
  // Gives a lease back and forgets the body; keeps the buffer.
  static void clear(Message& message) noexcept {
    if (message.leased_) message.give_back();
    message.data_ = nullptr;
    message.length_ = 0;
    message.id_ = 0;
    message.delivery_count_ = 0;
  }
  // From here on the message must be settled through `queue`.
  static void lease(Message& message, const Lease& lease, QueueChannel& queue) {
    message.lease_ = lease;
    if (message.queue_.get() != &queue) message.queue_ = queue.shared_from_this();
    message.leased_ = true;
  }
  // Forgets the lease without settling it.
  static Lease unlease(Message& message) {
    message.leased_ = false;
    return message.lease_;
  }
};

// Opens the shared-memory plane of the daemon in `runtime_dir`.
Result<std::shared_ptr<Channel>> connect_shm(const std::string& runtime_dir,
                                             const ConnectOptions& options);

// libheddle_grpc.so is loaded at the first remote connect and found through this one symbol.
// `target` is "unix:/run/heddle/grpc.sock" or "host:port"; the channel is left in *out.
inline constexpr char kGrpcLibrary[] = "libheddle_grpc.so";
inline constexpr char kGrpcFactorySymbol[] = "heddle_grpc_connect_v1";
using GrpcFactory = void (*)(const char* target, const ConnectOptions& options,
                             Result<std::shared_ptr<Channel>>* out);

// Loads the library beside libheddle.so (same directory first, then the loader's path).
Result<std::shared_ptr<Channel>> connect_grpc(const std::string& target,
                                              const ConnectOptions& options);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_CHANNEL_H_
