#include "daemon/broker/deadlock.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <unordered_set>

#include "daemon/broker/families.h"
#include "daemon/os/log.h"
#include "proto/local/lock_status.h"

namespace heddle::broker {

using shm::WaitFor;

namespace {

constexpr size_t kStandingMax = 4096;
constexpr size_t kFamiliesMax = 64;  // holders looked at each time: files are read for them
constexpr int kGenerationsMax = 8;
constexpr size_t kPartiesMax = 256;  // looked at of one barrier
constexpr size_t kOrdersMax = 100'000;

uint64_t without_marks(uint64_t word) { return word & ~(shm::kSleepers | shm::kStarving); }

int64_t unix_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

const char* mode_of(WaitFor what) {
  switch (what) {
    case WaitFor::kExclusive:
      return "exclusive";
    case WaitFor::kShared:
      return "shared";
    case WaitFor::kUpdate:
      return "update";
    case WaitFor::kPermits:
      return "permit";
    case WaitFor::kCondition:
      return "condition";
    case WaitFor::kEvent:
      return "event";
    case WaitFor::kBarrier:
      return "barrier";
    case WaitFor::kJoin:
      return "join";
    case WaitFor::kReceiveAtA:
    case WaitFor::kReceiveAtB:
      return "receive";
    case WaitFor::kSendAtA:
    case WaitFor::kSendAtB:
      return "send";
  }
  return "?";
}

}  // namespace

std::string DeadlockReport::text() const {
  std::string out = "a circle of " + std::to_string(circle.size()) + " waits: ";
  for (size_t i = 0; i < circle.size(); ++i) {
    const DeadlockMember& m = circle[i];
    if (i != 0) out += ", ";
    out += "pid " + std::to_string(m.pid) + " (" + m.command + ", thread " +
           std::to_string(m.thread) + ", session " + std::to_string(m.session_id) +
           (m.remote ? ", grpc" : ", shm") + ") waits " + std::to_string(m.age_ms) + " ms for " +
           m.kind + " " + m.lock + " (" + m.mode + ")";
  }
  return out;
}

namespace {

// Whoever has leased something may be waited for; the joiner's own leases are its own business.
Blockers lease_holders(objects::Queue& queue, uint32_t joiner) {
  Blockers out;
  for (const uint16_t owner : queue.lease_owners(&out.seen)) {
    if (owner != shm::owner_in(joiner)) out.parties.push_back(whole_session(owner));
  }
  return out;
}

// Who uses both ends, or is in its own way by another thread, may still be let go by what the
// broker does not see.
Blockers users_in_the_way(const objects::Pipe& pipe, const Wait& wait) {
  Blockers out;
  const uint16_t owner = shm::owner_in(wait.holder);
  const shm::PipeSide side = shm::side_waited_at(wait.what);
  const shm::PipeObstacle obstacle =
      pipe.obstacle(side, shm::sends_to_pipe(wait.what), wait.room, owner);
  out.seen = obstacle.seen;
  if (!obstacle.waits) return out;
  if (obstacle.turn_of != 0) {
    if (obstacle.turn_of != owner) out.parties.push_back(whole_process(obstacle.turn_of));
    return out;
  }
  out.any = true;
  const shm::PipeEndInfo other = pipe.info(shm::other_side(side));
  if (other.state != shm::EndState::kOpen) return out;
  for (uint32_t i = 0; i < other.user_count; ++i) {
    if (other.users[i] == owner) {
      out.parties.clear();
      return out;
    }
    out.parties.push_back(whole_process(other.users[i]));
  }
  return out;
}

void add_readers(shm::Lock& view, Blockers* out) {
  std::vector<shm::LockStanding> standing(64);
  size_t n = view.standing(standing.data(), standing.size());
  if (n > standing.size()) {
    standing.resize(std::min(n, kStandingMax));
    n = std::min(view.standing(standing.data(), standing.size()), standing.size());
  }
  for (size_t i = 0; i < n; ++i) {
    const bool inside = !standing[i].waits && standing[i].mode == shm::LockMode::kShared;
    if (inside) out->parties.push_back(standing[i].holder);
  }
}

Blockers blockers_of_word(shm::Lock& view, WaitFor what, uint32_t waiter) {
  Blockers out;
  const uint64_t word = view.line().word.load();
  out.seen = without_marks(word);
  const uint32_t owner = shm::holder_in(word);
  if (what == WaitFor::kPermits) {
    if (view.kind() != shm::LockKind::kSemaphore) return out;
    out.any = true;
  } else if (what == WaitFor::kBarrier) {
    out.parties.resize(kPartiesMax);
    out.parties.resize(std::min(view.missing(out.parties.data(), kPartiesMax), kPartiesMax));
    return out;
  } else if (what != WaitFor::kExclusive && what != WaitFor::kShared && what != WaitFor::kUpdate) {
    return out;
  } else if (owner != 0 && owner != waiter) {
    const bool lets_read = (word & shm::kUpdate) != 0 && (word & shm::kClaimed) == 0;
    if (what != WaitFor::kShared || !lets_read) out.parties.push_back(owner);
    return out;
  } else if (owner == waiter && (word & (shm::kClaimed | shm::kUpdate)) == 0) {
    out.parties.push_back(owner);  // it waits for itself
    return out;
  } else if (owner == 0) {
    return out;  // free, or handed to somebody who is on his way
  }
  add_readers(view, &out);
  if (out.any && view.permits_free() > 0) out.parties.clear();
  return out;
}

bool still_waits(const WaitNode& node) {
  const uint64_t word = node.wait.word;
  if (node.wait.remote) return node.queue ? node.queue->joins(word) : node.lock->waits(word);
  return node.wait.session->journal(node.wait.line)->waiting_on.load() == word;
}

Blockers blockers_of(const WaitNode& node) {
  if (node.queue) return lease_holders(*node.queue, node.wait.holder);
  if (node.pipe) return users_in_the_way(*node.pipe, node.wait);
  return blockers_of_word(node.lock->view(), node.wait.what, node.wait.holder);
}

// Whoever waits for an object in the same way waits for the same: looked at once. At a pipe each
// has a way of its own.
class BlockersSeen {
 public:
  std::shared_ptr<const Blockers> of(const WaitNode& node) {
    const bool own =
        node.lock && shm::holder_in(node.lock->view().line().word.load()) == node.wait.holder;
    if (own || node.pipe) return std::make_shared<const Blockers>(blockers_of(node));
    // Of those who join, sessions differ: each leaves its own leases out.
    const uint32_t way = node.queue ? shm::owner_in(node.wait.holder) : 0;
    std::shared_ptr<const Blockers>& seen =
        seen_[{uint64_t{node.wait.object} << 32 | way, node.wait.what}];
    if (!seen) seen = std::make_shared<const Blockers>(blockers_of(node));
    return seen;
  }

