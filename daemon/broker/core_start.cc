// Start: take back what the supervisor kept, believe only what the catalog confirms, repair, serve.
#include <fcntl.h>
#include <heddle/name.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "daemon/broker/core.h"
#include "daemon/broker/queue_options.h"
#include "daemon/os/log.h"
#include "daemon/os/process.h"

namespace heddle::broker {
namespace {

using local::Fd;
using local::KeptKind;

constexpr uint64_t kOnlyKey = 0;  // of what there is one of

Status keeper_failed(const char* what) {
  return Status(Reason::kBrokerAway, std::string("the supervisor does not answer: ") + what);
}

}  // namespace

struct Core::Kept {
  std::map<std::pair<char, uint64_t>, Fd> fds;
  std::vector<local::Kept> lent;  // descriptors on their way through pipes

  Fd take(KeptKind kind, uint64_t key) {
    const auto at = fds.find({static_cast<char>(kind), key});
    if (at == fds.end()) return Fd();
    Fd fd = std::move(at->second);
    fds.erase(at);
    return fd;
  }
};

Core::Core(Loop& loop, local::Keeper& keeper, const config::Options& options)
    : loop_(loop),
      keeper_(keeper),
      locks_(*this, keeper, sessions_, memory_),
      pipes_(*this, keeper, memory_,
             [this](const Caller& caller, std::optional<uint32_t> owned) {
               if (owned) *owned += families_.owned_by(caller.uid);
               return may_create(caller, owned);
             }),
      families_({*this, keeper, memory_,
                 [this](const Caller& caller, uint32_t owned) {
                   return may_create(caller, owned + pipes_.owned_by(caller.uid));
                 },
                 [this] { return handle_hold_ns_.load(); },
                 [this] { return inherited_.load() != 0; },
                 [this](const auto& sessions, uint64_t object_id, local::EventType event) {
                   tell_object_event(sessions, object_id, event);
                 }}),
      tokens_(options.state_dir) {
  set_options(options);
}

void Core::set_options(const config::Options& options) {
  std::lock_guard lock(registry_);
  options_ = options;
  memory_max_.store(options.memory_max);
  memory_.set_limits(options.memory_max, options.memory_per_uid_max);
  message_lease_ns_.store(static_cast<int64_t>(options.message_lease_ms) * 1'000'000);
  handle_hold_ns_.store(static_cast<int64_t>(options.handle_hold_ms) * 1'000'000);
  session_lease_ns_.store(static_cast<int64_t>(options.session_lease_ms) * 1'000'000);
  tick_ns_.store(static_cast<int64_t>(options.scan_ms) * 1'000'000);
  sessions_max_.store(options.sessions_max);
  sessions_per_uid_max_.store(options.sessions_per_uid_max);
  deadlocks_.set_policy(options.deadlock_policy == "lowest_priority"
                            ? DeadlockPolicy::kLowestPriority
                        : options.deadlock_policy == "report_only" ? DeadlockPolicy::kReportOnly
                                                                   : DeadlockPolicy::kYoungest);
}

Core::~Core() {
  alive_.reset();
  for (const SessionRef& session : sessions_.all()) {
    if (session->pidfd) loop_.unwatch(session->pidfd.get());
  }
  loop_.unwatch(doorbell_read_.get());
}

Result<std::unique_ptr<Core>> Core::start(Loop& loop, local::Keeper& keeper,
                                          const config::Options& options) {
  std::unique_ptr<Core> core(new Core(loop, keeper, options));
  Status status = core->take_over();
  if (!status.ok()) return status;
  return core;
}

Status Core::take_over() {
  Kept kept;
  const auto returned = keeper_.return_all([&kept](local::Kept one) {
    if (one.kind == static_cast<char>(KeptKind::kLent)) {
      kept.lent.push_back(std::move(one));
    } else {
      kept.fds[{one.kind, one.key}] = std::move(one.fd);
    }
  });
  if (!returned.ok()) return keeper_failed("return of what it kept");
  if (Status status = take_catalog(kept); !status.ok()) return status;
  incarnation_ = catalog_->begin_incarnation();
  memory_.use(*catalog_);
  if (Status status = take_doorbell(kept); !status.ok()) return status;
  if (Status status = take_sessions(kept); !status.ok()) return status;
  if (Status status = make_own_sessions(); !status.ok()) return status;
  take_objects(kept);
  locks_.restore(*catalog_, [&kept](uint64_t id) { return kept.take(KeptKind::kMemory, id); });
  tokens_.reserve(newest_token());
  drop_strays(kept);
  reap_the_dead();
  restore_remote();
  loop_.watch(doorbell_read_.get(), EPOLLIN, [this](uint32_t) { serve_waiting(); });
  for (const SessionRef& session : sessions_.all()) {
    if (session->kind != SessionKind::kLocal) continue;
    watch_session(session);
    hung_up_.insert(session->id);  // until it connects again
  }
  slow_tick();
  at(now_ns(), [this] { tick(); });
  return Status();
}

Status Core::take_catalog(Kept& kept) {
  if (Fd fd = kept.take(KeptKind::kCatalog, kOnlyKey)) {
    auto memory = Segment::adopt(std::move(fd), 0);
    if (memory.ok()) {
      auto catalog = Catalog::attach((*memory)->base(), (*memory)->bytes());
      if (catalog.ok()) {
        catalog_memory_ = *memory;
        catalog_ = *std::move(catalog);
        return Status();
      }
      os::log(os::LogLevel::kError, "starting empty: %s", catalog.status().to_string().c_str());
    } else {
      os::log(os::LogLevel::kError, "starting empty: %s", memory.status().to_string().c_str());
    }
  }
  const CatalogSizes sizes;
  auto memory = Segment::create("catalog", Catalog::bytes(sizes), sizeof(CatalogHeader));
  if (!memory.ok()) return memory.status();
  catalog_memory_ = *memory;
  Catalog::format(catalog_memory_->base(), sizes);
  if (!keeper_.keep(KeptKind::kCatalog, kOnlyKey, catalog_memory_->fd(), "catalog").ok()) {
    return keeper_failed("keeping the catalog");
  }
  auto catalog = Catalog::attach(catalog_memory_->base(), catalog_memory_->bytes());
  if (!catalog.ok()) return catalog.status();
  catalog_ = *std::move(catalog);
  // A cold start: what locks gave before is above nothing that is in memory.
  const Result<uint64_t> tokens = tokens_.load();
  if (!tokens.ok()) return tokens.status();
  catalog_->raise_token_high_water(*tokens);
  return Status();
}

uint64_t Core::newest_token() const {
  return std::max(catalog_->token_high_water(), locks_.newest_token());
}

void Core::settle_tokens() {
  tokens_.settle(newest_token(), sessions_.count(SessionKind::kLocal) == 0);
}

// Both ends are kept, so that a client that rings while no broker runs gets no SIGPIPE, and the
// next one finds the ring.
Status Core::take_doorbell(Kept& kept) {
  doorbell_read_ = kept.take(KeptKind::kDoorbell, kOnlyKey);
  doorbell_write_ = kept.take(KeptKind::kDoorbellWrite, kOnlyKey);
  if (doorbell_read_ && doorbell_write_) return Status();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return Status::from_errno(errno, "making the doorbell");
  }
  doorbell_read_.reset(ends[0]);
  doorbell_write_.reset(ends[1]);
  const bool both = keeper_.keep(KeptKind::kDoorbell, kOnlyKey, ends[0], "doorbell").ok() &&
                    keeper_.keep(KeptKind::kDoorbellWrite, kOnlyKey, ends[1], "doorbell").ok();
  return both ? Status() : keeper_failed("keeping the doorbell");
}

