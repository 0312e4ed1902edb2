// A handle on one named block: shared memory of fixed size. Map it and use it as you like, under a
// lock of your own; or read and write it in whole pieces, each of one version.
//
//   auto block = client.create_block("frame", {.size = 1 << 20}).value();
//   BlockMap map = block.map().value();
//   std::memcpy(map.data(), pixels, map.size());
//
//   block.write(0, bytes).value();           // readers see all of it or nothing
//   block.wait_change(seen).value();
#ifndef HEDDLE_BLOCK_H_
#define HEDDLE_BLOCK_H_

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

namespace heddle {

namespace detail {
class BlockChannel;
struct BlockAccess;
}  // namespace detail

struct BlockOptions {
  std::optional<std::uint64_t> size = {};  // Bytes, up to 64 GiB; needed to create one.
  std::optional<Lifetime> lifetime = {};   // kKept; kAttached for anonymous ones.
  std::optional<std::uint32_t> mode = {};  // Permission bits: r reads, w writes; 0600.
  std::string group = {};
  // create_block only: an existing one is opened if the given options agree with it.
  bool open_existing = false;
};

struct BlockInfo {
  std::string name;
  std::uint64_t object_id = 0;
  BlockOptions options;  // Every field set to what holds.
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t version = 0;  // Of the last write; 0: there was none.
  bool writing = false;       // By the next two: numbers of a session and of its thread.
  std::uint32_t writer_owner = 0;
  std::uint32_t writer_thread = 0;
  bool torn = false;  // Bytes [torn_at, torn_end) are what a writer left that died.
  std::uint64_t torn_at = 0;
  std::uint64_t torn_end = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t attached = 0;
  std::uint32_t watching = 0;
  bool quarantined = false;
};

struct BlockRead {
  std::uint64_t version = 0;  // Of all that was read.
  bool torn = false;          // Part of it is what a writer left that died, half old, half new.
};

struct BlockWriteOptions {
  std::optional<std::uint64_t> if_version = {};  // That it must have: MISMATCH.
  std::chrono::nanoseconds timeout = kForever;   // For somebody else's write to end.
};

// The block's memory in this process, until the last copy of this goes; it does not cross fork.
// What is stored through it has no version: nobody who reads in versions can tell.
class HEDDLE_API BlockMap {
 public:
  BlockMap() noexcept = default;
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  // False: storing through data() ends the process with SIGSEGV.
  bool writable() const noexcept { return writable_; }

 private:
  friend struct detail::BlockAccess;
  std::shared_ptr<void> owner_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool writable_ = false;
};

// A process that dies in a write leaves a torn range: everybody who reads any of it is told, until
// a write covers all of it or somebody says mend(). One that is stopped in a write holds others up:
// TIMED_OUT says who it is, and the owner may force() its end.
// Rights: with r alone the block is mapped read-only on the shared-memory plane, and every write is
// DENIED. Deleted by somebody: CLOSED.
// Threads: all methods may be called from any number of threads at once. Copies are the same
// handle. Fork: on the shared-memory plane the child's first call attaches a session of its own;
// over gRPC its calls are UNSUPPORTED.
class HEDDLE_API Block {
 public:
  Block() noexcept = default;  // No block: every method fails with INVALID_ARGUMENT.

  explicit operator bool() const noexcept { return block_ != nullptr; }
  const std::string& name() const;
  std::uint64_t size() const noexcept;

  // Writable if the caller has w, unless told otherwise. UNSUPPORTED over gRPC.
  Result<BlockMap> map(bool read_only = false);

  // Copies a range as it was at one version. OUT_OF_RANGE; TIMED_OUT (it was written all the time).
  Result<BlockRead> read(std::uint64_t at, std::span<std::byte> to,
                         std::chrono::nanoseconds timeout = kForever);
  // Gives the version it got. One at a time: others wait. Over gRPC up to 16 MiB: TOO_LARGE.
  // LEASE_LOST: somebody ended it by force().
  Result<std::uint64_t> write(std::uint64_t at, std::span<const std::byte> from,
                              const BlockWriteOptions& options = {});
  Result<std::uint64_t> write(std::uint64_t at, std::string_view text,
                              const BlockWriteOptions& options = {}) {
    return write(at, std::as_bytes(std::span(text.data(), text.size())), options);
  }
  Result<std::uint64_t> version();
  // Waits until the version is another one, which it gives. TIMED_OUT, or EMPTY with timeout 0.
  Result<std::uint64_t> wait_change(std::uint64_t version_seen,
                                    std::chrono::nanoseconds timeout = kForever);

  // What was torn has been put right.
  Status mend();
  // Ends the write of somebody who is stopped, as if he had died; false: nobody was in one. What he
  // still stores tears silently. Owner or root only: DENIED.
  Result<bool> force();
  Result<BlockInfo> info();

 private:
  friend struct detail::BlockAccess;
  std::shared_ptr<detail::BlockChannel> block_;
};

}  // namespace heddle

#endif  // HEDDLE_BLOCK_H_
