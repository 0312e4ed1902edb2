#include "daemon/broker/pipe_table.h"

#include <heddle/name.h>

#include <algorithm>
#include <cstring>

#include "daemon/broker/kept_status.h"
#include "daemon/broker/pipe_entries.h"
#include "daemon/broker/pipe_options.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

using local::PipeRole;
using shm::PipeSide;

constexpr size_t kConnectionsMax = 4096;  // of one pipe

std::string pipe_label(std::string_view name) { return "pipe " + std::string(name); }

Status no_pipe(std::string_view name) {
  return Status(Reason::kNotFound,
                "there is no such pipe; `heddle pipe create " + std::string(name) + "` makes one")
      .with_object(pipe_label(name));
}

Protection protection_of_pipe(const ObjectEntry& entry) {
  return {entry.uid, entry.gid, entry.pipe.mode};
}

}  // namespace

void PipeTable::adopt(Catalog& catalog, uint32_t slot, ObjectState state, const ObjectEntry& entry,
                      const std::function<local::Fd(uint64_t id)>& take) {
  std::lock_guard lock(mutex_);
  catalog.reserve_object_id(entry.object_id);
  const bool is_name = entry.pipe.connection == 0;
  auto memory = Segment::adopt(take(entry.object_id), entry.bytes);
  bool usable = state == ObjectState::kLive && memory.ok();
  if (is_name && usable && check_object_name(entry.name).ok() && !names_.contains(entry.name)) {
    auto pipe = std::make_shared<Pipe>();
    pipe->id = entry.object_id;
    pipe->slot = slot;
    pipe->entry = entry;
    pipe->name = entry.name;
    pipe->segment = *memory;
    pipe->charge = memory_.found(entry.uid, entry.bytes);
    names_[pipe->name] = pipe;
    pipes_[pipe->id] = pipe;
    count_owned(entry.uid, 1);
    return;
  }
  auto connection = std::make_shared<Connection>();
  connection->id = entry.object_id;
  connection->slot = slot;
  connection->entry = entry;
  connection->options = pipe_options_of(entry.pipe);
  usable = usable && !is_name && shm::pipe_options_invalid(connection->options) == nullptr &&
           shm::pipe_segment_bytes(connection->options) == entry.bytes;
  if (usable) {
    connection->segment = *memory;
    usable = connection->map();
  }
  if (usable) {
    connection->charge = memory_.found(entry.uid, entry.bytes);
    connections_[connection->id] = connection;
  } else {
    if (state == ObjectState::kLive) {
      os::log(os::LogLevel::kError, "pipe %s: a part of it did not come back", entry.name);
    }
    catalog.remove_object(slot);
  }
}

void PipeTable::settle(Catalog& catalog) {
  std::lock_guard lock(mutex_);
  std::vector<ConnectionRef> sorted;
  for (const auto& [id, connection] : connections_) sorted.push_back(connection);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& one, const auto& two) { return one->id < two->id; });
  for (const ConnectionRef& connection : sorted) {
    const auto pipe = pipes_.find(connection->entry.pipe.connection);
    if (pipe == pipes_.end()) {
      erase(catalog, connection);
    } else {
      pipe->second->connections.push_back(connection);
    }
  }
}

Result<uint32_t> PipeTable::keep(Catalog& catalog, const ObjectEntry& entry, int fd,
                                 const std::string& label) {
  const auto kept = keeper_.keep(local::KeptKind::kMemory, entry.object_id, fd, label);
  if (!kept.ok()) return kept_status(kept);
  const Result<uint32_t> slot = catalog.add_object(entry);
  if (!slot.ok()) (void)keeper_.drop(local::KeptKind::kMemory, entry.object_id);
  return slot;
}

