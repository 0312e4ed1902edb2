// The waits of one moment, who has to move before each of them can end, and which never will.
//
// A wait for a mutex, or for a writer's or reader's turn, is stuck when somebody it waits for is; a
// wait for a permit only when everybody who holds one is (a permit of any of them would do). A join
// is stuck when somebody else who has leased a message is: any thread of that session may settle
// it, so all that use the session have to be; a session without threads that are known, a remote
// one, never is. A wait at a barrier is stuck when a party that has joined it, and has not arrived,
// is. A wait for an event, a count that anybody may raise, or the first half of a condition's wait
// never counts as stuck.
//
// A wait at a pipe for something to come, or for room, is stuck when everybody who uses the other
// end is; a wait for the turn at an end when the session is that is at it. Any thread of a process
// may use an end of a pipe, whether it ever took a lock or not. So all threads that the kernel
// knows have to wait here for something, and children there may be none, for they go on using what
// they inherited; remote users, of whom nothing of that is known, are never stuck, nor is an end
// that nobody uses, nor one that is used from both sides by whoever waits.
//
// A wait with a deadline counts like any other.
//
// The waits that are stuck are what remains when all others are taken away; a circle is found in
// them by going from each to somebody it waits for.
//
// Everything here takes time in proportion to the waits and the parties that they wait for,
// however they hang together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/broker/waits.h"
#include "daemon/objects/pipe.h"
#include "daemon/objects/queue.h"

namespace heddle::broker {

// A party that is all threads of a session; holders have 26 bits.
inline constexpr uint32_t kWholeSession = 1u << 31;
constexpr uint32_t whole_session(uint16_t owner) { return kWholeSession | owner; }
// With it: all threads of its process, whether they have a line in the session's page or not.
inline constexpr uint32_t kWholeProcess = 1u << 30;
constexpr uint32_t whole_process(uint16_t owner) { return whole_session(owner) | kWholeProcess; }

// Whom a wait waits for. Shared by those that wait for the same in the same way.
struct Blockers {
  std::vector<uint32_t> parties;  // holders (shm::holder_of), or whole sessions
  bool any = false;               // one of them that moves is enough
  // What that was read from: the word without marks, the leases of a queue, the words of a pipe.
  uint64_t seen = 0;
};

struct WaitNode {
  Wait wait;
  std::shared_ptr<objects::Lock> lock;
  std::shared_ptr<objects::Queue> queue;  // instead of it: joined
  std::shared_ptr<objects::Pipe> pipe;    // instead of both
  std::shared_ptr<const Blockers> blockers;
  bool stuck = false;
  const std::string& name() const {
    return queue ? queue->name() : pipe ? pipe->name() : lock->name();
  }
};

// Sets `stuck` of each. `threads_of`: how many threads use that whole session, or its process has;
// 0: not known.
void find_stuck(std::vector<WaitNode>& nodes,
                const std::function<uint32_t(uint32_t party)>& threads_of);

// Circles of stuck waits by their positions, each waiting for what the next one holds; a wait is
// in one of them at most.
std::vector<std::vector<size_t>> circles_of(const std::vector<WaitNode>& nodes);

// All stuck waits that are behind it that those of `circle` are, those in it left out. Where one
// that moves is enough, or all threads of somebody have to be stuck, there are others beside the
// circle.
std::vector<size_t> others_behind(const std::vector<WaitNode>& nodes,
                                  const std::vector<size_t>& circle);

}  // namespace heddle::broker
