// Transactions: branches, refusals, one revision, and that nobody ever sees half of one.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "tests/unit/shm/dict_audit.h"
#include "tests/unit/shm/dict_fixture.h"

namespace heddle::shm {
namespace {

DictOperation change(const std::string& key, const std::string& value) {
  DictOperation op;
  op.write.key = key_of(key);
  op.write.value = value.data();
  op.write.bytes = value.size();
  return op;
}

DictOperation removal(const std::string& key) {
  DictOperation op;
  op.write.key = key_of(key);
  op.write.kind = DictKind::kDeleted;
  return op;
}

DictCompare compare(const std::string& key, DictCompare::What what, DictCompare::Sign sign,
                    uint64_t number) {
  DictCompare c;
  c.key = key_of(key);
  c.what = what;
  c.sign = sign;
  c.number = number;
  return c;
}

Outcome run(Dict& d, DictActor& a, const std::vector<DictCompare>& compares,
            std::vector<DictOperation>* first, std::vector<DictOperation>* other,
            DictTransacted* out) {
  DictTransaction t;
  t.compares = compares.data();
  t.compares_n = static_cast<uint32_t>(compares.size());
  t.first = first->data();
  t.first_n = static_cast<uint32_t>(first->size());
  if (other != nullptr) t.other = other->data();
  if (other != nullptr) t.other_n = static_cast<uint32_t>(other->size());
  return d.transact(a, t, out);
}

TEST(DictTransaction, OneRevisionForAllOfIt) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const std::string x = "x", y = "y", z = "z", one = "1", two = "2", none = "none";
  ASSERT_EQ(put(d, a, x, "old x"), Outcome::kOk);
  ASSERT_EQ(put(d, a, z, "old z"), Outcome::kOk);
  std::byte room[16];
  DictEntry got, absent;
  got.room = absent.room = room;
  got.room_bytes = absent.room_bytes = sizeof room;
  std::vector<DictOperation> ops = {
      change(x, one), change(y, two), removal(z), removal(none), {}, {}};
  ops[4].get = &got;
  ops[4].write.key = key_of(x);
  ops[5].get = &absent;
  ops[5].write.key = key_of(none);
  DictTransacted out;
  using W = DictCompare::What;
  using S = DictCompare::Sign;
  const std::vector<DictCompare> all = {compare(x, W::kModRevision, S::kEqual, 1),
                                        compare(y, W::kVersion, S::kLess, 1)};
  ASSERT_EQ(run(d, a, all, &ops, nullptr, &out), Outcome::kOk);
  EXPECT_TRUE(out.held);
  EXPECT_EQ(out.revision, 3u);
  EXPECT_EQ(out.changes, 3u);
  EXPECT_EQ(d.revision(), 3u);
  EXPECT_EQ(ops[0].done.version, 2u);
  EXPECT_EQ(ops[0].done.create_revision, 1u);
  EXPECT_EQ(ops[1].done.create_revision, 3u);
  EXPECT_EQ(ops[3].outcome, Outcome::kNotFound);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(room), got.bytes), "old x") << "as before it";
  EXPECT_EQ(ops[5].outcome, Outcome::kNotFound);
  DictEntry e;
  EXPECT_EQ(value_of(d, x, &e), "1");
  EXPECT_EQ(e.mod_revision, 3u);
  EXPECT_EQ(value_of(d, y, &e), "2");
  EXPECT_EQ(e.mod_revision, 3u);
  EXPECT_EQ(value_of(d, z), kAbsent);
  EXPECT_EQ(d.len(), 2u);
  std::set<std::string> changed;
  std::byte key[kDictKeyBytesMax], previous[64];
  DictChange c;
  c.key_room = key;
  c.previous.room = previous;
  c.previous.room_bytes = sizeof previous;
  for (c.at = 0; c.at < c.of; ++c.at) {
    c.entry.room = room;
    c.entry.room_bytes = sizeof room;
    ASSERT_EQ(d.read_change(3, &c), Outcome::kOk);
    EXPECT_EQ(c.revision, 3u);
    EXPECT_EQ(c.entry.mod_revision, 3u);
    changed.insert(std::string(reinterpret_cast<char*>(key), c.key_bytes) +
                   (c.had_previous ? "<" : "") + std::to_string(c.entry.kind));
  }
  EXPECT_EQ(changed, (std::set<std::string>{"x<5", "y5", "z<128"}));
  EXPECT_EQ(d.read_change(3, &c), Outcome::kNotFound);
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictTransaction, BranchesAndCompares) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  using W = DictCompare::What;
  using S = DictCompare::Sign;
  const std::string k = "k", none = "none", then = "then", otherwise = "else", value = "5";
  ASSERT_EQ(put(d, a, k, "0"), Outcome::kOk);
  ASSERT_EQ(put(d, a, k, "5"), Outcome::kOk);
  const auto taken = [&](DictCompare c) {
    std::vector<DictOperation> first = {change(k, then)}, other = {change(k, otherwise)};
    DictTransacted out;
    EXPECT_EQ(run(d, a, {c}, &first, &other, &out), Outcome::kOk);
    EXPECT_EQ(value_of(d, k), out.held ? "then" : "else");
    EXPECT_EQ(put(d, a, k, "5"), Outcome::kOk);
    return out.held;
  };
  EXPECT_TRUE(taken(compare(k, W::kModRevision, S::kEqual, 2)));
  EXPECT_FALSE(taken(compare(k, W::kModRevision, S::kEqual, 2)));
  EXPECT_TRUE(taken(compare(k, W::kCreateRevision, S::kEqual, 1)));
  EXPECT_TRUE(taken(compare(k, W::kVersion, S::kGreater, 3)));
  EXPECT_FALSE(taken(compare(k, W::kVersion, S::kLess, 3)));
  EXPECT_TRUE(taken(compare(none, W::kModRevision, S::kEqual, 0)));
  EXPECT_FALSE(taken(compare(none, W::kVersion, S::kNotEqual, 0)));
  DictCompare c;
  c.key = key_of(k);
  c.what = W::kValue;
  c.value = "5";
  c.bytes = 1;
  EXPECT_TRUE(taken(c));
  c.sign = S::kLess;
  EXPECT_FALSE(taken(c));
  c.value = "50";
  c.bytes = 2;
  EXPECT_TRUE(taken(c));
  c.kind = DictKind::kString;
  EXPECT_FALSE(taken(c)) << "another kind is in no order";
  c.sign = S::kNotEqual;
  EXPECT_TRUE(taken(c));
  c.key = key_of(none);
  EXPECT_TRUE(taken(c));
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictTransaction, ARefusalChangesNothing) {
  DictSegment s(small_dict());
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  const std::string x = "x", y = "y", value = "v";
  ASSERT_EQ(put(d, a, x, "old"), Outcome::kOk);
  std::vector<DictOperation> ops = {change(y, value), change(x, value)};
  ops[1].write.if_absent = true;
  DictTransacted out;
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kExists);
  EXPECT_EQ(out.refused, 1u);
  EXPECT_EQ(value_of(d, y), kAbsent);
  ops[1].write.if_absent = false;
  ops[1].write.if_version = 9;
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kMismatch);
  ops = {change(x, value), change(y, value), change(x, value)};
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOutOfRange) << "one key twice";
  ops = {removal(y)};
  ops[0].write.if_present = true;
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kNotFound);
  const std::string much(2 << 20, 'm');
  ops = {change(y, value), change(x, much)};
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kTooLarge);
  EXPECT_EQ(out.refused, 1u);
  ops.assign(1025, change(x, value));
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOutOfRange);
  EXPECT_EQ(d.revision(), 1u);
  EXPECT_EQ(value_of(d, x), "old");
  EXPECT_EQ(DictAudit(d).run(), "");
  ops = {removal(y)};
  EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOk);
  EXPECT_EQ(out.revision, 1u) << "no change, no revision";
  EXPECT_EQ(DictAudit(d).run(), "");
}

