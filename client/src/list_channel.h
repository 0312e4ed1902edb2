// The seam of lists and blocks. See channel.h for deadlines and threads.
#ifndef HEDDLE_CLIENT_SRC_LIST_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_LIST_CHANNEL_H_

#include <heddle/block.h>
#include <heddle/list.h>

#include <memory>
#include <span>
#include <string>

namespace heddle::detail {

enum class ListChangeWhat : std::uint8_t { kAppend, kInsert, kSet, kPop, kRemove, kClear };
struct ListChangeSpec {
  ListChangeWhat what = ListChangeWhat::kAppend;
  std::int64_t index = 0;
  const DictInput* value = nullptr;
  std::optional<std::uint64_t> if_revision;
};

class HEDDLE_API ListChannel {
 public:
  virtual ~ListChannel() = default;
  virtual const std::string& name() const = 0;

  virtual Status get(std::int64_t index, ListItem* out) = 0;
  virtual Status slice(std::int64_t from, std::size_t most,
                       std::optional<std::uint64_t> if_revision, ListPage* out) = 0;
  // out->item is filled in by kPop alone.
  virtual Status change(const ListChangeSpec& spec, ListTaken* out) = 0;
  virtual Status wait_change(std::uint64_t revision, std::int64_t deadline_ns,
                             std::uint64_t* now) = 0;
  // Length and revision of one moment.
  virtual Status figures(std::uint64_t* length, std::uint64_t* revision) = 0;
  virtual Result<ListInfo> info() = 0;
};

class HEDDLE_API BlockChannel {
 public:
  virtual ~BlockChannel() = default;
  virtual const std::string& name() const = 0;
  virtual std::uint64_t size() const = 0;

  virtual Result<BlockMap> map(bool read_only) = 0;
  virtual Status read(std::uint64_t at, std::span<std::byte> to, std::int64_t deadline_ns,
                      BlockRead* out) = 0;
  virtual Status write(std::uint64_t at, std::span<const std::byte> from,
                       std::optional<std::uint64_t> if_version, std::int64_t deadline_ns,
                       std::uint64_t* version) = 0;
  virtual Result<std::uint64_t> version() = 0;
  virtual Status wait_change(std::uint64_t seen, std::int64_t deadline_ns, std::uint64_t* now) = 0;
  virtual Status mend() = 0;
  virtual Result<bool> force() = 0;
  virtual Result<BlockInfo> info() = 0;
};

// How the public handles are made.
struct ListAccess {
  static List list(std::shared_ptr<ListChannel> channel) {
    List made;
    made.list_ = std::move(channel);
    return made;
  }
};
struct BlockAccess {
  static Block block(std::shared_ptr<BlockChannel> channel) {
    Block made;
    made.block_ = std::move(channel);
    return made;
  }
  static BlockMap map(std::shared_ptr<void> owner, std::byte* data, std::size_t size,
                      bool writable) {
    BlockMap made;
    made.owner_ = std::move(owner);
    made.data_ = data;
    made.size_ = size;
    made.writable_ = writable;
    return made;
  }
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_LIST_CHANNEL_H_
