// What makes a repeated call on a lock harmless: the answers of the calls that carried a request
// id.
//
// A call is known by its session, object, thread and id. A repeat while the first still waits joins
// it: the wait goes on for as long as one of them is there. Afterwards it gets the same answer; a
// grant only as long as it is held, else it acquires anew. What had no effect (EMPTY, TIMED_OUT,
// DEADLOCK_DETECTED) is not remembered, waits of conditions and arrivals apart.
//
// Bounded: the last 8 answers of a thread on an object, and the last 1,024 such pairs of a session.
// After a death of the broker the answers are gone; what became of an acquire or a release is known
// all the same, from the words of the lock and from what was noted of it (lock_inherited.cc).
//
// Threads: any. No callback runs with its mutex held, and it is held over nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/objects/lock.h"

namespace heddle::objects {

inline constexpr size_t kLockRequestIdBytesMax = 64;

class LockRequests {
 public:
  struct Key {
    uint64_t object_id = 0;  // 0: several
    uint16_t thread = 0;
    char op = 0;  // one letter for each operation
    std::string_view id;
  };
  // A call and its consequences.
  struct Job {
    // Starts it; gives how to cancel it.
    std::function<std::function<void()>(LockDone done)> begin;
    // Whether the answer still stands; absent: it does.
    std::function<bool(const LockReply& reply)> stands = nullptr;
    // It was done, but everybody who asked has gone.
    std::function<void(const LockReply& reply)> undo = nullptr;
    bool keep_failures = false;
  };
  struct Call;  // one caller that waits
  using CallRef = std::shared_ptr<Call>;

  LockRequests() = default;
  // The callbacks of calls that still wait do not run.
  ~LockRequests();
  LockRequests(const LockRequests&) = delete;
  LockRequests& operator=(const LockRequests&) = delete;

  // INVALID_ARGUMENT for an id that is too long, or without a session.
  static Status check(const Caller& caller, std::string_view id);
  // `done` runs once, maybe within this call. Needs an id that passed check().
  CallRef start(const Caller& caller, const Key& key, Job job, LockDone done);
  // The same for what does not wait.
  LockReply once(const Caller& caller, const Key& key, const std::function<LockReply()>& run);
  // This caller has gone; the last one to go ends the wait. True: its `done` will not run.
  bool cancel(const CallRef& call);
  // That thread let go of something of that object: its grants are history.
  void released(const Caller& caller, uint64_t object_id, uint16_t thread);
  void forget(uint64_t session_id);

 private:
  struct Request;
  using RequestRef = std::shared_ptr<Request>;
  struct Place {
    uint64_t key = 0;
    std::vector<RequestRef> requests;  // the oldest first
  };
  struct Session {
    std::list<Place> places;  // the latest first
    std::unordered_map<uint64_t, std::list<Place>::iterator> by_key;
  };
  // With mutex_ held.
  Place& place_of(uint64_t session_id, uint64_t key);
  void forget_request(const RequestRef& request);
  void ended(const RequestRef& request, LockReply reply);

  std::mutex mutex_;
  std::unordered_map<uint64_t, Session> sessions_;
};

}  // namespace heddle::objects
