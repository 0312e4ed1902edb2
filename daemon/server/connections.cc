#include "daemon/server/connections.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <vector>

#include "daemon/os/log.h"

namespace heddle::server {
namespace {

int descriptors_max() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

uint64_t inode_of(int fd) {
  struct stat info{};
  return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

// Counts one call for as long as it lives.
class Connections::InFlight final : public services::Admission {
 public:
  InFlight(Connections& all, std::shared_ptr<Connection> connection)
      : all_(all), connection_(std::move(connection)) {}
  ~InFlight() override {
    std::lock_guard lock(all_.mutex_);
    --connection_->calls;
  }

 private:
  Connections& all_;
  std::shared_ptr<Connection> connection_;
};

Connections::Connections(const ConnectionLimits& limits)
    : limits_(limits),
      connections_per_uid_(limits.connections_per_uid),
      first_number_(descriptors_max() / 3),
      last_number_(descriptors_max() - 1),
      next_number_(first_number_) {}

Result<int> Connections::move_up_locked(int socket) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int number = fcntl(socket, F_DUPFD_CLOEXEC, next_number_);
    if (number >= 0) {
      next_number_ = number >= last_number_ ? first_number_ : number + 1;
      return number;
    }
    if (errno != EMFILE && errno != EINVAL) break;
    next_number_ = first_number_;  // nothing free above: wrap
  }
  return Status(Reason::kMemoryExhausted, "no descriptor for another connection")
      .with_limit(static_cast<uint64_t>(last_number_) + 1, by_number_.size());
}

Result<int> Connections::adopt(int socket, const objects::Caller& caller) {
  std::lock_guard lock(mutex_);
  const uint32_t open = per_uid_[caller.uid];
  Result<int> number =
      open < connections_per_uid_.load()
          ? move_up_locked(socket)
          : Result<int>(Status(Reason::kQuota, "too many gRPC connections of this user")
                            .with_object("uid " + std::to_string(caller.uid))
                            .with_limit(connections_per_uid_.load(), open + 1));
  if (!number.ok()) return number;
  auto& entry = by_number_[*number];
  if (entry) forget_locked(*entry);
  entry = std::make_shared<Connection>();
  entry->number = *number;
  entry->inode = inode_of(*number);
  entry->caller = caller;
  ++per_uid_[caller.uid];
  return number;
}

void Connections::forget_locked(Connection& connection) {
  const auto user = per_uid_.find(connection.caller.uid);
  if (user != per_uid_.end() && --user->second == 0) per_uid_.erase(user);
}

void Connections::sweep() {
  std::lock_guard lock(mutex_);
  std::erase_if(by_number_, [this](auto& entry) {
    if (inode_of(entry.first) == entry.second->inode) return false;
    forget_locked(*entry.second);
    return true;
  });
}

size_t Connections::count() {
  std::lock_guard lock(mutex_);
  return by_number_.size();
}

// gRPC may close the number, and somebody else get it, at any moment: shut down a duplicate that
// has been checked.
void Connections::cut(const Connection& connection) {
  const int copy = fcntl(connection.number, F_DUPFD_CLOEXEC, 0);
  if (copy >= 0) {
    if (inode_of(copy) == connection.inode) shutdown(copy, SHUT_RDWR);
    close(copy);
  } else if (inode_of(connection.number) == connection.inode) {
    shutdown(connection.number, SHUT_RDWR);  // no descriptor left: the small risk is the lesser
  }
}

void Connections::cut_with_log(Connection& connection) {
  if (connection.cut) return;
  connection.cut = true;
  os::log(os::LogLevel::kWarning, "grpc: cut a connection of uid %u pid %d: over %u calls",
          connection.caller.uid, connection.caller.pid, limits_.calls_per_connection);
  cut(connection);
}

void Connections::cut_crowded() {
  const auto crowded = guard_.crowded(2 * uint64_t{limits_.calls_per_connection});
  std::lock_guard lock(mutex_);
  for (const int number : crowded) {
    const auto found = by_number_.find(number);
    if (found != by_number_.end()) cut_with_log(*found->second);
  }
}

void Connections::cut_all() {
  std::lock_guard lock(mutex_);
  for (auto& [number, connection] : by_number_) cut(*connection);
}

Status Connections::admit(const std::string& peer, objects::Caller* caller,
                          std::unique_ptr<services::Admission>* admission) {
  int number = -1;
  if (peer.starts_with("fd:")) {
    std::from_chars(peer.data() + 3, peer.data() + peer.size(), number);
  }
  std::lock_guard lock(mutex_);
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) {
    return {Reason::kDenied, "the connection of this call is not known (any more)"};
  }
  Connection& connection = *found->second;
  if (connection.calls >= limits_.calls_per_connection) {
    // Also one that respects the announced limit may get here now and then: to gRPC a stream has
    // ended a moment before the call lets go of its place.
    if (++connection.refused > limits_.calls_per_connection) cut_with_log(connection);
    return Status(Reason::kQuota, "too many calls in flight on this connection")
        .with_limit(limits_.calls_per_connection, connection.calls + 1);
  }
  ++connection.calls;
  *caller = connection.caller;
  *admission = std::make_unique<InFlight>(*this, found->second);
  return {};
}

}  // namespace heddle::server
