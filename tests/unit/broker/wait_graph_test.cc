// Which waits are stuck, and the circles in them: against the rule taken word by word, and with so
// many waits that anything but a straight walk through them would be seen.
#include "daemon/broker/wait_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace heddle::broker {
namespace {

using Parties = std::vector<uint32_t>;

WaitNode waits(uint32_t holder, Parties parties, bool any = false) {
  WaitNode node;
  node.wait.holder = holder;
  node.blockers = std::make_shared<const Blockers>(Blockers{std::move(parties), any});
  return node;
}

uint32_t holder(unsigned owner, unsigned thread = 0) {
  return shm::holder_of(static_cast<uint16_t>(owner), static_cast<uint16_t>(thread));
}

std::vector<bool> stuck_of(std::vector<WaitNode>& nodes, uint32_t threads = 0) {
  find_stuck(nodes, [threads](uint16_t) { return threads; });
  std::vector<bool> stuck;
  for (const WaitNode& node : nodes) stuck.push_back(node.stuck);
  return stuck;
}

// Takes away what can go on until nothing changes.
std::vector<bool> by_the_rule(const std::vector<WaitNode>& nodes, uint32_t threads) {
  std::vector<bool> stuck(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) stuck[i] = !nodes[i].blockers->parties.empty();
  const auto is_stuck = [&](uint32_t party) {
    std::vector<uint32_t> asleep;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const uint32_t one = nodes[i].wait.holder;
      const bool meant =
          (party & kWholeSession) != 0 ? whole_session(shm::owner_in(one)) == party : one == party;
      if (stuck[i] && meant) asleep.push_back(one);
    }
    std::sort(asleep.begin(), asleep.end());
    asleep.erase(std::unique(asleep.begin(), asleep.end()), asleep.end());
    return (party & kWholeSession) != 0 ? !asleep.empty() && asleep.size() == threads
                                        : !asleep.empty();
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const Parties& p = nodes[i].blockers->parties;
      const bool still = nodes[i].blockers->any ? std::all_of(p.begin(), p.end(), is_stuck)
                                                : std::any_of(p.begin(), p.end(), is_stuck);
      if (stuck[i] && !still) stuck[i] = false, changed = true;
    }
  }
  return stuck;
}

TEST(WaitGraph, APermitOfAnyOfThemWouldDo) {
  std::vector<WaitNode> nodes = {waits(holder(1), {holder(2), holder(3)}, true),
                                 waits(holder(2), {holder(1)})};
  EXPECT_EQ(stuck_of(nodes), (std::vector<bool>{false, false}));
  nodes.push_back(waits(holder(3), {holder(2)}));
  EXPECT_EQ(stuck_of(nodes), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(circles_of(nodes), (std::vector<std::vector<size_t>>{{0, 1}}));
}

TEST(WaitGraph, ASessionIsStuckWhenAllItsThreadsAre) {
  std::vector<WaitNode> nodes = {waits(holder(1), {whole_session(2)}),
                                 waits(holder(2, 0), {holder(1)})};
  EXPECT_EQ(stuck_of(nodes, 2), (std::vector<bool>{false, false}));
  EXPECT_EQ(stuck_of(nodes, 0), (std::vector<bool>{false, false}));  // not known
  EXPECT_EQ(stuck_of(nodes, 1), (std::vector<bool>{true, true}));
  nodes.push_back(waits(holder(2, 1), {holder(1)}));
  EXPECT_EQ(stuck_of(nodes, 2), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(circles_of(nodes).size(), 1u);
}

TEST(WaitGraph, AnyGraphIsSortedAsTheRuleSays) {
  std::minstd_rand random(1);
  for (int round = 0; round < 3'000; ++round) {
    const uint32_t owners = 2 + random() % 4, threads = 1 + random() % 3;
    std::vector<std::shared_ptr<const Blockers>> shared;
    std::vector<WaitNode> nodes;
    const size_t count = 1 + random() % 12;
    for (size_t i = 0; i < count; ++i) {
      Parties parties(random() % 4);
      for (uint32_t& party : parties) {
        const uint32_t owner = 1 + random() % owners;
        party = random() % 4 == 0 ? whole_session(static_cast<uint16_t>(owner))
                                  : holder(owner, random() % threads);
      }
      nodes.push_back(
          waits(holder(1 + random() % owners, random() % threads), parties, random() % 3 == 0));
      shared.push_back(nodes.back().blockers);
      if (random() % 3 == 0) nodes.back().blockers = shared[random() % shared.size()];
    }
    const std::vector<bool> wanted = by_the_rule(nodes, threads);
    ASSERT_EQ(stuck_of(nodes, threads), wanted) << "round " << round;
    const auto circles = circles_of(nodes);
    EXPECT_EQ(circles.empty(), std::count(wanted.begin(), wanted.end(), true) == 0);
    std::vector<bool> used(nodes.size());
    for (const auto& circle : circles) {
      for (size_t i = 0; i < circle.size(); ++i) {
        ASSERT_TRUE(wanted[circle[i]] && !used[circle[i]]);
        used[circle[i]] = true;
        const uint32_t next = nodes[circle[(i + 1) % circle.size()]].wait.holder;
        const Parties& parties = nodes[circle[i]].blockers->parties;
        EXPECT_TRUE(std::any_of(parties.begin(), parties.end(), [&](uint32_t party) {
          return party == next || party == whole_session(shm::owner_in(next));
        }));
      }
    }
  }
}

// Each waits for the next one, and the last one runs, or closes a circle of all of them; beside
// them a crowd that waits for one of them.
TEST(WaitGraph, ManyTakeNoLongerThanTheyAre) {
  constexpr uint32_t kMany = 30'000;
  const auto began = std::chrono::steady_clock::now();
  std::vector<WaitNode> nodes;
  for (uint32_t i = 1; i <= kMany; ++i) nodes.push_back(waits(holder(i), {holder(i + 1)}));
  for (uint32_t i = 1; i <= kMany; ++i) nodes.push_back(waits(holder(i, 1), {holder(7)}));
  std::vector<bool> stuck = stuck_of(nodes);
  EXPECT_EQ(std::count(stuck.begin(), stuck.end(), true), 0);
  EXPECT_TRUE(circles_of(nodes).empty());
  nodes.push_back(waits(holder(kMany + 1), {holder(1)}));
  stuck = stuck_of(nodes);
  EXPECT_EQ(std::count(stuck.begin(), stuck.end(), false), 0);
  const auto circles = circles_of(nodes);
  ASSERT_EQ(circles.size(), 1u);
  EXPECT_EQ(circles[0].size(), kMany + 1);
  // Some 50 ms; by squares it would be minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

}  // namespace
}  // namespace heddle::broker