 private:
  struct Hash {
    size_t operator()(const std::pair<uint64_t, WaitFor>& key) const {
      return (key.first ^ static_cast<uint64_t>(key.second) << 29) * 0x9e3779b97f4a7c15;
    }
  };
  std::unordered_map<std::pair<uint64_t, WaitFor>, std::shared_ptr<const Blockers>, Hash> seen_;
};

}  // namespace

/// False: what it waits for is gone.
bool DeadlockDetector::to_node(Wait wait, WaitNode* node) const {
  if (wait.what == WaitFor::kJoin)
    node->queue = queues_.by_object(wait.object);
  else if (shm::is_at_pipe(wait.what))
    node->pipe = pipe_by_object_(wait.object);
  else
    node->lock = locks_.by_object(wait.object);
  node->wait = std::move(wait);
  return node->lock || node->queue || node->pipe;
}

DeadlockDetector::Graph DeadlockDetector::collect() const {
  Graph graph;
  BlockersSeen blockers;
  const auto add = [&](std::vector<Wait> waits) {
    graph.reserve(graph.size() + waits.size());
    for (Wait& wait : waits) {
      WaitNode node;
      if (!to_node(std::move(wait), &node)) continue;
      node.blockers = blockers.of(node);
      graph.push_back(std::move(node));
    }
  };
  add(local_waits(sessions_));
  add(remote_waits(locks_, queues_.waiting(), sessions_));
  add_families(graph);
  return graph;
}

std::vector<Wait> DeadlockDetector::waits_of(uint32_t party) const {
  const SessionRef session = sessions_.by_owner(shm::owner_in(party));
  if (!session) return {};
  if (session->kind == SessionKind::kLocal) {
    return (party & kWholeSession) != 0 ? local_waits(session)
                                        : local_waits(session, shm::thread_in(party));
  }
  std::vector<Wait> waits;
  for (const uint64_t id : remote_.of(party)) {
    const auto low = static_cast<uint32_t>(id);
    const auto lock = locks_.by_object(low);
    const auto queue = lock ? nullptr : queues_.by_object(low);
    for (Wait& wait : remote_waits(party, lock.get(), queue.get(), sessions_)) {
      waits.push_back(std::move(wait));
    }
  }
  return waits;
}

size_t DeadlockDetector::run_from(std::vector<uint32_t> parties) {
  Graph graph;
  BlockersSeen blockers;
  std::unordered_set<uint32_t> seen;
  while (!parties.empty()) {
    const uint32_t party = parties.back();
    parties.pop_back();
    if (!seen.insert(party).second) continue;
    for (Wait& wait : waits_of(party)) {
      WaitNode node;
      if (!to_node(std::move(wait), &node)) continue;
      node.blockers = blockers.of(node);
      const auto& further = node.blockers->parties;
      parties.insert(parties.end(), further.begin(), further.end());
      graph.push_back(std::move(node));
    }
  }
  // Whom a parent waits for by its child is found with all the others in view.
  return has_families(graph) ? run() : end_circles(graph);
}

namespace {

// Those that somebody waits for, and that wait for nothing themselves.
std::vector<uint32_t> awake_in(const std::vector<WaitNode>& graph) {
  std::unordered_set<uint32_t> asleep;
  for (const WaitNode& node : graph) asleep.insert(node.wait.holder);
  std::vector<uint32_t> holders;
  for (const WaitNode& node : graph) {
    for (const uint32_t party : node.blockers->parties) {
      if ((party & kWholeSession) == 0 && asleep.insert(party).second) holders.push_back(party);
    }
  }
  return holders;
}

pid_t local_pid(const SessionTable& sessions, uint32_t holder) {
  const SessionRef session = sessions.by_owner(shm::owner_in(holder));
  return session && session->kind == SessionKind::kLocal ? session->pid : 0;
}

}  // namespace

bool DeadlockDetector::has_families(const Graph& graph) const {
  const std::vector<uint32_t> holders = awake_in(graph);
  if (holders.size() > kFamiliesMax) return false;
  return std::any_of(holders.begin(), holders.end(), [this](uint32_t holder) {
    const pid_t pid = local_pid(sessions_, holder);
    return pid > 0 && waited_child(pid) > 0;
  });
}

void DeadlockDetector::add_families(Graph& graph) const {
  std::unordered_map<pid_t, size_t> waiting;  // pid -> node
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!graph[i].wait.remote) waiting.emplace(graph[i].wait.session->pid, i);
  }
  const std::vector<uint32_t> holders = awake_in(graph);
  if (waiting.empty() || holders.size() > kFamiliesMax) return;
  for (const uint32_t holder : holders) {
    pid_t pid = local_pid(sessions_, holder);
    for (int i = 0; i < kGenerationsMax && pid > 0; ++i) {
      pid = waited_child(pid);
      const auto child = waiting.find(pid);
      if (child == waiting.end()) continue;
      WaitNode node = graph[child->second];
      node.wait.holder = holder;
      graph.push_back(std::move(node));
      break;
    }
  }
}

