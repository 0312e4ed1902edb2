// Options of the client library: plain structs, made for designated initialisers:
//   client.create_queue("jobs", {.max_len = 1000, .overflow = Overflow::kReject});
// Every field states its unit and default. An optional left empty means "the broker's default" when
// an object is created and "whatever it has" when it is opened.
#ifndef HEDDLE_OPTIONS_H_
#define HEDDLE_OPTIONS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace heddle {

// How this process reaches the broker. kAuto takes shared memory when the runtime directory has an
// attach socket and this process may use it, else gRPC.
enum class Plane : std::uint8_t { kAuto, kShm, kGrpc };

// What put does when the queue is full.
enum class Overflow : std::uint8_t { kBlock, kReject, kDropOldest };

// Whether a queue ends by itself when its last registered producer closes.
enum class Eos : std::uint8_t { kManual, kLastProducer };

// What consumers are told when a registered producer dies without closing: nothing, END_OF_STREAM
// once its queue has drained, or PRODUCER_DIED once its queue has drained.
enum class OnProducerDeath : std::uint8_t { kWait, kClose, kError };

// How long a queue lives: until it is deleted or the daemon stops; until the last session that has
// it open ends; until the session that made it ends.
enum class Lifetime : std::uint8_t { kKept, kAttached, kSession };

// Who settles a delivered message.
enum class Ack : std::uint8_t {
  kAuto,    // Delivery settles it: at most once.
  kManual,  // The Message holds a lease until ack() or nack(): at least once.
  kOnNext,  // The next get on the same handle acks it: at least once with an unchanged loop.
  kTask,    // Queue::task_done() acks the handle's oldest: at least once, the multiprocessing way.
};

// The type that travels with a body so that other languages and the shell see what was meant.
enum class BodyKind : std::uint8_t {
  kData = 0,      // Bytes.
  kText = 1,      // Valid UTF-8.
  kJson = 2,      // A JSON value, kept as JSON text.
  kJsonText = 3,  // JSON text to be kept byte for byte (numbers beyond a double survive).
};

// States of a message, as a bit set, for browse and purge.
enum MessageStates : unsigned {
  kReady = 1,
  kLeased = 2,
  kReturned = 4,
  kBuried = 8,
  kAllStates = kReady | kLeased | kReturned | kBuried,
};

// What a gRPC session may rely on. A session on shared memory is held for as long as its process
// lives.
enum class SessionState : std::uint8_t {
  kHeld,    // The broker has answered in time.
  kUnsure,  // A renewal is late, or the connection is broken: it is held until the lease runs out.
            // Do nothing that must not be done twice; fence what is written.
  kLost,    // It has ended, and with it all that it held. The library opens another one.
};

struct SessionEvent {
  SessionState state = SessionState::kHeld;
  // With kLost: kind and name of what is gone, "lock ledger", if the broker could tell. Something
  // that was taken by force is told in the same way; the session goes on then, see
  // Client::session_state.
  std::vector<std::string> lost = {};
};

struct ConnectOptions {
  // Directory of the daemon's sockets. Empty: $HEDDLE_ADDRESS, then $HEDDLE_RUNTIME_DIR, then
  // $XDG_RUNTIME_DIR/heddle if its socket exists, then /run/heddle.
  std::string runtime_dir = {};
  // "host:port" or "unix:/path" of a gRPC listener; implies Plane::kGrpc. Empty: as above.
  std::string address = {};
  // kAuto also obeys $HEDDLE_PLANE=auto|shm|grpc.
  Plane plane = Plane::kAuto;
  // Shown to people who ask who holds what; at most 63 bytes. Empty: the program's name.
  std::string name = {};
  // How long connect, and later every operation that needs an absent broker, waits for it.
  std::chrono::milliseconds timeout = std::chrono::seconds(5);
  // gRPC only: no session is opened. A lease taken then belongs to no process: it lasts for its
  // duration (60 s unless GetOptions::lease says more), outlives this process, and any process of
  // the same user may settle it. No Producer and no Ack::kTask without a session.
  bool sessionless = false;
  // gRPC only: called when the state of the session changes, on a thread of the library, one call
  // at a time. Must not wait for operations of the same Client, nor end it.
  std::function<void(const SessionEvent&)> on_session = {};
};

struct QueueOptions {
  std::optional<std::uint64_t> max_len = {};         // Ready and returned messages; 1,000,000.
  // Of these two a default follows the one that is given; given both, max_msg_bytes above max_bytes
  // is INVALID_ARGUMENT.
  std::optional<std::uint64_t> max_bytes = {};       // Bytes of all bodies; 256 MiB.
  std::optional<std::uint64_t> max_msg_bytes = {};   // Bytes of one body; 16 MiB.
  std::optional<std::uint32_t> max_leases = {};      // Unsettled deliveries; 65,536.
  std::optional<std::uint32_t> max_deliveries = {};  // Then buried; 0 = no limit (default).
  std::optional<Overflow> overflow = {};             // kBlock.
  std::optional<Eos> eos = {};                       // kManual.
  std::optional<OnProducerDeath> on_producer_death = {};  // kWait.
  std::optional<Lifetime> lifetime = {};   // kKept; kAttached for anonymous ones.
  std::optional<std::uint32_t> mode = {};  // Permission bits: r shows, w puts and takes; 0600.
  std::string group = {};                  // Owning group; empty: the creator's primary group.
  // create_queue only: an existing queue is opened if the given options agree with it.
  bool open_existing = false;
};

struct GetOptions {
  Ack ack = Ack::kAuto;
  // How long a message may stay unsettled. Zero: on the shared-memory plane as long as this process
  // lives; on the gRPC plane as long as the session lives. More is for the gRPC plane alone: over
  // shared memory nothing but the end of the process ends a lease, and a get that asks for another
  // one is UNSUPPORTED. Not looked at with Ack::kAuto.
  std::chrono::milliseconds lease = std::chrono::milliseconds::zero();
};

struct GetManyOptions {
  Ack ack = Ack::kAuto;
  std::chrono::milliseconds lease = std::chrono::milliseconds::zero();  // As in GetOptions.
  std::size_t max = 32;              // Messages; at least 1.
  std::uint64_t max_bytes = 0;       // Stop after this many body bytes; 0 = no limit.
};

struct BrowseOptions {
  unsigned states = kAllStates;    // Bit set of MessageStates.
  std::uint64_t after_id = 0;      // Only messages with a larger id; 0 = from the oldest.
  std::size_t limit = 100;         // Rows.
  std::uint64_t max_body = 0;      // Body bytes to copy into each row; 0 = none.
};

}  // namespace heddle

#endif  // HEDDLE_OPTIONS_H_
