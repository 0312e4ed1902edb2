// Opening pipes: what is asked of the broker, and what it hands over.
#include <sys/mman.h>

#include <utility>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/shm_pipe.h"
#include "client/src/shm_channel/wire_fields.h"
#include "proto/shm/futex.h"
#include "proto/shm/pipe_map.h"

namespace heddle::detail {

using local::AttachType;
using local::PipeRole;

namespace {

constexpr std::int64_t kNapNs = 1'000'000'000;

local::PipeOptionsWire pipe_wire_of(const PipeOptions& options) {
  local::PipeOptionsWire wire{};
  give(wire, options.mode, wire.pipe_mode, local::kGivenPipeMode);
  give(wire, options.duplex, wire.duplex, local::kGivenDuplex);
  give(wire, options.capacity, wire.capacity, local::kGivenCapacity);
  give(wire, options.max_msg_bytes, wire.max_msg_bytes, local::kGivenMaxMsgBytes);
  give(wire, options.resumable, wire.resumable, local::kGivenResumable);
  give(wire, options.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, options.access, wire.mode, local::kGivenMode);
  if (!options.group.empty()) wire.given |= local::kGivenGroup;
  return wire;
}

// What the broker knows a request by when it is asked again.
std::uint32_t next_request() {
  static std::atomic<std::uint32_t> last{0};
  const std::uint32_t number = ++last;
  return number != 0 ? number : ++last;
}

// Sleeps until `sequence` is another one, at most a second at a time; false when time is up.
bool nap(std::atomic<std::uint32_t>& sequence, std::uint32_t seen, std::int64_t deadline_ns) {
  const std::int64_t now = monotonic_ns();
  if (now >= deadline_ns) return false;
  shm::futex_wait(&sequence, seen, std::min(kNapNs, deadline_ns - now));
  return true;
}

}  // namespace

Result<ShmChannel::OpenedObject> ShmChannel::ask_pipe(std::string_view name,
                                                      const PipeOptions& options, PipeRole role,
                                                      PipeSide side, std::uint64_t connection) {
  local::Open open{};
  open.kind = static_cast<std::uint8_t>(local::ObjectKind::kPipe);
  if (options.create) open.flags = local::kOpenCreate;
  if (options.create && options.exclusive) open.flags |= local::kOpenExclusive;
  open.pipe = pipe_wire_of(options);
  open.pipe.role = static_cast<std::uint8_t>(role);
  open.pipe.side = static_cast<std::uint8_t>(side);
  const bool is_new = role == PipeRole::kConnect || role == PipeRole::kAccept;
  open.pipe.connection = is_new ? next_request() : connection;
  return open_object(open, options.group, name);
}

Result<std::shared_ptr<PipeAttachment>> ShmChannel::attach_pipe(std::string_view name,
                                                                const PipeOptions& options,
                                                                PipeRole role, PipeSide side,
                                                                std::uint64_t connection) {
  auto asked = ask_pipe(name, options, role, side, connection);
  if (!asked) return std::move(asked).status();
  const local::Opened& opened = asked->opened;
  const std::pair<std::uint64_t, std::uint8_t> key{opened.object_id, opened.pipe.side};
  std::lock_guard lock(mutex_);
  if (auto known = pipe_ends_[key].lock();
      known && known->session == asked->session && known->generation == process_generation()) {
    // The end counts this session once; so does the broker.
    const local::Close close{.object_id = opened.object_id};
    asked->session->post(AttachType::kClose, local::bytes_of(close));
    return known;
  }
  auto attachment = std::make_shared<PipeAttachment>();
  attachment->options.capacity = opened.pipe.capacity;
  attachment->options.max_msg_bytes = opened.pipe.max_msg_bytes;
  attachment->options.mode = static_cast<shm::PipeMode>(opened.pipe.pipe_mode);
  attachment->options.duplex = opened.pipe.duplex;
  attachment->options.resumable = opened.pipe.resumable;
  attachment->lifetime = static_cast<Lifetime>(opened.pipe.lifetime);
  attachment->access = opened.pipe.mode;
  attachment->session = asked->session;
  attachment->object_id = opened.object_id;
  attachment->name = opened.name;
  attachment->base = shm::map_pipe(asked->fd.get(), attachment->options);
  if (attachment->base == nullptr) {
    return Status(Reason::kMemoryExhausted,
                  "cannot map the rings; see ulimit -v and vm.max_map_count")
        .with_object("pipe " + attachment->name);
  }
  ::madvise(attachment->base, shm::pipe_mapped_bytes(attachment->options), MADV_DONTFORK);
  if (shm::Pipe::attach(attachment->base, attachment->options,
                        static_cast<shm::PipeSide>(opened.pipe.side),
                        &attachment->pipe) != shm::Outcome::kOk) {
    const std::uint32_t found = static_cast<const shm::SegmentHeader*>(attachment->base)->version;
    shm::unmap_pipe(std::exchange(attachment->base, nullptr), attachment->options);
    return Status(Reason::kVersionMismatch,
                  "its memory is of version " + std::to_string(found) + ", this library knows " +
                      std::to_string(shm::kPipeVersion) +
                      "; install the same version of both and restart the daemon")
        .with_limit(shm::kPipeVersion, found)
        .with_object("pipe " + attachment->name);
  }
  std::erase_if(pipe_ends_, [](const auto& one) { return one.second.expired(); });
  pipe_ends_[key] = attachment;
  return attachment;
}

Status ShmChannel::create_pipe(std::string_view name, const PipeOptions& options) {
  auto opened = ask_pipe(name, options, PipeRole::kName, PipeSide::kA, 0);
  if (!opened) return std::move(opened).status();
  const local::Close close{.object_id = opened->opened.object_id};
  opened->session->post(AttachType::kClose, local::bytes_of(close));
  return {};
}

Result<std::shared_ptr<PipeChannel>> ShmChannel::open_pipe_end(std::string_view name, PipeSide side,
                                                               const PipeOptions& options) {
  auto attachment = attach_pipe(name, options, PipeRole::kEnd, side, 0);
  if (!attachment) return std::move(attachment).status();
  return std::shared_ptr<PipeChannel>(
      std::make_shared<ShmPipe>(shared_from_this(), std::move(*attachment)));
}

Result<std::shared_ptr<PipeChannel>> ShmChannel::connect_pipe(std::string_view name,
                                                              const PipeOptions& options,
                                                              std::int64_t deadline_ns) {
  auto hall = ask_pipe(name, options, PipeRole::kName, PipeSide::kA, 0);
  if (!hall) return std::move(hall).status();
  auto mapping = Mapping::map(hall->fd.get(), hall->opened.bytes);
  if (!mapping) return std::move(mapping).status();
  auto& page = *static_cast<shm::PipeHall*>(mapping->base());
  PipeOptions there;
  there.create = false;
  Result<std::shared_ptr<PipeAttachment>> attachment = Reason::kEmpty;
  for (;;) {
    const std::uint32_t seen = page.listenings.load();
    attachment = attach_pipe(name, there, PipeRole::kConnect, PipeSide::kA, 0);
    if (attachment || !attachment.status().is(Reason::kEmpty) || deadline_ns == kTry) break;
    if (nap(page.listenings, seen, deadline_ns)) continue;
    attachment =
        Status(Reason::kTimedOut, "nobody listens").with_object("pipe " + std::string(name));
    break;
  }
  const local::Close close{.object_id = hall->opened.object_id};
  hall->session->post(AttachType::kClose, local::bytes_of(close));
  if (!attachment) return std::move(attachment).status();
  return std::shared_ptr<PipeChannel>(
      std::make_shared<ShmPipe>(shared_from_this(), std::move(*attachment)));
}

Result<std::shared_ptr<PipeHallChannel>> ShmChannel::listen_pipe(std::string_view name,
                                                                 const PipeOptions& options) {
  auto hall = ask_pipe(name, options, PipeRole::kListen, PipeSide::kB, 0);
  if (!hall) return std::move(hall).status();
  auto mapping = Mapping::map(hall->fd.get(), hall->opened.bytes);
  if (!mapping) return std::move(mapping).status();
  return std::shared_ptr<PipeHallChannel>(std::make_shared<ShmPipeHall>(
      shared_from_this(), std::move(hall->session), std::move(*mapping), hall->opened.object_id,
      std::string(hall->opened.name)));
}

Status ShmChannel::delete_pipe(std::string_view name) {
  return remove(local::ObjectKind::kPipe, name);
}

ShmPipeHall::ShmPipeHall(std::shared_ptr<ShmChannel> channel, std::shared_ptr<Session> session,
                         Mapping mapping, std::uint64_t object_id, std::string name)
    : channel_(std::move(channel)),
      session_(std::move(session)),
      mapping_(std::move(mapping)),
      object_id_(object_id),
      name_(std::move(name)) {}

ShmPipeHall::~ShmPipeHall() {
  if (!mapping_.here() || session_->ended()) return;
  const local::Close close{.object_id = object_id_};
  session_->post(AttachType::kClose, local::bytes_of(close));
}

Result<std::shared_ptr<PipeChannel>> ShmPipeHall::accept(std::int64_t deadline_ns) {
  if (!mapping_.here()) {
    return Status(Reason::kInvalidArgument, "this listener is from before a fork; listen anew")
        .with_object("pipe " + name_);
  }
  auto& page = *static_cast<shm::PipeHall*>(mapping_.base());
  PipeOptions there;
  there.create = false;
  for (;;) {
    const std::uint32_t seen = page.arrivals.load();
    auto attachment = channel_->attach_pipe(name_, there, PipeRole::kAccept, PipeSide::kB, 0);
    if (attachment) {
      return std::shared_ptr<PipeChannel>(
          std::make_shared<ShmPipe>(channel_, std::move(*attachment)));
    }
    const bool waits = attachment.status().is(Reason::kEmpty) && deadline_ns != kTry;
    if (!waits) return std::move(attachment).status();
    if (!nap(page.arrivals, seen, deadline_ns)) {
      return Status(Reason::kTimedOut).with_object("pipe " + name_);
    }
  }
}

}  // namespace heddle::detail
