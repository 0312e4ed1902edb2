// What goes into a queue (Body) and what comes out of it (Message).
#ifndef HEDDLE_MESSAGE_H_
#define HEDDLE_MESSAGE_H_

#include <heddle/export.h>
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
#include <string_view>

namespace heddle {

namespace detail {
class QueueChannel;
struct MessageAccess;
}  // namespace detail

// A view of bytes to put, with the kind they travel as. It copies nothing: the bytes must live
// until put returns. Strings travel as text; whether they are UTF-8 is not checked here, and a
// reader in a language that insists on it gets bytes instead.
struct Body {
  Body(const char* text) : Body(std::string_view(text)) {}         // NOLINT
  Body(const std::string& text) : Body(std::string_view(text)) {}  // NOLINT
  Body(std::string_view text)                                      // NOLINT
      : data(reinterpret_cast<const std::byte*>(text.data())),
        length(text.size()),
        kind(BodyKind::kText) {}
  Body(std::span<const std::byte> bytes)  // NOLINT
      : data(bytes.data()), length(bytes.size()), kind(BodyKind::kData) {}
  Body(const void* bytes, std::size_t size, BodyKind as = BodyKind::kData)
      : data(static_cast<const std::byte*>(bytes)), length(size), kind(as) {}
  static Body json(std::string_view text) { return {text.data(), text.size(), BodyKind::kJson}; }

  const std::byte* data;
  std::size_t length;
  BodyKind kind;
};

// Names one delivery of one message; comparable, opaque, and valid until that delivery is settled.
// A lease taken over shared memory belongs to the session (the process) that took it. One taken
// over gRPC without a session may be settled by any process that may write to the queue.
struct HEDDLE_API Lease {
  std::array<std::uint64_t, 3> words{};

  bool operator==(const Lease&) const = default;
  // 48 hexadecimal digits, and back. parse also takes the 32 characters by which gRPC names a
  // lease; INVALID_ARGUMENT for anything else.
  std::string to_string() const;
  static Result<Lease> parse(std::string_view text);
};

// One delivered message. It owns its bytes or, when read in place under a lease, keeps the queue's
// memory from being reused until it is settled.
//
// With Ack::kManual it must be settled: ack() when the work is done, nack() when it failed. One
// that is destroyed unsettled goes back to its place in the queue *uncounted*, as if it had never
// been delivered (a prefetched batch given up at shutdown must not bury anybody); whoever fails on
// a message should say so with nack(), which counts towards max_deliveries. If the process dies the
// message goes back counted.
//
// A message that was leased keeps the queue open until it is assigned or destroyed.
//
// Threads: one at a time; it may be moved to, and settled by, another thread of the process.
// Fork: the parent's messages stay the parent's; a child that settles one gets SESSION_LOST and
// must not touch data() of a message read in place.
class HEDDLE_API Message {
 public:
  Message() noexcept {}  // a defaulted one would have vectors clear inline_ first
  Message(Message&& other) noexcept;
  Message& operator=(Message&& other) noexcept;
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() {
    if (leased_) give_back();
  }

  // The body. Lifetime: until this object is moved from, assigned, settled or destroyed.
  std::span<const std::byte> data() const noexcept { return {data_, length_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), length_}; }
  std::size_t size() const noexcept { return length_; }
  BodyKind kind() const noexcept { return kind_; }

  // Position in the queue's history: rises, never reused, gaps allowed.
  std::uint64_t id() const noexcept { return id_; }
  // 1 at the first delivery; more when an earlier one was nacked or died.
  std::uint32_t delivery_count() const noexcept { return delivery_count_; }
  // Whether this object still holds an unsettled delivery.
  bool leased() const noexcept { return leased_; }
  const Lease& lease() const noexcept { return lease_; }

  // Done: the message leaves the queue. LEASE_LOST if the delivery had been taken away meanwhile
  // (expired, purged): somebody else may have it. INVALID_ARGUMENT if the message is not leased.
  Status ack();
  // Goes back to its original place; counted = towards max_deliveries.
  Status nack(bool counted = true);
  // Out of circulation until kick().
  Status bury();
  // Prolongs a timed lease to now + `lease`. A lease without an end, as all are over shared memory,
  // stays without one: OK as long as it is held.
  Status extend(std::chrono::milliseconds lease);
  // Gives the delivery away unsettled, to be settled by Queue::ack and its kin; the body is kept
  // (copied out of the queue's memory if it was read in place).
  Lease detach();

 private:
  friend struct detail::MessageAccess;

  static constexpr std::size_t kInlineBytes = 96;

  void take_from(Message& other) noexcept;
  void give_back() noexcept;

  const std::byte* data_ = nullptr;
  std::size_t length_ = 0;
  std::uint64_t id_ = 0;
  std::uint32_t delivery_count_ = 0;
  BodyKind kind_ = BodyKind::kData;
  bool leased_ = false;
  Lease lease_;
  std::shared_ptr<detail::QueueChannel> queue_;  // Of the last lease: the next is likely its, too.
  std::unique_ptr<std::byte[]> buffer_;          // Bodies that are neither inline nor in place.
  std::size_t buffer_bytes_ = 0;
  alignas(16) std::array<std::byte, kInlineBytes> inline_;
};

}  // namespace heddle

#endif  // HEDDLE_MESSAGE_H_
