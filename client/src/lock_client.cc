// What Client knows about locks and their kin.
#include <heddle/client.h>
#include <heddle/name.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/lock_handle.h"

namespace heddle {

namespace {

using detail::Channel;
using detail::LockAccess;
using detail::LockSpec;

Status not_connected() {
  return Status(Reason::kDaemonUnreachable, "this client is not connected; use Client::connect");
}

// `~/` is expanded by the broker, which knows for sure who asks.
Status check_name(std::string_view name) {
  return check_object_name(name.starts_with("~/") ? name.substr(2) : name);
}

template <class Handle>
Result<Handle> open(const std::shared_ptr<Channel>& channel, std::string_view name,
                    const LockSpec& spec) {
  if (!channel) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  auto opened = channel->open_lock(name, spec);
  if (!opened) return std::move(opened).status();
  return LockAccess::make<Handle>(std::move(*opened));
}

LockSpec spec_of(SyncKind kind, const SyncOptions& options) {
  LockSpec spec{.kind = kind};
  spec.lifetime = options.lifetime;
  spec.mode = options.mode;
  spec.group = options.group;
  spec.presence = options.presence;
  return spec;
}

}  // namespace

Result<Lock> Client::lock(std::string_view name, const LockOptions& options) {
  LockSpec spec{.kind = SyncKind::kLock};
  spec.lock_kind = options.kind;
  spec.on_owner_death = options.on_owner_death;
  spec.fair = options.fair;
  spec.lock_delay = options.lock_delay;
  spec.lifetime = options.lifetime;
  spec.mode = options.mode;
  spec.group = options.group;
  spec.presence = options.presence;
  return open<Lock>(channel_, name, spec);
}

Result<Semaphore> Client::semaphore(std::string_view name, const SemaphoreOptions& options) {
  LockSpec spec{.kind = SyncKind::kSemaphore};
  spec.count = options.permits;
  spec.count_max = options.permits_max;
  spec.counting = options.counting;
  spec.lifetime = options.lifetime;
  spec.mode = options.mode;
  spec.group = options.group;
  spec.presence = options.presence;
  return open<Semaphore>(channel_, name, spec);
}

Result<Condition> Client::condition(std::string_view name, const SyncOptions& options) {
  return open<Condition>(channel_, name, spec_of(SyncKind::kCondition, options));
}

Result<Event> Client::event(std::string_view name, const SyncOptions& options) {
  return open<Event>(channel_, name, spec_of(SyncKind::kEvent, options));
}

Result<Barrier> Client::barrier(std::string_view name, const BarrierOptions& options) {
  LockSpec spec{.kind = SyncKind::kBarrier};
  spec.count = options.parties;
  spec.lifetime = options.lifetime;
  spec.mode = options.mode;
  spec.group = options.group;
  spec.presence = options.presence;
  return open<Barrier>(channel_, name, spec);
}

Result<Election> Client::election(std::string_view name, const LockOptions& options) {
  auto opened = lock(name, options);
  if (!opened) return std::move(opened).status();
  return Election(std::move(*opened));
}

Status Client::delete_lock(SyncKind kind, std::string_view name) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  return channel_->delete_lock(kind, name);
}

Result<std::vector<LockInfo>> Client::locks(SyncKind kind, std::string_view prefix) {
  if (!channel_) return not_connected();
  return channel_->locks(kind, prefix);
}

Result<LockInfo> Client::lock_info(SyncKind kind, std::string_view name) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  return channel_->lock_info(kind, name);
}

Status Client::force_release(SyncKind kind, std::string_view name, std::uint16_t session) {
  if (!channel_) return not_connected();
  if (Status bad = check_name(name); !bad.ok()) return bad;
  return channel_->force_release(kind, name, session);
}

Result<std::string> Client::lock_report(LockReport which) {
  if (!channel_) return not_connected();
  return channel_->lock_report(which);
}

}  // namespace heddle
