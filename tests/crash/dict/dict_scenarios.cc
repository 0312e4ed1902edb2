// One scenario per operation and per path through it.
#include "tests/crash/dict/dict_stage.h"

namespace heddle::shm {
namespace {

const std::string kKey = "the key";
const std::string kValue(64, 'v');

Outcome set_victims(Dict& d, DictActor& a, const std::string& key) {
  return put(d, a, key, "victim's");
}

void fill(DictStage& s, int n, const std::string& value = kValue) {
  for (int i = 0; i < n; ++i) {
    EXPECT_EQ(put(s.dict(), s.other(), "k" + std::to_string(i), value), Outcome::kOk);
  }
}

void warm(DictStage& s) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(put(s.dict(), s.victim(), "warm", "up"), Outcome::kOk);
  }
}

void fill_bucket(DictStage& s, size_t n) {
  for (const std::string& key : neighbours(kKey, kDictLevelMin, n)) {
    EXPECT_EQ(put(s.dict(), s.other(), key, "beside"), Outcome::kOk);
  }
}

bool is_pending(Dict& d, const std::string& key) {
  DictEntry e;
  std::byte room[64];
  e.room = room;
  e.room_bytes = sizeof room;
  return d.get(key_of(key), &e) == Outcome::kOk && e.mod_revision == 0;
}

bool is_erased_pending(Dict& d, uint64_t revision) {
  return value_of(d, kKey) == kAbsent && d.revision() == revision;
}

bool is_moved(Dict& d) {
  DictMemory& m = d.memory();
  for (uint64_t heap = 1 << kDictLevelMin; heap < 2 << kDictLevelMin; ++heap) {
    if (node_flag(m.node(heap).load()) == NodeFlag::kMoved) return true;
  }
  return false;
}

void leave_pending(DictStage& s, const std::string& key) {
  s.interrupt([&](Dict& d, DictActor& a) { put(d, a, key, "the second's"); },
              [&](Dict& d) { return is_pending(d, key); });
}

/// kCorrupt for anything that nobody ever set.
Outcome get_whole(Dict& d, DictActor&) {
  char room[128] = "";
  DictEntry e;
  e.room = reinterpret_cast<std::byte*>(room);
  e.room_bytes = sizeof room;
  const Outcome outcome = d.get(key_of(kKey), &e);
  if (outcome != Outcome::kOk) return outcome;
  const std::string value(room, e.bytes);
  if (value == std::string(64, 'w')) return Outcome::kOk;
  const std::string rest = kKey + std::string(40, '.');  // the others set "o", a number, this
  const size_t number = value.find_first_not_of("0123456789", 1);
  return value[0] == 'o' && number != std::string::npos && value.substr(number) == rest
             ? Outcome::kOk
             : Outcome::kCorrupt;
}

void add_plain(std::vector<DictScenario>* all) {
  const auto set = [](Dict& d, DictActor& a) { return set_victims(d, a, kKey); };
  const auto erase = [](Dict& d, DictActor& a) { return drop(d, a, kKey); };
  const auto with_key = [](DictStage& s) {
    fill(s, 17);
    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
  };
  for (const bool warmed : {false, true}) {
    const auto named = [&](const char* cold, const char* hot) { return warmed ? hot : cold; };
    const auto prepared = [warmed](const std::function<void(DictStage&)>& rest) {
      return [warmed, rest](DictStage& s) {
        rest(s);
        if (warmed) warm(s);
      };
    };
    all->push_back(
        {named("insert, cold", "insert"), prepared([](DictStage& s) { fill(s, 17); }), set});
    all->push_back({named("update, cold", "update"), prepared(with_key), set});
    all->push_back({named("erase, cold", "erase"), prepared(with_key), erase});
    all->push_back({named("insert on a deleted key, cold", "insert on a deleted key"),
                    prepared([with_key](DictStage& s) {
                      with_key(s);
                      drop(s.dict(), s.other(), kKey);
                    }),
                    set});
    all->push_back({named("insert with split, cold", "insert with split"),
                    prepared([](DictStage& s) { fill_bucket(s, 7); }), set});
  }
  all->push_back({"update without previous values",
                  [with_key](DictStage& s) {
                    with_key(s);
                    warm(s);
                  },
                  set, ~uint64_t{0}, 0, false});
  all->push_back({"erase of an absent key", [](DictStage& s) { fill(s, 17); }, erase});
  all->push_back({"insert of a present key", with_key, [](Dict& d, DictActor& a) {
                    DictWrite w;
                    w.key = key_of(kKey);
                    w.if_absent = true;
                    DictWritten out;
                    return d.write(a, w, &out);
                  }});
  all->push_back({"write by revision", with_key, [](Dict& d, DictActor& a) {
                    DictWrite w;
                    w.key = key_of(kKey);
                    w.value = "victim's";
                    w.bytes = 8;
                    w.if_version = 18;
                    DictWritten out;
                    return d.write(a, w, &out);
                  }});
  all->push_back({"update dropping deleted ones",
                  [](DictStage& s) {
                    fill_bucket(s, 3);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
                    for (const std::string& key : neighbours(kKey, kDictLevelMin, 3)) {
                      drop(s.dict(), s.other(), key);
                    }
                    warm(s);
                  },
                  set});
}

