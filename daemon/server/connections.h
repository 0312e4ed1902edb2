// The gRPC connections: who is behind each, how many calls each has in flight, how many each user
// has open; and the means to cut one.
//
// gRPC tells a call's connection only as "fd:N". So that an N does not name a second connection
// while calls of the first are still about, numbers come from a high range of their own, rise, and
// wrap only at the end of it; whoever is registered under N last is who N names. gRPC closes the
// descriptors and tells nobody, so a connection is known to be gone when N is no longer the same
// socket (by inode); sweep() looks once a second.
//
// Threads: all methods from any thread.
#pragma once

#include <heddle/status.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "daemon/server/grpc_listener.h"
#include "daemon/server/stream_guard.h"
#include "daemon/services/call.h"

namespace heddle::server {

// How many calls are let in. HTTP/2 holds a client that respects the announced limit to it, but a
// stream that the client has ended makes room there before the call that it carried is gone here:
// at worst all of them are still about when as many new ones come. Who has more is refused.
inline uint64_t admitted_max(const ConnectionLimits& limits) {
  return 2 * uint64_t{limits.calls_per_connection};
}

class Connections final : public services::Peers {
 public:
  explicit Connections(const ConnectionLimits& limits);

  // Registers a duplicate of an accepted socket under a number of the high range, which is returned
  // and belongs to gRPC from then on; `socket` stays the caller's. QUOTA: too many of this uid;
  // MEMORY_EXHAUSTED: no descriptors.
  Result<int> adopt(int socket, const objects::Caller& caller);
  // For connections to come. Threads: any.
  void set_connections_per_uid(uint32_t most) { connections_per_uid_.store(most); }
  // Forgets connections that gRPC has closed.
  void sweep();
  size_t count();
  // Cuts those that have far more streams open than they may, whether or not the calls on them have
  // reached a handler. Cheap; to be called a few times a second.
  void cut_crowded();
  // shutdown(2) on all of them.
  void cut_all();

  Status admit(const std::string& peer, objects::Caller* caller,
               std::unique_ptr<services::Admission>* admission) override;

 private:
  struct Connection {
    int number = -1;
    uint64_t inode = 0;
    objects::Caller caller;
    uint32_t calls = 0;    // in flight
    uint32_t refused = 0;  // while over the limit
    bool cut = false;
  };
  class InFlight;

  Result<int> move_up_locked(int socket);
  void forget_locked(Connection& connection);
  void cut_with_log(Connection& connection);
  static void cut(const Connection& connection);

  const ConnectionLimits limits_;
  std::atomic<uint32_t> connections_per_uid_;
  const int first_number_, last_number_;
  StreamGuard guard_;  // of the thread that accepts
  std::mutex mutex_;
  int next_number_;
  std::unordered_map<int, std::shared_ptr<Connection>> by_number_;
  std::map<uid_t, uint32_t> per_uid_;
};

}  // namespace heddle::server