Status Core::take_sessions(Kept& kept) {
  catalog_->each_session([&](uint16_t owner, SessionState state, uint32_t generation,
                             const SessionEntry& entry) {
    auto session = std::make_shared<Session>();
    session->owner = owner;
    session->generation = generation;
    session->id = uint64_t{generation} << 16 | owner;
    session->kind = static_cast<SessionKind>(entry.kind);
    session->pid = entry.pid;
    session->uid = entry.uid;
    session->gid = entry.gid;
    session->name = entry.name;
    session->opened_ns = now_ns();
    session->lease_ns = entry.lease_ns;
    session->lease_ends_ns = now_ns() + entry.lease_ns;  // a full new term
    session->inherited = true;
    std::memcpy(session->token.data(), entry.resume_token, session->token.size());
    session->pidfd = kept.take(KeptKind::kPidfd, session->id);
    if (Fd page = kept.take(KeptKind::kPage, session->id)) {
      auto memory = Segment::adopt(std::move(page), 0);
      if (memory.ok() && (*memory)->bytes() >= sizeof(shm::SessionHeader)) session->page = *memory;
    }
    sessions_.take_owner(owner);
    sessions_.insert(session);
    const bool local = session->kind == SessionKind::kLocal;
    if (session->of_client()) inherited_.fetch_add(1);
    os::ProcessFacts facts;
    // No pidfd stands for a remote peer, so its number may be another process's by now.
    if (session->pid > 0 && os::process_facts(session->pid, &facts) &&
        (local || facts.uid == session->uid)) {
      session->command = os::short_command(facts);
    }
    const bool dead = state == SessionState::kReaping || session->kind == SessionKind::kBroker ||
                      entry.of_call != 0 ||
                      (local && (!session->pidfd || os::pidfd_exited(session->pidfd.get())));
    if (dead) {
      session->ending = true;
      dead_at_start_.push_back(session);
    } else if (session->kind == SessionKind::kSessionless) {
      sessionless_ = session;
    }
  });
  return Status();
}

