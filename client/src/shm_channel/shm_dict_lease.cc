// Computing a value once, over shared memory: see proto/local/dict_lease.h.
#include "proto/local/dict_lease.h"

#include <algorithm>

#include "client/src/shm_channel/shm_dict.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

void leased_from(local::DictLeaseTold told, std::uint64_t revision, DictLeased* out) {
  out->stale = told.stale;
  out->lease = told.lease;
  if (!told.there) return;
  DictGot got;
  static_cast<DictEntry&>(got) = entry_from(std::move(told.item));
  got.revision = revision;
  out->entry = std::move(got);
}

}  // namespace

Status ShmDict::get_or_lease(std::string_view key, const DictLeaseOptions& options,
                             std::int64_t deadline_ns, DictLeased* out) {
  for (;;) {
    local::DictLeaseTold told;
    std::uint64_t revision = 0;
    if (Status status = ask_lease(key, options, &told, &revision); !status.ok()) return status;
    const bool there = told.there && !(told.stale && options.wait_when_stale);
    if (there || told.lease != 0) {
      leased_from(std::move(told), revision, out);
      return {};
    }
    if (deadline_ns == kTry) return Reason::kEmpty;
    Status status = wait_for_holder(revision, told.until_ms, deadline_ns);
    if (status.is(Reason::kTimedOut)) {
      return Status(Reason::kTimedOut,
                    "session " + std::to_string(told.holder) + " is computing the value")
          .with_object("dict " + name_);
    }
    if (!status.ok()) return status;
  }
}

// *revision is of before the look: whatever comes after it is worth another.
Status ShmDict::ask_lease(std::string_view key, const DictLeaseOptions& options,
                          local::DictLeaseTold* told, std::uint64_t* revision) {
  Outcome outcome = Outcome::kOk;
  return change(
      key.size() + local::kDictLeasePrefix.size(), 0,
      [&](DictAttachment& at, shm::DictActor& actor) {
        *revision = at.core.revision();
        return local::ask_lease(at.core, actor,
                                {.key = key,
                                 .owner = session_of(at),
                                 .id = {},
                                 .lease_ms = options.lease.count(),
                                 .early_ms = options.early.count()},
                                told);
      },
      &outcome, nullptr);
}

// Until the dict has changed or somebody's lease has run out. TIMED_OUT.
Status ShmDict::wait_for_holder(std::uint64_t revision, std::int64_t until_ms,
                                std::int64_t deadline_ns) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const std::int64_t now_ns = monotonic_ns();
  if (deadline_ns != kNever && now_ns >= deadline_ns) return Reason::kTimedOut;
  const std::int64_t left_ms = std::max<std::int64_t>(until_ms - shm::dict_now_ms(), 0) + 1;
  std::int64_t wake_ns = now_ns + std::min<std::int64_t>(left_ms * 1'000'000, kLookEveryNs);
  if (deadline_ns != kNever) wake_ns = std::min(wake_ns, deadline_ns);
  DictAttachment& at = *hands->dict;
  const Outcome outcome = at.core.wait_change(*hands->dict_actor, revision + 1, wake_ns);
  return outcome == Outcome::kTimedOut ? look(at) : Status();
}

Result<bool> ShmDict::end_lease(std::string_view key, std::uint64_t lease) {
  Outcome outcome = Outcome::kOk;
  bool ended = false;
  Status status = change(
      key.size() + local::kDictLeasePrefix.size(), 0,
      [&](DictAttachment& at, shm::DictActor& actor) {
        const Outcome result = local::end_lease(at.core, actor, key, lease);
        ended = result == Outcome::kOk;
        return result == Outcome::kLeaseLost ? Outcome::kOk : result;
      },
      &outcome, nullptr);
  if (!status.ok()) return status;
  return ended;
}

}  // namespace heddle::detail