bool DeadlockDetector::still_stands(const Graph& graph, const std::vector<size_t>& waits) const {
  for (const size_t i : waits) {
    const WaitNode& node = graph[i];
    if (!still_waits(node)) return false;
    const Blockers again = blockers_of(node);
    if (again.parties != node.blockers->parties || again.seen != node.blockers->seen) return false;
  }
  return true;
}

size_t DeadlockDetector::choose(const Graph& graph, const Circle& circle) const {
  size_t victim = 0;
  for (size_t i = 1; i < circle.size(); ++i) {
    const Wait& a = graph[circle[i]].wait;
    const Wait& b = graph[circle[victim]].wait;
    const bool lower = policy_ == DeadlockPolicy::kLowestPriority && a.priority != b.priority
                           ? a.priority < b.priority
                           : a.age_ms < b.age_ms;
    if (lower) victim = i;
  }
  return victim;
}

void DeadlockDetector::end(const WaitNode& victim, const std::string& why) {
  // Over already: then it was no circle any more.
  if (victim.wait.remote && victim.queue) {
    (void)victim.queue->refuse_join(victim.wait.word, why);
    return;
  }
  if (victim.wait.remote) {
    (void)victim.lock->refuse(victim.wait.word, why);
    return;
  }
  shm::JournalLine* line = victim.wait.session->journal(victim.wait.line);
  uint64_t word = victim.wait.word;
  if (!line->waiting_on.compare_exchange_strong(word, word | shm::kWaitCancelled)) return;
  if (victim.queue)
    victim.queue->wake_joiners();
  else if (victim.pipe)
    victim.pipe->wake_waiters();
  else
    victim.lock->view().wake_everybody();
}

