// heddle_bench_dict PEER WORK [key=value...]: one figure about dicts; 12-byte keys, 64-byte values.
// slots: how many keys (10,000). producers: processes at once, on keys of their own. outstanding:
// commands in flight, where a peer can.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "proto/shm/dict.h"
#include "tests/bench/dict_peers.h"
#include "tests/bench/pair.h"

namespace heddle::bench {
namespace {

constexpr size_t kOrder = 1 << 16, kOpsPerLook = 256;
constexpr int64_t kAsleepNs = 200'000;

struct Work {
  explicit Work(const Options& options) : n(options.slots != 0 ? options.slots : 10'000) {
    for (size_t i = 0; i < n; ++i) {
      char text[32];
      std::snprintf(text, sizeof text, "key %08zu", i);
      keys.emplace_back(text, kKeyBytes);
    }
  }
  /// Random keys of process `me` out of `all`.
  std::vector<uint32_t> order(unsigned me, unsigned all) const {
    std::mt19937_64 random(me);
    std::vector<uint32_t> chosen(kOrder);
    for (uint32_t& k : chosen) k = static_cast<uint32_t>(random() % (n / all) * all + me);
    return chosen;
  }
  size_t n;
  std::vector<std::string> keys;
};

class SharedDict {
 public:
  explicit SharedDict(const Work& work, size_t filled = SIZE_MAX) {
    shm::DictLimits limits;
    limits.max_entries = 2 * work.n;
    bytes_ = shm::dict_segment_bytes(limits);
    fd_ = memfd_create("dict", MFD_CLOEXEC);
    if (ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) fail("ftruncate");
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (base_ == MAP_FAILED) fail("mmap");
    shm::dict_format(base_, limits, 1, 42);
    if (shm::Dict::attach(base_, bytes_, fd_, &dict) != shm::Outcome::kOk) fail("attach");
    shm::DictActor a;
    dict.enter(a);
    for (size_t i = 0; i < std::min(filled, work.n); ++i) put(a, work.keys[i]);
    dict.leave(a);
  }

  void make_read_only() {
    void* base = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd_, 0);
    if (base == MAP_FAILED || shm::Dict::attach(base, bytes_, -1, &dict) != shm::Outcome::kOk) {
      fail("a read-only mapping");
    }
  }

  void put(shm::DictActor& a, const std::string& key) {
    const shm::DictKey k{key.data(), kKeyBytes};
    if (dict.set(a, k, kValue, kValueBytes, shm::DictKind::kBytes) != shm::Outcome::kOk) {
      fail("a put is refused");
    }
  }
  void get(const std::string& key, std::byte* room) const {
    shm::DictEntry e;
    e.room = room;
    e.room_bytes = kValueBytes;
    if (dict.get({key.data(), kKeyBytes}, &e) != shm::Outcome::kOk) fail("a key is not there");
  }

  uint64_t memory_bytes() const {
    struct stat status {};
    return fstat(fd_, &status) == 0 ? uint64_t(status.st_blocks) * 512 : 0;
  }

  shm::Dict dict;