TEST(DictTransaction, AThousandOperations) {
  DictLimits limits = small_dict();
  limits.max_entries = 5000;
  DictSegment s(limits);
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  std::vector<std::string> keys, values;
  for (int i = 0; i < 1024; ++i) keys.push_back("key " + std::to_string(i));
  for (int round = 0; round < 20; ++round) {
    values.clear();
    for (int i = 0; i < 1024; ++i) values.push_back(std::string(i % 150, 'a' + round));
    std::vector<DictOperation> ops;
    for (int i = 0; i < 1024; ++i) {
      ops.push_back(i % 20 == round ? removal(keys[i]) : change(keys[i], values[i]));
    }
    DictTransacted out;
    ASSERT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOk);
    ASSERT_EQ(out.revision, static_cast<uint64_t>(round + 1));
    ASSERT_EQ(DictAudit(d).run(), "") << round;
    for (int i = 0; i < 1024; ++i) {
      ASSERT_EQ(value_of(d, keys[i]), i % 20 == round ? kAbsent : values[i]);
    }
  }
}

TEST(DictTransaction, AtTheLimit) {
  for (const DictAtLimit policy : {DictAtLimit::kReject, DictAtLimit::kEvictOldestWrite}) {
    DictLimits limits = small_dict();
    limits.max_entries = 10;
    limits.at_limit = policy;
    DictSegment s(limits);
    Dict& d = s.dict();
    DictActor a = s.actor(1);
    for (int i = 0; i < 9; ++i) ASSERT_EQ(put(d, a, std::to_string(i), "v"), Outcome::kOk);
    const std::string x = "x", y = "y", value = "v", zero = "0";
    std::vector<DictOperation> ops = {change(x, value), change(y, value), removal(zero)};
    DictTransacted out;
    ASSERT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOk) << "one more in all";
    EXPECT_EQ(d.len(), 10u);
    const std::string p = "p", q = "q";
    ops = {change(p, value), change(q, value)};
    const bool evicts = policy != DictAtLimit::kReject;
    EXPECT_EQ(run(d, a, {}, &ops, nullptr, &out), evicts ? Outcome::kOk : Outcome::kFull);
    EXPECT_EQ(d.len(), 10u);
    EXPECT_EQ(value_of(d, p), evicts ? "v" : kAbsent);
    EXPECT_EQ(DictAudit(d).run(), "");
  }
}

