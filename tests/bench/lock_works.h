// What is measured of any lock (lock_peers.h): pairs, alone and contended, and hand-offs.
#ifndef HEDDLE_TESTS_BENCH_LOCK_WORKS_H_
#define HEDDLE_TESTS_BENCH_LOCK_WORKS_H_

#include <memory>
#include <vector>

#include "tests/bench/lock_peers.h"

namespace heddle::bench {

struct alignas(64) LockCounters {
  std::atomic<uint32_t> turn{0};
  alignas(64) std::atomic<uint32_t> inside{0};
  std::atomic<bool> over{false};
};

/// As many processes as `producers`, pinned one beside the other, each doing `pair` all the time.
/// per_s: of all together; ns: of one of them.
template <class Open, class Pair>
void measure_pairs(const Options& options, Open open, Pair pair) {
  constexpr unsigned kPairsPerLook = 64;
  Shared& shared = *Shared::map();
  std::vector<Side> sides;
  for (unsigned me = 0; me < options.producers; ++me) {
    sides.push_back({me, [&, me] {
                       open();
                       for (unsigned i = 0; i < kPairsPerLook; ++i) pair(me);
                       meet(shared, options.producers);
                       Shared::Side& side = shared.sides[me];
                       side.first_ns = now_ns();
                       const int64_t end = side.first_ns + int64_t(options.seconds * 1e9);
                       do {
                         for (unsigned i = 0; i < kPairsPerLook; ++i) pair(me);
                         side.sent += kPairsPerLook;
                       } while ((side.last_ns = now_ns()) < end);
                     }});
  }
  run_sides(sides);
  double per_s = 0;
  for (unsigned me = 0; me < options.producers; ++me) {
    const Shared::Side& side = shared.sides[me];
    per_s += double(side.sent) * 1e9 / double(side.last_ns - side.first_ns);
  }
  report({{"per_s", per_s}, {"ns", 1e9 * options.producers / per_s}});
}

template <class L>
void measure_lock(const Options& options) {
  L lock(options);
  auto* counters = new (shared_memory<LockCounters>()) LockCounters;
  // With a look that nobody else is inside: a lock that lets two in is not fast.
  const auto pair = [&](unsigned me) {
    lock.lock();
    if (counters->inside.load(std::memory_order_relaxed) != 0) fail("two are inside");
    counters->inside.store(me + 1, std::memory_order_relaxed);
    counters->inside.store(0, std::memory_order_relaxed);
    lock.unlock();
  };
  const auto plain = [&](unsigned) {
    lock.lock();
    lock.unlock();
  };
  const auto open = [&] { lock.open(); };
  if (options.work == "pair") return measure_pairs(options, open, plain);
  if (options.work == "contended") return measure_pairs(options, open, pair);
  if (options.work != "handoff") fail(options.work + " is not known");
  // Two take turns: how often the turn changes.
  Shared& shared = *Shared::map();
  const auto side = [&](unsigned me) {
    lock.open();
    meet(shared, 2);
    const int64_t begin = now_ns(), end = begin + int64_t(options.seconds * 1e9);
    uint64_t turns = 0, looks = 0;
    while (!counters->over.load(std::memory_order_relaxed)) {
      lock.lock();
      if (counters->turn.load(std::memory_order_relaxed) == me) {
        counters->turn.store(1 - me, std::memory_order_relaxed);
        ++turns;
      }
      lock.unlock();
      if (++looks % 64 == 0 && now_ns() > end) counters->over.store(true);
    }
    shared.sides[me].sent = turns;
    shared.sides[me].last_ns = now_ns() - begin;
  };
  run_sides({{0, [&] { side(0); }}, {1, [&] { side(1); }}});
  report({{"per_s", double(shared.sides[0].sent + shared.sides[1].sent) * 1e9 /
                        double(shared.sides[0].last_ns)}});
}

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_LOCK_WORKS_H_
