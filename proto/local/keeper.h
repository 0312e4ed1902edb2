// The supervisor <-> broker protocol: one SEQPACKET socketpair, inherited by the broker as
// descriptor number $HEDDLE_KEEPER_FD. The supervisor (the keeper) holds a duplicate of every
// descriptor that must outlive the broker: object memfds, session pages, client pidfds, doorbell
// pipes, the catalog. Structs are fixed-width behind a PacketHeader; text follows the struct.
//
//   broker -> supervisor                         answer
//   K keep   KeepBody + 1 fd                     A AckBody (0, or the errno of the refusal)
//   D drop   KeepBody without fd                 A AckBody (ENOENT: nothing kept under it)
//   R return all                                 B BatchBody + entries + fds, until more = 0
//   L listeners                                  L BatchBody + entries + fds
//   C configuration                              C JSON text
//   Y ready, T status text, E stopping, O pong   none
//   supervisor -> broker, unasked (sequence 0)
//   P ping   answered by O with the same PingBody          S stop (StopBody): drain, then exit 0
//   C JSON text: the configuration after a reload
//
// EOF means the other side died. The broker then stops accepting creates and serves on.
#ifndef HEDDLE_PROTO_LOCAL_KEEPER_H_
#define HEDDLE_PROTO_LOCAL_KEEPER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proto/local/fd.h"
#include "proto/local/packet.h"

namespace heddle::local {

inline constexpr std::uint32_t kKeeperMagic = 0x4b4c4448;  // "HDLK"
inline constexpr std::uint16_t kKeeperVersion = 1;
inline constexpr const char* kKeeperFdVariable = "HEDDLE_KEEPER_FD";

enum class KeeperType : std::uint16_t {
  kKeep = 'K',
  kDrop = 'D',
  kAck = 'A',
  kReturnAll = 'R',
  kBatch = 'B',
  kListeners = 'L',
  kConfig = 'C',
  kReady = 'Y',
  kStatus = 'T',
  kStopping = 'E',
  kPing = 'P',
  kPong = 'O',
  kStop = 'S',
};

// What a kept descriptor is. The supervisor does not look inside; (kind, key) names it.
enum class KeptKind : char {
  kCatalog = 'c',
  kMemory = 'm',       // an object's segment
  kPage = 's',         // a session page, the broker's own included
  kPidfd = 'p',        // a client process
  kDoorbell = 'd',     // the read end of a doorbell pipe
  kDoorbellWrite = 'w',
  kLent = 'f'  // descriptors on their way through a pipe; the label says where
};

// What a listening socket speaks.
enum class ListenerKind : char {
  kGrpc = 'g',   // grpc.sock, stream
  kLocal = 'l',  // local.sock, seqpacket
  kTcp = 't',    // gRPC on a TCP loopback address
};

inline constexpr std::size_t kKeptLabelBytes = 48;  // with the terminating zero; longer is cut

struct KeepBody {
  std::uint64_t key;
  std::uint8_t kind;
  std::uint8_t reserved[7];
  char label[kKeptLabelBytes];  // for people and logs
};
static_assert(sizeof(KeepBody) == 64 && offsetof(KeepBody, kind) == 8 &&
              offsetof(KeepBody, label) == 16);

struct AckBody {
  std::int32_t error;  // 0 or an errno
  std::uint32_t reserved;
};
static_assert(sizeof(AckBody) == 8);

struct BatchBody {  // followed by `count` KeepBody entries, in the order of the descriptors
  std::uint32_t count;
  std::uint32_t more;  // packets of this answer that still follow: 0 = this is the last
};
static_assert(sizeof(BatchBody) == 8);
static_assert(sizeof(PacketHeader) + sizeof(BatchBody) + kPacketFdsMax * sizeof(KeepBody) <=
              kPacketBytesMax);

struct PingBody {
  std::uint64_t number;
};
static_assert(sizeof(PingBody) == 8);

struct StopBody {
  std::uint32_t drain_ms;
  std::uint32_t reserved;
};
static_assert(sizeof(StopBody) == 8);

KeepBody keep_body(char kind, std::uint64_t key, std::string_view label);
std::string_view label_of(const KeepBody& body);

IoResult send_keeper(int socket, KeeperType type, std::uint32_t sequence,
                     std::span<const std::byte> body = {}, std::span<const std::byte> tail = {},
                     std::span<const int> fds = {}, bool wait = true);
inline IoResult receive_keeper(int socket, Packet* packet, bool wait = true) {
  return packet->receive(socket, kKeeperMagic, kKeeperVersion, kKeeperVersion, wait);
}

struct Kept {
  char kind = 0;  // a KeptKind or ListenerKind
  std::uint64_t key = 0;
  std::string label;
  Fd fd;
};

struct KeeperEvent {
  enum class Kind : std::uint8_t { kPing, kStop, kConfig, kGone };
  Kind kind = Kind::kGone;
  std::uint64_t ping = 0;      // kPing: pass it to pong()
  std::uint32_t drain_ms = 0;  // kStop
  std::string text;            // kConfig: JSON
};

// The broker's side. Every method may be called by any thread; requests wait for their answer one
// at a time (some 20 us; for as long as the supervisor is stopped). After the supervisor's death
// every request gives Io::kClosed. Anything unasked is handed out by next_event().
class Keeper {
 public:
  explicit Keeper(Fd socket);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // The inherited socket, made close-on-exec; empty when the variable is absent or no socket.
  // Takes the variable out of the environment.
  static Fd socket_from_environment();

  // Returns once the supervisor holds a duplicate of `fd`, which stays the caller's. A second
  // keep under the same (kind, key) replaces the first. kRefused: the supervisor is out of
  // descriptors (EMFILE) or of table (ENOSPC).
  IoResult keep(KeptKind kind, std::uint64_t key, int fd, std::string_view label);
  IoResult drop(KeptKind kind, std::uint64_t key);
  // Calls `each` for everything kept (not for the listeners), catalog first. `each` must not call
  // back into this object. A failure half-way has called `each` for a part.
  IoResult return_all(const std::function<void(Kept)>& each);
  IoResult listeners(std::vector<Kept>* out);
  IoResult config(std::string* json);  // the whole effective configuration

  IoResult ready();
  IoResult status(std::string_view text);  // one line, shown by systemctl status
  IoResult stopping();
  IoResult pong(std::uint64_t number);

  // Readable (edge or level) when next_event() has something. Add it to an epoll set; do not read.
  int poll_fd() const { return epoll_.get(); }
  // Takes the next unasked message; false = none now. Never blocks on the socket. kGone comes once.
  bool next_event(KeeperEvent* out);
  bool gone() const;

 private:
  IoResult request(KeeperType type, std::span<const std::byte> body, std::span<const int> fds,
                   std::uint32_t* sequence);
  IoResult await(KeeperType type, std::uint32_t sequence);
  IoResult await_ack(std::uint32_t sequence);
  IoResult await_batches(KeeperType type, std::uint32_t sequence,
                         const std::function<void(Kept)>& each);
  void push_event(const Packet& packet);
  void note(const IoResult& result);
  void wake(bool on);

  Fd socket_;
  Fd epoll_;
  Fd bell_;  // eventfd: an event was met while a request waited for its answer
  mutable std::mutex mutex_;
  Packet packet_;
  std::deque<KeeperEvent> events_;
  std::uint32_t sequence_ = 0;
  bool gone_ = false;
};

}  // namespace heddle::local

#endif  // HEDDLE_PROTO_LOCAL_KEEPER_H_
