// Limits that no single word can hold: bytes and leases, summed over the rows.
#include "proto/shm/queue.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kAheadBytesMax = 64 * 1024;
constexpr uint64_t kAheadLeasesMax = 64;
constexpr uint64_t kAheadShare = 64;

}  // namespace

Queue::Sums Queue::sums(bool with_reserved) const {
  Sums sum{};
  const uint32_t used = header().rows_used.load(std::memory_order_acquire);
  uint64_t in = 0, out = 0, begun = 0, ended = 0;
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i) {
    const Row& row = memory_.row(i);
    // What ended is read before what began, so that a sum is never less than the truth.
    out += row.bytes_out.load(std::memory_order_acquire);
    ended += row.ends.load(std::memory_order_acquire);
    sum.takes += row.takes.load(std::memory_order_relaxed);
    sum.drops += row.drops.load(std::memory_order_relaxed);
  }
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i) {
    const Row& row = memory_.row(i);
    // before the counters: what leaves the announcement is in the counter by then
    if (with_reserved) {
      in += row.bytes_reserved.load(std::memory_order_seq_cst);
      begun += row.leases_reserved.load(std::memory_order_seq_cst);
    }
    in += row.bytes_in.load(std::memory_order_acquire);
    begun += row.leases.load(std::memory_order_acquire);
    sum.puts += row.puts.load(std::memory_order_relaxed);
    sum.threads += row_state(row.word.load(std::memory_order_relaxed)) == RowState::kThread;
  }
  // A dead thread's last step may be in one sum and not yet in the other; the reaper settles it.
  sum.bytes_in = in;
  sum.bytes_out = out;
  sum.ended = ended;
  sum.bytes = in > out ? in - out : 0;
  sum.begun = begun;
  sum.leases = begun > ended ? begun - ended : 0;
  return sum;
}

namespace {

/// What one reservation is made against.
struct Account {
  std::atomic<uint64_t>& announced;  // in the caller's row
  uint64_t* ended_seen;              // the caller's; a sum of what ended, perhaps an old one
  uint64_t max;
  uint64_t ahead_max;
  uint64_t keep_free;  // never announced ahead of need, so that the largest request always fits
                       // into an otherwise empty queue
};

/// Announce, then add up. `begun` must count what all rows announce. Returns what was granted, 0 =
/// no room. Sums of what ended only grow, so an old one grants too little but never too much; it
/// saves taking the lines of those who end. The sums are not a snapshot: a reader that is preempted
/// between what ended and what began counts too much, so a refusal needs two equal sums.
template <class Begun, class Ended>
uint64_t reserve(const Account& account, uint64_t need, Begun begun, Ended ended,
                 uint64_t threads) {
  const uint64_t max = account.max;
  const auto outstanding = [&](uint64_t announced_before) {
    const uint64_t in = begun() - announced_before;
    return in > *account.ended_seen ? in - *account.ended_seen : 0;
  };
  const auto ahead_of = [&](uint64_t used) {
    const uint64_t room = used + account.keep_free < max ? max - used - account.keep_free : 0;
    const uint64_t ahead = room / (kAheadShare * (threads + 1));
    return ahead < account.ahead_max ? ahead : account.ahead_max;
  };
  const uint64_t before = outstanding(account.announced.load(std::memory_order_relaxed)) + need;
  if (before <= max) {
    const uint64_t ahead = ahead_of(before);
    account.announced.store(need + ahead, std::memory_order_seq_cst);
    if (outstanding(0) <= max) return need + ahead;
  }
  account.announced.store(0, std::memory_order_seq_cst);
  const auto fits = [&](uint64_t more) {
    // What ended is read before what began, so that a sum is never less than the truth.
    const auto used = [&] {
      *account.ended_seen = ended();
      return outstanding(0);
    };
    uint64_t first = used();
    for (int looks = 0; looks < 100; ++looks) {
      if (first <= max && more <= max - first) return true;
      const uint64_t again = used();
      if (again == first) return false;
      first = again;
    }
    return false;
  };
  if (!fits(need)) return 0;
  const uint64_t ahead = ahead_of(outstanding(0) + need);
  account.announced.store(need + ahead, std::memory_order_seq_cst);
  if (fits(0)) return need + ahead;
  account.announced.store(need, std::memory_order_seq_cst);
  if (fits(0)) return need;
  account.announced.store(0, std::memory_order_seq_cst);
  return 0;
}

/// Sums one counter over the rows, with its announcements read before it: what leaves those is in
/// the counter by then.
template <class Count>
uint64_t sum_rows(const QueueMemory& memory, Count count) {
  const uint32_t used = memory.header().rows_used.load(std::memory_order_acquire);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i) sum += count(memory.row(i));
  return sum;
}

