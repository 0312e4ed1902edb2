#include "daemon/broker/dict_options.h"

#include <heddle/limits.h>

#include <algorithm>
#include <string>

#include "daemon/broker/family.h"
#include "proto/shm/dict.h"

namespace heddle::broker {
namespace {

using local::DictOptionsWire;

constexpr const char* kEvictions[] = {"reject", "evict_oldest_write", "evict_lru",
                                      "evict_ttl_first"};
constexpr const char* kTtlPolicies[] = {"clear", "keep", "default"};
constexpr const char* kLifetimes[] = {"kept", "attached", "session"};
constexpr uint64_t kEntriesMax = uint64_t{1} << 27, kBytesMax = uint64_t{1} << 33;

struct Number {
  uint32_t bit;
  const char* field;
  uint64_t least, most, standard;
  uint64_t (*get)(const DictOptionsWire&);
  void (*set)(DictOptionsWire&, uint64_t);
};

#define HEDDLE_FIELD(name)                                            \
  [](const DictOptionsWire& w) -> uint64_t { return w.name; },        \
      [](DictOptionsWire& w, uint64_t value) {                        \
        w.name = static_cast<decltype(DictOptionsWire::name)>(value); \
      }
const Number kNumbers[] = {
    {local::kGivenMaxEntries, "max_entries", 1, kEntriesMax, kDictEntriesDefault,
     HEDDLE_FIELD(max_entries)},
    {local::kGivenMaxBytes, "max_bytes", 1, kBytesMax, kDictBytesDefault, HEDDLE_FIELD(max_bytes)},
    {local::kGivenMaxValueBytes, "max_value_bytes", 0, shm::kDictValueBytesMax,
     shm::kDictValueBytesMax, HEDDLE_FIELD(max_value_bytes)},
    {local::kGivenMaxKeyBytes, "max_key_bytes", 1, shm::kDictKeyBytesMax, shm::kDictKeyBytesMax,
     HEDDLE_FIELD(max_key_bytes)},
    {local::kGivenHistory, "history", 1, shm::kDictHistoryMax, kDictHistoryDefault,
     HEDDLE_FIELD(history)},
    {local::kGivenDefaultTtl, "default_ttl_ms", 0, UINT32_MAX, 0, HEDDLE_FIELD(default_ttl_ms)},
};
#undef HEDDLE_FIELD

struct Word {
  uint32_t bit;
  const char* field;
  const char* const* names;
  uint8_t count;
  uint8_t standard;
  uint8_t DictOptionsWire::*member;
};
constexpr const char* kNoYes[] = {"false", "true"};
const Word kWords[] = {
    {local::kGivenEviction, "eviction", kEvictions, 4, 0, &DictOptionsWire::eviction},
    {local::kGivenTtlOnOverwrite, "ttl_on_overwrite", kTtlPolicies, 3, 0,
     &DictOptionsWire::ttl_on_overwrite},
    {local::kGivenKeepPrevious, "keep_previous", kNoYes, 2, 1, &DictOptionsWire::keep_previous},
};

Status differs_in_words(const char* field, const std::string& in_force, const std::string& asked) {
  return Status(Reason::kExistsOtherOptions, std::string(field) + " is " + in_force +
                                                 ", asked was " + asked +
                                                 "; open it without that option, or delete it");
}

std::string octal(uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

}  // namespace

const char* eviction_name(uint8_t eviction) { return kEvictions[eviction % 4]; }
const char* ttl_on_overwrite_name(uint8_t policy) { return kTtlPolicies[policy % 3]; }

Status out_of_bounds(const char* field, uint64_t least, uint64_t most, uint64_t value) {
  return Status(Reason::kInvalidArgument, std::string(field) + " must be from " +
                                              std::to_string(least) + " to " + std::to_string(most))
      .with_limit(value < least ? least : most, value);
}

Status unknown_options() {
  return {Reason::kInvalidArgument, "unknown option bits; the client is newer"};
}

Status differs(const char* field, uint64_t in_force, uint64_t asked) {
  return differs_in_words(field, std::to_string(in_force), std::to_string(asked))
      .with_limit(in_force, asked);
}

Status complete_head(const local::MemberOptionsHead& asked, local::MemberOptionsHead* out) {
  *out = asked;
  if ((asked.given & local::kGivenMode) == 0) out->mode = kModeDefault;
  if ((asked.given & local::kGivenLifetime) == 0) out->lifetime = 0;
  if ((out->mode & ~0666u) != 0) {
    return Status(Reason::kInvalidArgument,
                  "mode " + octal(out->mode) + " has bits other than r and w (0666)");
  }
  if (out->lifetime > 2) {
    return Status(Reason::kInvalidArgument, "lifetime has no such value")
        .with_limit(2, out->lifetime);
  }
  return Status();
}

Status check_same_head(const local::MemberOptionsHead& in_force,
                       const local::MemberOptionsHead& asked) {
  if ((asked.given & local::kGivenMode) != 0 && in_force.mode != asked.mode) {
    return differs_in_words("mode", octal(in_force.mode), octal(asked.mode));
  }
  if ((asked.given & local::kGivenLifetime) != 0 && in_force.lifetime != asked.lifetime) {
    return differs_in_words("lifetime", kLifetimes[in_force.lifetime % 3],
                            asked.lifetime < 3 ? kLifetimes[asked.lifetime] : "unknown");
  }
  return Status();
}

Result<DictOptionsWire> complete_dict(const DictOptionsWire& asked) {
  uint32_t known = local::kGivenMode | local::kGivenLifetime | local::kGivenGroup;
  for (const Number& row : kNumbers) known |= row.bit;
  for (const Word& row : kWords) known |= row.bit;
  if ((asked.given & ~known) != 0) {
    return unknown_options();
  }
  DictOptionsWire out = asked;
  local::MemberOptionsHead head{};
  Status bad = complete_head({asked.given, asked.mode, asked.lifetime}, &head);
  if (!bad.ok()) return bad;
  out.mode = head.mode;
  out.lifetime = head.lifetime;
  for (const Number& row : kNumbers) {
    if ((asked.given & row.bit) == 0) row.set(out, row.standard);
    const uint64_t value = row.get(out);
    out.given |= row.bit;
    if (value < row.least || value > row.most) {
      return out_of_bounds(row.field, row.least, row.most, value);
    }
  }
  // Of the two a default follows the one that is given.
  const bool values_given = (asked.given & local::kGivenMaxValueBytes) != 0;
  if (!values_given && out.max_value_bytes > out.max_bytes) {
    out.max_value_bytes = static_cast<uint32_t>(out.max_bytes);
  }
  if (out.max_value_bytes > out.max_bytes) {
    if ((asked.given & local::kGivenMaxBytes) == 0) {
      out.max_bytes = out.max_value_bytes;
    } else {
      return Status(Reason::kInvalidArgument,
                    "max_value_bytes is more than max_bytes; raise max_bytes or lower it")
          .with_limit(out.max_bytes, out.max_value_bytes);
    }
  }
  for (const Word& row : kWords) {
    if ((asked.given & row.bit) == 0) out.*row.member = row.standard;
    out.given |= row.bit;
    if (out.*row.member >= row.count) {
      return out_of_bounds(row.field, 0, row.count - 1u, out.*row.member);
    }
  }
  if (const char* field = shm::dict_limits_invalid(dict_limits_of(out))) {
    return Status(Reason::kInvalidArgument,
                  std::string(field) + " does not go together with the other limits");
  }
  out.given |= local::kGivenMode | local::kGivenLifetime;
  return out;
}

Status check_same_dict(const DictOptionsWire& in_force, const DictOptionsWire& asked) {
  Status same = check_same_head({in_force.given, in_force.mode, in_force.lifetime},
                                {asked.given, asked.mode, asked.lifetime});
  if (!same.ok()) return same;
  for (const Number& row : kNumbers) {
    if ((asked.given & row.bit) != 0 && row.get(in_force) != row.get(asked)) {
      return differs(row.field, row.get(in_force), row.get(asked));
    }
  }
  for (const Word& row : kWords) {
    if ((asked.given & row.bit) == 0 || in_force.*row.member == asked.*row.member) continue;
    return differs_in_words(
        row.field, row.names[in_force.*row.member % row.count],
        asked.*row.member < row.count ? row.names[asked.*row.member] : "unknown");
  }
  return Status();
}

shm::DictLimits dict_limits_of(const DictOptionsWire& options) {
  shm::DictLimits limits;
  limits.max_entries = options.max_entries;
  limits.max_bytes = options.max_bytes;
  limits.max_value_bytes = options.max_value_bytes;
  limits.max_key_bytes = options.max_key_bytes;
  limits.history = options.history;
  limits.keep_previous = options.keep_previous;
  limits.default_ttl_ms = options.default_ttl_ms;
  limits.at_limit = static_cast<shm::DictAtLimit>(options.eviction);
  limits.on_overwrite = static_cast<shm::DictOnOverwrite>(options.ttl_on_overwrite);
  return limits;
}

}  // namespace heddle::broker
