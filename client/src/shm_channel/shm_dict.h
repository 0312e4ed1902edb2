// A dict over shared memory: every operation ends in the same shm::Dict function that the broker
// calls for remote clients. What takes several of them is in proto/local/dict_calls.h, for both.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_DICT_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_DICT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/src/channel.h"
#include "client/src/dict_channel.h"
#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/shm_member.h"
#include "proto/local/dict_lease.h"

namespace heddle::detail {

class ShmDict final : public DictChannel, public ShmMember<shm::Dict> {
 public:
  using ShmMember::ShmMember;

  const std::string& name() const override { return name_; }

  Status get_into(std::string_view key, std::span<std::byte> room, DictRead* read) override;
  Status get(std::string_view key, DictGot* out) override;
  Status get_many(std::span<const std::string_view> keys,
                  std::vector<std::optional<DictEntry>>* out) override;
  Status write(const DictWriteSpec& spec, DictChanged* out) override;
  Status update(std::span<const Dict::Pair> pairs, std::size_t* done,
                std::uint64_t* revision) override;
  Result<std::uint64_t> clear() override;
  Status increment(DictIncrementSpec& spec, DictChanged* out) override;
  Status append(std::string_view key, const DictInput& value, const DictSetOptions& options,
                DictChanged* out, std::size_t* length) override;
  Status touch(std::string_view key, const DictExpiry& expiry, DictChanged* out) override;
  Result<std::string> get_json(std::string_view key, std::string_view pointer) override;
  Status edit(const DictEditSpec& spec, DictEdited* out) override;
  Status scan(const DictScanOptions& options, const std::string& place, DictPage* out) override;
  Result<std::shared_ptr<DictWatchChannel>> watch(const DictWatchOptions& options) override;
  Status transact(std::span<const DictCompare> compares, std::span<const DictOperation> then,
                  std::span<const DictOperation> otherwise, const std::optional<Fence>& fence,
                  DictTransacted* out) override;
  Status get_or_lease(std::string_view key, const DictLeaseOptions& options,
                      std::int64_t deadline_ns, DictLeased* out) override;
  Result<bool> end_lease(std::string_view key, std::uint64_t lease) override;
  Result<DictInfo> info() override;
  Result<std::uint64_t> revision() override;

  Status explain(shm::Outcome outcome, DictAttachment& attachment, std::uint64_t key_bytes = 0,
                 std::uint64_t value_bytes = 0, std::uint64_t revision = 0);

 private:
  // `operate(dict, actor)` with the memory it needs; OK for outcomes that are values.
  template <class Operate>
  Status change(std::uint64_t key_bytes, std::uint64_t bytes, Operate operate,
                shm::Outcome* outcome, std::uint64_t* revision);
  Status ask_lease(std::string_view key, const DictLeaseOptions& options,
                   local::DictLeaseTold* told, std::uint64_t* revision);
  Status wait_for_holder(std::uint64_t revision, std::int64_t until_ms, std::int64_t deadline_ns);
  Status write_fenced(const DictWriteSpec& spec, const shm::DictWrite& write, DictChanged* out);
};

template <class Operate>
Status ShmDict::change(std::uint64_t key_bytes, std::uint64_t bytes, Operate operate,
                       shm::Outcome* outcome, std::uint64_t* revision) {
  DictAttachment* at = nullptr;
  if (Status bad = run(bytes, operate, outcome, &at); !bad.ok()) return bad;
  if (revision != nullptr) *revision = at->core.revision();
  return explain(*outcome, *at, key_bytes, bytes);
}

// Entries as the memory protocol has them, and the session as it owns some.
std::uint64_t session_of(const DictAttachment& attachment);
void meta_from(const shm::DictEntry& entry, DictMeta* out);
DictEntry entry_from(local::DictItem item);
// Into *out but for the dict's revision.
void changed_from(shm::Outcome outcome, const shm::DictWritten& written, DictChanged* out);

// A watch that waits for the dict's own words, beginning behind the last change or as told.
Result<std::shared_ptr<DictWatchChannel>> watch_shm_dict(std::shared_ptr<ShmDict> dict,
                                                         const DictWatchOptions& options);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_DICT_H_
