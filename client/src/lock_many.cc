// acquire_many: tries all; where one is not free, lets everything go, waits for that one alone, and
// tries the others beside it. So nobody waits while holding, and no circle can close. Two that keep
// meeting could go on for ever; after kRoundsMax lost rounds all of them take turns: the locks are
// then acquired in one order for everybody, by kind and name, which is the other way without
// circles among callers of this function.
#include <heddle/lock.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "client/src/lock_handle.h"
#include "client/src/shm_channel/shm_lock_place.h"

namespace heddle {

namespace {

using detail::LockAccess;

constexpr int kRoundsMax = 16;
constexpr std::size_t kGrantsInPlace = 8;

Status check(std::span<const LockWish> wishes, std::span<Grant> grants) {
  if (!grants.empty() && grants.size() < wishes.size()) {
    return Status(Reason::kInvalidArgument, "acquire_many: grants has too little room")
        .with_limit(grants.size(), wishes.size());
  }
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    if (wishes[i].lock == nullptr || !*wishes[i].lock) return detail::no_object();
    const auto& channel = LockAccess::channel(*wishes[i].lock);
    for (std::size_t j = 0; j < i; ++j) {
      const auto& other = LockAccess::channel(*wishes[j].lock);
      const bool same = channel == other ||
                        (channel->kind() == other->kind() && channel->name() == other->name());
      if (same) {
        return Status(Reason::kInvalidArgument, "acquire_many: the same lock is named twice")
            .with_object("lock " + channel->name());
      }
    }
  }
  return {};
}

Result<Grant> acquire_one(const LockWish& wish, std::int64_t deadline_ns) {
  if (wish.mode == LockMode::kExclusive) {
    Grant grant;
    if (detail::acquire_at_once(*LockAccess::channel(*wish.lock), &grant)) [[likely]]
      return grant;
  }
  return detail::acquire_from(LockAccess::channel(*wish.lock),
                              {.mode = wish.mode, .deadline_ns = deadline_ns});
}

// Lets go of wishes [0, end) but `beside`, the last one first.
void let_go(std::span<const LockWish> wishes, std::size_t end, std::size_t beside) {
  for (std::size_t i = end; i-- > 0;) {
    if (i != beside) (void)wishes[i].lock->release(wishes[i].mode);
  }
}

// A death that was told to a grant which is given back must be told to the one that stays.
void keep_told(Grant& kept, const Grant& fresh) {
  const Grant before = kept;
  kept = fresh;
  if (!before.abandoned || fresh.abandoned) return;
  kept.abandoned = true;
  kept.previous_session = before.previous_session;
  kept.previous_thread = before.previous_thread;
  kept.previous_pid = before.previous_pid;
}

Status in_order(std::span<const LockWish> wishes, Grant* grants, std::int64_t deadline_ns) {
  std::vector<std::size_t> order(wishes.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return wishes[a].lock->name() < wishes[b].lock->name();
  });
  for (std::size_t got = 0; got < order.size(); ++got) {
    auto grant = acquire_one(wishes[order[got]], deadline_ns);
    if (grant) {
      keep_told(grants[order[got]], *grant);
      continue;
    }
    while (got-- > 0) (void)wishes[order[got]].lock->release(wishes[order[got]].mode);
    return std::move(grant).status();
  }
  return {};
}

// By the broker, if all of them are objects of one connection to it.
Status at_the_broker(std::span<const LockWish> wishes, Grant* grants, std::int64_t deadline_ns) {
  if (wishes.size() < 2) return Reason::kUnsupported;
  std::vector<detail::LockWant> wants;
  wants.reserve(wishes.size());
  for (const LockWish& wish : wishes) {
    detail::LockChannel* lock = LockAccess::channel(*wish.lock).get();
    if (lock->place() != nullptr) return Reason::kUnsupported;
    wants.push_back({.lock = lock, .mode = wish.mode});
  }
  return LockAccess::channel(*wishes[0].lock)->acquire_many(wants, deadline_ns, grants);
}

Status in_rounds(std::span<const LockWish> wishes, Grant* grants, std::int64_t deadline_ns) {
  const std::size_t none = wishes.size();
  std::size_t waited_for = none;
  for (int round = 0; round <= kRoundsMax; ++round) {
    std::size_t missing = none;
    Status why;
    for (std::size_t i = 0; i < wishes.size() && missing == none; ++i) {
      if (i == waited_for) continue;
      auto grant = acquire_one(wishes[i], detail::kTry);
      if (grant) {
        keep_told(grants[i], *grant);
        continue;
      }
      why = std::move(grant).status();
      let_go(wishes, i, waited_for);
      missing = i;
    }
    if (missing == none) return {};
    if (waited_for != none) (void)wishes[waited_for].lock->release(wishes[waited_for].mode);
    if (!why.is(Reason::kEmpty) || deadline_ns == detail::kTry) return why;
    waited_for = missing;
    if (round == kRoundsMax) break;
    auto grant = acquire_one(wishes[missing], deadline_ns);
    if (!grant) return std::move(grant).status();
    keep_told(grants[missing], *grant);
  }
  return in_order(wishes, grants, deadline_ns);
}

// All of them, if all are free mutexes: the usual case. A lock that is named twice is not free the
// second time.
bool all_at_once(std::span<const LockWish> wishes, std::span<Grant> grants) {
  if (!grants.empty() && grants.size() < wishes.size()) return false;
  std::size_t got = 0;
  for (; got < wishes.size(); ++got) {
    const LockWish& wish = wishes[got];
    if (wish.lock == nullptr || !*wish.lock || wish.mode != LockMode::kExclusive) break;
    std::uint64_t token;
    if (!detail::take_at_once(*LockAccess::channel(*wish.lock), &token)) break;
    if (!grants.empty()) grants[got] = Grant{.token = token};
  }
  if (got == wishes.size()) [[likely]]
    return true;
  while (got-- > 0) (void)wishes[got].lock->release();
  return false;
}

}  // namespace

Status acquire_many(std::span<const LockWish> wishes, std::span<Grant> grants,
                    std::chrono::nanoseconds timeout) {
  if (all_at_once(wishes, grants)) [[likely]]
    return {};
  if (Status bad = check(wishes, grants); !bad.ok()) return bad;
  std::array<Grant, kGrantsInPlace> few{};
  std::vector<Grant> more;
  Grant* told = few.data();
  if (wishes.size() > few.size()) {
    more.resize(wishes.size());
    told = more.data();
  }
  const std::int64_t deadline_ns = detail::deadline_after(timeout);
  Status status = at_the_broker(wishes, told, deadline_ns);
  if (status.is(Reason::kUnsupported)) status = in_rounds(wishes, told, deadline_ns);
  // Also on failure: a death that was told on the way would otherwise be told to nobody.
  if (!grants.empty()) std::copy_n(told, wishes.size(), grants.begin());
  return status;
}

Status release_many(std::span<const LockWish> wishes) {
  Status first;
  for (std::size_t i = wishes.size(); i-- > 0;) {
    if (wishes[i].lock == nullptr) continue;
    if (wishes[i].mode == LockMode::kExclusive && *wishes[i].lock) [[likely]] {
      if (detail::give_at_once(*LockAccess::channel(*wishes[i].lock))) [[likely]]
        continue;
    }
    Status status = wishes[i].lock->release(wishes[i].mode);
    if (!status.ok() && first.ok()) first = std::move(status);
  }
  return first;
}

}  // namespace heddle
