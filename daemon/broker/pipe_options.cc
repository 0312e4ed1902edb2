#include "daemon/broker/pipe_options.h"

#include <bit>

#include "proto/shm/pipe.h"

namespace heddle::broker {
namespace {

Status bad_option(const char* field, uint64_t limit, uint64_t actual, const char* why) {
  return Status(Reason::kInvalidArgument, std::string(field) + ": " + why)
      .with_limit(limit, actual);
}

}  // namespace

const char* pipe_mode_name(uint8_t mode) { return mode == 0 ? "message" : "bytes"; }

Result<PipeOptions> complete_pipe(const PipeOptions& asked) {
  PipeOptions out = asked;
  const shm::PipeOptions defaults;
  const auto given = [&asked](uint32_t bit) { return (asked.given & bit) != 0; };
  if (!given(local::kGivenPipeMode)) out.pipe_mode = 0;
  if (out.pipe_mode > 1) return bad_option("mode", 1, out.pipe_mode, "message or bytes");
  if (!given(local::kGivenDuplex)) out.duplex = 1;
  if (!given(local::kGivenResumable)) out.resumable = 0;
  if (out.duplex > 1) return bad_option("duplex", 1, out.duplex, "0 or 1");
  if (out.resumable > 1) return bad_option("resumable", 1, out.resumable, "0 or 1");
  if (!given(local::kGivenCapacity)) out.capacity = defaults.capacity;
  if (out.capacity < shm::kPipeCapacityMin || out.capacity > shm::kPipeCapacityMax) {
    return bad_option(
        "capacity",
        out.capacity > shm::kPipeCapacityMax ? shm::kPipeCapacityMax : shm::kPipeCapacityMin,
        out.capacity, "from 4 KiB to 1 GiB");
  }
  out.capacity = std::bit_ceil(out.capacity);
  if (!given(local::kGivenMaxMsgBytes)) out.max_msg_bytes = defaults.max_msg_bytes;
  if (out.max_msg_bytes == 0 || out.max_msg_bytes > shm::kPipeMessageBytesMax) {
    return bad_option("max_msg_bytes", shm::kPipeMessageBytesMax, out.max_msg_bytes,
                      "from 1 byte to 1 GiB");
  }
  if (!given(local::kGivenMode)) out.mode = 0600;
  if ((out.mode & ~0666u) != 0) return bad_option("mode", 0666, out.mode, "bits beyond 0666");
  if (!given(local::kGivenLifetime)) out.lifetime = 0;
  if (out.lifetime != static_cast<uint8_t>(Lifetime::kKept)) {
    return bad_option("lifetime", 0, out.lifetime, "a pipe is kept until it is deleted");
  }
  out.role = out.side = 0;
  out.connection = 0;
  return out;
}

Status check_same_pipe(const PipeOptions& in_force, const PipeOptions& asked,
                       const std::string& label) {
  struct Field {
    uint32_t bit;
    const char* name;
    uint64_t have, want;
  };
  const uint64_t capacity = asked.capacity == 0 ? 0 : std::bit_ceil(asked.capacity);
  const Field fields[] = {
      {local::kGivenPipeMode, "mode", in_force.pipe_mode, asked.pipe_mode},
      {local::kGivenDuplex, "duplex", in_force.duplex, asked.duplex},
      {local::kGivenResumable, "resumable", in_force.resumable, asked.resumable},
      {local::kGivenCapacity, "capacity", in_force.capacity, capacity},
      {local::kGivenMaxMsgBytes, "max_msg_bytes", in_force.max_msg_bytes, asked.max_msg_bytes},
      {local::kGivenMode, "access mode", in_force.mode, asked.mode},
      {local::kGivenLifetime, "lifetime", in_force.lifetime, asked.lifetime},
  };
  for (const Field& field : fields) {
    if ((asked.given & field.bit) == 0 || field.have == field.want) continue;
    const bool mode = field.bit == local::kGivenPipeMode;
    const auto text = [mode](uint64_t value) {
      return mode ? std::string(pipe_mode_name(static_cast<uint8_t>(value)))
                  : std::to_string(value);
    };
    return Status(Reason::kExistsOtherOptions, std::string(field.name) + " is " + text(field.have) +
                                                   ", asked was " + text(field.want))
        .with_object(label)
        .with_limit(field.have, field.want);
  }
  return Status();
}

shm::PipeOptions pipe_options_of(const PipeOptions& wire) {
  shm::PipeOptions options;
  options.capacity = wire.capacity;
  options.max_msg_bytes = wire.max_msg_bytes;
  options.mode = static_cast<shm::PipeMode>(wire.pipe_mode);
  options.duplex = wire.duplex;
  options.resumable = wire.resumable;
  return options;
}

}  // namespace heddle::broker
