#include "daemon/broker/wait_graph.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

namespace heddle::broker {
namespace {

std::array<uint32_t, 2> wholes_of(uint32_t holder) {
  const uint16_t owner = shm::owner_in(holder);
  return {whole_session(owner), whole_process(owner)};
}

// Takes away what can go on, and what can go on because of that.
class Sieve {
 public:
  Sieve(std::vector<WaitNode>& nodes, const std::function<uint32_t(uint32_t)>& threads_of)
      : nodes_(nodes) {
    std::unordered_map<const Blockers*, size_t> known;
    for (size_t i = 0; i < nodes.size(); ++i) {
      WaitNode& node = nodes[i];
      node.stuck = !node.blockers->parties.empty();
      if (!node.stuck) continue;
      const auto [at, fresh] = known.try_emplace(node.blockers.get(), crowds_.size());
      if (fresh) crowds_.push_back({node.blockers.get(), {}});
      crowds_[at->second].waits.push_back(i);
      const uint32_t holder = node.wait.holder;
      if (parties_[holder].waits++ != 0) continue;
      for (const uint32_t whole : wholes_of(holder)) ++parties_[whole].waits;
    }
    for (size_t i = 0; i < crowds_.size(); ++i) {
      for (const uint32_t party : crowds_[i].blockers->parties) {
        Party& one = parties_[party];
        one.blocks.push_back(i);
        if ((party & kWholeSession) != 0 && !std::exchange(one.asked, true)) {
          // One thread that is not stuck is enough.
          if (one.waits != 0 && one.waits != threads_of(party)) one.waits = 0;
        }
        if (one.waits != 0) ++crowds_[i].stuck_parties;
      }
    }
  }

  void run() {
    for (size_t i = 0; i < crowds_.size(); ++i) look(crowds_[i]);
    while (!moving_.empty()) {
      const uint32_t party = moving_.back();
      moving_.pop_back();
      for (const size_t i : parties_[party].blocks) {
        --crowds_[i].stuck_parties;
        look(crowds_[i]);
      }
    }
  }

 private:
  struct Crowd {
    const Blockers* blockers;
    std::vector<size_t> waits;
    size_t stuck_parties = 0;
    bool gone = false;
  };
  struct Party {
    uint32_t waits = 0;  // that are stuck; of a whole session its threads
    bool asked = false;  // of a whole session
    std::vector<size_t> blocks;
  };

  void look(Crowd& crowd) {
    const size_t needed = crowd.blockers->any ? crowd.blockers->parties.size() : 1;
    if (crowd.gone || crowd.stuck_parties >= needed) return;
    crowd.gone = true;
    for (const size_t i : crowd.waits) {
      nodes_[i].stuck = false;
      const uint32_t holder = nodes_[i].wait.holder;
      if (--parties_[holder].waits != 0) continue;
      moving_.push_back(holder);
      for (const uint32_t whole : wholes_of(holder)) {
        if (std::exchange(parties_[whole].waits, 0) != 0) moving_.push_back(whole);
      }
    }
  }

  std::vector<WaitNode>& nodes_;
  std::vector<Crowd> crowds_;
  std::unordered_map<uint32_t, Party> parties_;
  std::vector<uint32_t> moving_;
};

}  // namespace

void find_stuck(std::vector<WaitNode>& nodes,
                const std::function<uint32_t(uint32_t party)>& threads_of) {
  Sieve(nodes, threads_of).run();
}

std::vector<std::vector<size_t>> circles_of(const std::vector<WaitNode>& nodes) {
  constexpr size_t kNone = SIZE_MAX;
  std::unordered_map<uint32_t, size_t> wait_of;  // one that is stuck, by party
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].stuck) continue;
    wait_of.emplace(nodes[i].wait.holder, i);
    for (const uint32_t whole : wholes_of(nodes[i].wait.holder)) wait_of.emplace(whole, i);
  }
  const auto next_of = [&](const WaitNode& node) {
    for (const uint32_t party : node.blockers->parties) {
      const auto next = wait_of.find(party);
      if (next != wait_of.end()) return next->second;
    }
    return kNone;
  };
  std::vector<std::vector<size_t>> circles;
  std::vector<size_t> walk_of(nodes.size(), kNone);  // which walk came by
  for (size_t start = 0; start < nodes.size(); ++start) {
    if (!nodes[start].stuck) continue;
    std::vector<size_t> path;
    size_t at = start;
    for (; at != kNone && walk_of[at] == kNone; at = next_of(nodes[at])) {
      walk_of[at] = start;
      path.push_back(at);
    }
    // Where an earlier walk was, its circle is known.
    if (at == kNone || walk_of[at] != start) continue;
    circles.emplace_back(std::find(path.begin(), path.end(), at), path.end());
  }
  return circles;
}

std::vector<size_t> others_behind(const std::vector<WaitNode>& nodes,
                                  const std::vector<size_t>& circle) {
  const auto alone = [&](size_t i) {
    const Blockers& b = *nodes[i].blockers;
    return !b.any && std::none_of(b.parties.begin(), b.parties.end(),
                                  [](uint32_t party) { return (party & kWholeSession) != 0; });
  };
  if (std::all_of(circle.begin(), circle.end(), alone)) return {};
  std::unordered_multimap<uint32_t, size_t> waits_of;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].stuck) continue;
    waits_of.emplace(nodes[i].wait.holder, i);
    for (const uint32_t whole : wholes_of(nodes[i].wait.holder)) waits_of.emplace(whole, i);
  }
  std::vector<bool> met(nodes.size());
  for (const size_t i : circle) met[i] = true;
  std::vector<size_t> others, ahead = circle;
  std::unordered_map<const Blockers*, bool> looked_at;
  while (!ahead.empty()) {
    const Blockers& blockers = *nodes[ahead.back()].blockers;
    ahead.pop_back();
    if (std::exchange(looked_at[&blockers], true)) continue;
    for (const uint32_t party : blockers.parties) {
      const auto [first, last] = waits_of.equal_range(party);
      for (auto at = first; at != last; ++at) {
        if (met[at->second]) continue;
        met[at->second] = true;
        others.push_back(at->second);
        ahead.push_back(at->second);
      }
    }
  }
  return others;
}

}  // namespace heddle::broker
