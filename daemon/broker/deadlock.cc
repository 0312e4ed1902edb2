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

// A blocker that is all threads of a session; holders have 26 bits.
constexpr uint32_t kWholeSession = 1u << 31;
constexpr uint32_t whole_session(uint16_t owner) { return kWholeSession | owner; }

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
           std::to_string(m.thread) + ") waits " + std::to_string(m.age_ms) + " ms for " + m.kind +
           " " + m.lock + " (" + m.mode + ")";
  }
  return out;
}

/// Whoever has leased something may be waited for; the joiner's own leases are its own business.
void DeadlockDetector::find_leases(Node& node) {
  for (const uint16_t owner : node.queue->lease_owners(&node.seen)) {
    if (owner != shm::owner_in(node.wait.holder)) node.blockers.push_back(whole_session(owner));
  }
}

/// Who has to move before this wait can end.
void DeadlockDetector::find_blockers(Node& node) const {
  if (node.queue) return find_leases(node);
  shm::Lock& view = node.lock->view();
  const uint64_t word = view.line().word.load();
  node.seen = without_marks(word);
  const uint32_t owner = shm::holder_in(word);
  const WaitFor what = node.wait.what;
  if (what == WaitFor::kPermits) {
    if (view.kind() != shm::LockKind::kSemaphore) return;
    node.any = true;
  } else if (what == WaitFor::kBarrier) {
    node.blockers.resize(kPartiesMax);
    node.blockers.resize(std::min(view.missing(node.blockers.data(), kPartiesMax), kPartiesMax));
    return;
  } else if (what != WaitFor::kExclusive && what != WaitFor::kShared && what != WaitFor::kUpdate) {
    return;
  } else if (owner != 0 && owner != node.wait.holder) {
    const bool lets_read = (word & shm::kUpdate) != 0 && (word & shm::kClaimed) == 0;
    if (what != WaitFor::kShared || !lets_read) node.blockers.push_back(owner);
    return;
  } else if (owner == node.wait.holder && (word & (shm::kClaimed | shm::kUpdate)) == 0) {
    node.blockers.push_back(owner);  // it waits for itself
    return;
  } else if (owner == 0) {
    return;  // free, or handed to somebody who is on his way
  }
  std::vector<shm::LockStanding> standing(64);
  size_t n = view.standing(standing.data(), standing.size());
  if (n > standing.size()) {
    standing.resize(std::min(n, kStandingMax));
    n = std::min(view.standing(standing.data(), standing.size()), standing.size());
  }
  for (size_t i = 0; i < n; ++i) {
    const bool inside = !standing[i].waits && standing[i].mode == shm::LockMode::kShared;
    if (inside) node.blockers.push_back(standing[i].holder);
  }
  if (node.any && view.permits_free() > 0) node.blockers.clear();
}

DeadlockDetector::Graph DeadlockDetector::collect() const {
  Graph graph;
  const auto add = [&](std::vector<Wait> waits) {
    for (Wait& wait : waits) {
      Node node;
      if (wait.what == WaitFor::kJoin)
        node.queue = queues_(wait.object);
      else
        node.lock = locks_.by_object(wait.object);
      node.wait = std::move(wait);
      if (!node.lock && !node.queue) continue;
      find_blockers(node);
      graph.push_back(std::move(node));
    }
  };
  add(local_waits(sessions_));
  add(remote_waits(locks_, sessions_));
  add_families(graph);
  return graph;
}

void DeadlockDetector::add_families(Graph& graph) const {
  std::unordered_map<pid_t, size_t> waiting;  // pid -> node
  std::unordered_set<uint32_t> asleep;
  std::vector<uint32_t> holders;
  for (size_t i = 0; i < graph.size(); ++i) {
    asleep.insert(graph[i].wait.holder);
    if (!graph[i].wait.remote) waiting.emplace(graph[i].wait.session->pid, i);
  }
  for (const Node& node : graph) {
    for (const uint32_t blocker : node.blockers) {
      if ((blocker & kWholeSession) == 0 && asleep.insert(blocker).second) {
        holders.push_back(blocker);
      }
    }
  }
  if (waiting.empty() || holders.size() > kFamiliesMax) return;
  for (const uint32_t holder : holders) {
    const SessionRef session = sessions_.by_owner(shm::owner_in(holder));
    pid_t pid = session && session->kind == SessionKind::kLocal ? session->pid : 0;
    for (int i = 0; i < kGenerationsMax && pid > 0; ++i) {
      pid = waited_child(pid);
      const auto child = waiting.find(pid);
      if (child == waiting.end()) continue;
      Node node = graph[child->second];
      node.wait.holder = holder;
      graph.push_back(std::move(node));
      break;
    }
  }
}

/// Takes away what can go on until nothing changes.
void DeadlockDetector::keep_stuck(Graph& graph) const {
  std::unordered_map<uint32_t, uint32_t> stuck;     // holder -> its stuck waits
  std::unordered_map<uint16_t, uint32_t> sleeping;  // session -> its stuck threads
  for (Node& node : graph) {
    node.stuck = !node.blockers.empty();
    if (node.stuck && stuck[node.wait.holder]++ == 0) ++sleeping[shm::owner_in(node.wait.holder)];
  }
  std::unordered_map<uint16_t, uint32_t> threads;  // of the sessions that are waited for as a whole
  const auto is_stuck = [&](uint32_t blocker) {
    if ((blocker & kWholeSession) != 0) {
      const uint16_t owner = shm::owner_in(blocker);
      const auto asleep = sleeping.find(owner);
      if (asleep == sleeping.end() || asleep->second == 0) return false;
      const auto [known, fresh] = threads.try_emplace(owner, 0);
      if (fresh) {
        const SessionRef session = sessions_.by_owner(owner);
        known->second = session ? session->threads() : 0;
      }
      return asleep->second == known->second;
    }
    const auto at = stuck.find(blocker);
    return at != stuck.end() && at->second != 0;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (Node& node : graph) {
      if (!node.stuck) continue;
      const auto& b = node.blockers;
      const bool still = node.any ? std::all_of(b.begin(), b.end(), is_stuck)
                                  : std::any_of(b.begin(), b.end(), is_stuck);
      if (still) continue;
      node.stuck = false;
      if (--stuck[node.wait.holder] == 0) --sleeping[shm::owner_in(node.wait.holder)];
      changed = true;
    }
  }
}