void add_beside_others(std::vector<DictScenario>* all) {
  const auto set = [](Dict& d, DictActor& a) { return set_victims(d, a, kKey); };
  const auto pending = [](DictStage& s) {
    fill(s, 17);
    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
    leave_pending(s, kKey);
  };
  all->push_back({"get that helps", pending, [](Dict& d, DictActor& a) {
                    DictEntry e;
                    std::byte room[128];
                    e.room = room;
                    e.room_bytes = sizeof room;
                    return d.get(key_of(kKey), &e, &a);
                  }});
  all->push_back({"get",
                  [](DictStage& s) {
                    fill(s, 17);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, std::string(64, 'w')), Outcome::kOk);
                  },
                  get_whole});
  all->push_back({"update over a pending one", pending, set});
  all->push_back({"erase over a pending one", pending,
                  [](Dict& d, DictActor& a) { return drop(d, a, kKey); }});
  all->push_back({"insert over a pending erase",
                  [](DictStage& s) {
                    fill(s, 17);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
                    s.interrupt([&](Dict& d, DictActor& a) { drop(d, a, kKey); },
                                [](Dict& d) { return is_erased_pending(d, 18); });
                  },
                  set});
  all->push_back({"update beside a pending one",
                  [](DictStage& s) {
                    fill_bucket(s, 2);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
                    leave_pending(s, neighbours(kKey, kDictLevelMin, 1)[0]);
                  },
                  set});
  all->push_back({"insert into an unfinished split",
                  [](DictStage& s) {
                    fill_bucket(s, 7);
                    s.interrupt(
                        [](Dict& d, DictActor& a) {
                          put(d, a, neighbours(kKey, kDictLevelMin, 8)[7], "the second's");
                        },
                        [](Dict& d) { return is_moved(d); });
                  },
                  set});
}

void add_arrays(std::vector<DictScenario>* all) {
  // The last level of the stage has 7 bits; 16 more are equal.
  const uint64_t mask = 0xff0000ffffffffff;
  const auto crowd = [mask](DictStage& s, size_t n) {
    for (const std::string& key : neighbours(kKey, 8, n, mask)) {
      EXPECT_EQ(put(s.dict(), s.other(), key, "beside"), Outcome::kOk);
    }
  };
  const auto set = [](Dict& d, DictActor& a) { return set_victims(d, a, kKey); };
  all->push_back({"insert into an array", [crowd](DictStage& s) { crowd(s, 40); }, set, mask});
  all->push_back({"split into arrays", [crowd](DictStage& s) { crowd(s, 7); }, set, mask});
  all->push_back({"erase in an array",
                  [crowd](DictStage& s) {
                    crowd(s, 20);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, kValue), Outcome::kOk);
                  },
                  [](Dict& d, DictActor& a) { return drop(d, a, kKey); }, mask});
}