 private:
  uint64_t bytes_;
  int fd_;
  void* base_;
};

/// Operations until the time is over; ns of each.
template <class Operation>
void run(Shared& shared, unsigned me, const Options& options, Operation operation) {
  for (size_t i = 0; i < kOrder; ++i) operation(i);
  meet(shared, options.producers);
  auto& side = shared.sides[me];
  side.first_ns = now_ns();
  const int64_t end = side.first_ns + static_cast<int64_t>(options.seconds * 1e9);
  do {
    for (size_t i = 0; i < kOpsPerLook; ++i) operation((side.sent + i) % kOrder);
    side.sent += kOpsPerLook;
    side.last_ns = now_ns();
  } while (side.last_ns < end);
}

void report_ns(const Shared& shared, unsigned sides) {
  double sum = 0;
  for (unsigned i = 0; i < sides; ++i) {
    const auto& side = shared.sides[i];
    sum += double(side.last_ns - side.first_ns) / double(side.sent);
  }
  report({{"ns", sum / sides}});
}

void measure_dict(const Options& options) {
  const Work work(options);
  SharedDict shared_dict(work);
  Shared& shared = *Shared::map();
  const bool writes = options.work == "put", one_key = options.work == "hammered";
  std::vector<Side> sides;
  std::atomic<uint32_t>& done = shared.producers_done;
  for (unsigned me = 0; me < options.producers; ++me) {
    sides.push_back({me, [&, me] {
                       const std::vector<uint32_t> order = work.order(me, options.producers);
                       if (options.peer == "heddle_read_only") shared_dict.make_read_only();
                       shm::DictActor a;
                       if (writes) shared_dict.dict.enter(a);
                       std::byte room[kValueBytes];
                       run(shared, me, options, [&](size_t i) {
                         const std::string& key = work.keys[one_key ? 0 : order[i]];
                         writes ? shared_dict.put(a, key) : shared_dict.get(key, room);
                       });
                       done.fetch_add(1);
                     }});
  }
  // Beside the readers, on the next core.
  if (one_key && options.consumers > 1) {
    sides.push_back({options.producers, [&] {
                       shm::DictActor a;
                       shared_dict.dict.enter(a);
                       while (done.load() < options.producers) shared_dict.put(a, work.keys[0]);
                     }});
  }
  run_sides(sides);
  report_ns(shared, options.producers);
}

template <class Table>
void measure_table(const Options& options) {
  const Work work(options);
  Table table(options, work.keys);
  Shared& shared = *Shared::map();
  run_sides({{0, [&] {
                table.open();
                const std::vector<uint32_t> order = work.order(0, 1);
                char room[kValueBytes];
                run(shared, 0, options, [&](size_t i) {
                  const std::string& key = work.keys[order[i]];
                  options.work == "put" ? table.put(key) : table.get(key, room);
                });
                table.flush();
              }}});
  report_ns(shared, 1);
}

void run_python(const Options& options) {
  const std::string script = std::string(HEDDLE_BENCH_FOLDER) + "/python_dict.py";
  const std::string seconds = std::to_string(options.seconds);
  execlp("python3", "python3", script.c_str(), options.work.c_str(), seconds.c_str(), nullptr);
  skip("python3 is not installed");
}

/// What a key and its value take, of all the memory behind the dict.
void measure_memory(const Options& options) {
  const Work work(options);
  const SharedDict d(work);
  report({{"entry_bytes", double(d.memory_bytes()) / double(work.n)},
          {"payload_bytes", double(kKeyBytes + kValueBytes)}});
}

/// A reader's slowest, while on the other core somebody inserts ("grow") or updates as many keys.
void measure_beside(const Options& options) {
  const Work work(options);
  const bool grows = options.work == "grow";
  const size_t known = work.n / 16;
  SharedDict d(work, grows ? known : work.n);
  Shared& shared = *Shared::map();
  std::atomic<uint32_t>& done = shared.producers_done;
  run_sides({{0,
              [&] {
                std::byte room[kValueBytes];
                std::mt19937_64 random(1);
                meet(shared, 2);
                for (uint64_t i = 0; done.load() == 0; ++i) {
                  const std::string& key = work.keys[random() % known];
                  const int64_t before = now_ns();
                  d.get(key, room);
                  shared.sample_us[i % kSamplesMax] = float(now_ns() - before) / 1e3f;
                  shared.samples = uint32_t(std::min<uint64_t>(i + 1, kSamplesMax));
                }
              }},
             {1, [&] {
                shm::DictActor a;
                d.dict.enter(a);
                meet(shared, 2);
                for (size_t i = known; i < work.n; ++i) d.put(a, work.keys[i]);
                done.store(1);
              }}});
  std::sort(shared.sample_us, shared.sample_us + shared.samples);
  report({{"p999_us", shared.sample_us[shared.samples - 1 - shared.samples / 1000]},
          {"samples", double(shared.samples)}});
}

/// A transaction of four changes, or four puts, of keys of one's own.
void measure_transaction(const Options& options) {
  const Work work(options);
  SharedDict d(work);
  Shared& shared = *Shared::map();
  const std::vector<uint32_t> order = work.order(0, 1);
  const bool together = options.peer != "heddle_puts";
  run_sides({{0, [&] {
                shm::DictActor a;
                d.dict.enter(a);
                const char value[kValueBytes] = "value";
                run(shared, 0, options, [&](size_t i) {
                  shm::DictOperation ops[4];
                  for (size_t k = 0; k < 4; ++k) {
                    const std::string& key = work.keys[(order[i] + k * work.n / 4) % work.n];
                    if (!together) {
                      d.put(a, key);
                      continue;
                    }
                    ops[k].write.key = {key.data(), kKeyBytes};
                    ops[k].write.value = value;
                    ops[k].write.bytes = kValueBytes;
                  }
                  if (!together) return;
                  shm::DictTransaction t;
                  t.first = ops;
                  t.first_n = 4;
                  shm::DictTransacted out;
                  if (d.dict.transact(a, t, &out) != shm::Outcome::kOk) fail("not done");
                });
              }}});
  report_ns(shared, 1);
}

/// From just before a change until another process, asleep, has read it.
void measure_watch(const Options& options) {
  const Work work(options);
  SharedDict d(work);
  Shared& shared = *Shared::map();
  std::atomic<int64_t>* sent = reinterpret_cast<std::atomic<int64_t>*>(&shared.sides[2].sent);
  const uint64_t first = d.dict.revision() + 1;
  const uint64_t last = first + std::min<uint64_t>(kSamplesMax, uint64_t(options.seconds * 4000));
  run_sides({{0,
              [&] {
                shm::DictActor a;
                d.dict.enter(a);
                meet(shared, 2);
                for (uint64_t r = first; r < last; ++r) {
                  for (const int64_t until = now_ns() + kAsleepNs; now_ns() < until;) {
                  }
                  sent->store(now_ns());
                  d.put(a, work.keys[r % work.n]);
                }
              }},
             {1, [&] {
                shm::DictActor a;
                std::byte key[shm::kDictKeyBytesMax], room[kValueBytes];
                meet(shared, 2);
                for (uint64_t r = first; r < last; ++r) {
                  d.dict.wait_change(a, r, shm::kForever);
                  shm::DictChange c;
                  c.key_room = key;
                  c.entry.room = room;
                  c.entry.room_bytes = sizeof room;
                  if (d.dict.read_change(r, &c) != shm::Outcome::kOk) fail("a change is not there");
                  shared.sample_us[shared.samples++] = float(now_ns() - sent->load()) / 1e3f;
                }
              }}});
  report_samples(shared);
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle::bench;
  const Options options = parse_options(argc, argv);
  push_neighbours_away();
  const std::map<std::string, void (*)(const Options&)> peers = {
    {"map", measure_table<MapTable>},
    {"memcached", measure_table<MemcachedTable>},
#if defined(HEDDLE_BENCH_BOOST)
    {"boost", measure_table<BoostTable>},
#endif
#if defined(HEDDLE_BENCH_LMDB)
    {"lmdb", measure_table<LmdbTable>},
#endif
#if defined(HEDDLE_BENCH_REDIS)
    {"redis", measure_table<RedisTable>},
#endif
    {"python", run_python}
  };
  const std::map<std::string, void (*)(const Options&)> works = {{"watch", measure_watch},
                                                                 {"memory", measure_memory},
                                                                 {"transact", measure_transaction},
                                                                 {"grow", measure_beside},
                                                                 {"steady", measure_beside}};
  if (options.peer.rfind("heddle", 0) == 0) {
    const auto work = works.find(options.work);
    work != works.end() ? work->second(options) : measure_dict(options);
  } else if (const auto peer = peers.find(options.peer); peer != peers.end()) {
    peer->second(options);
  } else {
    skip("built without " + options.peer);
  }
}