Result<PipeTable::PipeEntry> PipeTable::create(Catalog& catalog, const Caller& caller,
                                               const std::string& name, const PipeOptions& asked,
                                               std::string_view group) {
  if (is_reserved_object_name(name)) {
    return Status(Reason::kInvalidName, "names under sys/ belong to the daemon");
  }
  const Result<PipeOptions> options = complete_pipe(asked);
  if (!options.ok()) return options.status();
  gid_t gid = caller.gid;
  if (asked.given & local::kGivenGroup) {
    const Result<gid_t> named = group_for(caller, group);
    if (!named.ok()) return named.status();
    gid = *named;
  }
  if (Status bad = allowed_(caller, owned_by(caller.uid)); !bad.ok()) return bad;
  auto charge = memory_.take(caller.uid, shm::kPipeHallBytes);
  if (!charge.ok()) return charge.status();
  auto pipe = std::make_shared<Pipe>();
  pipe->id = catalog.new_object_id();
  pipe->name = name;
  auto memory = Segment::create(name, shm::kPipeHallBytes, shm::kPipeHallBytes);
  if (!memory.ok()) return memory.status();
  pipe->segment = *memory;
  pipe->charge = *std::move(charge);
  shm::pipe_hall_format(pipe->segment->base(), pipe->id);
  pipe->entry.object_id = pipe->id;
  pipe->entry.bytes = shm::kPipeHallBytes;
  pipe->entry.creator_session = caller.session_id;
  pipe->entry.pipe = *options;
  pipe->entry.uid = caller.uid;
  pipe->entry.gid = gid;
  pipe->entry.kind = static_cast<uint8_t>(ObjectKind::kPipe);
  std::memcpy(pipe->entry.name, name.data(), name.size());
  const auto slot = keep(catalog, pipe->entry, pipe->segment->fd(), name);
  if (!slot.ok()) return slot.status();
  pipe->slot = *slot;
  names_[name] = pipe;
  pipes_[pipe->id] = pipe;
  count_owned(caller.uid, 1);
  return pipe;
}

Result<PipeTable::PipeEntry> PipeTable::reach(Catalog& catalog, const Caller& caller,
                                              std::string_view name, const PipeOptions& options,
                                              std::string_view group, OpenFlags flags,
                                              bool* created) {
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  const auto at = names_.find(*full);
  if (at == names_.end()) {
    if (!flags.create) return no_pipe(*full);
    auto made = create(catalog, caller, *full, options, group);
    if (!made.ok()) return Status(made.status()).with_object(pipe_label(*full));
    *created = true;
    return made;
  }
  const PipeEntry pipe = at->second;
  const uint8_t rights = rights_of(caller, protection_of_pipe(pipe->entry));
  if ((rights & local::kRightRead) == 0) {
    if (!flags.create) return no_pipe(*full);
    return Status(Reason::kDenied, "the name is in use by somebody else; choose another one")
        .with_object(pipe_label(*full));
  }
  if (flags.create && flags.exclusive) {
    return Status(Reason::kExistsOtherOptions, "it exists already, and was asked to be new")
        .with_object(pipe_label(*full));
  }
  if (Status other = check_same_pipe(pipe->entry.pipe, options, pipe_label(*full)); !other.ok()) {
    return other;
  }
  return pipe;
}

Result<PipeTable::ConnectionRef> PipeTable::connect(Catalog& catalog, const Caller& caller,
                                                    const PipeEntry& pipe, PipeRole role,
                                                    uint32_t request) {
  if (pipe->connections.size() >= kConnectionsMax) {
    return Status(Reason::kQuota, "it has as many connections as one pipe may; close some")
        .with_limit(kConnectionsMax, pipe->connections.size());
  }
  auto connection = std::make_shared<Connection>();
  connection->options = pipe_options_of(pipe->entry.pipe);
  const uint64_t bytes = shm::pipe_segment_bytes(connection->options);
  if (Status bad = allowed_(caller, {}); !bad.ok()) return bad;
  auto charge = memory_.take(pipe->entry.uid, bytes);
  if (!charge.ok()) return charge.status();
  connection->id = catalog.new_object_id();
  auto memory = Segment::create(pipe->name, bytes, bytes);
  if (!memory.ok()) return memory.status();
  connection->segment = *memory;
  connection->charge = *std::move(charge);
  if (!connection->format()) {
    return Status(Reason::kMemoryExhausted, "the rings of the connection could not be mapped");
  }
  connection->end(PipeSide::kA).note_request(request);
  connection->entry = pipe->entry;
  connection->entry.object_id = connection->id;
  connection->entry.bytes = bytes;
  connection->entry.creator_session = caller.session_id;
  connection->entry.pipe.role = static_cast<uint8_t>(role);
  connection->entry.pipe.connection = pipe->id;
  const auto slot = keep(catalog, connection->entry, connection->segment->fd(), pipe->name);
  if (!slot.ok()) return slot.status();
  connection->slot = *slot;
  connections_[connection->id] = connection;
  pipe->connections.push_back(connection);
  return connection;
}