uint64_t threads_in(const QueueMemory& memory) {
  return sum_rows(memory, [](const Row& row) -> uint64_t {
    return row_state(row.word.load(std::memory_order_relaxed)) == RowState::kThread;
  });
}

}  // namespace

bool Queue::bytes_reserve(Actor& a, uint64_t length) {
  const Account account{memory_.row(a.row).bytes_reserved, &a.bytes_out_seen,
                        header().max_bytes.load(std::memory_order_relaxed), kAheadBytesMax,
                        header().created.max_msg_bytes};
  const uint64_t granted = reserve(
      account, length,
      [this] {
        return sum_rows(memory_, [](const Row& row) {
          const uint64_t reserved = row.bytes_reserved.load(std::memory_order_seq_cst);
          return reserved + row.bytes_in.load(std::memory_order_acquire);
        });
      },
      [this] {
        return sum_rows(memory_, [](const Row& row) {
          return row.bytes_out.load(std::memory_order_acquire);
        });
      },
      threads_in(memory_));
  a.bytes_allowed = granted > length ? granted - length : 0;
  return granted >= length && (granted > 0 || length == 0);
}

bool Queue::leases_allow(Actor& a) {
  if (a.leases_allowed > 0) {
    --a.leases_allowed;
    return true;
  }
  const Account account{memory_.row(a.row).leases_reserved, &a.ends_seen,
                        header().max_leases.load(std::memory_order_relaxed), kAheadLeasesMax, 0};
  const uint64_t granted = reserve(
      account, 1,
      [this] {
        return sum_rows(memory_, [](const Row& row) {
          const uint64_t reserved = row.leases_reserved.load(std::memory_order_seq_cst);
          return reserved + row.leases.load(std::memory_order_acquire);
        });
      },
      [this] {
        return sum_rows(memory_, [](const Row& row) {
          return row.ends.load(std::memory_order_acquire);
        });
      },
      threads_in(memory_));
  a.leases_allowed = granted > 0 ? granted - 1 : 0;
  return granted > 0;
}

/// A lease that only removes the message. Announced first, so that nobody who finds no lease in the
/// sums can have overlooked it.
bool Queue::lease_announced(Actor& a, Place p, uint64_t* raw, bool counts) {
  Row& row = memory_.row(a.row);
  const uint64_t announced = row.leases_reserved.load(std::memory_order_relaxed);
  row.leases_reserved.store(announced + 1, std::memory_order_seq_cst);
  const bool mine = ring().lease(p, raw, a.owner);
  if (mine && counts)
    row.leases.store(row.leases.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  row.leases_reserved.store(announced, std::memory_order_seq_cst);
  return mine;
}

void Queue::give_back_reserved(Actor& a) {
  Row& row = memory_.row(a.row);
  a.bytes_allowed = 0;
  a.leases_allowed = 0;
  if (row.bytes_reserved.load(std::memory_order_relaxed) != 0) row.bytes_reserved.store(0);
  if (row.leases_reserved.load(std::memory_order_relaxed) != 0) row.leases_reserved.store(0);
}

}  // namespace heddle::shm
