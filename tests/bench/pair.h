// Two kinds of pinned processes, a sender and a receiver, around one channel, and what they share.
//
// A channel is a class with
//   Channel(const Options&, unsigned number)  in the parent, before the fork
//   open_sender(), open_receiver()            in a child; one process may open one end of each of
//                                             several channels
//   send(const std::byte*, size_t)            copies; blocks while the channel is full
//   receive() -> std::span<const std::byte>   copies; valid until the next receive
//   flush()                                   after sends: what was gathered goes out
//   finish()                                  optional: before a sending process ends
//   close()                                   in the parent, when the children have ended
#ifndef HEDDLE_TESTS_BENCH_PAIR_H_
#define HEDDLE_TESTS_BENCH_PAIR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace heddle::bench {

struct Options {
  std::string peer, work;
  size_t bytes = 64;
  double seconds = 0.2;
  unsigned producers = 1, consumers = 1;
  unsigned batch = 1;
  std::string socket;  // of a peer's server
  std::string queue;   // name, where an existing one is used
  unsigned outstanding = 1;
  unsigned remote = 0;  // so many more that wait over gRPC

  unsigned slots = 0;
  // Messages that a channel with a configurable depth holds.
  unsigned depth() const { return slots != 0 ? slots : bytes <= 1024 ? 1024 : 16; }
};

// PEER WORK [key=value...], keys as the members.
Options parse_options(int argc, char** argv);

// The first bytes of every body.
struct Stamp {
  uint64_t sequence;  // from 1
  int64_t sent_ns;
};
inline constexpr uint64_t kEnd = UINT64_MAX;
inline constexpr unsigned kSidesMax = 8;
inline constexpr unsigned kSamplesMax = 1u << 18;

struct Shared {
  std::atomic<uint32_t> ready{0}, producers_done{0};
  struct alignas(64) Side {
    uint64_t sent = 0, received = 0;
    int64_t first_ns = 0, last_ns = 0;
  } sides[kSidesMax];
  uint32_t samples = 0;
  float sample_us[kSamplesMax];
  // Zeroed memory that outlives a fork.
  static Shared* map();
};

int64_t now_ns();
// Ends the process with status 1 and the reason on standard error.
[[noreturn]] void fail(const std::string& what);
// Ends the process with status 77: what is measured is not there.
[[noreturn]] void skip(const std::string& what);

struct Side {
  unsigned core;  // of those this process may use, counted from 0
  std::function<void()> body;
};
// A process for each side, each pinned. Returns when all have ended; if one fails, all end and so
// does the caller.
void run_sides(const std::vector<Side>& sides);
// Waits until `sides` processes have come here.
void meet(Shared& shared, unsigned sides);
// Keeps the neighbours off as far as this user may: session and autogroup of its own, nice -20.
// Then waits for an idle moment, 60 ms at most.
void push_neighbours_away();

// One line of JSON on standard output.
struct Figure {
  const char* name;
  double value;
};
void report(const std::vector<Figure>& figures);
void report_samples(Shared& shared);

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_PAIR_H_
