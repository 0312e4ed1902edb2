// A family: a kind of object of which each is one segment with a name, options, an owner and rights
// (FamilyTable has all that). This is what differs from kind to kind.
//
// Rights. r maps the segment read-only; what is written needs w, a writable mapping.
#pragma once

#include <heddle/result.h>

#include <memory>
#include <string>

#include "daemon/broker/memory_grants.h"
#include "daemon/broker/segment.h"
#include "daemon/objects/host.h"
#include "daemon/objects/member.h"
#include "proto/local/attach.h"

namespace heddle::broker {

using MemberOptions = local::MemberOptionsWire;

// Threads: every method may be called from any thread; none blocks, none keeps state.
class Family {
 public:
  virtual ~Family() = default;
  virtual local::ObjectKind kind() const = 0;
  virtual const char* noun() const = 0;  // of the command line, and in labels

  // The given fields over the defaults, all marked as given. INVALID_ARGUMENT names the field, the
  // limit and the value.
  virtual Result<MemberOptions> complete(const MemberOptions& asked) const = 0;
  // EXISTS_OTHER_OPTIONS naming the first given field that differs, with both values.
  virtual Status check_same(const MemberOptions& in_force, const MemberOptions& asked) const = 0;

  struct Plan {
    uint64_t bytes;           // of the segment
    uint64_t reserved_bytes;  // backed before format()
    uint64_t first_bytes;     // charged at first
    uint32_t first_extents;   // granted at first; 0: all of it is charged and nothing is granted
  };
  virtual Plan plan(const MemberOptions& options) const = 0;
  virtual void format(void* base, const MemberOptions& options, uint64_t object_id) const = 0;
  // What MemoryGrants asks of it; null when all of it is charged.
  virtual std::unique_ptr<Grantee> grantee(const Segment& segment) const = 0;
  // CORRUPT when the memory does not fit id and options. `segment` stays mapped as long.
  virtual Result<std::shared_ptr<objects::Member>> adopt(objects::Host& host,
                                                         const std::string& name,
                                                         uint64_t object_id,
                                                         const std::shared_ptr<Segment>& segment,
                                                         const MemberOptions& options) const = 0;
};

// Mode bits and lifetime, which all of them have. INVALID_ARGUMENT.
Status complete_head(const local::MemberOptionsHead& asked, local::MemberOptionsHead* out);
Status check_same_head(const local::MemberOptionsHead& in_force,
                       const local::MemberOptionsHead& asked);
// "history is 1024, asked was 10".
Status differs(const char* field, uint64_t in_force, uint64_t asked);

// "max_len must be from 1 to 1000".
Status out_of_bounds(const char* field, uint64_t least, uint64_t most, uint64_t value);
Status unknown_options();

const Family& dict_family();
const Family& list_family();
const Family& block_family();

}  // namespace heddle::broker
