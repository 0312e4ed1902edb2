// The C interface of locks and what all their kin share. c_lock_kin.cc has the rest. Nothing but
// translation happens here.
#include <string>
#include <utility>
#include <vector>

#include "client/src/c_lock_types.h"
#include "client/src/lock_handle.h"

using heddle::Status;
using heddle::detail::c_call;
using heddle::detail::missing;
using heddle::detail::put_grant;
using heddle::detail::timeout_of;

namespace {

static_assert(static_cast<int>(heddle::SyncKind::kBarrier) == HEDDLE_SYNC_BARRIER);
static_assert(static_cast<int>(heddle::LockKind::kRw) == HEDDLE_RW);
static_assert(static_cast<int>(heddle::LockMode::kUpdate) == HEDDLE_UPDATE);
static_assert(static_cast<int>(heddle::OwnerDeath::kPoison) == HEDDLE_OWNER_DEATH_POISON);
static_assert(static_cast<int>(heddle::Fairness::kStrict) == HEDDLE_STRICT);
static_assert(static_cast<int>(heddle::Presence::kMustNot) == HEDDLE_PRESENCE_MUST_NOT);
static_assert(static_cast<int>(heddle::LockReport::kOrder) == HEDDLE_REPORT_ORDER);

heddle::LockMode mode_of(heddle_lock_mode mode) { return static_cast<heddle::LockMode>(mode); }

std::vector<heddle_lock_party> parties_of(const std::vector<heddle::LockParty>& from) {
  std::vector<heddle_lock_party> out;
  for (const heddle::LockParty& party : from) {
    out.push_back({.session = party.session,
                   .thread = party.thread,
                   .pid = party.pid,
                   .uid = party.uid,
                   .mode = static_cast<heddle_lock_mode>(party.mode),
                   .waits = party.waits,
                   .since_ms = party.since.count(),
                   .command = party.command.c_str()});
  }
  return out;
}

int visit_info(const heddle::LockInfo& from, heddle_lock_visitor visit, void* context) {
  const auto holders = parties_of(from.holders);
  const auto waiters = parties_of(from.waiters);
  const heddle_lock_info info{
      .kind = static_cast<heddle_sync_kind>(from.kind),
      .lock_kind = static_cast<heddle_lock_kind>(from.lock_kind),
      .name = from.name.c_str(),
      .object_id = from.object_id,
      .owner_uid = from.owner_uid,
      .owner_gid = from.owner_gid,
      .mode = from.mode,
      .attached = from.attached,
      .lifetime = static_cast<heddle_lifetime>(from.lifetime),
      .on_owner_death = static_cast<heddle_owner_death>(from.on_owner_death),
      .fair = static_cast<heddle_fairness>(from.fair),
      .lock_delay_ms = from.lock_delay.count(),
      .token = from.token,
      .limit = from.limit,
      .free_permits = from.free,
      .arrived = from.arrived,
      .counting = from.counting,
      .set = from.set,
      .broken = from.broken,
      .poisoned = from.poisoned,
      .abandoned = from.abandoned,
      .holders = holders.data(),
      .holder_count = holders.size(),
      .waiters = waiters.data(),
      .waiter_count = waiters.size()};
  return visit(&info, context);
}

std::vector<heddle::LockWish> wishes_of(const heddle_lock_wish* from, std::size_t count) {
  std::vector<heddle::LockWish> wishes;
  wishes.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    heddle::Lock* lock = from[i].lock != nullptr ? &from[i].lock->lock : nullptr;
    wishes.push_back({.lock = lock, .mode = mode_of(from[i].mode)});
  }
  return wishes;
}

}  // namespace

extern "C" {

heddle_reason heddle_lock_delete(heddle_client* client, heddle_sync_kind kind, const char* name) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  return c_call(
      [&] { return client->client.delete_lock(static_cast<heddle::SyncKind>(kind), name); });
}

heddle_reason heddle_lock_list(heddle_client* client, heddle_sync_kind kind, const char* prefix,
                               heddle_lock_visitor visit, void* context) {
  if (client == nullptr || visit == nullptr) return missing(client ? "visit" : "client");
  return c_call([&]() -> Status {
    auto rows =
        client->client.locks(static_cast<heddle::SyncKind>(kind), prefix != nullptr ? prefix : "");
    if (!rows) return rows.status();
    for (const heddle::LockInfo& row : *rows) {
      if (visit_info(row, visit, context) != 0) break;
    }
    return {};
  });
}

heddle_reason heddle_lock_inspect(heddle_client* client, heddle_sync_kind kind, const char* name,
                                  heddle_lock_visitor visit, void* context) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (visit == nullptr) return missing("visit");
  return c_call([&]() -> Status {
    auto info = client->client.lock_info(static_cast<heddle::SyncKind>(kind), name);
    if (!info) return info.status();
    (void)visit_info(*info, visit, context);
    return {};
  });
}