void DeadlockDetector::report(const Graph& graph, const Circle& circle) {
  DeadlockReport report;
  report.found_unix_ms = unix_ms();
  const size_t victim = choose(graph, circle);
  for (size_t i = 0; i < circle.size(); ++i) {
    const WaitNode& node = graph[circle[i]];
    DeadlockMember member;
    member.lock = node.name();
    member.kind = node.queue  ? "queue"
                  : node.pipe ? "pipe"
                              : local::noun_of(node.lock->view().kind());
    member.mode = mode_of(node.wait.what);
    if (node.wait.session) {
      member.session_id = node.wait.session->id;
      member.pid = node.wait.session->pid;
      member.uid = node.wait.session->uid;
      member.command = node.wait.session->command;
    }
    member.thread = shm::thread_in(node.wait.holder);
    member.remote = node.wait.remote;
    member.age_ms = node.wait.age_ms;
    member.priority = node.wait.priority;
    member.victim = policy_ != DeadlockPolicy::kReportOnly && i == victim;
    report.circle.push_back(std::move(member));
  }
  {
    std::lock_guard lock(mutex_);
    report.number = ++found_;
    reports_.push_back(report);
    if (reports_.size() > kReportsKept) reports_.pop_front();
  }
  os::log(os::LogLevel::kWarning, "deadlock %llu: %s",
          static_cast<unsigned long long>(report.number), report.text().c_str());
  if (policy_ != DeadlockPolicy::kReportOnly) end(graph[circle[victim]], report.text());
}

/// Of each wait: what its thread holds comes before what it waits for.
void DeadlockDetector::note_order(const Graph& graph) {
  std::unordered_map<uint32_t, std::vector<const WaitNode*>> held;  // one wait for each of them
  std::unordered_set<const Blockers*> seen;
  for (const WaitNode& node : graph) {
    if (!node.lock || !seen.insert(node.blockers.get()).second) continue;
    for (const uint32_t party : node.blockers->parties) held[party].push_back(&node);
  }
  std::lock_guard lock(mutex_);
  for (const WaitNode& node : graph) {
    if (!node.lock) continue;  // waiting for work to be done is no order of locks
    const auto mine = held.find(node.wait.holder);
    if (mine == held.end()) continue;
    for (const WaitNode* first : mine->second) note_order(node, *first);
  }
}

void DeadlockDetector::note_order(const WaitNode& node, const WaitNode& first) {
  const uint64_t both = uint64_t{first.wait.object} << 32 | node.wait.object;
  if (first.wait.object == node.wait.object || orders_seen_.contains(both)) return;
  if (orders_.size() >= kOrdersMax || orders_seen_.size() >= kOrdersMax) return;
  orders_seen_.insert(both);
  const std::string& wanted = node.name();
  const std::string command = node.wait.session ? node.wait.session->command : "";
  if (!orders_.emplace(std::pair(first.name(), wanted), command).second) return;
  const auto other = orders_.find({wanted, first.name()});
  if (other == orders_.end()) return;
  order_reports_.push_back({first.name(), wanted, command, other->second, unix_ms()});
  if (order_reports_.size() > kReportsKept) order_reports_.pop_front();
}

size_t DeadlockDetector::run() {
  Graph graph = collect();
  note_order(graph);
  return end_circles(graph);
}

uint32_t DeadlockDetector::threads_of(uint32_t party) const {
  const SessionRef session = sessions_.by_owner(shm::owner_in(party));
  if (!session) return 0;
  if ((party & kWholeProcess) == 0) return session->threads();
  return session->kind == SessionKind::kLocal ? threads_if_childless(session->pid) : 0;
}

/// How many there were, or would have been if nothing had moved.
size_t DeadlockDetector::end_circles(Graph& graph) {
  find_stuck(graph, [this](uint32_t party) { return threads_of(party); });
  size_t circles = 0;
  for (const Circle& circle : circles_of(graph)) {
    if (!still_stands(graph, circle)) continue;
    if (!still_stands(graph, others_behind(graph, circle))) {
      ++circles;
      continue;
    }
    if (policy_ == DeadlockPolicy::kReportOnly && !reported_.insert(key_of(graph, circle)).second) {
      continue;
    }
    report(graph, circle);
    ++circles;
  }
  return circles;
}

/// Names one deadlock for as long as it stands: the waits it is made of.
std::string DeadlockDetector::key_of(const Graph& graph, const Circle& circle) {
  std::vector<std::string> parts;
  for (const size_t i : circle) {
    parts.push_back(std::to_string(graph[i].wait.holder) + ":" +
                    std::to_string(graph[i].wait.word));
  }
  std::sort(parts.begin(), parts.end());
  std::string key;
  for (const std::string& part : parts) key += part + " ";
  return key;
}

std::vector<DeadlockReport> DeadlockDetector::reports() const {
  std::lock_guard lock(mutex_);
  return {reports_.begin(), reports_.end()};
}

std::vector<OrderReport> DeadlockDetector::order_reports() const {
  std::lock_guard lock(mutex_);
  return {order_reports_.begin(), order_reports_.end()};
}

std::vector<std::pair<Wait, std::vector<uint32_t>>> DeadlockDetector::graph() const {
  std::vector<std::pair<Wait, std::vector<uint32_t>>> out;
  for (WaitNode& node : collect()) {
    out.emplace_back(std::move(node.wait), node.blockers->parties);
  }
  return out;
}

}  // namespace heddle::broker
