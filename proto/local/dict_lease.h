// One caller computes the value of a key, and the others wait for it or take the stale one.
//
// A lease is an entry of the dict itself: its key is kDictLeasePrefix and the key, its value who
// asked, its expiry the end of the lease, its owner the session that computes. So it ends with that
// session, by the reaper; by the clock, for everybody at once; with the change that brings the
// value, in one transaction; or when whoever has it gives it up. The memory protocol knows nothing
// of leases. Scans and watches leave these keys out, unless their prefix begins with it; they count
// as entries, and a key may be shorter by as much.
//
// Outcomes as in proto/shm/dict.h; nothing here blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/local/dict_calls.h"

namespace heddle::local {

inline constexpr int64_t kDictLeaseMsDefault = 10'000, kDictLeaseMsMax = 24 * 3600 * 1000;

struct DictLeaseAsk {
  std::string_view key;
  uint64_t owner = 0;   // session that the lease goes with; 0: only its time ends it
  std::string_view id;  // asked again with it, it is the same lease; may be empty
  int64_t lease_ms = 0;
  int64_t early_ms = 0;  // what has no more left to live than that is stale
};

struct DictLeaseTold {
  bool there = false;  // item
  bool stale = false;  // of it: somebody computes it anew
  DictItem item;
  uint64_t lease = 0;    // ours from now on; 0: not
  uint64_t holder = 0;   // session that computes; 0: none is known
  int64_t until_ms = 0;  // dict_now_ms() at which somebody's lease ends at the latest
};

/// The value, or a lease to compute it, or neither: somebody else computes. A stale value comes
/// with the lease, or without it. kOk; kFull, kTooLarge, kMemoryExhausted, kCorrupt: of the lease.
shm::Outcome ask_lease(shm::Dict& dict, shm::DictActor& a, const DictLeaseAsk& ask,
                       DictLeaseTold* told);
/// As Dict::write(), and the lease ends with it, at once. kLeaseLost: it has ended before, and
/// nothing was written.
shm::Outcome write_leased(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& write,
                          uint64_t lease, shm::DictWritten* written);
/// Ends it without a value. kOk, kLeaseLost.
shm::Outcome end_lease(shm::Dict& dict, shm::DictActor& a, std::string_view key, uint64_t lease);

}  // namespace heddle::local
