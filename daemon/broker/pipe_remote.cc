// Remote callers of pipes: who waits, and for what; what the deadlock detector sees of a
// connection. How many pipes one user has.
#include <algorithm>

#include "daemon/broker/pipe_entries.h"

namespace heddle::broker {

// One for all remote callers of a connection, because each has to look after the others' calls.
std::shared_ptr<objects::Pipe> PipeTable::remote_of(const ConnectionRef& connection) {
  std::shared_ptr<objects::Pipe> remote = connection->remote.lock();
  if (!remote) {
    remote = std::make_shared<objects::Pipe>(host_, connection->entry.name, connection->id,
                                             connection->ends, connection);
    connection->remote = remote;
  }
  return remote;
}

std::shared_ptr<objects::Pipe> PipeTable::by_object(uint32_t low) {
  std::lock_guard lock(mutex_);
  // Numbers beyond 32 bits come after billions of objects.
  auto at = connections_.find(low);
  if (at == connections_.end() && !connections_.empty()) {
    at = std::find_if(connections_.begin(), connections_.end(),
                      [low](const auto& one) { return static_cast<uint32_t>(one.first) == low; });
  }
  return at == connections_.end() ? nullptr : remote_of(at->second);
}

void PipeTable::set_waiting(uint64_t object_id, bool waiting) {
  std::lock_guard lock(leaf_mutex_);
  if (waiting) {
    waiting_.insert(object_id);
  } else {
    waiting_.erase(object_id);
  }
}

void PipeTable::watch(std::string_view full_name, bool arrivals, std::weak_ptr<void> who,
                      std::function<void()> changed) {
  std::lock_guard lock(mutex_);
  const auto at = names_.find(full_name);
  if (at == names_.end()) {
    announced_.push_back({arrivals, std::move(who), std::move(changed)});  // to be found out
    return;
  }
  auto& watches = at->second->watches;
  std::erase_if(watches, [](const Watch& watch) { return watch.who.expired(); });
  watches.push_back({arrivals, std::move(who), std::move(changed)});
}

void PipeTable::announce_to_remote(Pipe& pipe, bool arrivals) {
  std::erase_if(pipe.watches, [&](Watch& watch) {
    if (watch.arrivals != arrivals) return false;
    announced_.push_back(std::move(watch));
    return true;
  });
}

void PipeTable::serve() {
  std::vector<std::shared_ptr<objects::Pipe>> pipes;
  std::vector<Watch> announced;
  {
    std::lock_guard lock(mutex_);
    announced.swap(announced_);
    std::lock_guard waiting(leaf_mutex_);
    for (const uint64_t id : waiting_) {
      const auto at = connections_.find(id);
      const auto remote = at == connections_.end() ? nullptr : at->second->remote.lock();
      if (remote) pipes.push_back(remote);
    }
  }
  for (const auto& pipe : pipes) pipe->poll();
  for (const Watch& watch : announced) {
    if (const auto there = watch.who.lock()) watch.changed();
  }
}

uint32_t PipeTable::owned_by(uid_t uid) const {
  std::lock_guard lock(leaf_mutex_);
  const auto at = owned_.find(uid);
  return at == owned_.end() ? 0 : at->second;
}

void PipeTable::count_owned(uid_t uid, int more) {
  std::lock_guard lock(leaf_mutex_);
  if ((owned_[uid] += static_cast<uint32_t>(more)) == 0) owned_.erase(uid);
}

}  // namespace heddle::broker
