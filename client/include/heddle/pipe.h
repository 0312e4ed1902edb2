// Pipes: two named ends, or a listener with any number of connections; whole messages or a stream
// of bytes, in both directions unless made otherwise.
//
//   PipeEnd a = client.pipe_end("frames", PipeSide::kA).value();     // in one process
//   PipeEnd b = client.pipe_end("frames", PipeSide::kB).value();     // in another
//   a.send("hello").value();
//   Body: b.receive().value().text();
//
// An end may be used by several processes at once, each message stays whole. It ends when the last
// of them closes it: then the other end receives what was sent, and after that END_OF_STREAM; or
// PEER_DIED, if the last one was killed.
//
// Each end is on the plane of its client. Over gRPC an end lives as long as its connection: when
// the broker is killed it is gone (BROKER_AWAY; the other end is told PEER_DIED) and is opened
// anew, while two local ends do not notice. A message that is on its way to a remote end goes with
// it; large ones come whole there; descriptors are left behind.
#ifndef HEDDLE_PIPE_H_
#define HEDDLE_PIPE_H_

#include <heddle/descriptor.h>
#include <heddle/message.h>
#include <heddle/options.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

namespace detail {
class PipeChannel;
class PipeHallChannel;
struct PipeAccess;
}  // namespace detail

// kMessage: what is sent at once is received at once. kBytes: a stream without borders.
enum class PipeMode : std::uint8_t { kMessage, kBytes };
// Of a pipe in one direction, a sends and b receives. Whoever connects has a, whoever accepts b.
enum class PipeSide : std::uint8_t { kA, kB };

// An optional left empty means "the default" when the pipe is made and "whatever it has" when it is
// opened; one that is given must agree: EXISTS_OTHER_OPTIONS.
struct PipeOptions {
  std::optional<PipeMode> mode = {};                // kMessage.
  std::optional<bool> duplex = {};                  // true.
  std::optional<std::uint64_t> capacity = {};       // Bytes of each ring, 64 KiB; a power of two.
  std::optional<std::uint64_t> max_msg_bytes = {};  // 16 MiB; may be larger than the ring.
  std::optional<bool> resumable = {};               // An end whose users died waits for the next.
  std::optional<Lifetime> lifetime = {};            // kKept, so far the only one.
  std::optional<std::uint32_t> access = {};         // Permission bits: r shows, w uses; 0600.
  std::string group = {};                           // Owning group; empty: the creator's own.
  bool create = true;                               // Makes it when it is missing.
  bool exclusive = false;                           // EXISTS_OTHER_OPTIONS when it is there.
};

// What a person sees of a pipe.
struct PipeUser {
  std::uint16_t session = 0;  // SessionInfo::owner.
  std::int32_t pid = 0;
  std::uint32_t uid = 0;
  std::string command;
  bool sending = false;    // In the middle of a message, or it holds the end.
  bool receiving = false;  // In the middle of a large message, or viewing one.
};
struct PipeEndInfo {
  std::string state;  // "vacant", "open", "closed", "died".
  std::vector<PipeUser> users;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_queued = 0;  // Sent by this end, not yet received by the other.
  bool shut = false;               // It sends no more.
  // For how long somebody has waited for room, and for something to come.
  std::optional<std::chrono::milliseconds> send_blocked, receive_blocked;
  std::int32_t died_pid = 0;  // Of the last user, if it was killed.
};
struct PipeConnectionInfo {
  std::uint64_t id = 0;
  bool named = false;  // Of the two named ends; else somebody connected.
  PipeEndInfo a, b;
};
struct PipeInfo {
  std::string name;
  std::uint32_t uid = 0, gid = 0;
  PipeOptions options;  // All given but the group.
  std::uint32_t listeners = 0;
  std::uint64_t connection_count = 0;
  std::vector<PipeConnectionInfo> connections;  // The oldest, as many as one answer holds.
};

// A message that was received. It owns its bytes.
struct PipeMessage {
  std::vector<std::byte> bytes;
  BodyKind kind = BodyKind::kData;

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

// A message and the descriptors that came with it, close-on-exec.
struct PipeParcel : PipeMessage {
  std::vector<Descriptor> fds;
  // So many more were sent with it, but this process has no room for them (RLIMIT_NOFILE), or the
  // daemon was restarted without what it kept.
  std::size_t fds_lost = 0;
};

// Room in the ring for one message (bytes: for at least one byte). Unless it is committed it is
// given up; until then nobody else sends at this end, and this handle refuses to.
class HEDDLE_API PipeRoom {
 public:
  PipeRoom() noexcept = default;
  PipeRoom(PipeRoom&&) noexcept = default;
  PipeRoom& operator=(PipeRoom&& other) noexcept;
  ~PipeRoom();

  std::span<std::byte> bytes() const noexcept { return bytes_; }
  // At most bytes().size().
  Status commit(std::size_t length, BodyKind kind = BodyKind::kData);

 private:
  friend struct detail::PipeAccess;
  std::shared_ptr<detail::PipeChannel> pipe_;
  std::span<std::byte> bytes_;
};

// The next message (or all bytes that are there) in place. Unless it is consumed it stays; until
// then nobody else receives at this end, and this handle refuses to.
class HEDDLE_API PipeView {
 public:
  PipeView() noexcept = default;
  PipeView(PipeView&&) noexcept = default;
  PipeView& operator=(PipeView&& other) noexcept;
  ~PipeView();

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  BodyKind kind() const noexcept { return kind_; }
  // The whole message; of a stream the first `length` bytes.
  Status consume(std::size_t length = SIZE_MAX);