heddle_reason heddle_lock_report(heddle_client* client, heddle_report which,
                                 heddle_text_visitor visit, void* context) {
  if (client == nullptr || visit == nullptr) return missing(client ? "visit" : "client");
  return c_call([&]() -> Status {
    auto text = client->client.lock_report(static_cast<heddle::LockReport>(which));
    if (!text) return text.status();
    (void)visit(text->c_str(), context);
    return {};
  });
}

heddle_reason heddle_lock_open(heddle_client* client, const char* name,
                               const heddle_lock_options* options, heddle_lock** lock) {
  if (client == nullptr || name == nullptr) return missing(client ? "name" : "client");
  if (lock == nullptr) return missing("lock");
  return c_call([&]() -> Status {
    heddle::LockOptions asked;
    if (options != nullptr) {
      heddle::detail::fill_common(*options, &asked);
      asked.kind = heddle::detail::choice_of<heddle::LockKind>(options->kind);
      asked.on_owner_death = heddle::detail::choice_of<heddle::OwnerDeath>(options->on_owner_death);
      asked.fair = heddle::detail::choice_of<heddle::Fairness>(options->fair);
      const auto delay = heddle::detail::number_of<std::int64_t>(options->lock_delay_ms);
      if (delay) asked.lock_delay = std::chrono::milliseconds(*delay);
    }
    auto opened = client->client.lock(name, asked);
    if (!opened) return opened.status();
    *lock = new heddle_lock{std::move(*opened)};
    return {};
  });
}

void heddle_lock_close(heddle_lock* lock) { delete lock; }

const char* heddle_lock_name(const heddle_lock* lock) {
  return lock != nullptr ? lock->lock.name().c_str() : "";
}

heddle_reason heddle_lock_acquire_for(heddle_lock* lock, heddle_lock_mode mode, int64_t timeout_ns,
                                      heddle_grant* grant) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] {
    return put_grant(lock->lock.acquire_for(timeout_of(timeout_ns), mode_of(mode)), grant);
  });
}

heddle_reason heddle_lock_acquire_with(heddle_lock* lock, heddle_lock_mode mode, int64_t timeout_ns,
                                       int32_t priority, const char* request_id,
                                       heddle_grant* grant) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] {
    heddle::AcquireOptions options;
    options.mode = mode_of(mode);
    options.timeout = timeout_of(timeout_ns);
    options.priority = priority;
    if (request_id != nullptr) options.request_id = request_id;
    return put_grant(lock->lock.acquire_with(options), grant);
  });
}

heddle_reason heddle_lock_release(heddle_lock* lock, heddle_lock_mode mode) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return lock->lock.release(mode_of(mode)); });
}

heddle_reason heddle_lock_release_any(heddle_lock* lock) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return lock->lock.release_any(); });
}

heddle_reason heddle_lock_convert(heddle_lock* lock, heddle_lock_mode from, heddle_lock_mode to,
                                  int64_t timeout_ns, heddle_grant* grant) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] {
    return put_grant(lock->lock.convert(mode_of(from), mode_of(to), timeout_of(timeout_ns)), grant);
  });
}

heddle_reason heddle_lock_locked(heddle_lock* lock, bool* locked) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return heddle::detail::give<bool>(lock->lock.locked(), locked); });
}

heddle_reason heddle_lock_token(heddle_lock* lock, uint64_t* token) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return heddle::detail::give(lock->lock.token(), token); });
}

heddle_reason heddle_lock_force_release(heddle_lock* lock) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return lock->lock.force_release(); });
}

heddle_reason heddle_lock_repair(heddle_lock* lock) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return lock->lock.repair(); });
}

heddle_reason heddle_election_resign(heddle_lock* lock) {
  if (lock == nullptr) return missing("lock");
  return c_call([&] { return heddle::Election(lock->lock).resign(); });
}

heddle_reason heddle_lock_acquire_many(const heddle_lock_wish* wishes, size_t count,
                                       int64_t timeout_ns, heddle_grant* grants) {
  if (wishes == nullptr && count != 0) return missing("wishes");
  return c_call([&]() -> Status {
    std::vector<heddle::Grant> got(count);
    Status status = heddle::acquire_many(wishes_of(wishes, count), got, timeout_of(timeout_ns));
    for (std::size_t i = 0; grants != nullptr && i < count; ++i) {
      (void)put_grant(got[i], grants + i);
    }
    return status;
  });
}

heddle_reason heddle_lock_release_many(const heddle_lock_wish* wishes, size_t count) {
  if (wishes == nullptr && count != 0) return missing("wishes");
  return c_call([&] { return heddle::release_many(wishes_of(wishes, count)); });
}

}  // extern "C"
