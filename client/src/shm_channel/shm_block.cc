// A block over shared memory.
#include <algorithm>
#include <utility>

#include "client/src/list_channel.h"
#include "client/src/shm_channel/member_json.h"
#include "client/src/shm_channel/nap.h"
#include "client/src/shm_channel/shm_member.h"
#include "client/src/shm_channel/wire_fields.h"
#include "proto/local/block_status.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

class ShmBlock final : public BlockChannel, public ShmMember<shm::Block> {
 public:
  ShmBlock(std::shared_ptr<ShmChannel> channel, std::shared_ptr<BlockAttachment> attachment)
      : ShmMember(std::move(channel), attachment), size_(attachment->core.size()) {}
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return size_; }

  // A mapping of its own, which outlives this handle and a lost session.
  Result<BlockMap> map(bool read_only) override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    BlockAttachment& at = *hands->block;
    const bool writable = !read_only && at.writable();
    auto mapping = Mapping::map(at.fd.get(), at.mapping.bytes(), !writable);
    if (!mapping) return mapping.status();
    auto owner = std::make_shared<Mapping>(std::move(*mapping));
    auto* const data = static_cast<std::byte*>(owner->base()) + shm::kBlockDataAt;
    return BlockAccess::map(std::move(owner), data, size_, writable);
  }

  Status read(std::uint64_t at, std::span<std::byte> to, std::int64_t deadline_ns,
              BlockRead* out) override {
    for (;;) {
      Status status;
      Hands* hands = this->hands(&status);
      if (hands == nullptr) return status;
      BlockAttachment& used = *hands->block;
      const Outcome outcome =
          used.core.read(at, to.data(), to.size(), turn_of(deadline_ns), &out->version);
      if (outcome == Outcome::kTimedOut && deadline_ns != kTry && monotonic_ns() < deadline_ns) {
        if (status = look(used); !status.ok()) return status;
        continue;
      }
      out->torn = outcome == Outcome::kTorn;
      return explain(outcome, used, at, to.size());
    }
  }

  Status write(std::uint64_t at, std::span<const std::byte> from,
               std::optional<std::uint64_t> if_version, std::int64_t deadline_ns,
               std::uint64_t* version) override {
    const std::uint64_t wanted = if_version.value_or(shm::kBlockAnyVersion);
    for (;;) {
      Status status;
      Hands* hands = writing_hands(&status);
      if (hands == nullptr) return status;
      BlockAttachment& used = *hands->block;
      // It sleeps for as long as it has patience, then the connection is looked at.
      const Outcome outcome = used.core.write(*hands->block_actor, at, from.data(), from.size(),
                                              deadline_ns, version, wanted);
      if (outcome == Outcome::kTimedOut && deadline_ns != kTry && monotonic_ns() < deadline_ns) {
        if (status = look(used); !status.ok()) return status;
        continue;
      }
      return explain(outcome, used, at, from.size(), wanted);
    }
  }

  Result<std::uint64_t> version() override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    return hands->block->core.version();
  }

  Status wait_change(std::uint64_t seen, std::int64_t deadline_ns, std::uint64_t* now) override {
    std::int64_t next_look_ns = 0;
    for (;;) {
      Status status;
      Hands* hands = this->hands(&status);
      if (hands == nullptr) return status;
      BlockAttachment& at = *hands->block;
      *now = at.core.version();
      if (*now != seen) return status;
      if (deadline_ns == kTry) return Reason::kEmpty;
      const std::int64_t now_ns = monotonic_ns();
      if (now_ns >= deadline_ns) return Reason::kTimedOut;
      if (hands->block_actor == nullptr) {
        nap_until(now_ns, deadline_ns);
        if (now_ns < next_look_ns) continue;
        next_look_ns = now_ns + kLookEveryNs;
        status = look(at);
      } else if (at.core.wait_change(*hands->block_actor, seen, deadline_ns) ==
                 Outcome::kTimedOut) {
        status = look(at);
      }
      if (!status.ok()) return status;
    }
  }

  Status mend() override {
    Status status;
    Hands* hands = writing_hands(&status);
    if (hands != nullptr) hands->block->core.mend();
    return status;
  }

  Result<bool> force() override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    if ((hands->block->rights & local::kRightOwner) == 0) {
      return named({Reason::kDenied, "only the owner or root may end somebody's write"});
    }
    if (hands = writing_hands(&status); hands == nullptr) return status;
    return hands->block->core.force();
  }

  Result<BlockInfo> info() override {
    auto info = channel_->block_info(name_);
    if (info.status().is(Reason::kNotFound)) return local::block_gone(name_);
    return info;
  }

 private:
  // A reader waits for a second at most before it looks at the connection.
  static std::int64_t turn_of(std::int64_t deadline_ns) {
    return deadline_ns == kTry ? kTry : std::min(deadline_ns, monotonic_ns() + kLookEveryNs);
  }
  Status explain(Outcome outcome, BlockAttachment& used, std::uint64_t at, std::uint64_t bytes,
                 std::uint64_t if_version = 0) const {
    return local::block_status(outcome, {name_, &used.core, at, bytes, if_version});
  }

  const std::uint64_t size_;
};

BlockInfo block_info_of(const nlohmann::json& row) {
  BlockInfo info;
  const nlohmann::json in_force = member_fields(row, &info);
  json_field(row, "version", &info.version);
  json_field(row, "writing", &info.writing);
  json_field(row, "writer_owner", &info.writer_owner);
  json_field(row, "writer_thread", &info.writer_thread);
  json_field(row, "torn", &info.torn);
  json_field(row, "torn_at", &info.torn_at);
  json_field(row, "torn_end", &info.torn_end);
  json_field(in_force, "size", &info.options.size.emplace());
  return info;
}

}  // namespace

Result<std::shared_ptr<BlockChannel>> ShmChannel::open_block(std::string_view name,
                                                             const BlockOptions& options,
                                                             bool create) {
  local::Open open{};
  open.flags = open_flags(options, name, create);
  local::BlockOptionsWire& wire = open.member.block;
  give(wire, options.size, wire.size, local::kGivenSize);
  give(wire, options.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, options.mode, wire.mode, local::kGivenMode);
  if (!options.group.empty()) wire.given |= local::kGivenGroup;
  auto attachment = attach_member<shm::Block>(open, options.group, name);
  if (!attachment) return attachment.status();
  return std::shared_ptr<BlockChannel>(
      std::make_shared<ShmBlock>(shared_from_this(), std::move(*attachment)));
}

Status ShmChannel::delete_block(std::string_view name) {
  return remove(local::ObjectKind::kBlock, name);
}

Result<BlockInfo> ShmChannel::block_info(std::string_view name) {
  return describe_member(*this, "block", name, block_info_of);
}

Result<std::vector<BlockInfo>> ShmChannel::blocks(std::string_view prefix) {
  return list_members(*this, "block", prefix, block_info_of);
}

}  // namespace heddle::detail