void Core::quarantine(const ObjectRef& object, const std::string& why) {
  if (object->entry.reserved[0] == 0) {
    os::log(os::LogLevel::kError, "queue %s is out of service: %s", object->name.c_str(),
            why.c_str());
    object->entry.reserved[0] = 1;  // said once
  }
  catalog_->set_object_state(object->slot, ObjectState::kQuarantined);
}

void Core::take_object(Kept& kept, uint32_t slot, const ObjectEntry& entry) {
  auto object = std::make_shared<Object>();
  object->id = entry.object_id;
  object->slot = slot;
  object->entry = entry;
  object->name = entry.name;
  hold_locked(*object);  // who was about to open it could not, meanwhile
  names_[object->name] = object;
  objects_[object->id] = object;
  ++objects_per_uid_[entry.uid];
  auto memory = Segment::adopt(kept.take(KeptKind::kMemory, object->id), entry.bytes);
  if (!memory.ok()) return quarantine(object, memory.status().to_string());
  object->segment = *memory;
  const shm::QueueLimits limits = limits_of(entry.options);
  const auto put_aside = [&](const std::string& why) {
    object->charge = memory_.found(entry.uid, object->segment->real_bytes());
    quarantine(object, why);
  };
  if (shm::queue_segment_bytes(limits) != entry.bytes) {
    return put_aside("its size does not follow from its limits");
  }
  auto queue =
      objects::Queue::adopt(*this, object->name, object->id, object->segment->base(),
                            object->segment->bytes(), object->segment->fd(), object->segment);
  if (!queue.ok()) return put_aside(queue.status().to_string());
  if (!(*queue)->matches(object->id, limits)) {
    return put_aside("its first lines contradict the catalog");
  }
  object->queue = *queue;
  memory_.adopt(object->id, slot, entry.uid, object->segment, queue_grantee(*object->segment));
}

