// heddle_bench_pair PEER WORK [key=value...]: one figure between two pinned processes.
// Keys: bytes, seconds, producers, consumers, batch, socket. Exit status 77: not built with PEER.
#include <algorithm>
#include <cstring>
#include <map>

#include "tests/bench/beanstalkd_channel.h"
#include "tests/bench/heddle_channels.h"
#include "tests/bench/kernel_channels.h"
#include "tests/bench/measure.h"
#ifdef HEDDLE_BENCH_BOOST
#include "tests/bench/boost_channel.h"
#endif
#ifdef HEDDLE_BENCH_ZEROMQ
#include "tests/bench/zeromq_channel.h"
#endif
#ifdef HEDDLE_BENCH_ICEORYX
#include "tests/bench/iceoryx_channel.h"
#endif
#ifdef HEDDLE_BENCH_REDIS
#include "tests/bench/redis_channel.h"
#endif
#ifdef HEDDLE_BENCH_NATS
#include "tests/bench/nats_channel.h"
#endif

namespace heddle::bench {
namespace {

// One core copying bodies about within 1 MiB.
void measure_memcpy(const Options& options) {
  constexpr size_t kArena = 1 << 20;
  std::vector<std::byte> from(kArena, std::byte{1}), to(kArena);
  const size_t places = std::max<size_t>(kArena / options.bytes, 1);
  Shared& shared = *Shared::map();
  run_sides({{kConsumerCore, [&] {
    auto& side = shared.sides[0];
    side.first_ns = now_ns();
    const int64_t end = side.first_ns + static_cast<int64_t>(options.seconds * 1e9);
    do {
      for (size_t i = 0; i < kSendsPerLook; ++i, ++side.received) {
        const size_t at = side.received % places * options.bytes;
        std::memcpy(to.data() + at, from.data() + at, options.bytes);
        asm volatile("" ::: "memory");
      }
    } while (now_ns() < end);
    side.last_ns = now_ns();
  }}});
  const auto& side = shared.sides[0];
  report({{"per_s", double(side.received) * 1e9 / double(side.last_ns - side.first_ns)}});
}

const std::map<std::string, void (*)(const Options&)> kPeers = {
    {"heddle", measure<LibraryQueue>},
    {"heddle_lease", measure<LeasedQueue>},
    {"heddle_zero_copy", measure<ZeroCopyQueue>},
    {"heddle_batch", measure<BatchQueue>},
    {"heddle_bare", measure<BareQueue>},
    {"heddle_pipe", measure<LibraryPipe>},
    {"heddle_pipe_batch", measure<BatchPipe>},
    {"heddle_pipe_zero_copy", measure<ZeroCopyPipe>},
    {"pipe", measure<Pipe>},
    {"unix_stream", measure<UnixStream>},
    {"posix_mq", measure<PosixMq>},
    {"spin", measure<SpinningLine>},
    {"eventfd", measure<EventFd>},
    {"memcpy", measure_memcpy},
#ifdef HEDDLE_BENCH_BOOST
    {"boost_mq", measure<BoostMq>},
#endif
#ifdef HEDDLE_BENCH_ZEROMQ
    {"zeromq", measure<ZeroMq>},
#endif
#ifdef HEDDLE_BENCH_ICEORYX
    {"iceoryx", measure<Iceoryx>},
    {"iceoryx_zero_copy", measure<IceoryxZeroCopy>},
#endif
#ifdef HEDDLE_BENCH_REDIS
    {"redis", measure<Redis>},
    {"redis_pipelined", measure<RedisPipelined>},
#endif
#ifdef HEDDLE_BENCH_NATS
    {"nats", measure<Nats>},
#endif
    {"beanstalkd", measure<Beanstalkd>},
};

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle::bench;
  const Options options = parse_options(argc, argv);
  const auto peer = kPeers.find(options.peer);
  if (peer == kPeers.end()) skip(options.peer + " was not there when this was built");
  push_neighbours_away();
  peer->second(options);
}