TEST(DictTransaction, AsAMapUnderRandomOperations) {
  DictLimits limits = small_dict();
  limits.max_entries = 3000;
  DictSegment s(limits);
  Dict& d = s.dict();
  DictActor a = s.actor(1);
  std::mt19937 random(3);
  std::map<std::string, std::string> model;
  uint64_t revision = 0;
  for (int i = 0; i < 4000; ++i) {
    std::map<std::string, std::string> wanted;  // empty: erased
    while (wanted.size() < 1 + random() % 6) {
      const std::string key = "key " + std::to_string(random() % 200);
      wanted[key] = random() % 4 == 0 ? "" : std::string(1 + random() % 90, 'a' + i % 26);
    }
    std::vector<DictOperation> ops;
    bool changes = false;
    for (const auto& [key, value] : wanted) {
      ops.push_back(value.empty() ? removal(key) : change(key, value));
      changes = changes || !value.empty() || model.count(key) != 0;
    }
    DictTransacted out;
    ASSERT_EQ(run(d, a, {}, &ops, nullptr, &out), Outcome::kOk) << i;
    ASSERT_EQ(out.revision, revision += changes) << i;
    for (const auto& [key, value] : wanted) {
      if (value.empty())
        model.erase(key);
      else
        model[key] = value;
    }
    if (random() % 3 == 0) {
      const std::string key = "key " + std::to_string(random() % 200);
      ASSERT_EQ(put(d, a, key, "plain"), Outcome::kOk);
      model[key] = "plain";
      ++revision;
    }
    if (i % 400 != 0) continue;
    DictAudit audit(d);
    ASSERT_EQ(audit.run(), "") << i;
    ASSERT_EQ(audit.entries().size(), model.size());
    for (const auto& [key, value] : model) ASSERT_EQ(audit.entries().at(key).value, value);
  }
}

