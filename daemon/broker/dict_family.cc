// Dicts as a family: their options on the way between the wire and the memory protocol.
#include <heddle/limits.h>
#include <sys/random.h>

#include <cstring>

#include "daemon/broker/dict_options.h"
#include "daemon/broker/extent_grantee.h"
#include "daemon/broker/family.h"
#include "daemon/objects/dict.h"
#include "proto/shm/dict_grant.h"

namespace heddle::broker {
namespace {

using local::DictOptionsWire;

class DictFamily final : public Family {
 public:
  local::ObjectKind kind() const override { return local::ObjectKind::kDict; }
  const char* noun() const override { return "dict"; }
  Result<MemberOptions> complete(const MemberOptions& asked) const override {
    const Result<DictOptionsWire> dict = complete_dict(asked.dict);
    if (!dict.ok()) return dict.status();
    MemberOptions out{};
    out.dict = *dict;
    return out;
  }
  Status check_same(const MemberOptions& in_force, const MemberOptions& asked) const override {
    return check_same_dict(in_force.dict, asked.dict);
  }
  Plan plan(const MemberOptions& options) const override {
    const shm::DictLimits limits = dict_limits_of(options.dict);
    return extent_plan(shm::DictGeometry::of(limits), shm::dict_control_bytes(limits));
  }
  void format(void* base, const MemberOptions& options, uint64_t object_id) const override {
    const shm::DictLimits limits = dict_limits_of(options.dict);
    uint64_t seed = object_id;
    (void)!::getrandom(&seed, sizeof seed, 0);
    shm::dict_format(base, limits, object_id, seed);
    shm::Dict dict;
    if (shm::Dict::attach(base, shm::dict_segment_bytes(limits), -1, &dict) == shm::Outcome::kOk) {
      shm::dict_set_grant(dict.memory(), shm::dict_first_grant(dict.memory().geometry()));
    }
  }
  std::unique_ptr<Grantee> grantee(const Segment& segment) const override {
    shm::Dict dict;
    if (shm::Dict::attach(segment.base(), segment.bytes(), segment.fd(), &dict) !=
        shm::Outcome::kOk) {
      return nullptr;
    }
    const uint64_t control_bytes = shm::dict_control_bytes(dict.limits());
    return std::make_unique<ExtentGrantee>(dict.memory(), control_bytes);
  }
  Result<std::shared_ptr<objects::Member>> adopt(objects::Host& host, const std::string& name,
                                                 uint64_t object_id,
                                                 const std::shared_ptr<Segment>& segment,
                                                 const MemberOptions& options) const override {
    const auto dict = objects::Dict::adopt(host, name, object_id, segment->base(), segment->bytes(),
                                           segment->fd(), segment);
    if (!dict.ok()) return dict.status();
    if (!(*dict)->matches(object_id, dict_limits_of(options.dict))) {
      return Status(Reason::kCorrupt, "its first lines contradict the catalog");
    }
    return std::shared_ptr<objects::Member>(*dict);
  }
};

}  // namespace

const Family& dict_family() {
  static const DictFamily family;
  return family;
}

}  // namespace heddle::broker
