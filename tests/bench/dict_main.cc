// heddle_bench_dict PEER WORK [key=value...]: one figure about dicts; 12-byte keys, 64-byte values.
// slots: how many keys (10,000). producers: processes at once, on keys of their own.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <unordered_map>

#include "proto/shm/dict.h"
#include "tests/bench/pair.h"

namespace heddle::bench {
namespace {

constexpr size_t kKeyBytes = 12, kValueBytes = 64, kOrder = 1 << 16, kOpsPerLook = 256;
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
  explicit SharedDict(const Work& work) {
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
    for (const std::string& key : work.keys) put(a, key);
    dict.leave(a);
  }

  void make_read_only() {
    void* base = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd_, 0);
    if (base == MAP_FAILED || shm::Dict::attach(base, bytes_, -1, &dict) != shm::Outcome::kOk) {
      fail("a read-only mapping");
    }
  }

  void put(shm::DictActor& a, const std::string& key) {
    const char value[kValueBytes] = "value";
    const shm::DictKey k{key.data(), kKeyBytes};
    if (dict.set(a, k, value, kValueBytes, shm::DictKind::kBytes) != shm::Outcome::kOk) {
      fail("a put is refused");
    }
  }
  void get(const std::string& key, std::byte* room) const {
    shm::DictEntry e;
    e.room = room;
    e.room_bytes = kValueBytes;
    if (dict.get({key.data(), kKeyBytes}, &e) != shm::Outcome::kOk) fail("a key is not there");
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

void measure_map(const Options& options) {
  const Work work(options);
  Shared& shared = *Shared::map();
  std::vector<Side> sides;
  sides.push_back({0, [&] {
                     std::unordered_map<std::string, std::string> map;
                     for (const std::string& key : work.keys)
                       map[key] = std::string(kValueBytes, 'v');
                     const std::vector<uint32_t> order = work.order(0, 1);
                     char room[kValueBytes];
                     const char value[kValueBytes] = "value";
                     run(shared, 0, options, [&](size_t i) {
                       const std::string& key = work.keys[order[i]];
                       if (options.work == "put") {
                         map[key].assign(value, kValueBytes);
                       } else {
                         std::memcpy(room, map.find(key)->second.data(), kValueBytes);
                         asm volatile("" : : "r"(room) : "memory");
                       }
                     });
                   }});
  run_sides(sides);
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
  if (options.peer == "map") {
    measure_map(options);
  } else if (options.work == "watch") {
    measure_watch(options);
  } else {
    measure_dict(options);
  }
}
