// Finds waits that cannot end (wait_graph.h says which), and ends one of them.
//
// A process that holds something and waits for its only child waits for what that child waits for:
// `lock run a -- lock run b`. The child's wait is then looked at once more in the parent's name.
//
// A wait can close a circle when it begins, and then all of the circle can be reached from it: what
// can be is looked at at once, however many others there are. All waits together are looked at by
// and by, for the orders of locks and for what began without a word.
//
// What is seen is not one moment. So the circle is looked at twice: its waits carry tickets and its
// locks tokens; all the same twice = none of them moved in between = it stood there as a whole.
// With it are looked at the waits beside it without which it would be none (others_behind()); where
// one of those has moved, all is looked at again soon.
//
// Broker thread only, unless a method says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "daemon/broker/wait_graph.h"

namespace heddle::broker {

enum class DeadlockPolicy : uint8_t { kYoungest = 0, kLowestPriority = 1, kReportOnly = 2 };

struct DeadlockMember {
  std::string lock;  // what it waits for
  std::string kind;
  std::string mode;
  uint64_t session_id = 0;
  pid_t pid = 0;
  uid_t uid = 0;
  std::string command;
  uint16_t thread = 0;
  bool remote = false;
  int64_t age_ms = 0;
  int32_t priority = 0;
  bool victim = false;
};

struct DeadlockReport {
  uint64_t number = 0;  // 1, 2, ...
  int64_t found_unix_ms = 0;
  std::vector<DeadlockMember> circle;  // each waits for what the next one holds
  std::string text() const;            // one sentence, for the victim and the log
};

// Two locks that were taken in both orders: not a deadlock yet, but one day.
struct OrderReport {
  std::string first, second;  // somebody took second while it held first
  std::string command;        // who
  std::string other_command;  // and who the other way round
  int64_t found_unix_ms = 0;
};

class DeadlockDetector {
 public:
  static constexpr size_t kReportsKept = 100;

  struct Queues {
    // By the low half of its object's number, or none.
    std::function<std::shared_ptr<objects::Queue>(uint32_t low)> by_object;
    // Those that remote callers wait for.
    std::function<std::vector<std::shared_ptr<objects::Queue>>()> waiting;
  };
  // As Queues::by_object, of connections.
  using PipeByObject = std::function<std::shared_ptr<objects::Pipe>(uint32_t low)>;
  DeadlockDetector(LockTable& locks, SessionTable& sessions, const RemoteWaiters& remote,
                   Queues queues, PipeByObject pipe_by_object)
      : locks_(locks),
        sessions_(sessions),
        remote_(remote),
        queues_(std::move(queues)),
        pipe_by_object_(std::move(pipe_by_object)) {}

  // Any thread; holds from the next circle on.
  void set_policy(DeadlockPolicy policy) { policy_.store(policy); }
  // Looks at everything; ends what it finds by the policy. How many circles.
  size_t run();
  // The same for what these holders wait for, and whole sessions (see wait_graph.h).
  size_t run_from(std::vector<uint32_t> parties);
  std::vector<DeadlockReport> reports() const;
  std::vector<OrderReport> order_reports() const;
  // The edges as they stand: who waits for what and who holds it; any thread.
  std::vector<std::pair<Wait, std::vector<uint32_t>>> graph() const;

 private:
  using Graph = std::vector<WaitNode>;
  using Circle = std::vector<size_t>;

  Graph collect() const;
  std::vector<Wait> waits_of(uint32_t party) const;
  bool to_node(Wait wait, WaitNode* node) const;
  bool has_families(const Graph& graph) const;
  size_t end_circles(Graph& graph);
  void add_families(Graph& graph) const;
  uint32_t threads_of(uint32_t party) const;
  bool still_stands(const Graph& graph, const std::vector<size_t>& waits) const;
  void report(const Graph& graph, const Circle& circle);
  size_t choose(const Graph& graph, const Circle& circle) const;
  void end(const WaitNode& victim, const std::string& why);
  void note_order(const Graph& graph);
  void note_order(const WaitNode& node, const WaitNode& first);
  static std::string key_of(const Graph& graph, const Circle& circle);

  LockTable& locks_;
  SessionTable& sessions_;
  const RemoteWaiters& remote_;
  const Queues queues_;
  const PipeByObject pipe_by_object_;
  std::atomic<DeadlockPolicy> policy_{DeadlockPolicy::kYoungest};

  mutable std::mutex mutex_;  // a leaf
  std::deque<DeadlockReport> reports_;
  uint64_t found_ = 0;
  std::map<std::pair<std::string, std::string>, std::string> orders_;  // -> who was first
  std::unordered_set<uint64_t> orders_seen_;  // the same by the numbers of both objects
  std::deque<OrderReport> order_reports_;
  std::unordered_set<std::string> reported_;  // with kReportOnly; broker thread
};

}  // namespace heddle::broker
