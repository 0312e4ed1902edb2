// Blocks as a family: all of their memory is backed, and charged, when they are made.
#include <algorithm>
#include <iterator>

#include "daemon/broker/family.h"
#include "daemon/objects/block.h"

namespace heddle::broker {
namespace {

using local::BlockOptionsWire;

constexpr uint32_t kBlockBits =
    local::kGivenSize | local::kGivenMode | local::kGivenLifetime | local::kGivenGroup;

class BlockFamily final : public Family {
 public:
  local::ObjectKind kind() const override { return local::ObjectKind::kBlock; }
  const char* noun() const override { return "block"; }

  Result<MemberOptions> complete(const MemberOptions& asked) const override {
    const BlockOptionsWire& wire = asked.block;
    const bool spare =
        wire.reserved != 0 || std::any_of(std::begin(wire.reserved2), std::end(wire.reserved2),
                                          [](uint64_t word) { return word != 0; });
    if ((wire.given & ~kBlockBits) != 0 || spare) return unknown_options();
    MemberOptions out = asked;
    if (Status bad = complete_head(asked.head, &out.head); !bad.ok()) return bad;
    if ((wire.given & local::kGivenSize) == 0) {
      return Status(Reason::kInvalidArgument, "a block that is made needs its size in bytes");
    }
    if (wire.size < 1 || wire.size > shm::kBlockBytesMax) {
      return out_of_bounds("size", 1, shm::kBlockBytesMax, wire.size);
    }
    out.block.given |= kBlockBits & ~local::kGivenGroup;
    return out;
  }

  Status check_same(const MemberOptions& in_force, const MemberOptions& asked) const override {
    Status same = check_same_head(in_force.head, asked.head);
    if (same.ok() && (asked.block.given & local::kGivenSize) != 0 &&
        in_force.block.size != asked.block.size) {
      same = differs("size", in_force.block.size, asked.block.size);
    }
    return same;
  }

  Plan plan(const MemberOptions& options) const override {
    const uint64_t bytes = shm::block_segment_bytes(options.block.size);
    return {bytes, bytes, bytes, 0};
  }
  void format(void* base, const MemberOptions& options, uint64_t object_id) const override {
    shm::block_format(base, options.block.size, object_id);
  }
  std::unique_ptr<Grantee> grantee(const Segment&) const override { return nullptr; }

  Result<std::shared_ptr<objects::Member>> adopt(objects::Host& host, const std::string& name,
                                                 uint64_t object_id,
                                                 const std::shared_ptr<Segment>& segment,
                                                 const MemberOptions& options) const override {
    const auto block =
        objects::Block::adopt(host, name, object_id, segment->base(), segment->bytes(), segment);
    if (!block.ok()) return block.status();
    if (!(*block)->matches(object_id, options.block.size)) {
      return Status(Reason::kCorrupt, "its first lines contradict the catalog");
    }
    return std::shared_ptr<objects::Member>(*block);
  }
};

}  // namespace

const Family& block_family() {
  static const BlockFamily family;
  return family;
}

}  // namespace heddle::broker
