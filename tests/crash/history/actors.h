// The processes whose calls are recorded: what each of them does until it is told to rest or to
// end.
#pragma once

#include <heddle/heddle.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "tests/crash/history/recorder.h"

namespace heddle::history {

enum Object : uint16_t { kMutex, kStrict, kReentrant, kRw, kSemaphore, kBarrier, kObjects };
inline constexpr uint32_t kPermits = 3, kParties = 3;
inline constexpr uint32_t kLossesMax = 4'096;
inline constexpr int kWorkers = 6, kActors = kWorkers + static_cast<int>(kParties);

/// Shared by all processes.
struct Stage {
  enum Phase : int { kWork, kRest, kOver };
  std::atomic<int> phase{kWork};
  std::atomic<bool> idle[kActors];
  std::atomic<uint64_t> generations{0};  // arrivals at the barrier that went well
  std::atomic<bool> wrong{false};
  // By processes that were told that their session is lost.
  std::atomic<uint32_t> losses{0};
  Span lost[kLossesMax];
  char why[400];

  /// The first complaint stays.
  void complain(const std::string& what);
};

ConnectOptions connection(const std::string& runtime_dir, Plane plane);
/// Makes all objects; how long locks stay closed after a session was lost.
void make_objects(const ConnectOptions& to, std::chrono::milliseconds lock_delay);
/// Uses locks and permits at random. `writes`: and to the queues beside the first two, fenced.
void work(ConnectOptions to, Archive& archive, Stage& stage, int actor, uint32_t process,
          bool writes);
/// What is in those queues.
std::vector<History::Written> written(const ConnectOptions& to);
/// Comes to the barrier again and again, whatever the phase; ends by a signal only.
void take_part(const ConnectOptions& to, Archive& archive, Stage& stage, uint32_t process);
/// While all workers rest: true when everything is free, soon.
bool all_free(const ConnectOptions& to, Stage& stage);

}  // namespace heddle::history
