// Scenarios of what expires, what is owned, what reaches a limit, and of transactions.
#include "tests/crash/dict/dict_stage.h"

namespace heddle::shm {
namespace {

const std::string kKey = "the key";
const std::string kValue(64, 'v');
const std::string kMine = "victim's", kAlso = "victim's as well";
constexpr int64_t kFarAway = INT64_MAX / 2;

void fill(DictStage& s, int n) {
  for (int i = 0; i < n; ++i) {
    EXPECT_EQ(put(s.dict(), s.other(), "k" + std::to_string(i), kValue), Outcome::kOk);
  }
}

void warm(DictStage& s) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(put(s.dict(), s.victim(), "k1", "up"), Outcome::kOk);
  }
}

DictWrite writing(const std::string& key, const std::string& value) {
  DictWrite w;
  w.key = key_of(key);
  w.value = value.data();
  w.bytes = value.size();
  return w;
}

Outcome put_until(Dict& d, DictActor& a, const std::string& key, const std::string& value,
                  int64_t expires_ms, uint64_t owner = 0) {
  DictWrite w = writing(key, value);
  w.expiry = DictExpiry::kSet;
  w.expires_ms = expires_ms;
  w.owner = owner;
  DictWritten out;
  return d.write(a, w, &out);
}

Outcome set_victims(Dict& d, DictActor& a) { return put(d, a, kKey, "victim's"); }

void with_expired(DictStage& s) {
  fill(s, 5);
  EXPECT_EQ(put_until(s.dict(), s.other(), kKey, kValue, kLongPast), Outcome::kOk);
  EXPECT_EQ(put_until(s.dict(), s.other(), "also", kValue, kLongPast), Outcome::kOk);
  EXPECT_EQ(put_until(s.dict(), s.other(), "later", kValue, kFarAway), Outcome::kOk);
}

