// Workers that run a command for each message of a queue: what `heddle queue work` is made of.
//
// Each of the threads takes a message under a lease, runs the command with it and settles it by
// the exit status. A message that failed stays leased during its back-off, so that nobody else
// takes it before its time; the thread goes on with the next one meanwhile.
#ifndef HEDDLE_CLIENT_CLI_WORK_CREW_H_
#define HEDDLE_CLIENT_CLI_WORK_CREW_H_

#include <heddle/message.h>
#include <heddle/queue.h>
#include <heddle/status.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/cli/invocation.h"

namespace heddle::cli {

struct WorkOptions {
  std::vector<std::string> command;
  std::size_t parallel = 1;
  std::uint64_t max = UINT64_MAX;       // messages to take
  std::uint32_t max_deliveries = 5;     // then buried; 0 = no limit
  std::chrono::nanoseconds idle = kForever;  // stop when nothing came for so long
  sigset_t child_mask{};
};

struct WorkCounts {
  std::uint64_t done = 0;      // exit 0
  std::uint64_t failed = 0;    // went back to be tried again
  std::uint64_t released = 0;  // exit 75, or stopped: went back uncounted
  std::uint64_t buried = 0;
  std::uint64_t lost = 0;      // the lease was gone when it was to be settled
  std::uint64_t running = 0;
};

class WorkCrew {
 public:
  // References must outlive the crew.
  WorkCrew(const Invocation& run, const WorkOptions& options, Queue& queue);
  ~WorkCrew();  // stops and waits
  WorkCrew(const WorkCrew&) = delete;
  WorkCrew& operator=(const WorkCrew&) = delete;

  // No more messages; those being worked on are finished, those in back-off go back now.
  void stop();
  // Ends the commands that run, with SIGTERM; their messages go back uncounted.
  void interrupt();
  // Gives back the messages whose back-off is over. Call it now and then, from one thread.
  void tend();
  // Every thread has ended, and nothing is in back-off.
  bool finished();
  WorkCounts counts();
  // Why it stopped: OK when asked to, or at the end of the stream.
  Status status();
  // 126 or 127 when the command could not be run at all, else 0.
  int cannot_run() const { return cannot_run_; }

 private:
  struct Failed {
    Message message;
    std::chrono::steady_clock::time_point due;
  };
  struct Worker {
    std::thread thread;
    pid_t pid = 0;  // of the command; by mutex_
  };

  void work(Worker& worker);
  bool take(Message* message);
  // `held`: whether messages were taken and not settled yet before the get that ended so.
  bool more_may_come(const Status& status, bool held);
  // The wait status of the command, or nothing when it could not be run.
  bool run_for(Worker& worker, const Message& message, int* wait_status);
  void settle(Message message, int wait_status);
  void retry_later(Message message, const std::string& how);
  void note(const Status& settled, std::uint64_t WorkCounts::* what, std::uint64_t id);
  void end_with(const Status& status);

  const Invocation& run_;
  const WorkOptions& options_;
  Queue& queue_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> interrupted_{false};
  std::atomic<int> cannot_run_{0};
  std::atomic<std::uint64_t> left_;
  std::atomic<std::size_t> alive_{0};
  std::atomic<std::size_t> held_{0};  // taken and not settled, those in back-off too
  std::mutex mutex_;
  WorkCounts counts_;
  Status status_;
  std::vector<Failed> failed_;
  std::vector<Worker> workers_;
};

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_WORK_CREW_H_