void add_sizes(std::vector<DictScenario>* all) {
  const std::string large(66'000, 'L');
  const auto set_large = [large](Dict& d, DictActor& a) { return put(d, a, kKey, large); };
  all->push_back({"insert of a large value", [](DictStage& s) { fill(s, 3); }, set_large});
  all->push_back(
      {"update of a large value",
       [large](DictStage& s) { EXPECT_EQ(put(s.dict(), s.other(), kKey, large), Outcome::kOk); },
       set_large});
  all->push_back({"a large value leaves the history",
                  [large](DictStage& s) {
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, large), Outcome::kOk);
                    EXPECT_EQ(put(s.dict(), s.other(), kKey, "small"), Outcome::kOk);
                    fill(s, 15);
                  },
                  [](Dict& d, DictActor& a) { return put(d, a, "k3", "victim's"); }});
  all->push_back({"an erased value leaves the history",
                  [](DictStage& s) {
                    fill(s, 2);
                    EXPECT_EQ(drop(s.dict(), s.other(), "k0"), Outcome::kOk);
                    EXPECT_EQ(drop(s.dict(), s.other(), "k1"), Outcome::kOk);
                    fill(s, 14);
                    warm(s);
                  },
                  [](Dict& d, DictActor& a) { return put(d, a, "k3", "victim's"); }});
  all->push_back(
      {"a long key", [](DictStage& s) { fill(s, 3); },
       [](Dict& d, DictActor& a) { return put(d, a, std::string(1000, 'K'), "victim's"); }});
  all->push_back({"memory is exhausted, history gives way",
                  [large](DictStage& s) {
                    fill(s, 5);
                    for (int i = 0; i < 4; ++i) {
                      EXPECT_EQ(put(s.dict(), s.other(), kKey, large), Outcome::kOk);
                    }
                  },
                  set_large, ~uint64_t{0}, 14});
  all->push_back({"memory is exhausted",
                  [large](DictStage& s) {
                    fill(s, 5);
                    for (int i = 0; i < 4; ++i) {
                      EXPECT_EQ(put(s.dict(), s.other(), "large" + std::to_string(i), large),
                                Outcome::kOk);
                    }
                  },
                  set_large, ~uint64_t{0}, 14});
}

void add_compound(std::vector<DictScenario>* all) {
  all->push_back({"increment",
                  [](DictStage& s) {
                    int64_t n = 0;
                    EXPECT_EQ(s.dict().increment(s.other(), key_of(kKey), 7, 0, 100, &n),
                              Outcome::kOk);
                  },
                  [](Dict& d, DictActor& a) {
                    int64_t n = 0;
                    return d.increment(a, key_of(kKey), 5, 0, 100, &n);
                  }});
  all->push_back({"clear", [](DictStage& s) { fill(s, 3); },
                  [](Dict& d, DictActor& a) {
                    uint64_t n;
                    return d.clear(a, &n);
                  }});
  all->push_back({"pop",
                  [](DictStage& s) {
                    fill(s, 3);
                    warm(s);
                  },
                  [](Dict& d, DictActor& a) {
                    std::byte room[64];
                    DictEntry previous;
                    previous.room = room;
                    previous.room_bytes = sizeof room;
                    DictWrite w;
                    w.key = {"k1", 2};
                    w.kind = DictKind::kDeleted;
                    w.previous = &previous;
                    DictWritten out;
                    return d.write(a, w, &out);
                  }});
  all->push_back({"leave",
                  [](DictStage& s) {
                    fill(s, 3);
                    warm(s);
                  },
                  [](Dict& d, DictActor& a) {
                    d.leave(a);
                    return Outcome::kOk;
                  }});
  all->push_back({"erases that fill the magazines",
                  [](DictStage& s) {
                    fill(s, 17);
                    fill(s, 17);
                    warm(s);
                    for (int i = 0; i < 14; ++i)
                      drop(s.dict(), s.victim(), "k" + std::to_string(i));
                  },
                  [](Dict& d, DictActor& a) {
                    for (int i = 14; i < 17; ++i) drop(d, a, "k" + std::to_string(i));
                    return Outcome::kOk;
                  }});
}

}  // namespace

std::vector<DictScenario> dict_scenarios() {
  std::vector<DictScenario> all;
  add_plain(&all);
  add_beside_others(&all);
  add_arrays(&all);
  add_sizes(&all);
  add_compound(&all);
  add_more_scenarios(&all);
  return all;
}

}  // namespace heddle::shm