void add_expiry(std::vector<DictScenario>* all) {
  all->push_back(
      {"insert with expiry and owner", [](DictStage& s) { fill(s, 5); },
       [](Dict& d, DictActor& a) { return put_until(d, a, kKey, "victim's", kFarAway, 77); }});
  all->push_back({"write over an expired entry", with_expired, set_victims});
  all->push_back({"erase of an expired entry", with_expired,
                  [](Dict& d, DictActor& a) { return drop(d, a, kKey); }});
  all->push_back({"sweep of what has expired", with_expired, [](Dict& d, DictActor& a) {
                    DictCursor cursor;
                    DictSwept swept;
                    return d.expire(a, dict_now_ms(), &cursor, 1000, &swept);
                  }});
  all->push_back({"sweep of what one owned",
                  [](DictStage& s) {
                    fill(s, 5);
                    for (const char* key : {"p", "q", "r"}) {
                      EXPECT_EQ(put_until(s.dict(), s.other(), key, kValue, 0, 77), Outcome::kOk);
                    }
                    EXPECT_EQ(put_until(s.dict(), s.other(), "s", kValue, 0, 78), Outcome::kOk);
                  },
                  [](Dict& d, DictActor& a) {
                    DictCursor cursor;
                    DictSwept swept;
                    return d.erase_owned(a, 77, &cursor, 1000, &swept);
                  }});
  all->push_back({"touch",
                  [](DictStage& s) {
                    fill(s, 5);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
                  },
                  [](Dict& d, DictActor& a) {
                    DictWritten out;
                    return d.touch(a, key_of(kKey), DictExpiry::kSet, kFarAway, &out);
                  }});
  const std::string large(70'000, 'L');
  all->push_back(
      {"append to a large value",
       [large](DictStage& s) { EXPECT_EQ(put(s.dict(), s.other(), kKey, large), Outcome::kOk); },
       [](Dict& d, DictActor& a) {
         DictWritten out;
         uint64_t total;
         return d.append(a, writing(kKey, "victim's"), &total, &out);
       }});
}

void add_memory(std::vector<DictScenario>* all) {
  const auto with_idle = [](DictStage& s) {
    const std::string large(200'000, 'L');
    EXPECT_EQ(put(s.dict(), s.other(), "large", large), Outcome::kOk);
    EXPECT_EQ(drop(s.dict(), s.other(), "large"), Outcome::kOk);
    fill(s, 16);  // it leaves the history
  };
  all->push_back({"idle memory goes back", with_idle, [](Dict& d, DictActor& a) {
                    d.memory().trim(a, 10);
                    return Outcome::kOk;
                  }});
}

void add_limits(std::vector<DictScenario>* all) {
  const auto prepare = [](DictStage& s) {
    fill(s, 9);
    warm(s);
  };
  // By age another one would go each time.
  for (const DictAtLimit policy :
       {DictAtLimit::kReject, DictAtLimit::kEvictOldestWrite, DictAtLimit::kEvictTtlFirst}) {
    static const char* kNames[] = {"insert at the limit", "insert evicts the oldest", "",
                                   "insert evicts what expires first"};
    DictScenario s{kNames[static_cast<int>(policy)], prepare, set_victims};
    s.limits = [policy](DictLimits* l) {
      l->max_entries = 9;
      l->at_limit = policy;
    };
    all->push_back(s);
  }
  DictScenario bytes{"a larger value evicts several", prepare,
                     [](Dict& d, DictActor& a) { return put(d, a, kKey, std::string(150, 'b')); }};
  bytes.limits = [](DictLimits* l) {
    l->max_bytes = 9 * 66;
    l->at_limit = DictAtLimit::kEvictOldestWrite;
  };
  all->push_back(bytes);
}

/// Of strings that live on.
DictOperation change(const std::string& key, const std::string& value) {
  DictOperation op;
  op.write = writing(key, value);
  return op;
}

DictOperation removal(const std::string& key) {
  DictOperation op;
  op.write.key = key_of(key);
  op.write.kind = DictKind::kDeleted;
  return op;
}

/// Changes k1, inserts the key, erases k2 and what is not there, reads k3; if k4 is there.
Outcome transact_some(Dict& d, DictActor& a, const std::string& mine) {
  static const std::string k1 = "k1", k2 = "k2", k3 = "k3", k4 = "k4", none = "none";
  std::byte room[128];
  DictEntry entry;
  entry.room = room;
  entry.room_bytes = sizeof room;
  const std::string too = mine + " too";
  DictOperation ops[] = {change(k1, too), change(kKey, mine), removal(k2), removal(none), {}};
  ops[4].get = &entry;
  ops[4].write.key = key_of(k3);
  DictCompare there;
  there.key = key_of(k4);
  there.sign = DictCompare::Sign::kGreater;
  DictTransaction t;
  t.compares = &there;
  t.compares_n = 1;
  t.first = ops;
  t.first_n = 5;
  t.other = ops;
  t.other_n = 1;
  DictTransacted out;
  return d.transact(a, t, &out);
}

Outcome transact_victims(Dict& d, DictActor& a) { return transact_some(d, a, "victim's"); }

template <class Wanted>
bool any_pending(Dict& d, Wanted wanted) {
  DictMemory& m = d.memory();
  for (uint64_t heap = 1 << kDictLevelMin; heap < 4 << kDictLevelMin; ++heap) {
    if (!m.is_backed(heap)) continue;
    const uint64_t w = m.node(heap).load();
    if (node_flag(w) != NodeFlag::kPending) continue;
    const uint64_t list = m.block(node_block(w)).pair[kPendingList].load();
    const uint64_t decision = m.record(ref_line(list)).version.load();
    if (wanted(decision_of(decision, ref_generation(list)), m.record(ref_line(list)).rev.load())) {
      return true;
    }
  }
  return false;
}

bool is_open(Dict& d) {
  return any_pending(d, [](DictDecision x, uint64_t) { return x == DictDecision::kOpen; });
}
bool is_made(Dict& d) {
  return any_pending(d, [](DictDecision x, uint64_t) { return x == DictDecision::kMade; });
}
bool is_numbered(Dict& d) {
  return any_pending(d, [](DictDecision x, uint64_t rev) {
    return x == DictDecision::kMade && (rev & kRevUnassigned) == 0;
  });
}

void stop_second(DictStage& s, bool (*when)(Dict&)) {
  fill(s, 7);
  s.interrupt([](Dict& d, DictActor& a) { transact_some(d, a, "second's"); }, when);
}

void add_transactions(std::vector<DictScenario>* all) {
  all->push_back({"transaction, cold", [](DictStage& s) { fill(s, 7); }, transact_victims});
  all->push_back({"transaction",
                  [](DictStage& s) {
                    fill(s, 7);
                    warm(s);
                  },
                  transact_victims});
  all->push_back({"transaction without previous values", [](DictStage& s) { fill(s, 7); },
                  transact_victims, ~uint64_t{0}, 0, false});
  all->push_back({"transaction, other branch", [](DictStage& s) { fill(s, 3); }, transact_victims});
  all->push_back({"transaction that splits a bucket",
                  [](DictStage& s) {
                    for (const std::string& key : neighbours(kKey, kDictLevelMin, 6)) {
                      EXPECT_EQ(put(s.dict(), s.other(), key, "beside"), Outcome::kOk);
                    }
                  },
                  [](Dict& d, DictActor& a) {
                    const std::vector<std::string> keys = neighbours(kKey, kDictLevelMin, 9);
                    DictOperation ops[4] = {change(kKey, kMine), change(keys[6], kAlso),
                                            change(keys[7], kAlso), removal(keys[0])};
                    DictTransaction t;
                    t.first = ops;
                    t.first_n = 4;
                    DictTransacted out;
                    return d.transact(a, t, &out);
                  }});
  all->push_back({"transaction over deleted keys",
                  [](DictStage& s) {
                    const auto keys = neighbours(kKey, kDictLevelMin, 5);
                    for (const auto& key : keys) put(s.dict(), s.other(), key, "beside");
                    for (const auto& key : keys) drop(s.dict(), s.other(), key);
                    put(s.dict(), s.other(), "k2", kValue);
                  },
                  transact_victims});
  all->push_back({"transaction over an expired entry",
                  [](DictStage& s) {
                    fill(s, 7);
                    EXPECT_EQ(put_until(s.dict(), s.other(), kKey, kValue, kLongPast),
                              Outcome::kOk);
                  },
                  transact_victims});
  all->push_back({"transaction of a large value", [](DictStage& s) { fill(s, 3); },
                  [](Dict& d, DictActor& a) {
                    static const std::string large(70'000, 'L');
                    static const std::string k1 = "k1";
                    DictOperation ops[2] = {change(kKey, large), change(k1, kMine)};
                    DictTransaction t;
                    t.first = ops;
                    t.first_n = 2;
                    DictTransacted out;
                    return d.transact(a, t, &out);
                  }});
}

void add_beside_transactions(std::vector<DictScenario>* all) {
  all->push_back({"a transaction leaves the history",
                  [](DictStage& s) {
                    fill(s, 5);
                    EXPECT_EQ(transact_some(s.dict(), s.other(), "other's"), Outcome::kOk);
                    for (int i = 0; i < 15; ++i) put(s.dict(), s.other(), "k3", kValue);
                  },
                  set_victims});
  all->push_back({"write into an open transaction", [](DictStage& s) { stop_second(s, is_open); },
                  set_victims});
  all->push_back({"transaction into an open transaction",
                  [](DictStage& s) { stop_second(s, is_open); }, transact_victims});
  all->push_back({"write into a made transaction", [](DictStage& s) { stop_second(s, is_made); },
                  set_victims});
  all->push_back({"write into a numbered transaction",
                  [](DictStage& s) { stop_second(s, is_numbered); }, set_victims});
  all->push_back({"get that helps a transaction", [](DictStage& s) { stop_second(s, is_made); },
                  [](Dict& d, DictActor& a) {
                    DictEntry e;
                    std::byte room[128];
                    e.room = room;
                    e.room_bytes = sizeof room;
                    return d.get(key_of(kKey), &e, &a);
                  }});
}

}  // namespace

void add_more_scenarios(std::vector<DictScenario>* all) {
  add_expiry(all);
  add_memory(all);
  add_limits(all);
  add_transactions(all);
  add_beside_transactions(all);
}

}  // namespace heddle::shm
