// Packets with descriptors over a unix SEQPACKET socket: what the attach protocol (attach.h) and
// the keeper protocol (keeper.h) have in common. One packet = PacketHeader + body, sent by one
// sendmsg, so a reader sees all of it or nothing. Host byte order: both ends share one machine.
#ifndef HEDDLE_PROTO_LOCAL_PACKET_H_
#define HEDDLE_PROTO_LOCAL_PACKET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>

#include "proto/local/fd.h"

namespace heddle::local {

inline constexpr std::size_t kPacketFdsMax = 253;  // SCM_MAX_FD: the kernel answers 254 by EINVAL
inline constexpr std::size_t kPacketBytesMax = 65536;  // with the header

struct PacketHeader {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t type;
  std::uint32_t length;    // of the whole packet, header included
  std::uint32_t sequence;  // a reply carries the number of its request; 0 = nobody asked
};
static_assert(sizeof(PacketHeader) == 16 && offsetof(PacketHeader, version) == 4 &&
              offsetof(PacketHeader, type) == 6 && offsetof(PacketHeader, length) == 8 &&
              offsetof(PacketHeader, sequence) == 12);

enum class Io : std::uint8_t {
  kOk,
  kAgain,      // non-blocking socket: nothing to read, or no room to write
  kClosed,     // the peer is gone (EOF, EPIPE, ECONNRESET)
  kTruncated,  // packet or its descriptors did not fit; it is lost, its descriptors are closed
  kMalformed,  // magic, version or length is wrong; its descriptors are closed
  kRefused,    // the peer answered with an error (keeper.h)
  kFailed,     // see error
};

struct [[nodiscard]] IoResult {
  Io io = Io::kOk;
  int error = 0;  // errno of kFailed and kRefused
  bool ok() const { return io == Io::kOk; }
  const char* text() const;  // static storage; for kFailed and kRefused only the kind
};

// A received packet: the header, the body and the descriptors, which it owns. Reusable: every
// receive() first closes what is left from the one before. Holds a 64 KiB buffer from the heap.
class Packet {
 public:
  // How a descriptor that nobody took is closed. Whoever may not wait for that (a socket may
  // linger) says so here.
  using Close = void (*)(int fd);
  explicit Packet(Close close = [](int fd) { ::close(fd); });
  ~Packet();
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;

  // Receives one packet. Blocks as the socket does (wait = false: never). Anything but kOk leaves
  // the packet empty and every descriptor that came along closed. EINTR is retried. kTruncated
  // with error EMFILE: our descriptor table is full; header() then says what was asked.
  IoResult receive(int socket, std::uint32_t magic, std::uint16_t version_min,
                   std::uint16_t version_max, bool wait = true);

  const PacketHeader& header() const { return header_; }
  std::span<const std::byte> body() const {
    return {buffer_.get() + sizeof(PacketHeader), body_bytes_};
  }
  // Copies the first sizeof(T) bytes of the body; false when the body is shorter.
  template <typename T>
  bool read(T* out, std::size_t offset = 0) const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (offset > body_bytes_ || body_bytes_ - offset < sizeof(T)) return false;
    std::memcpy(out, body().data() + offset, sizeof(T));
    return true;
  }
  std::size_t fd_count() const { return fd_count_; }
  // Hands descriptor `index` over; an empty Fd when there is none or it was taken before.
  Fd take_fd(std::size_t index);
  void clear();

 private:
  const Close close_;
  PacketHeader header_{};
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t body_bytes_ = 0;
  std::array<int, kPacketFdsMax> fds_;
  std::size_t fd_count_ = 0;
};

// Sends header (its length is filled in) + body + tail with duplicates of `fds`. Blocks as the
// socket does (wait = false: never). Never raises SIGPIPE. EINTR is retried. More than
// kPacketFdsMax descriptors or kPacketBytesMax bytes: kFailed with EMSGSIZE, nothing is sent.
IoResult send_packet(int socket, PacketHeader header, std::span<const std::byte> body,
                     std::span<const std::byte> tail = {}, std::span<const int> fds = {},
                     bool wait = true);

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

}  // namespace heddle::local

#endif  // HEDDLE_PROTO_LOCAL_PACKET_H_