 private:
  friend struct detail::PipeAccess;
  std::shared_ptr<detail::PipeChannel> pipe_;
  std::span<const std::byte> bytes_;
  BodyKind kind_ = BodyKind::kData;
};

// One end of a connection. Copies are the same end; it is closed when the last one is gone.
// Threads: one thread may send while another receives; more of either need an end of their own
// (share()). Fork: a child may go on using it, as another user of the same end, as long as the end
// has one. A thread that holds a lock and waits here may be told DEADLOCK_DETECTED, see lock.h.
// Outcomes of sending: FULL (try), TIMED_OUT; CLOSED after shutdown_write or close; BROKEN_PIPE
// when nobody is left to receive. Of receiving: EMPTY (try), TIMED_OUT, END_OF_STREAM, PEER_DIED.
class HEDDLE_API PipeEnd {
 public:
  PipeEnd() noexcept = default;

  explicit operator bool() const noexcept { return pipe_ != nullptr; }
  const std::string& name() const;
  PipeSide side() const;
  PipeOptions options() const;

  // Bytes sent: all of them; of a stream fewer when the time is over in the middle (TIMED_OUT only
  // if none were). TOO_LARGE names max_msg_bytes.
  Result<std::size_t> send(const Body& body, std::chrono::nanoseconds timeout = kForever);
  Result<std::size_t> try_send(const Body& body) { return send(body, std::chrono::nanoseconds(0)); }
  // A message with up to 16 descriptors, of which the other end gets duplicates; the caller's stay
  // its own. Messages only (UNSUPPORTED on a stream of bytes, and over gRPC). Asks the broker, and
  // waits for it while it is away. QUOTA when 64 such messages wait in the connection. What is
  // never received is closed when the connection goes.
  Result<std::size_t> send_with(const Body& body, std::span<const int> fds,
                                std::chrono::nanoseconds timeout = kForever);
  // In order until one fails; how many are in, whole. Of a stream of bytes the next one may be in
  // in part when the time was up: send() says how far it came.
  PutManyResult send_many(std::span<const Body> bodies,
                          std::chrono::nanoseconds timeout = kForever);
  // Of this end only this handle sends until let_go().
  Status hold(std::chrono::nanoseconds timeout = kForever);
  void let_go();
  // TOO_LARGE beyond what the ring has room for: send() it.
  Result<PipeRoom> reserve(std::size_t bytes, std::chrono::nanoseconds timeout = kForever);

  // A whole message; of a stream what is there, up to `bytes_max` (0: 64 KiB).
  Result<PipeMessage> receive(std::chrono::nanoseconds timeout = kForever,
                              std::size_t bytes_max = 0);
  Result<PipeMessage> try_receive() { return receive(std::chrono::nanoseconds(0)); }
  // The same with what send_with() sent along, which the other ways of receiving close. Over gRPC a
  // message comes without its descriptors. BROKER_AWAY: the message stays here, for the next call.
  Result<PipeParcel> receive_with(std::chrono::nanoseconds timeout = kForever);
  // Into memory of the caller's; how many bytes. TOO_LARGE keeps the message and names its length.
  Result<std::size_t> receive_into(std::span<std::byte> to,
                                   std::chrono::nanoseconds timeout = kForever,
                                   BodyKind* kind = nullptr);
  // TOO_LARGE: it comes in parts; receive() it.
  Result<PipeView> view(std::chrono::nanoseconds timeout = kForever);
  // OK as soon as receiving would not wait.
  Status poll(std::chrono::nanoseconds timeout = kForever);
  // A descriptor for poll, epoll or select: readable as long as receiving would not wait, because
  // of a message, of bytes, or of an end of the stream. It may be readable for nothing, when
  // another handle or process was faster; a try that returns EMPTY makes it silent. So when it is
  // readable: try_receive() until EMPTY. Do not read or close it: it is the handle's, and goes with
  // it. It works while the broker is away. The first call starts a thread, which sleeps; the same
  // thread as receives may call. Fork: a child gets one of its own by calling again.
  Result<int> ready_fd();

  // Who uses the other end now, as the kernel told the broker: pid and uid are not the peer's to
  // choose. Nobody has come yet, or all have left: empty. Asks the broker; NOT_FOUND or CLOSED when
  // this end is no longer in use.
  Result<std::vector<PipeUser>> peer() const;

  // This end sends no more; the other one receives what was sent, then END_OF_STREAM.
  Status shutdown_write();
  // Another handle on the same end, for another thread.
  Result<PipeEnd> share() const;
  void close() noexcept { pipe_.reset(); }

 private:
  friend struct detail::PipeAccess;
  std::shared_ptr<detail::PipeChannel> pipe_;
};

// Accepts connections. Copies are the same; it stops listening when the last one is gone. Threads:
// any.
class HEDDLE_API PipeListener {
 public:
  PipeListener() noexcept = default;

  explicit operator bool() const noexcept { return hall_ != nullptr; }
  const std::string& name() const;
  // The oldest connection that waits. EMPTY (timeout 0), TIMED_OUT; NOT_FOUND after a deletion.
  Result<PipeEnd> accept(std::chrono::nanoseconds timeout = kForever);
  void close() noexcept { hall_.reset(); }

 private:
  friend struct detail::PipeAccess;
  std::shared_ptr<detail::PipeHallChannel> hall_;
};

}  // namespace heddle

#endif  // HEDDLE_PIPE_H_
