#include "daemon/broker/queue_options.h"

#include <heddle/limits.h>

#include <algorithm>
#include <utility>

namespace heddle::broker {
namespace {

template <typename T>
T choose(const QueueOptions& asked, uint32_t bit, T given, T standard) {
  return (asked.given & bit) ? given : standard;
}

std::string octal(uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

std::string enum_text(const char* const* names, size_t n, uint8_t value) {
  return value < n ? names[value] : std::to_string(value);
}

constexpr const char* kOverflowNames[] = {"block", "reject", "drop_oldest"};
constexpr const char* kEosNames[] = {"manual", "last_producer"};
constexpr const char* kDeathNames[] = {"wait", "close", "error"};
constexpr const char* kLifetimeNames[] = {"kept", "attached", "session"};

Status differs(const std::string& name, const char* field, const std::string& in_force,
               const std::string& asked) {
  return Status(Reason::kExistsOtherOptions, std::string(field) + " is " + in_force +
                                                 ", asked was " + asked +
                                                 "; open it without that option, or delete it")
      .with_object("queue " + name);
}

Status differs(const std::string& name, const char* field, uint64_t in_force, uint64_t asked) {
  return differs(name, field, std::to_string(in_force), std::to_string(asked))
      .with_limit(in_force, asked);
}

Status bad_enum(const char* field, uint8_t value) {
  return Status(Reason::kInvalidArgument, std::string(field) + " has no value " +
                                              std::to_string(value));
}

Status check_enums(const QueueOptions& options) {
  if (options.overflow > 2) return bad_enum("overflow", options.overflow);
  if (options.eos > 1) return bad_enum("eos", options.eos);
  if (options.on_producer_death > 2) {
    return bad_enum("on_producer_death", options.on_producer_death);
  }
  if (options.lifetime > 2) return bad_enum("lifetime", options.lifetime);
  if ((options.mode & ~0666u) != 0) {
    return Status(Reason::kInvalidArgument, "mode " + octal(options.mode) +
                                                " has bits other than r and w (0666)");
  }
  return Status();
}

Status check_numbers(const QueueOptions& options) {
  const struct {
    const char* field;
    uint64_t value, least, most;
  } rows[] = {
      {"max_len", options.max_len, 1, shm::kQueueLenMax},
      {"max_leases", options.max_leases, 1, shm::kQueueLenMax},
      {"max_bytes", options.max_bytes, 1, uint64_t{1} << 40},
      {"max_msg_bytes", options.max_msg_bytes, 0, shm::kMessageBytesMax},
      {"max_deliveries", options.max_deliveries, 0, shm::kCountMax},
  };
  for (const auto& row : rows) {
    if (row.value >= row.least && row.value <= row.most) continue;
    return Status(Reason::kInvalidArgument, std::string(row.field) + " must be from " +
                                                std::to_string(row.least) + " to " +
                                                std::to_string(row.most))
        .with_limit(row.value < row.least ? row.least : row.most, row.value);
  }
  if (options.max_msg_bytes > options.max_bytes) {
    return Status(Reason::kInvalidArgument,
                  "max_msg_bytes is " + std::to_string(options.max_msg_bytes) +
                      ", more than max_bytes, which is " + std::to_string(options.max_bytes) +
                      "; raise max_bytes or lower max_msg_bytes")
        .with_limit(options.max_bytes, options.max_msg_bytes);
  }
  if (const char* field = shm::queue_limits_invalid(limits_of(options))) {
    return Status(Reason::kInvalidArgument,
                  std::string(field) + " does not go together with the other limits");
  }
  return Status();
}

}  // namespace

Result<QueueOptions> complete(const QueueOptions& asked, const config::Options& defaults) {
  if ((asked.given & ~local::kGivenAll) != 0) {
    return Status(Reason::kInvalidArgument, "unknown option bits; the client is newer");
  }
  shm::QueueLimits standard;
  standard.max_len = static_cast<uint32_t>(defaults.queue_max_len);
  standard.max_leases = static_cast<uint32_t>(defaults.queue_max_leases);
  standard.max_bytes = defaults.queue_max_bytes;
  standard.max_msg_bytes = defaults.queue_max_msg_bytes;
  QueueOptions out{};
  out.given = local::kGivenAll;
  out.max_len = choose(asked, local::kGivenMaxLen, asked.max_len, standard.max_len);
  out.max_leases = choose(asked, local::kGivenMaxLeases, asked.max_leases, standard.max_leases);
  // One message may at most fill the queue. Of the two limits a default follows the one that is
  // given; only when both are given can they contradict each other.
  out.max_bytes = choose(asked, local::kGivenMaxBytes, asked.max_bytes, standard.max_bytes);
  out.max_msg_bytes = choose(asked, local::kGivenMaxMsgBytes, asked.max_msg_bytes,
                             std::min(standard.max_msg_bytes, out.max_bytes));
  if ((asked.given & local::kGivenMaxBytes) == 0) {
    out.max_bytes = std::max(out.max_bytes, out.max_msg_bytes);
  }
  out.max_deliveries =
      choose(asked, local::kGivenMaxDeliveries, asked.max_deliveries, standard.max_deliveries);
  out.overflow = choose<uint8_t>(asked, local::kGivenOverflow, asked.overflow, 0);
  out.eos = choose<uint8_t>(asked, local::kGivenEos, asked.eos, 0);
  out.on_producer_death =
      choose<uint8_t>(asked, local::kGivenOnProducerDeath, asked.on_producer_death, 0);
  out.lifetime = choose<uint8_t>(asked, local::kGivenLifetime, asked.lifetime, 0);
  out.mode = choose<uint32_t>(asked, local::kGivenMode, asked.mode, kModeDefault);
  if (Status status = check_enums(out); !status.ok()) return status;
  if (Status status = check_numbers(out); !status.ok()) return status;
  return out;
}

shm::QueueLimits limits_of(const QueueOptions& options) {
  shm::QueueLimits limits;
  limits.max_len = options.max_len;
  limits.max_leases = options.max_leases;
  limits.max_bytes = options.max_bytes;
  limits.max_msg_bytes = options.max_msg_bytes;
  limits.max_deliveries = options.max_deliveries;
  limits.overflow = static_cast<shm::Overflow>(options.overflow);
  limits.eos = static_cast<shm::Eos>(options.eos);
  limits.on_producer_death = static_cast<shm::OnProducerDeath>(options.on_producer_death);
  return limits;
}

Status check_same(const QueueOptions& have, const QueueOptions& asked, gid_t gid_in_force,
                  gid_t gid_asked, const std::string& name) {
  const struct {
    uint32_t bit;
    const char* field;
    uint64_t have, asked;
  } numbers[] = {
      {local::kGivenMaxLen, "max_len", have.max_len, asked.max_len},
      {local::kGivenMaxLeases, "max_leases", have.max_leases, asked.max_leases},
      {local::kGivenMaxBytes, "max_bytes", have.max_bytes, asked.max_bytes},
      {local::kGivenMaxMsgBytes, "max_msg_bytes", have.max_msg_bytes, asked.max_msg_bytes},
      {local::kGivenMaxDeliveries, "max_deliveries", have.max_deliveries, asked.max_deliveries},
      {local::kGivenGroup, "group", gid_in_force, gid_asked},
  };
  for (const auto& row : numbers) {
    if ((asked.given & row.bit) && row.have != row.asked) {
      return differs(name, row.field, row.have, row.asked);
    }
  }
  const struct {
    uint32_t bit;
    const char* field;
    uint8_t have, asked;
    const char* const* names;
    size_t n;
  } enums[] = {
      {local::kGivenOverflow, "overflow", have.overflow, asked.overflow, kOverflowNames, 3},
      {local::kGivenEos, "eos", have.eos, asked.eos, kEosNames, 2},
      {local::kGivenOnProducerDeath, "on_producer_death", have.on_producer_death,
       asked.on_producer_death, kDeathNames, 3},
      {local::kGivenLifetime, "lifetime", have.lifetime, asked.lifetime, kLifetimeNames, 3},
  };
  for (const auto& row : enums) {
    if ((asked.given & row.bit) && row.have != row.asked) {
      return differs(name, row.field, enum_text(row.names, row.n, row.have),
                     enum_text(row.names, row.n, row.asked));
    }
  }
  if ((asked.given & local::kGivenMode) && have.mode != asked.mode) {
    return differs(name, "mode", octal(have.mode), octal(asked.mode));
  }
  return Status();
}

}  // namespace heddle::broker