/// The connection that the caller means; wire->side is set.
Result<PipeTable::ConnectionRef> PipeTable::choose(Catalog& catalog, const Caller& caller,
                                                   const PipeEntry& pipe, PipeOptions* wire) {
  const auto role = static_cast<PipeRole>(wire->role);
  const auto request = static_cast<uint32_t>(wire->connection);
  const auto oldest = [&](auto fits) -> ConnectionRef {
    for (const ConnectionRef& one : pipe->connections) {
      if (fits(*one)) return one;
    }
    return nullptr;
  };
  switch (role) {
    case PipeRole::kAgain:
      if (const auto again = oldest([&](Connection& one) { return one.id == wire->connection; })) {
        return again;
      }
      return Reason::kClosed;
    case PipeRole::kEnd: {
      const auto side = static_cast<PipeSide>(wire->side);
      const auto there =
          oldest([&](Connection& one) { return one.named() && !one.end(side).ended(side); });
      return there ? Result<ConnectionRef>(there) : connect(catalog, caller, pipe, role, 0);
    }
    case PipeRole::kConnect: {
      wire->side = static_cast<uint8_t>(PipeSide::kA);
      const auto made = oldest([&](Connection& one) {
        return request != 0 && !one.named() && one.entry.creator_session == caller.session_id &&
               one.end(PipeSide::kA).request() == request;
      });
      if (made) return made;
      if (pipe->listeners.empty()) return Reason::kEmpty;
      return connect(catalog, caller, pipe, role, request);
    }
    case PipeRole::kAccept: {
      wire->side = static_cast<uint8_t>(PipeSide::kB);
      // A broker that was restarted hears only now that this one listens.
      if (!pipe->listeners.contains(caller.session_id)) {
        listen(pipe, caller.session_id);
        ++uses_[caller.session_id][pipe->id];  // as by the OPEN that it has forgotten
      }
      const auto accepted = oldest([&](Connection& one) {
        shm::Pipe& b = one.end(PipeSide::kB);
        return request != 0 && !one.named() && b.request() == request && b.used_by(caller.owner);
      });
      if (accepted) return accepted;
      const auto waiting = oldest([](Connection& one) {
        return !one.named() &&
               one.end(PipeSide::kB).info(PipeSide::kB).state == shm::EndState::kVacant;
      });
      if (!waiting) return Reason::kEmpty;
      waiting->end(PipeSide::kB).note_request(request);
      return waiting;
    }
    default:
      return Status(Reason::kInvalidArgument, "there is no such way to open a pipe")
          .with_limit(static_cast<uint64_t>(PipeRole::kAgain), wire->role);
  }
}

void PipeTable::listen(const PipeEntry& pipe, uint64_t session_id) {
  if (pipe->listeners[session_id]++ != 0) return;
  shm::announce(pipe->hall().listenings);
  announce_to_remote(*pipe, false);
}

Result<PipeRef> PipeTable::open(Catalog& catalog, const Caller& caller, std::string_view name,
                                const PipeOptions& options, std::string_view group,
                                OpenFlags flags) {
  std::lock_guard lock(mutex_);
  bool created = false;
  const auto reached = reach(catalog, caller, name, options, group, flags, &created);
  if (!reached.ok()) return reached.status();
  const PipeEntry pipe = *reached;
  PipeRef ref;
  ref.name = pipe->name;
  ref.created = created;
  ref.rights = rights_of(caller, protection_of_pipe(pipe->entry));
  ref.options = pipe->entry.pipe;
  ref.options.role = options.role;
  const auto role = static_cast<PipeRole>(options.role);
  if (role == PipeRole::kName || role == PipeRole::kListen) {
    if (role == PipeRole::kListen) listen(pipe, caller.session_id);
    ref.object_id = pipe->id;
    ref.segment = pipe->segment;
    ++uses_[caller.session_id][pipe->id];
    return ref;
  }
  if ((ref.rights & local::kRightWrite) == 0) {
    return Status(Reason::kDenied, "you may look, but not use it; the owner is uid " +
                                       std::to_string(pipe->entry.uid))
        .with_object(pipe_label(pipe->name));
  }
  if (options.side > 1) {
    return Status(Reason::kInvalidArgument, "a pipe has the ends a and b")
        .with_limit(1, options.side);
  }
  PipeOptions wire = options;
  const auto chosen = choose(catalog, caller, pipe, &wire);
  if (!chosen.ok()) return Status(chosen.status()).with_object(pipe_label(pipe->name));
  const ConnectionRef connection = *chosen;
  const shm::Outcome entered =
      connection->end(static_cast<PipeSide>(wire.side)).enter(caller.owner);
  if (entered == shm::Outcome::kTooManyThreads) {
    return Status(Reason::kTooManyThreads, "too many processes share this end")
        .with_object(pipe_label(pipe->name))
        .with_limit(shm::kEndUsersMax, shm::kEndUsersMax + 1);
  }
  if (entered != shm::Outcome::kOk) {
    return Status(Reason::kClosed, "that end was closed").with_object(pipe_label(pipe->name));
  }
  ref.object_id = connection->id;
  ref.segment = connection->segment;
  ref.options.side = wire.side;
  ref.options.connection = connection->id;
  // A remote caller's session has an end once, however often it comes back to it.
  uint32_t& uses = uses_[caller.session_id][connection->id];
  uses = flags.remote ? 1 : uses + 1;
  if (flags.remote) ref.pipe = remote_of(connection);
  if (role == PipeRole::kConnect) {
    shm::announce(pipe->hall().arrivals);
    announce_to_remote(*pipe, true);
  }
  return ref;
}

