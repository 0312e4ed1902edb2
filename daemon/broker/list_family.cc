// Lists as a family: their options on the way between the wire and the memory protocol.
#include <heddle/limits.h>

#include <algorithm>
#include <iterator>

#include "daemon/broker/extent_grantee.h"
#include "daemon/broker/family.h"
#include "daemon/objects/list.h"

namespace heddle::broker {
namespace {

using local::ListOptionsWire;

constexpr uint64_t kListBytesMax = uint64_t{1} << 33;
constexpr uint32_t kListBits = local::kGivenMaxLen | local::kGivenMaxBytes |
                               local::kGivenMaxValueBytes | local::kGivenMode |
                               local::kGivenLifetime | local::kGivenGroup;

shm::ListLimits list_limits_of(const MemberOptions& options) {
  return {options.list.max_len, options.list.max_bytes, options.list.max_value_bytes, 0};
}

class ListFamily final : public Family {
 public:
  local::ObjectKind kind() const override { return local::ObjectKind::kList; }
  const char* noun() const override { return "list"; }

  Result<MemberOptions> complete(const MemberOptions& asked) const override {
    const ListOptionsWire& wire = asked.list;
    const bool spare =
        wire.reserved != 0 || std::any_of(std::begin(wire.reserved2), std::end(wire.reserved2),
                                          [](uint32_t word) { return word != 0; });
    if ((wire.given & ~kListBits) != 0 || spare) return unknown_options();
    MemberOptions out = asked;
    if (Status bad = complete_head(asked.head, &out.head); !bad.ok()) return bad;
    const auto given = [&wire](uint32_t bit) { return (wire.given & bit) != 0; };
    ListOptionsWire& list = out.list;
    if (!given(local::kGivenMaxLen)) list.max_len = kListLenDefault;
    if (!given(local::kGivenMaxBytes)) list.max_bytes = kDictBytesDefault;
    if (!given(local::kGivenMaxValueBytes)) {
      list.max_value_bytes =
          static_cast<uint32_t>(std::min<uint64_t>(shm::kDictValueBytesMax, list.max_bytes));
    }
    if (list.max_len < 1 || list.max_len > shm::kListLenMax) {
      return out_of_bounds("max_len", 1, shm::kListLenMax, list.max_len);
    }
    if (list.max_bytes < 1 || list.max_bytes > kListBytesMax) {
      return out_of_bounds("max_bytes", 1, kListBytesMax, list.max_bytes);
    }
    const uint64_t most = std::min<uint64_t>(shm::kDictValueBytesMax, list.max_bytes);
    if (list.max_value_bytes > most) {
      return out_of_bounds("max_value_bytes", 0, most, list.max_value_bytes);
    }
    list.given |= kListBits & ~local::kGivenGroup;
    return out;
  }

  Status check_same(const MemberOptions& in_force, const MemberOptions& asked) const override {
    Status same = check_same_head(in_force.head, asked.head);
    const auto check = [&](uint32_t bit, const char* field, uint64_t is, uint64_t wanted) {
      if (same.ok() && (asked.list.given & bit) != 0 && is != wanted) {
        same = differs(field, is, wanted);
      }
    };
    check(local::kGivenMaxLen, "max_len", in_force.list.max_len, asked.list.max_len);
    check(local::kGivenMaxBytes, "max_bytes", in_force.list.max_bytes, asked.list.max_bytes);
    check(local::kGivenMaxValueBytes, "max_value_bytes", in_force.list.max_value_bytes,
          asked.list.max_value_bytes);
    return same;
  }

  Plan plan(const MemberOptions& options) const override {
    const shm::ListLimits limits = list_limits_of(options);
    return extent_plan(shm::ListGeometry::of(limits).memory, shm::list_control_bytes(limits));
  }

  void format(void* base, const MemberOptions& options, uint64_t object_id) const override {
    const shm::ListLimits limits = list_limits_of(options);
    shm::list_format(base, limits, object_id);
    shm::List list;
    if (shm::List::attach(base, shm::list_segment_bytes(limits), -1, &list) == shm::Outcome::kOk) {
      shm::dict_set_grant(list.memory(), shm::dict_first_grant(list.memory().geometry()));
    }
  }

  std::unique_ptr<Grantee> grantee(const Segment& segment) const override {
    shm::List list;
    if (shm::List::attach(segment.base(), segment.bytes(), segment.fd(), &list) !=
        shm::Outcome::kOk) {
      return nullptr;
    }
    const uint64_t control_bytes = shm::list_control_bytes(list.limits());
    return std::make_unique<ExtentGrantee>(list.memory(), control_bytes);
  }

  Result<std::shared_ptr<objects::Member>> adopt(objects::Host& host, const std::string& name,
                                                 uint64_t object_id,
                                                 const std::shared_ptr<Segment>& segment,
                                                 const MemberOptions& options) const override {
    const auto list = objects::List::adopt(host, name, object_id, segment->base(), segment->bytes(),
                                           segment->fd(), segment);
    if (!list.ok()) return list.status();
    if (!(*list)->matches(object_id, list_limits_of(options))) {
      return Status(Reason::kCorrupt, "its first lines contradict the catalog");
    }
    return std::shared_ptr<objects::Member>(*list);
  }
};

}  // namespace

const Family& list_family() {
  static const ListFamily family;
  return family;
}

}  // namespace heddle::broker