std::vector<size_t> DeadlockDetector::circle_of(const Graph& graph, size_t start) const {
  std::unordered_map<uint32_t, size_t> by_holder;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!graph[i].stuck) continue;
    by_holder.emplace(graph[i].wait.holder, i);
    by_holder.emplace(whole_session(shm::owner_in(graph[i].wait.holder)), i);
  }
  std::vector<size_t> path;
  std::unordered_map<size_t, size_t> place;
  for (size_t at = start;;) {
    const auto [seen, fresh] = place.emplace(at, path.size());
    if (!fresh) return {path.begin() + static_cast<ptrdiff_t>(seen->second), path.end()};
    path.push_back(at);
    bool found = false;
    for (const uint32_t blocker : graph[at].blockers) {
      const auto next = by_holder.find(blocker);
      if (next == by_holder.end()) continue;
      at = next->second;
      found = true;
      break;
    }
    if (!found) return {};
  }
}

bool DeadlockDetector::still_stands(const Graph& graph, const std::vector<size_t>& circle) const {
  for (const size_t i : circle) {
    const Node& node = graph[i];
    const shm::LockLine* lock = node.lock ? &node.lock->view().line() : nullptr;
    if (lock != nullptr && without_marks(lock->word.load()) != node.seen) return false;
    if (!node.wait.remote) {
      const shm::JournalLine* line = node.wait.session->journal(node.wait.line);
      if (line->waiting_on.load() != node.wait.word) return false;
    }
    Node again = node;
    again.blockers.clear();
    find_blockers(again);
    if (again.blockers != node.blockers || again.seen != node.seen) return false;
  }
  return true;
}

size_t DeadlockDetector::choose(const Graph& graph, const std::vector<size_t>& circle) const {
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

void DeadlockDetector::end(const Node& victim, const std::string& why) {
  if (victim.wait.remote) {
    (void)victim.lock->refuse(victim.wait.word, why);
    return;
  }
  shm::JournalLine* line = victim.wait.session->journal(victim.wait.line);
  uint64_t word = victim.wait.word;
  if (!line->waiting_on.compare_exchange_strong(word, word | shm::kWaitCancelled)) return;
  if (victim.queue)
    victim.queue->wake_joiners();
  else
    victim.lock->view().wake_everybody();
}

void DeadlockDetector::report(const Graph& graph, const std::vector<size_t>& circle) {
  DeadlockReport report;
  report.found_unix_ms = unix_ms();
  const size_t victim = choose(graph, circle);
  for (size_t i = 0; i < circle.size(); ++i) {
    const Node& node = graph[circle[i]];
    DeadlockMember member;
    member.lock = node.name();
    member.kind = node.queue ? "queue" : local::noun_of(node.lock->view().kind());
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
  std::unordered_map<uint32_t, std::vector<std::string>> held;
  for (const Node& node : graph) {
    if (node.queue) continue;  // waiting for work to be done is no order of locks
    for (const uint32_t blocker : node.blockers) held[blocker].push_back(node.name());
  }
  std::lock_guard lock(mutex_);
  for (const Node& node : graph) {
    const auto mine = held.find(node.wait.holder);
    if (mine == held.end() || node.queue) continue;
    const std::string& wanted = node.name();
    const std::string command = node.wait.session ? node.wait.session->command : "";
    for (const std::string& first : mine->second) {
      if (first == wanted || orders_.size() >= kOrdersMax) continue;
      if (!orders_.emplace(std::pair(first, wanted), command).second) continue;
      const auto other = orders_.find({wanted, first});
      if (other == orders_.end()) continue;
      order_reports_.push_back({first, wanted, command, other->second, unix_ms()});
      if (order_reports_.size() > kReportsKept) order_reports_.pop_front();
    }
  }
}

size_t DeadlockDetector::run() {
  Graph graph = collect();
  note_order(graph);
  keep_stuck(graph);
  std::unordered_set<size_t> told;
  size_t circles = 0;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!graph[i].stuck || told.contains(i)) continue;
    const std::vector<size_t> circle = circle_of(graph, i);
    bool fresh = !circle.empty();
    for (const size_t member : circle) fresh = fresh && !told.contains(member);
    told.insert(circle.begin(), circle.end());
    if (!fresh || !still_stands(graph, circle)) continue;
    if (policy_ == DeadlockPolicy::kReportOnly && !reported_.insert(key_of(graph, circle)).second) {
      continue;
    }
    report(graph, circle);
    ++circles;
  }
  return circles;
}

/// Names one deadlock for as long as it stands: the waits it is made of.
std::string DeadlockDetector::key_of(const Graph& graph, const std::vector<size_t>& circle) {
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
  for (Node& node : collect()) out.emplace_back(std::move(node.wait), std::move(node.blockers));
  return out;
}

}  // namespace heddle::broker
