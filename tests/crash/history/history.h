// What programs did with one lock, as each of them wrote it down, and whether that can have been.
//
// A call took effect somewhere between its two times; one that never returned may have or not. So a
// holder holds it for sure from the return of its acquire to the call of its release, or to the
// signal that killed it. Somebody who lost sight of the broker holds it for sure up to then only:
// it may go on believing that it does, and what it then writes is fenced off. What is checked
// follows from that alone and never from how long something took, but for a wait for a lock that
// nobody held all that time (Model::patience_ns).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace heddle::history {

enum class Op : uint8_t { kAcquire, kTry, kRelease, kArrive, kWrite };
enum class Mode : uint8_t { kExclusive, kShared, kUpdate };
enum class End : uint8_t {
  kNever,  // did not return: its process was killed, or still waits
  kOk,
  kNo,      // empty, timed out
  kLost,    // of a release: it is not the caller's; of a write: its token is stale
  kBroken,  // of an arrival
};

inline constexpr int64_t kNever = INT64_MAX;

struct Record {
  int64_t call_ns = 0;
  int64_t return_ns = 0;  // 0: none
  uint64_t token = 0;
  uint32_t process = 0;
  uint32_t n = 1;  // permits; of an arrival its index
  uint16_t object = 0;
  Op op = Op::kAcquire;
  Mode mode = Mode::kExclusive;
  End end = End::kNever;
  bool abandoned = false;
};

/// A process was killed, or stopped for a time, between these two.
struct Span {
  uint32_t process = 0;
  int64_t from_ns = 0, to_ns = 0;
};

struct History {
  std::vector<Record> records;  // of a process in the order of its calls
  std::vector<Span> deaths;
  std::vector<Span> stops;
  std::vector<Span> losses;  // out of the broker's sight, maybe for longer than it waits
  struct Written {
    uint64_t token;
    uint16_t object;
  };
  std::vector<Written> written;  // what writes have left, in order
  int64_t end_ns = 0;            // nobody called anything after it
};

enum class Kind : uint8_t { kMutex, kReentrant, kRw, kSemaphore, kBarrier };

struct Model {
  Kind kind = Kind::kMutex;
  uint32_t count = 1;  // permits, parties
  int64_t patience_ns = 5'000'000'000;
};

/// A complaint or nothing. The records are of one lock.
std::string check(const Model& model, const History& history);

/// The records of one of several locks.
History only(const History& history, uint16_t object);

}  // namespace heddle::history