/// Accounts between which threads move amounts; whoever reads all of them finds the same sum.
class Bank {
 public:
  static constexpr int kAccounts = 8;

  Bank() : segment_(limits()) {
    DictActor a = segment_.actor(9);
    for (int i = 0; i < kAccounts; ++i) {
      names_.push_back("account " + std::to_string(i));
      const int64_t n = 1000;
      EXPECT_EQ(dict().set(a, key_of(names_.back()), &n, sizeof n, DictKind::kInt64), Outcome::kOk);
    }
  }
  Dict& dict() { return segment_.dict(); }

  void move(DictActor& a, uint64_t from, uint64_t to) {
    int64_t n[2];
    std::vector<DictOperation> ops(2);
    for (int i = 0; i < 2; ++i) {
      DictEntry e;
      e.room = reinterpret_cast<std::byte*>(&n[i]);
      e.room_bytes = 8;
      ops[i].write.key = key_of(names_[i ? to : from]);
      if (dict().get(ops[i].write.key, &e, &a) != Outcome::kOk) ++wrong;
      n[i] += i ? 1 : -1;
      ops[i].write.value = &n[i];
      ops[i].write.bytes = 8;
      ops[i].write.kind = DictKind::kInt64;
      ops[i].write.if_version = e.mod_revision;
    }
    DictTransacted out;
    const Outcome o = run(dict(), a, {}, &ops, nullptr, &out);
    moved += o == Outcome::kOk;
    wrong += o != Outcome::kOk && o != Outcome::kMismatch;
  }

  void sum_up(DictActor& a) {
    int64_t n[kAccounts], sum = 0;
    DictEntry entries[kAccounts];
    std::vector<DictOperation> ops(kAccounts);
    for (int i = 0; i < kAccounts; ++i) {
      entries[i].room = reinterpret_cast<std::byte*>(&n[i]);
      entries[i].room_bytes = 8;
      ops[i].get = &entries[i];
      ops[i].write.key = key_of(names_[i]);
    }
    DictTransacted out;
    wrong += run(dict(), a, {}, &ops, nullptr, &out) != Outcome::kOk;
    for (const int64_t x : n) sum += x;
    wrong += sum != 1000 * kAccounts;
  }

  std::atomic<uint64_t> moved{0}, wrong{0};

 private:
  static DictLimits limits() {
    DictLimits limits = small_dict();
    limits.history = 1024;
    return limits;
  }
  DictSegment segment_;
  std::vector<std::string> names_;
};

TEST(DictTransaction, NobodySeesHalfOfOne) {
  Bank bank;
  std::vector<std::thread> threads;
  for (uint16_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      DictActor a;
      a.owner = 1;
      a.thread = t;
      if (bank.dict().enter(a) != Outcome::kOk) return;
      std::mt19937 random(t);
      for (int i = 0; i < 3000; ++i) {
        const uint64_t from = random() % Bank::kAccounts;
        const uint64_t to = (from + 1 + random() % (Bank::kAccounts - 1)) % Bank::kAccounts;
        if (t == 3 && i % 4 == 0) {
          bank.sum_up(a);
        } else {
          bank.move(a, from, to);
        }
      }
      bank.dict().leave(a);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(bank.wrong.load(), 0u);
  EXPECT_GT(bank.moved.load(), 100u);
  EXPECT_EQ(bank.dict().revision(), Bank::kAccounts + bank.moved.load()) << "one revision each";
  EXPECT_EQ(DictAudit(bank.dict()).run(), "");
}

}  // namespace
}  // namespace heddle::shm
