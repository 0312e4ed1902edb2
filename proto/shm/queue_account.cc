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

/// Announce, then add up. `used` must count what all rows announce. Returns what was granted, 0 =
/// no room. `keep_free` is never announced ahead of need, so that the largest request always fits
/// into an otherwise empty queue. The sums are not a snapshot: a reader that is preempted between
/// what ended and what began counts too much, so a refusal needs two equal sums.
template <class Used>
uint64_t reserve(std::atomic<uint64_t>& announced, uint64_t need, uint64_t max, uint64_t share,
                 uint64_t ahead_max, uint64_t keep_free, Used used) {
  announced.store(0, std::memory_order_seq_cst);
  const auto fits = [&](uint64_t more) {
    uint64_t before = used();
    for (int looks = 0; looks < 100; ++looks) {
      if (before <= max && more <= max - before) return true;
      const uint64_t again = used();
      if (again == before) return false;
      before = again;
    }
    return false;
  };
  if (!fits(need)) return 0;
  const uint64_t before = used() + need;
  uint64_t ahead = before + keep_free < max ? (max - before - keep_free) / share : 0;
  if (ahead > ahead_max) ahead = ahead_max;
  announced.store(need + ahead, std::memory_order_seq_cst);
  if (fits(0)) return need + ahead;
  announced.store(need, std::memory_order_seq_cst);
  if (fits(0)) return need;
  announced.store(0, std::memory_order_seq_cst);
  return 0;
}

}  // namespace

bool Queue::bytes_reserve(Actor& a, uint64_t length) {
  const uint64_t max = header().max_bytes.load(std::memory_order_relaxed);
  const uint64_t granted =
      reserve(memory_.row(a.row).bytes_reserved, length, max,
              kAheadShare * (sums(false).threads + 1), kAheadBytesMax,
              header().created.max_msg_bytes, [this] { return sums(true).bytes; });
  a.bytes_allowed = granted > length ? granted - length : 0;
  return granted >= length && (granted > 0 || length == 0);
}

bool Queue::leases_allow(Actor& a) {
  if (a.leases_allowed > 0) {
    --a.leases_allowed;
    return true;
  }
  const uint64_t max = header().max_leases.load(std::memory_order_relaxed);
  const uint64_t granted =
      reserve(memory_.row(a.row).leases_reserved, 1, max, kAheadShare * (sums(false).threads + 1),
              kAheadLeasesMax, 0, [this] { return sums(true).leases; });
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
