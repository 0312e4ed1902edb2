// Owner numbers and the sessions behind them.
#pragma once

#include <heddle/result.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/broker/broker.h"
#include "daemon/broker/catalog_layout.h"
#include "daemon/broker/segment.h"
#include "proto/local/fd.h"
#include "proto/shm/session_page.h"

namespace heddle::broker {

struct Session {
  // Fixed before anybody else sees the session.
  uint64_t id = 0;  // generation << 16 | owner
  uint16_t owner = 0;
  uint32_t generation = 0;
  SessionKind kind = SessionKind::kLocal;
  pid_t pid = 0;
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::string name;
  std::string command;
  int64_t opened_ns = 0;
  int64_t lease_ns = 0;
  ResumeToken token{};
  // Came over from an earlier incarnation: what it had attached is unknown, so it counts as
  // attached to everything until it ends.
  bool inherited = false;
  local::Fd pidfd;
  std::shared_ptr<Segment> page;

  std::atomic<int64_t> lease_ends_ns{0};
  std::atomic<bool> ending{false};  // set once, by whoever ends the session
  // Under Core::registry_.
  std::unordered_map<uint64_t, uint32_t> attached;  // object id -> how many opens
  // Under SessionTable::mutex_.
  std::function<void()> ended;

  bool remote() const { return kind == SessionKind::kRemote; }
  bool of_client() const { return kind == SessionKind::kLocal || remote(); }
  shm::JournalLine* journal(uint32_t line) const;
  // How many thread lines the page has; 0 without a page.
  uint32_t lines() const;
  // Lines below this may ever have been claimed: looking at others would cost memory.
  uint32_t lines_used() const;
  // What a client of another version waits for cannot be read.
  bool has_known_layout() const;
  // Claimed thread lines: threads that use the session now, or have ended and hold something.
  uint32_t threads() const;
  // Whether a thread told since the last call that it waits for long.
  bool take_waits_told() const;
  // Some thread line is in use, and the kernel marked the bell of each one that is: every thread
  // that used the session is gone, in whatever way.
  bool every_bell_fired() const;
  // The client ended it in order; a broker that was away has not heard its BYE.
  bool closed_by_client() const;
};

using SessionRef = std::shared_ptr<Session>;

// Owner numbers come back in the order in which they were given back, and not before so many
// others stand in line, so that a stale number in a frozen thread's register stays nobody's for
// long. Threads: any.
class SessionTable {
 public:
  static constexpr size_t kRestingMin = 1024;

  // QUOTA when all 65,535 are in use. Gives a number that is nobody's until give_back.
  Result<uint16_t> take_owner();
  void take_owner(uint16_t owner);  // at recovery: this one is in use
  void give_back(uint16_t owner);   // after the reaper has finished, or when nothing was issued

  void insert(const SessionRef& session);
  void remove(const Session& session);

  SessionRef find(uint64_t id) const;
  SessionRef by_owner(uint16_t owner) const;
  SessionRef by_token(const ResumeToken& token) const;
  std::vector<SessionRef> all() const;  // by id
  size_t count(SessionKind kind) const;
  size_t count_of(uid_t uid) const;  // of clients
  void set_ended(Session& session, std::function<void()> ended);
  std::function<void()> take_ended(Session& session);

 private:
  mutable std::mutex mutex_;
  std::deque<uint16_t> resting_;
  std::vector<bool> taken_ = std::vector<bool>(65'536);
  uint32_t fresh_ = 1;  // numbers from here on were never used
  std::unordered_map<uint64_t, SessionRef> sessions_;
  std::unordered_map<uint16_t, SessionRef> by_owner_;
  std::unordered_map<uid_t, size_t> per_uid_;
};

// Writes the header of a fresh page and the bells' initial state.
void format_session_page(void* base, uint32_t lines, const Session& session);

}  // namespace heddle::broker
