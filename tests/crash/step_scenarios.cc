// The operations that are killed and frozen at every instruction.
#include <algorithm>
#include <cstring>

#include "tests/crash/step_world.h"

namespace heddle::shm {
namespace {

const std::string kLarge(200, 'x');
const std::string kNew = "new";
const std::string kWhole(kInlineBytes, 'w');

using Prepare = std::function<void(Queue&, Actor&, Actor&)>;

Prepare filled(int n) {
  return [n](Queue& q, Actor& other, Actor&) {
    for (int i = 0; i < n; ++i) put(q, other, "m" + std::to_string(i));
  };
}

/// The victim has put before, so its next put finds bytes that it may use, and goes straight
/// through.
Prepare warm(int n) {
  return [n](Queue& q, Actor& other, Actor& victim) {
    put(q, victim, "first");
    filled(n)(q, other, victim);
  };
}

/// The same of leases.
void leased_before(Queue& q, Actor& other, Actor& victim) {
  put(q, other, "first");
  Taken t;
  if (q.take(victim, TakeMode::kLease, &t, kTry) == Outcome::kOk) q.ack(victim, t.ticket);
  filled(2)(q, other, victim);
}

/// Puts and takes until the next put stands `short_of` slots before the end of a segment.
Prepare near_the_end(uint32_t short_of, int left) {
  return [=](Queue& q, Actor& other, Actor& victim) {
    for (uint32_t i = 0; i + short_of + left < kSlotsPerSegment; ++i) {
      put(q, other, "old");
      get(q, other);
    }
    filled(left)(q, other, victim);
  };
}

void record(VictimReport* report, const Taken& t) {
  report->length = static_cast<uint32_t>(t.length);
  std::memcpy(report->body, t.data, std::min<uint64_t>(t.length, sizeof report->body));
  report->took = 1;
}

Outcome take_auto(Queue& q, Actor& a, VictimReport* report) {
  Taken t;
  Outcome outcome = q.take(a, TakeMode::kAuto, &t, kTry);
  if (outcome == Outcome::kOk) record(report, t);
  if (outcome == Outcome::kOk && t.leased) outcome = q.ack(a, t.ticket);
  return outcome;
}

Outcome take_copied(Queue& q, Actor& a, VictimReport* report) {
  std::byte room[512];
  Taken t;
  t.large_room = room;
  t.large_room_bytes = sizeof room;
  const Outcome outcome = q.take(a, TakeMode::kAuto, &t, kTry);
  if (outcome == Outcome::kOk) record(report, t);
  return outcome;
}

Outcome lease_then(Queue& q, Actor& a, VictimReport* report,
                   const std::function<Outcome(const Taken&)>& then) {
  Taken t;
  Outcome outcome = q.take(a, TakeMode::kLease, &t, kTry);
  if (outcome != Outcome::kOk) return outcome;
  const Taken held = t;
  outcome = then(t);
  if (outcome == Outcome::kOk) record(report, held);
  return outcome;
}

bool same(const Bodies& before, const Bodies& after) { return before == after; }

bool with_new(const Bodies& before, const Bodies& after) {
  Bodies more = before;
  more.push_back(kNew);
  return after == before || after == more;
}

bool without_first(const Bodies& before, const Bodies& after) {
  return after == before || (!before.empty() && after == Bodies(before.begin() + 1, before.end()));
}

bool any_suffix(const Bodies& before, const Bodies& after) {
  return after.size() <= before.size() && std::equal(after.rbegin(), after.rend(), before.rbegin());
}

Outcome put_new(Queue& q, Actor& a, VictimReport*) { return put(q, a, kNew); }

std::function<bool(const Bodies&, const Bodies&)> with(const std::string& body) {
  return [body](const Bodies& before, const Bodies& after) {
    Bodies more = before;
    more.push_back(body);
    return after == before || after == more;
  };
}

void add_puts(std::vector<Scenario>& all, const QueueLimits& limits) {
  all.push_back({"put, empty", limits, filled(0), put_new, with_new, 1});
  all.push_back({"put, some there", limits, filled(3), put_new, with_new, 1});
  all.push_back({"put, not the first", limits, warm(2), put_new, with_new, 1});
  all.push_back({"put, not the first, a whole slot", limits, warm(1),
                 [](Queue& q, Actor& a, VictimReport*) { return put(q, a, kWhole); }, with(kWhole),
                 1});
  all.push_back({"put, links a segment", limits, near_the_end(0, 2), put_new, with_new, 1});
  all.push_back({"put, second lap", limits,
                 [](Queue& q, Actor& other, Actor& victim) {
                   for (int i = 0; i < 300; ++i) put(q, other, "old"), get(q, other);
                   filled(1)(q, other, victim);
                 },
                 put_new, with_new, 1});
  all.push_back({"put, steps over a lease of the last lap", limits,
                 [](Queue& q, Actor& other, Actor& victim) {
                   put(q, other, "held");
                   Taken t;
                   q.take(victim, TakeMode::kLease, &t, kTry);
                   for (uint32_t i = 1; i < 2 * kSlotsPerSegment; ++i)
                     put(q, other, "old"), get(q, other);
                 },
                 put_new, with_new, 1});
  all.push_back({"put, large", limits, filled(1),
                 [](Queue& q, Actor& a, VictimReport*) { return put(q, a, kLarge); }, with(kLarge),
                 1});
  QueueLimits dropping = limits;
  dropping.max_len = 3;
  dropping.overflow = Overflow::kDropOldest;
  all.push_back({"put, drops the oldest", dropping, filled(3), put_new,
                 [](const Bodies& before, const Bodies& after) {
                   const Bodies both = {"m0", "m1", "m2", kNew}, dropped = {"m1", "m2", kNew};
                   return after == before || after == both || after == dropped;
                 },
                 1});
  all.push_back({"put_many of 3", limits,
                 [](Queue& q, Actor& other, Actor& victim) {
                   put(q, victim, "first"), get(q, other);
                   near_the_end(2, 1)(q, other, victim);
                 },
                 [](Queue& q, Actor& a, VictimReport*) {
                   const MessageIn m[3] = {{"n0", 2, 1}, {"n1", 2, 1}, {"n2", 2, 1}};
                   size_t done;
                   return q.put_many(a, m, 3, kTry, &done, nullptr);
                 },
                 [](const Bodies& before, const Bodies& after) {
                   Bodies most = before;
                   for (const char* body : {"n0", "n1", "n2"}) most.push_back(body);
                   return after.size() >= before.size() && after.size() <= most.size() &&
                          std::equal(after.begin(), after.end(), most.begin());
                 },
                 3});
}

void add_loans(std::vector<Scenario>& all, const QueueLimits& limits) {
  all.push_back({"loan and commit", limits, filled(1),
                 [](Queue& q, Actor& a, VictimReport*) {
                   Loan loan;
                   uint64_t id;
                   const Outcome outcome = q.loan(a, kLarge.size(), &loan);
                   if (outcome != Outcome::kOk) return outcome;
                   std::memcpy(loan.data, kLarge.data(), kLarge.size());
                   return q.commit(a, loan, kLarge.size(), 0, kTry, &id);
                 },
                 with(kLarge), 1});
  all.push_back({"loan of a run and discard", limits, filled(1),
                 [](Queue& q, Actor& a, VictimReport*) {
                   Loan loan;
                   const Outcome outcome = q.loan(a, 3 * kExtentBytes, &loan);
                   if (outcome == Outcome::kOk) q.discard(a, loan);
                   return outcome;
                 },
                 same});
}

void add_takes(std::vector<Scenario>& all, const QueueLimits& limits) {
  all.push_back({"take auto", limits, filled(2), take_auto, without_first});
  all.push_back({"take auto, passes a segment", limits, near_the_end(0, 1),
                 [](Queue& q, Actor& a, VictimReport* r) {
                   take_auto(q, a, r);
                   VictimReport ignored;
                   take_auto(q, a, &ignored);
                   return Outcome::kOk;
                 },
                 any_suffix, 0, 1});
  all.push_back({"take auto, large", limits,
                 [](Queue& q, Actor& other, Actor&) { put(q, other, kLarge), put(q, other, "m1"); },
                 take_auto, without_first});
  all.push_back({"take auto, large, copied", limits,
                 [](Queue& q, Actor& other, Actor&) {
                   put(q, other, kLarge);
                   put(q, other, "m1");
                 },
                 take_copied, without_first});
  all.push_back({"take auto, returned", limits,
                 [](Queue& q, Actor& other, Actor& victim) {
                   filled(3)(q, other, victim);
                   Taken t;
                   q.take(other, TakeMode::kLease, &t, kTry);
                   q.nack(other, t.ticket, false);
                 },
                 take_auto, without_first});
  all.push_back({"take, empty", limits, filled(0), take_auto, same});
}

void add_leases(std::vector<Scenario>& all, const QueueLimits& limits) {
  all.push_back({"lease", limits, filled(2),
                 [](Queue& q, Actor& a, VictimReport*) {
                   Taken t;
                   return q.take(a, TakeMode::kLease, &t, kTry);
                 },
                 same});
  all.push_back({"lease and ack", limits, filled(2),
                 [](Queue& q, Actor& a, VictimReport* r) {
                   return lease_then(q, a, r, [&](const Taken& t) { return q.ack(a, t.ticket); });
                 },
                 without_first});
  all.push_back({"lease and ack, not the first", limits, leased_before,
                 [](Queue& q, Actor& a, VictimReport* r) {
                   return lease_then(q, a, r, [&](const Taken& t) { return q.ack(a, t.ticket); });
                 },
                 without_first});
  all.push_back({"lease and ack, large", limits,
                 [](Queue& q, Actor& other, Actor&) { put(q, other, kLarge), put(q, other, "m1"); },
                 [](Queue& q, Actor& a, VictimReport* r) {
                   return lease_then(q, a, r, [&](const Taken& t) { return q.ack(a, t.ticket); });
                 },
                 without_first});
  for (const bool counted : {true, false}) {
    all.push_back(
        {counted ? "lease and nack, counted" : "lease and nack, uncounted", limits, filled(2),
         [counted](Queue& q, Actor& a, VictimReport*) {
           VictimReport ignored;
           lease_then(q, a, &ignored, [&](const Taken& t) { return q.nack(a, t.ticket, counted); });
           return Outcome::kOk;
         },
         same});
  }
  QueueLimits once = limits;
  once.max_deliveries = 1;
  all.push_back({"nack that buries, then kick", once, filled(2),
                 [](Queue& q, Actor& a, VictimReport*) {
                   VictimReport ignored;
                   lease_then(q, a, &ignored,
                              [&](const Taken& t) { return q.nack(a, t.ticket, true); });
                   uint32_t kicked;
                   return q.kick(a, 1, &kicked);
                 },
                 [](const Bodies&, const Bodies& after) {  // the buried one is not drained
                   return after == Bodies{"m0", "m1"} || after == Bodies{"m1"};
                 },
                 0, 1});
}

void add_others(std::vector<Scenario>& all, const QueueLimits& limits) {
  all.push_back({"shutdown", limits, filled(2),
                 [](Queue& q, Actor& a, VictimReport*) { return q.shutdown(a, false); }, same});
  all.push_back({"shutdown at the end of a segment", limits, near_the_end(0, 2),
                 [](Queue& q, Actor& a, VictimReport*) { return q.shutdown(a, false); }, same});
  all.push_back({"shutdown, immediate", limits, filled(3),
                 [](Queue& q, Actor& a, VictimReport*) { return q.shutdown(a, true); },
                 any_suffix});
  all.push_back({"reopen", limits,
                 [](Queue& q, Actor& other, Actor& victim) {
                   filled(2)(q, other, victim);
                   q.shutdown(other, false);
                 },
                 [](Queue& q, Actor& a, VictimReport*) { return q.reopen(a); }, same});
  QueueLimits eos = limits;
  eos.eos = Eos::kLastProducer;
  all.push_back({"last producer leaves", eos, filled(1),
                 [](Queue& q, Actor& a, VictimReport*) {
                   uint32_t cell;
                   const Outcome outcome = q.register_producer(a, &cell);
                   if (outcome == Outcome::kOk) q.unregister_producer(a, cell);
                   return outcome;
                 },
                 same});
  all.push_back({"enter and leave", limits, filled(1),
                 [](Queue& q, Actor& a, VictimReport*) {
                   Actor second = a;
                   const Outcome outcome = q.enter(second);
                   q.leave(second);
                   return outcome;
                 },
                 same});
  all.push_back({"purge one in the middle", limits, filled(3),
                 [](Queue& q, Actor& a, VictimReport*) { return q.purge_one(a, 2); },
                 [](const Bodies& before, const Bodies& after) {
                   return after == before || after == Bodies{"m0", "m2"};
                 }});
}

}  // namespace

std::vector<Scenario> scenarios() {
  QueueLimits limits = small_limits();
  limits.max_len = 300;
  std::vector<Scenario> all;
  add_puts(all, limits);
  add_loans(all, limits);
  add_takes(all, limits);
  add_leases(all, limits);
  add_others(all, limits);
  return all;
}

}  // namespace heddle::shm
