#include "daemon/services/lock_wire.h"

#include <utility>

#include "daemon/services/queue_wire.h"

namespace heddle::services {
namespace {

using broker::ObjectKind;
using v1::LockOptions;

constexpr ObjectKind kKinds[] = {ObjectKind::kLock, ObjectKind::kSemaphore, ObjectKind::kCondition,
                                 ObjectKind::kEvent, ObjectKind::kBarrier};

Status unknown(const char* field) {
  return {Reason::kInvalidArgument, std::string("unknown ") + field};
}

// Wire enumerators are the stored ones plus 1, with 0 for "not given".
bool given_enum(int wire, int count, uint32_t bit, uint8_t* field, uint32_t* given) {
  if (wire == 0) return true;
  if (wire < 0 || wire > count) return false;
  *field = static_cast<uint8_t>(wire - 1);
  *given |= bit;
  return true;
}

Status lock_kind_from(const LockOptions& wire, broker::LockOptions* out) {
  static constexpr shm::LockKind kLocks[] = {shm::LockKind::kMutex, shm::LockKind::kRlock,
                                             shm::LockKind::kRw};
  if (wire.lock_kind() < 0 || wire.lock_kind() > 3) return unknown("options.lock_kind");
  if (wire.lock_kind() != 0) {
    out->lock_kind = static_cast<uint8_t>(kLocks[wire.lock_kind() - 1]);
  } else if (wire.has_counting()) {
    out->lock_kind = static_cast<uint8_t>(wire.counting() ? shm::LockKind::kCounting
                                                          : shm::LockKind::kSemaphore);
  } else {
    return {};
  }
  out->given |= local::kGivenLockKind;
  return {};
}

void options_to(const broker::LockOptions& options, LockOptions* wire) {
  const auto kind = static_cast<shm::LockKind>(options.lock_kind);
  if (kind == shm::LockKind::kMutex) wire->set_lock_kind(LockOptions::LOCK_KIND_MUTEX);
  if (kind == shm::LockKind::kRlock) wire->set_lock_kind(LockOptions::LOCK_KIND_RLOCK);
  if (kind == shm::LockKind::kRw) wire->set_lock_kind(LockOptions::LOCK_KIND_RW);
  wire->set_on_owner_death(static_cast<LockOptions::OwnerDeath>(options.policy + 1));
  wire->set_fair(static_cast<LockOptions::Fairness>(options.fair + 1));
  wire->set_lifetime(static_cast<LockOptions::Lifetime>(options.lifetime + 1));
  wire->set_lock_delay_ms(options.lock_delay_ms);
  wire->set_mode(options.mode);
  const bool counting = kind == shm::LockKind::kCounting;
  if (counting || kind == shm::LockKind::kSemaphore) {
    wire->set_counting(counting);
    if (counting) wire->set_count_max(options.count_max);
  }
  if (counting || kind == shm::LockKind::kSemaphore || kind == shm::LockKind::kBarrier) {
    wire->set_count(options.count);
  }
}

void party_to(const objects::LockParty& party, v1::LockParty* wire) {
  peer_to(party.owner, wire->mutable_peer());
  wire->mutable_peer()->set_owner(party.number);
  wire->set_thread(party.thread);
  wire->set_mode(static_cast<v1::LockMode>(static_cast<int>(party.mode) + 1));
  if (party.age_ms >= 0) wire->set_age_ms(party.age_ms);
}

}  // namespace

Status kind_from(v1::SyncKind wire, ObjectKind* out) {
  if (wire < 0 || wire > static_cast<int>(std::size(kKinds))) return unknown("kind");
  *out = kKinds[std::max<int>(wire, 1) - 1];
  return {};
}

Status mode_from(v1::LockMode wire, shm::LockMode* out) {
  if (wire < 0 || wire > 3) return unknown("mode");
  *out = static_cast<shm::LockMode>(std::max<int>(wire, 1) - 1);
  return {};
}

Status thread_from(uint32_t wire, uint16_t* out) {
  if (wire >= shm::kThreadsMax) {
    return Status(Reason::kInvalidArgument, "thread is a number below 1024")
        .with_limit(shm::kThreadsMax - 1, wire);
  }
  *out = static_cast<uint16_t>(wire);
  return {};
}

Status options_from(const LockOptions& wire, broker::LockOptions* out) {
  *out = {};
  const auto take = [out](bool given, auto value, auto* field, uint32_t bit) {
    if (!given) return;
    *field = value;
    out->given |= bit;
  };
  if (Status status = lock_kind_from(wire, out); !status.ok()) return status;
  take(wire.has_lock_delay_ms(), wire.lock_delay_ms(), &out->lock_delay_ms, local::kGivenLockDelay);
  take(wire.has_count(), wire.count(), &out->count, local::kGivenCount);
  take(wire.has_count_max(), wire.count_max(), &out->count_max, local::kGivenCountMax);
  take(wire.has_mode(), wire.mode(), &out->mode, local::kGivenMode);
  if (wire.has_group()) out->given |= local::kGivenGroup;
  if (!given_enum(wire.on_owner_death(), 3, local::kGivenPolicy, &out->policy, &out->given)) {
    return unknown("options.on_owner_death");
  }
  if (!given_enum(wire.fair(), 2, local::kGivenFair, &out->fair, &out->given)) {
    return unknown("options.fair");
  }
  if (!given_enum(wire.lifetime(), 3, local::kGivenLifetime, &out->lifetime, &out->given)) {
    return unknown("options.lifetime");
  }
  return {};
}

void info_to(const broker::LockRef& ref, const objects::LockInfo& info, v1::LockInfo* wire) {
  for (size_t i = 0; i < std::size(kKinds); ++i) {
    if (kKinds[i] == ref.kind) wire->set_kind(static_cast<v1::SyncKind>(i + 1));
  }
  wire->set_name(ref.name);
  options_to(ref.options, wire->mutable_options());
  wire->set_uid(ref.uid);
  wire->set_gid(ref.gid);
  wire->set_object_id(ref.object_id);
  wire->set_attached(ref.attached);
  wire->set_token(info.token);
  const bool permits =
      info.kind == shm::LockKind::kSemaphore || info.kind == shm::LockKind::kCounting;
  bool held = false;
  for (const objects::LockParty& party : info.parties) held = held || !party.waits;
  wire->set_locked(permits ? info.free == 0 : held);
  wire->set_free(info.free);
  wire->set_arrived(info.arrived);
  wire->set_set(info.set);
  wire->set_broken(info.broken);
  wire->set_poisoned(info.poisoned);
  wire->set_abandoned(info.abandoned);
}

void parties_to(const objects::LockInfo& info, const std::vector<objects::LockParty>& local,
                v1::LockInfo* wire) {
  for (const objects::LockParty& party : info.parties) {
    // Local ones that stand in a cell have published what they wait for: they are in `local`.
    if (party.waits && !party.owner.remote) continue;
    party_to(party, party.waits ? wire->add_waiters() : wire->add_holders());
  }
  for (const objects::LockParty& party : local) party_to(party, wire->add_waiters());
}

void grant_to(const objects::LockReply& reply, v1::LockGrant* wire) {
  wire->set_token(reply.grant.token);
  if (!reply.grant.abandoned) return;
  wire->set_abandoned(true);
  peer_to(reply.previous, wire->mutable_previous());
  wire->mutable_previous()->set_owner(shm::owner_in(reply.grant.dead_holder));
  wire->set_previous_thread(shm::thread_in(reply.grant.dead_holder));
}

}  // namespace heddle::services
