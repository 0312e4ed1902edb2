// Dicts over gRPC: unary calls, and a stream for each watch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/src/channel.h"
#include "client/src/dict_channel.h"
#include "client/src/grpc_channel/remote.h"
#include "heddle/v1/dict_service.pb.h"

namespace heddle::detail {

Result<std::shared_ptr<DictChannel>> open_dict(const std::shared_ptr<Remote>& remote,
                                               std::string_view name, const DictOptions& options,
                                               bool create);
Status delete_dict(Remote& remote, std::string_view name);
Result<std::vector<DictInfo>> list_dicts(Remote& remote, std::string_view prefix);
Result<DictInfo> dict_info(Remote& remote, std::string_view name);

class GrpcDict final : public DictChannel {
 public:
  GrpcDict(std::shared_ptr<Remote> remote, std::string name, std::uint64_t max_value_bytes)
      : remote_(std::move(remote)), name_(std::move(name)), max_value_bytes_(max_value_bytes) {}

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

 private:
  // One call; `bytes` are how large what goes over with it may be.
  template <class Method, class Request, class Response>
  Status call(Method method, Request& request, Response* response, std::uint64_t bytes = 0);
  // Names the dict, and says CLOSED when it is no more.
  Status told(Status status) const;

  const std::shared_ptr<Remote> remote_;
  const std::string name_;
  const std::uint64_t max_value_bytes_;
};

// Values, as those of lists are as well.
void dict_value_to(const DictInput& value, v1::DictValue* wire);
DictValue dict_value_from(const v1::DictValue& wire);
// For the watch.
DictEntry dict_entry_from(const v1::DictEntry& wire);
Result<std::shared_ptr<DictWatchChannel>> watch_grpc_dict(std::shared_ptr<Remote> remote,
                                                          const std::string& name,
                                                          const DictWatchOptions& options);

}  // namespace heddle::detail
