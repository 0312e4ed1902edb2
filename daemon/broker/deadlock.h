// Finds waits that cannot end, and ends one of them.
//
// A wait for a mutex, or for a writer's or reader's turn, is stuck when somebody it waits for is; a
// wait for a permit only when everybody who holds one is (a permit of any of them would do). A join
// is stuck when somebody else who has leased a message is: any thread of that session may settle
// it, so all that use the session have to be; a session without threads that are known, a remote
// one, never is. A wait at a barrier is stuck when a party that has joined it, and has not arrived,
// is. A wait for an event, a count that anybody may raise, or the first half of a condition's wait
// never counts as stuck. The waits that are stuck are what remains when all others are taken away;
// a circle is found in them by going from each to somebody it waits for.
//
// A process that holds something and waits for its only child waits for what that child waits for:
// `lock run a -- lock run b`. The child's wait is then looked at once more in the parent's name.
//
// What is seen is not one moment. So the circle is looked at twice: its waits carry tickets and its
// locks tokens; all the same twice = none of them moved in between = it stood there as a whole.
//
// Broker thread only, unless a method says otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "daemon/broker/waits.h"

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

  // `queues`: a queue by the low half of its object's number, or none.
  using QueueOf = std::function<std::shared_ptr<objects::Queue>(uint32_t low)>;
  DeadlockDetector(LockTable& locks, SessionTable& sessions, QueueOf queues)
      : locks_(locks), sessions_(sessions), queues_(std::move(queues)) {}

  // Any thread; holds from the next circle on.
  void set_policy(DeadlockPolicy policy) { policy_.store(policy); }
  // Looks at everything; ends what it finds by the policy. How many circles.
  size_t run();
  std::vector<DeadlockReport> reports() const;
  std::vector<OrderReport> order_reports() const;
  // The edges as they stand: who waits for what and who holds it; any thread.
  std::vector<std::pair<Wait, std::vector<uint32_t>>> graph() const;

 private:
  struct Node {
    Wait wait;
    std::shared_ptr<objects::Lock> lock;
    std::shared_ptr<objects::Queue> queue;  // instead of it: joined
    const std::string& name() const { return queue ? queue->name() : lock->name(); }
    std::vector<uint32_t> blockers;  // holders; or whole sessions, see whole_session()
    bool any = false;                // one blocker that moves is enough
    uint64_t seen = 0;  // the lock's word, sleepers' marks apart; the leases of a queue
    bool stuck = false;
  };
  using Graph = std::vector<Node>;

  Graph collect() const;
  void add_families(Graph& graph) const;
  void find_blockers(Node& node) const;
  static void find_leases(Node& node);
  void keep_stuck(Graph& graph) const;
  std::vector<size_t> circle_of(const Graph& graph, size_t start) const;
  bool still_stands(const Graph& graph, const std::vector<size_t>& circle) const;
  void report(const Graph& graph, const std::vector<size_t>& circle);
  size_t choose(const Graph& graph, const std::vector<size_t>& circle) const;
  void end(const Node& victim, const std::string& why);
  void note_order(const Graph& graph);
  static std::string key_of(const Graph& graph, const std::vector<size_t>& circle);

  LockTable& locks_;
  SessionTable& sessions_;
  const QueueOf queues_;
  std::atomic<DeadlockPolicy> policy_{DeadlockPolicy::kYoungest};

  mutable std::mutex mutex_;  // a leaf
  std::deque<DeadlockReport> reports_;
  uint64_t found_ = 0;
  std::map<std::pair<std::string, std::string>, std::string> orders_;  // -> who was first
  std::deque<OrderReport> order_reports_;
  std::unordered_set<std::string> reported_;  // with kReportOnly; broker thread
};

}  // namespace heddle::broker
