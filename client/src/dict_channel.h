// The seam of dicts: one opened dict, and one watch on it. See channel.h for deadlines and threads.
#ifndef HEDDLE_CLIENT_SRC_DICT_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_DICT_CHANNEL_H_

#include <heddle/dict.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::detail {

// A change of one entry; `value` null: it is erased.
struct DictWriteSpec {
  std::string_view key;
  const DictInput* value = nullptr;
  const DictSetOptions* options = nullptr;
};

struct DictIncrementSpec {
  std::string_view key;
  bool is_integer = true;
  std::int64_t by_integer = 0, initial_integer = 0, least_integer = INT64_MIN,
               most_integer = INT64_MAX;
  double by = 0, initial = 0, least = 0, most = 0;
  DictExpiry expiry;
  // Out.
  std::int64_t now_integer = 0;
  double now = 0;
};

enum class DictEditWhat : std::uint8_t { kSet, kErase, kMerge, kPatch, kIncrement };
struct DictEditSpec {
  std::string_view key;
  DictEditWhat what = DictEditWhat::kSet;
  std::string_view pointer, json;
  const DictEditOptions* options = nullptr;
};

class HEDDLE_API DictWatchChannel {
 public:
  virtual ~DictWatchChannel() = default;
  virtual Status next(std::int64_t deadline_ns, DictEvent* out) = 0;
  virtual std::uint64_t next_revision() const = 0;
};

class HEDDLE_API DictChannel : public std::enable_shared_from_this<DictChannel> {
 public:
  virtual ~DictChannel() = default;
  virtual const std::string& name() const = 0;

  virtual Status get_into(std::string_view key, std::span<std::byte> room, DictRead* read) = 0;
  virtual Status get(std::string_view key, DictGot* out) = 0;
  virtual Status get_many(std::span<const std::string_view> keys,
                          std::vector<std::optional<DictEntry>>* out) = 0;
  virtual Status write(const DictWriteSpec& spec, DictChanged* out) = 0;
  virtual Status update(std::span<const Dict::Pair> pairs, std::size_t* done,
                        std::uint64_t* revision) = 0;
  virtual Result<std::uint64_t> clear() = 0;
  virtual Status increment(DictIncrementSpec& spec, DictChanged* out) = 0;
  virtual Status append(std::string_view key, const DictInput& value, const DictSetOptions& options,
                        DictChanged* out, std::size_t* length) = 0;
  virtual Status touch(std::string_view key, const DictExpiry& expiry, DictChanged* out) = 0;
  virtual Result<std::string> get_json(std::string_view key, std::string_view pointer) = 0;
  virtual Status edit(const DictEditSpec& spec, DictEdited* out) = 0;
  virtual Status scan(const DictScanOptions& options, const std::string& place, DictPage* out) = 0;
  virtual Result<std::shared_ptr<DictWatchChannel>> watch(const DictWatchOptions& options) = 0;
  virtual Status transact(std::span<const DictCompare> compares,
                          std::span<const DictOperation> then,
                          std::span<const DictOperation> otherwise,
                          const std::optional<Fence>& fence, DictTransacted* out) = 0;
  virtual Status get_or_lease(std::string_view key, const DictLeaseOptions& options,
                              std::int64_t deadline_ns, DictLeased* out) = 0;
  virtual Result<bool> end_lease(std::string_view key, std::uint64_t lease) = 0;
  virtual Result<DictInfo> info() = 0;
  virtual Result<std::uint64_t> revision() = 0;
};

// How the public handles are made.
struct DictAccess {
  static Dict dict(std::shared_ptr<DictChannel> channel) {
    Dict made;
    made.dict_ = std::move(channel);
    return made;
  }
  static DictWatch watch(std::shared_ptr<DictWatchChannel> channel) {
    DictWatch made;
    made.watch_ = std::move(channel);
    return made;
  }
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_DICT_CHANNEL_H_