void PipeTable::erase(Catalog& catalog, const ConnectionRef& connection) {
  catalog.set_object_state(connection->slot, ObjectState::kDeleting);
  connections_.erase(connection->id);
  const auto pipe = pipes_.find(connection->entry.pipe.connection);
  if (pipe != pipes_.end()) std::erase(pipe->second->connections, connection);
  lent_.forget_all_of(connection->id);
  (void)keeper_.drop(local::KeptKind::kMemory, connection->id);
  catalog.remove_object(connection->slot);
}

void PipeTable::end_if_over(Catalog& catalog, const ConnectionRef& connection) {
  if (connection->end(PipeSide::kA).ended(PipeSide::kA) &&
      connection->end(PipeSide::kB).ended(PipeSide::kB)) {
    erase(catalog, connection);
  }
}

bool PipeTable::close(Catalog& catalog, uint64_t session_id, uint64_t object_id) {
  std::lock_guard lock(mutex_);
  if (const auto pipe = pipes_.find(object_id); pipe != pipes_.end()) {
    // A session may have it open to listen and for its name alone; those are closed first.
    const auto listener = pipe->second->listeners.find(session_id);
    const bool listens = listener != pipe->second->listeners.end();
    const auto uses = uses_.find(session_id);
    const uint32_t opened =
        uses == uses_.end() || !uses->second.contains(object_id) ? 0 : uses->second.at(object_id);
    if (listens && opened <= listener->second && --listener->second == 0) {
      pipe->second->listeners.erase(listener);
    }
  }
  const auto of_session = uses_.find(session_id);
  if (of_session == uses_.end()) return false;
  const auto use = of_session->second.find(object_id);
  if (use == of_session->second.end()) return false;
  if (--use->second == 0) of_session->second.erase(use);
  if (of_session->second.empty()) uses_.erase(of_session);
  // erase() takes it out of the map that it was found in.
  const auto at = connections_.find(object_id);
  if (at != connections_.end()) end_if_over(catalog, ConnectionRef(at->second));
  return true;
}

void PipeTable::reap(Catalog& catalog, const Session& session, bool died) {
  const shm::DeathInfo info{static_cast<uint32_t>(session.pid), 0};
  std::lock_guard lock(mutex_);
  const auto uses = uses_.find(session.id);
  std::vector<ConnectionRef> used;
  for (const auto& [id, connection] : connections_) {
    // Of a session from before a restart it is not known what it had open.
    const bool uses_it = uses != uses_.end() && uses->second.contains(id);
    if (uses_it || session.inherited) used.push_back(connection);
  }
  for (const ConnectionRef& connection : used) {
    shm::Pipe& a = connection->end(PipeSide::kA);
    // A broker may have been killed between making a connection for this session and entering it.
    const bool made = !connection->named() && connection->entry.creator_session == session.id;
    if (made && a.info(PipeSide::kA).state == shm::EndState::kVacant) (void)a.enter(session.owner);
    for (const PipeSide side : {PipeSide::kA, PipeSide::kB}) {
      shm::PipeActor leaver;
      leaver.owner = session.owner;
      if (!died && connection->end(side).used_by(session.owner))
        connection->end(side).leave(leaver);
    }
    a.reap(session.owner, info, connection->named());
    end_if_over(catalog, connection);
  }
  if (uses != uses_.end()) uses_.erase(uses);
  for (const auto& [id, pipe] : pipes_) pipe->listeners.erase(session.id);
}

