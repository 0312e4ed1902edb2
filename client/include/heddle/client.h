// The connection to a broker. One call picks the plane; everything after it is the same on both.
#ifndef HEDDLE_CLIENT_H_
#define HEDDLE_CLIENT_H_

#include <heddle/block.h>
#include <heddle/dict.h>
#include <heddle/list.h>
#include <heddle/lock.h>
#include <heddle/options.h>
#include <heddle/pipe.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

namespace detail {
class Channel;
}  // namespace detail

struct ConnectionInfo {
  Plane plane = Plane::kShm;  // Never kAuto.
  std::string address;        // Socket path, or host:port.
  std::uint16_t owner = 0;    // This session's number; 0 without a session.
  std::uint32_t generation = 0;
  std::string broker_version;
};

struct BrokerStatus {
  std::string version;
  std::int32_t pid = 0;
  std::int32_t supervisor_pid = 0;
  std::uint32_t incarnation = 0;  // 1, then one more after each restart of the broker.
  std::chrono::milliseconds uptime{};
  std::uint64_t queues = 0;
  std::uint64_t sessions = 0;
  std::uint64_t memory_bytes = 0;  // Granted to objects.
  std::uint64_t memory_budget_bytes = 0;
};

struct SessionInfo {
  std::uint16_t owner = 0;
  std::uint32_t generation = 0;
  Plane plane = Plane::kShm;
  std::int32_t pid = 0;  // 0 for peers that are not on this machine.
  std::uint32_t uid = 0;
  std::string name;  // As the client gave it.
  std::string command;
  std::uint32_t attached = 0;  // Objects it has open.
  std::chrono::milliseconds age{};
};

// Threads: all methods may be called from any number of threads at once; copies are the same
// connection. It closes when the last copy and the last handle made from it are gone; what this
// process still holds then goes back uncounted.
// Fork: on the shared-memory plane a child may go on using it; its first call opens a session of
// its own. gRPC does not survive fork: the child's calls are UNSUPPORTED there; it connects anew.
// Broker away: handles go on working on the shared-memory plane. What needs the broker waits up to
// ConnectOptions::timeout for it, then fails with BROKER_AWAY.
class HEDDLE_API Client {
 public:
  Client() noexcept = default;  // Not connected: every method fails with DAEMON_UNREACHABLE.

  // DAEMON_UNREACHABLE lists every place that was tried; VERSION_MISMATCH; DENIED.
  static Result<Client> connect(const ConnectOptions& options = {});

  explicit operator bool() const noexcept { return channel_ != nullptr; }
  ConnectionInfo describe() const;

  // Names: see name.h; `~/x` is the caller's own. EXISTS_OTHER_OPTIONS if the name is taken (with
  // open_existing: only if a given option differs, naming the first one and both values);
  // INVALID_NAME; QUOTA; MEMORY_EXHAUSTED.
  Result<Queue> create_queue(std::string_view name, const QueueOptions& options = {});
  // Makes one nobody else knows: the broker chooses the name, `anon/<number>`. It goes with the
  // last session that has it open, unless the options give another lifetime.
  Result<Queue> create_anonymous_queue(const QueueOptions& options = {});
  // For a name that is passed on to another process: for 60 s the queue counts as attached, so that
  // the other one has time to open it. Gives the full name. NOT_FOUND.
  Result<std::string> share_queue(std::string_view name);
  // Opens. NOT_FOUND names the command that creates one.
  Result<Queue> queue(std::string_view name);
  // Opens, and fails with EXISTS_OTHER_OPTIONS if an option that is given differs.
  Result<Queue> open_queue(std::string_view name, const QueueOptions& options);
  // Everybody's handles on it end with NOT_FOUND. Owner or root only: DENIED.
  Status delete_queue(std::string_view name);
  // Those this user may see, by name, that start with `prefix`.
  Result<std::vector<QueueInfo>> list(std::string_view prefix = {});

