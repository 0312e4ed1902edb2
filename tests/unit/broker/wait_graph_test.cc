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
  find_stuck(nodes, [threads](uint32_t) { return threads; });
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
          (party & kWholeSession) != 0 ? shm::owner_in(one) == shm::owner_in(party) : one == party;
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

// At a pipe 1 waits for 2 and 3, who use the other end; each of them for a lock of 1.
std::vector<WaitNode> at_a_pipe() {
  return {waits(holder(1), {whole_process(2), whole_process(3)}, true),
          waits(holder(2), {holder(1)}), waits(holder(3), {holder(1)})};
}

TEST(WaitGraph, AtAPipeEveryThreadOfEveryUserHasToBeStuck) {
  // How many threads the processes of 2 and 3 have, whatever lines they have.
  const auto stuck_with = [](uint32_t two, uint32_t three, std::vector<WaitNode> nodes) {
    find_stuck(nodes, [=](uint32_t party) {
      if ((party & kWholeProcess) == 0) return 1u;
      return shm::owner_in(party) == 2 ? two : three;
    });
    const auto stuck = std::count_if(nodes.begin(), nodes.end(), [](auto& n) { return n.stuck; });
    EXPECT_TRUE(stuck == 0 || stuck == static_cast<long>(nodes.size()));
    EXPECT_EQ(circles_of(nodes).size(), stuck == 0 ? 0u : 1u);
    return stuck != 0;
  };
  EXPECT_TRUE(stuck_with(1, 1, at_a_pipe()));
  EXPECT_FALSE(stuck_with(2, 1, at_a_pipe()));  // another thread could send
  EXPECT_FALSE(stuck_with(1, 2, at_a_pipe()));
  EXPECT_FALSE(stuck_with(1, 0, at_a_pipe()));  // not known: remote, dead, or with children
  std::vector<WaitNode> nodes = at_a_pipe();
  nodes.pop_back();  // 3 does not wait
  EXPECT_FALSE(stuck_with(1, 1, nodes));
  nodes = at_a_pipe();
  nodes.push_back(waits(holder(2, 1), {holder(1)}));
  EXPECT_TRUE(stuck_with(2, 1, nodes));
  nodes = at_a_pipe();
  nodes[0].blockers = std::make_shared<const Blockers>(Blockers{{}, true});  // a vacant end
  EXPECT_FALSE(stuck_with(1, 1, nodes));
}

TEST(WaitGraph, BehindACircleIsAllThatMakesItOne) {
  std::vector<WaitNode> nodes = at_a_pipe();
  nodes.push_back(waits(holder(4), {holder(1)}));  // nobody waits for it
  (void)stuck_of(nodes, 1);
  const auto circles = circles_of(nodes);
  ASSERT_EQ(circles, (std::vector<std::vector<size_t>>{{0, 1}}));
  EXPECT_EQ(others_behind(nodes, circles[0]), (std::vector<size_t>{2}));
  // Where each waits for one thread the circle is all.
  std::vector<WaitNode> two = {waits(holder(1), {holder(2)}), waits(holder(2), {holder(1)})};
  (void)stuck_of(two);
  EXPECT_TRUE(others_behind(two, circles_of(two).at(0)).empty());
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
        party = holder(owner, random() % threads);
        if (random() % 4 == 0) party = whole_session(static_cast<uint16_t>(owner));
        if (random() % 4 == 0) party = whole_process(static_cast<uint16_t>(owner));
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
          return party == next || party == whole_session(shm::owner_in(next)) ||
                 party == whole_process(shm::owner_in(next));
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