void Core::take_objects(Kept& kept) {
  struct Record {
    uint32_t slot;
    ObjectState state;
    ObjectEntry entry;
  };
  std::vector<uint32_t> unfinished;
  std::vector<Record> pipes, members;
  {
    std::lock_guard lock(registry_);
    catalog_->each_object([&](uint32_t slot, ObjectState state, const ObjectEntry& entry) {
      if (entry.kind == static_cast<uint8_t>(ObjectKind::kPipe)) {
        pipes.push_back({slot, state, entry});
        return;
      }
      if (FamilyTable::family_of(entry.kind) != nullptr) {
        members.push_back({slot, state, entry});
        return;
      }
      const bool usable = state != ObjectState::kDeleting && check_object_name(entry.name).ok() &&
                          !names_.contains(entry.name);
      if (!usable) {
        unfinished.push_back(slot);
        return;
      }
      catalog_->reserve_object_id(entry.object_id);
      take_object(kept, slot, entry);
      if (state == ObjectState::kQuarantined) objects_.at(entry.object_id)->queue.reset();
    });
  }
  for (const uint32_t slot : unfinished) catalog_->remove_object(slot);
  for (const Record& one : pipes) {
    pipes_.adopt(*catalog_, one.slot, one.state, one.entry,
                 [&kept](uint64_t id) { return kept.take(KeptKind::kMemory, id); });
  }
  for (const Record& one : members) {
    families_.adopt(*catalog_, one.slot, one.state, one.entry,
                    [&kept](uint64_t id) { return kept.take(KeptKind::kMemory, id); });
  }
  catalog_->keep_fences_of(
      [this](uint64_t id) { return objects_.contains(id) || families_.has(id); });
  pipes_.settle(*catalog_);
  for (local::Kept& one : kept.lent) pipes_.adopt_lent(std::move(one));
}

// Kept, but in no record: the broker died between the two steps of a create or a delete.
void Core::drop_strays(Kept& kept) {
  for (const auto& [key, fd] : kept.fds) {
    (void)keeper_.drop(static_cast<KeptKind>(key.first), key.second);
    if (key.first == static_cast<char>(KeptKind::kMemory)) catalog_->reserve_object_id(key.second);
  }
}

void Core::reap_the_dead() {
  // Brokers first: a half-done repair of theirs may stand in the way of the others.
  std::stable_sort(dead_at_start_.begin(), dead_at_start_.end(), [](const auto& a, const auto& b) {
    return (a->kind == SessionKind::kBroker) > (b->kind == SessionKind::kBroker);
  });
  for (const SessionRef& session : dead_at_start_) {
    if (session->kind == SessionKind::kBroker) decide_requests(*session);
  }
  for (const auto& [number, change] : catalog_->open_changes()) {
    const auto lock = locks_.by_object(static_cast<uint32_t>(change.object_id));
    catalog_->settle_change(number, lock && lock->decide(change));
  }
  catalog_->end_all_requests();
  // Any reaping looks at every lock, so first of all: whose locks stay closed for some time yet.
  std::unordered_map<uint16_t, int64_t> delays;
  for (const SessionRef& session : dead_at_start_) {
    const int64_t left_ns = catalog_->session_delay_left_ns(session->owner, now_ns());
    if (left_ns == 0) continue;
    delays[session->owner] = left_ns;
    locks_.keep_alive(session->owner, true);
  }
  for (const SessionRef& session : dead_at_start_) {
    const auto delay = delays.find(session->owner);
    reap(*session, true);
    forget_later(session, delay == delays.end() ? 0 : delay->second);
    end_objects_of(*session);
    if (session->kind != SessionKind::kBroker) reaped_.fetch_add(1);
  }
  dead_at_start_.clear();
}

void Core::restore_remote() {
  std::unordered_map<uint16_t, int64_t> terms;
  for (const SessionRef& session : sessions_.all()) {
    if (session->remote()) terms[session->owner] = 0;
  }
  terms[sessionless_->owner] = message_lease_ns();
  for (const auto& [id, object] : objects_) {
    if (object->queue && !object->damaged()) object->queue->restore(terms);
  }
}

}  // namespace heddle::broker