void PipeTable::rescan(Catalog& catalog) {
  std::lock_guard lock(mutex_);
  std::vector<ConnectionRef> over;
  for (const auto& [id, connection] : connections_) {
    if (connection->ends[0].has_sleepers()) connection->ends[0].rescan();
    // Whoever closed the last end may have been unable to say so.
    if (connection->ends[0].ended(PipeSide::kA) && connection->ends[0].ended(PipeSide::kB))
      over.push_back(connection);
  }
  for (const ConnectionRef& connection : over) erase(catalog, connection);
}

Status PipeTable::remove(Catalog& catalog, const Caller& caller, std::string_view name) {
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  std::lock_guard lock(mutex_);
  const auto at = names_.find(*full);
  if (at == names_.end()) return no_pipe(*full);
  const PipeEntry pipe = at->second;
  const uint8_t rights = rights_of(caller, protection_of_pipe(pipe->entry));
  if ((rights & local::kRightRead) == 0) return no_pipe(*full);
  if ((rights & local::kRightOwner) == 0) {
    return Status(Reason::kDenied, "only the owner (uid " + std::to_string(pipe->entry.uid) +
                                       ") or root may do that")
        .with_object(pipe_label(*full));
  }
  // First the name: killed in between, its connections are found without one and go as well.
  catalog.set_object_state(pipe->slot, ObjectState::kDeleting);
  names_.erase(at);
  pipes_.erase(pipe->id);
  count_owned(pipe->entry.uid, -1);
  for (const ConnectionRef& connection : std::vector(pipe->connections)) {
    connection->end(PipeSide::kA).end_all();
    if (auto remote = connection->remote.lock()) {
      announced_.push_back({false, remote, [remote] { remote->poll(); }});
    }
    erase(catalog, connection);
  }
  (void)keeper_.drop(local::KeptKind::kMemory, pipe->id);
  catalog.remove_object(pipe->slot);
  shm::announce(pipe->hall().arrivals);
  shm::announce(pipe->hall().listenings);
  announce_to_remote(*pipe, true);
  announce_to_remote(*pipe, false);
  return Status();
}

PipeInfo PipeTable::info_of(const Caller& caller, const Pipe& pipe) const {
  PipeInfo info;
  info.object_id = pipe.id;
  info.name = pipe.name;
  info.uid = pipe.entry.uid;
  info.gid = pipe.entry.gid;
  info.rights = rights_of(caller, protection_of_pipe(pipe.entry));
  info.options = pipe.entry.pipe;
  info.listeners = static_cast<uint32_t>(pipe.listeners.size());
  for (const ConnectionRef& connection : pipe.connections) {
    PipeConnectionInfo& one = info.connections.emplace_back();
    one.object_id = connection->id;
    one.named = connection->named();
    for (const PipeSide side : {PipeSide::kA, PipeSide::kB}) {
      one.ends[static_cast<int>(side)] = connection->end(side).info(side);
    }
  }
  return info;
}

std::vector<PipeInfo> PipeTable::list(const Caller& caller, std::string_view prefix,
                                      std::string_view after, size_t n) const {
  std::vector<PipeInfo> found;
  std::lock_guard lock(mutex_);
  auto it = after.empty() ? names_.lower_bound(prefix) : names_.upper_bound(after);
  for (; it != names_.end() && it->first.starts_with(prefix) && found.size() < n; ++it) {
    PipeInfo info = info_of(caller, *it->second);
    if (info.rights & local::kRightRead) found.push_back(std::move(info));
  }
  return found;
}

Result<PipeInfo> PipeTable::describe(const Caller& caller, std::string_view name) const {
  const Result<std::string> full = expand_object_name(name, caller.uid);
  if (!full.ok()) return full.status();
  std::lock_guard lock(mutex_);
  const auto at = names_.find(*full);
  if (at == names_.end()) return no_pipe(*full);
  PipeInfo info = info_of(caller, *at->second);
  if ((info.rights & local::kRightRead) == 0) return no_pipe(*full);
  return info;
}

}  // namespace heddle::broker