  // Locks and their kin: opened, and made when they are missing (unless Presence says otherwise).
  // An option that is given and differs from what is there: EXISTS_OTHER_OPTIONS, naming it and
  // both values. Semaphores and barriers are made only when a count is given: else NOT_FOUND names
  // the command.
  Result<Lock> lock(std::string_view name, const LockOptions& options = {});
  Result<Semaphore> semaphore(std::string_view name, const SemaphoreOptions& options = {});
  Result<Condition> condition(std::string_view name, const SyncOptions& options = {});
  Result<Event> event(std::string_view name, const SyncOptions& options = {});
  Result<Barrier> barrier(std::string_view name, const BarrierOptions& options = {});
  Result<Election> election(std::string_view name, const LockOptions& options = {});
  // Holders lose it, waiters end with NOT_FOUND. Owner or root only: DENIED. NOT_FOUND.
  Status delete_lock(SyncKind kind, std::string_view name);
  // Those this user may see, by name, that start with `prefix`; without holders and waiters.
  Result<std::vector<LockInfo>> locks(SyncKind kind, std::string_view prefix = {});
  // One of them with holders and waiters, without opening it. NOT_FOUND.
  Result<LockInfo> lock_info(SyncKind kind, std::string_view name);
  // Lock::force_release and Semaphore::force_release without opening it, and from one session alone
  // (SessionInfo::owner) if that is not 0. NOT_FOUND; DENIED; LEASE_LOST when nobody holds it.
  Status force_release(SyncKind kind, std::string_view name, std::uint16_t session = 0);
  // JSON text; see LockReport.
  Result<std::string> lock_report(LockReport which);

  // Pipes (pipe.h): made when they are missing, unless the options say otherwise.
  // Makes one, or finds it there with the options that are given.
  Status create_pipe(std::string_view name, const PipeOptions& options = {});
  // One of the two named ends: of the oldest connection that has it free or in use, else of a new
  // one. So a stream that was closed before anybody read it is not mixed with the next.
  Result<PipeEnd> pipe_end(std::string_view name, PipeSide side, const PipeOptions& options = {});
  // End a of a connection of its own to whoever listens. EMPTY (timeout 0) or TIMED_OUT: nobody
  // does.
  Result<PipeEnd> connect_pipe(std::string_view name, std::chrono::nanoseconds timeout = kForever,
                               const PipeOptions& options = {});
  Result<PipeListener> listen_pipe(std::string_view name, const PipeOptions& options = {});
  // Those this user may see, by name, that start with `prefix`; each with one connection at most.
  Result<std::vector<PipeInfo>> pipes(std::string_view prefix = {});
  // NOT_FOUND.
  Result<PipeInfo> pipe_info(std::string_view name);
  // Every end of it is closed. Owner or root only: DENIED. NOT_FOUND.
  Status delete_pipe(std::string_view name);

  // Dicts (dict.h), never made by their use. Names, EXISTS_OTHER_OPTIONS and NOT_FOUND as for
  // queues.
  Result<Dict> create_dict(std::string_view name, const DictOptions& options = {});
  // One nobody else knows, `anon/<number>`; it goes with the last session that has it open.
  Result<Dict> create_anonymous_dict(const DictOptions& options = {});
  // Opens; options that are given must agree.
  Result<Dict> dict(std::string_view name, const DictOptions& options = {});
  // Everybody's handles on it end with CLOSED. Owner or root only: DENIED.
  Status delete_dict(std::string_view name);
  // Those this user may see, by name, that start with `prefix`.
  Result<std::vector<DictInfo>> dicts(std::string_view prefix = {});
  // One of them, without opening it. NOT_FOUND.
  Result<DictInfo> dict_info(std::string_view name);

  // Lists (list.h) and blocks (block.h): the same as for dicts.
  Result<List> create_list(std::string_view name, const ListOptions& options = {});
  Result<List> create_anonymous_list(const ListOptions& options = {});
  Result<List> open_list(std::string_view name, const ListOptions& options = {});
  Status delete_list(std::string_view name);
  Result<std::vector<ListInfo>> lists(std::string_view prefix = {});
  Result<ListInfo> list_info(std::string_view name);
  // INVALID_ARGUMENT: no size.
  Result<Block> create_block(std::string_view name, const BlockOptions& options);
  Result<Block> create_anonymous_block(const BlockOptions& options);
  Result<Block> open_block(std::string_view name, const BlockOptions& options = {});
  // Who has it mapped keeps his mapping.
  Status delete_block(std::string_view name);
  Result<std::vector<BlockInfo>> blocks(std::string_view prefix = {});
  Result<BlockInfo> block_info(std::string_view name);

  // The time of one round trip to the broker.
  Result<std::chrono::nanoseconds> ping();
  Result<BrokerStatus> status();
  Result<std::vector<SessionInfo>> sessions();
  // Whether what this client holds over gRPC is held still; kHeld on shared memory. Asks nobody.
  SessionState session_state() const noexcept;

 private:
  explicit Client(std::shared_ptr<detail::Channel> channel) : channel_(std::move(channel)) {}
  std::shared_ptr<detail::Channel> channel_;
};

// The library's version, "1.2.3".
HEDDLE_API const char* version() noexcept;

}  // namespace heddle

#endif  // HEDDLE_CLIENT_H_
