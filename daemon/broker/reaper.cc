// Deaths, and what is done 20 times a second so that nobody needs a stopped process.
//
// A local session is dead when its pidfd is readable, or when its connection is gone and every
// bell of its page has fired (exec leaves the pidfd silent). A remote one is dead when its lease
// has run out. Time alone never ends a local one.
//
// Every step can be done again: a broker that dies in here leaves the session REAPING in the
// catalog, and the next incarnation starts over. The number is given back at the very end.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "daemon/broker/core.h"
#include "daemon/os/log.h"

namespace heddle::broker {
namespace {

constexpr int64_t kSlowTickNs = 1'000'000'000;
constexpr size_t kLostKept = 256;  // sessions
constexpr int64_t kTokenLookNs = 30'000'000'000;
constexpr int64_t kDetectAfterNs = 2'000'000;
constexpr int64_t kDetectAllShortNs = 500'000;
constexpr int64_t kDetectAllRest = 9;  // so many times as long as the last look at all took

}  // namespace

void Core::at(int64_t when_ns, std::function<void()> run) {
  loop_.at(when_ns, [alive = std::weak_ptr(alive_), run = std::move(run)] {
    if (!alive.expired()) run();
  });
}

void Core::set_waiting(uint64_t object_id, bool waiting) {
  std::lock_guard lock(waiting_mutex_);
  if (waiting)
    waiting_.insert(object_id);
  else
    waiting_.erase(object_id);
  locks_.set_waiting(object_id, waiting);
}

// The doorbell says that something changed, not where: all that remote callers wait for is looked
// at. Only objects with waiting callers are armed, so the list is as long as it must be.
void Core::serve_waiting() {
  char drain[512];
  while (::read(doorbell_read_.get(), drain, sizeof drain) == sizeof drain) {
  }
  for (const auto& queue : waiting_queues()) queue->poll();
  locks_.serve();
  pipes_.serve();
  detect_if_told();
}

std::vector<std::shared_ptr<objects::Queue>> Core::waiting_queues() const {
  std::vector<std::shared_ptr<objects::Queue>> queues;
  std::lock_guard registry(registry_);
  std::lock_guard lock(waiting_mutex_);
  for (const uint64_t id : waiting_) {
    const auto at = objects_.find(id);
    if (at != objects_.end() && at->second->queue) queues.push_back(at->second->queue);
  }
  return queues;
}

void Core::wait_began(uint32_t holder, uint64_t object_id) {
  remote_waiters_.began(holder, object_id);
  detect_soon();
}

void Core::detect_soon() {
  if (detection_due_.exchange(true)) return;
  at(now_ns() + kDetectAfterNs, [this] { detect_if_due(); });
}

// A local thread that has waited for some time says so in its session page.
void Core::detect_if_told() {
  bool told = false;
  for (const SessionRef& session : sessions_.all()) {
    if (!session->take_waits_told()) continue;
    told_sessions_.push_back(whole_session(session->owner));
    told = true;
  }
  if (!told) return;
  detection_due_.store(true);
  detect_if_due();
}

// What has begun is looked at at once. With very many waits a look at all of them takes
// milliseconds: then those come at intervals that leave this thread's time for everything else.
void Core::detect_if_due() {
  // Whoever begins to wait from here on is looked at next time.
  if (!detection_due_.exchange(false)) return;
  std::vector<uint32_t> parties = remote_waiters_.take_fresh();
  parties.insert(parties.end(), told_sessions_.begin(), told_sessions_.end());
  told_sessions_.clear();
  if (detect_all_took_ns_ > kDetectAllShortNs) {
    if (deadlocks_.run_from(std::move(parties)) != 0) detect_soon();
  }
  if (std::exchange(detect_all_due_, true)) return;
  const int64_t when = detect_all_ns_ + detect_all_took_ns_ * kDetectAllRest;
  when <= now_ns() ? detect_all() : at(when, [this] { detect_all(); });
}

void Core::detect_all() {
  detect_all_due_ = false;
  const int64_t began_ns = now_ns();
  const size_t circles = deadlocks_.run();
  detect_all_ns_ = now_ns();
  detect_all_took_ns_ = detect_all_ns_ - began_ns;
  if (circles != 0) detect_soon();  // a wait may have been part of several
}

std::vector<ObjectRef> Core::used_by(const Session& session) {
  std::vector<ObjectRef> used;
  std::lock_guard lock(registry_);
  for (const auto& [id, object] : objects_) {
    const bool uses = session.inherited || session.attached.contains(id);
    if (uses && object->queue) used.push_back(object);
  }
  return used;
}

void Core::reap(const Session& session, bool died) {
  const shm::DeathInfo info{died ? static_cast<uint32_t>(session.pid) : 0, 0};
  shm::JournalLine* lines = nullptr;
  size_t count = 0;
  std::vector<shm::JournalLine> copies;
  std::vector<shm::JournalLine*> origins;
  if (session.page) {
    // The lines of a page are 256 bytes apart; the reaper wants them side by side. Only lines
    // that say something are handed on, and what they say is checked against the objects.
    for (uint32_t i = 0; i < session.lines(); ++i) {
      shm::JournalLine* line = session.journal(i);
      const bool busy = line->op.load(std::memory_order_acquire) != 0;
      if (busy || line->aside.load(std::memory_order_acquire) != 0) origins.push_back(line);
    }
    copies = std::vector<shm::JournalLine>(origins.size());
    for (size_t i = 0; i < origins.size(); ++i) {
      // Its writer is dead, but others may map the page still: read once, then checked.
      std::memcpy(static_cast<void*>(&copies[i]), origins[i], sizeof copies[i]);
    }
    lines = copies.data();
    count = copies.size();
  }
  for (const auto& queue : waiting_queues()) queue->drop_waits_of(session.owner);
  for (const ObjectRef& object : used_by(session)) {
    object->queue->reap(session.owner, lines, count, info, origins.data());
  }
  locks_.reap(session);
  pipes_.reap(*catalog_, session, died);
  pipes_.serve();
  families_.reap(*catalog_, session);
}

void Core::forget_session(const SessionRef& session) {
  catalog_->remove_session(session->owner);
  if (session->pidfd) (void)keeper_.drop(local::KeptKind::kPidfd, session->id);
  if (session->page) (void)keeper_.drop(local::KeptKind::kPage, session->id);
  sessions_.remove(*session);
  if (session->inherited && session->of_client()) inherited_.fetch_sub(1);
  sessions_.give_back(session->owner);
}

void Core::note_lost(const Session& session) {
  std::vector<std::string> names = locks_.held_by(session);
  if (names.empty()) return;
  std::lock_guard lock(lost_mutex_);
  lost_.emplace_back(session.token, std::move(names));
  if (lost_.size() > kLostKept) lost_.pop_front();
}

std::vector<std::string> Core::lost_with(const ResumeToken& token) {
  std::lock_guard lock(lost_mutex_);
  for (const auto& [of, names] : lost_) {
    if (of == token) return names;
  }
  return {};
}

void Core::end_session(const SessionRef& session, bool died) {
  if (session->ending.exchange(true)) return;
  if (session->kind == SessionKind::kLocal) {
    if (session->pidfd) loop_.unwatch(session->pidfd.get());
    hung_up_.erase(session->id);
  }
  const bool lapsed = session->remote() && session->lease_ends_ns.load() <= now_ns();
  // Somebody we have lost sight of may still write: what its locks guard stays closed for a time.
  if (lapsed) note_lost(*session);
  const int64_t delay_ns = lapsed ? locks_.delay_ns(*session) : 0;
  catalog_->set_session_reaping(session->owner, delay_ns == 0 ? 0 : now_ns() + delay_ns);
  if (delay_ns != 0) locks_.keep_alive(session->owner, true);
  reap(*session, died);
  forget_later(session, delay_ns);
  reaped_.fetch_add(1);
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(registry_);
    std::vector<uint64_t> ids;
    for (const auto& [id, uses] : session->attached) ids.push_back(id);
    for (const uint64_t id : ids) detach_locked(session, id, true, &doomed);
  }
  for (const ObjectRef& object : doomed) after_delete(object, local::EventType::kDeleted);
  end_objects_of(*session);
  os::log(died ? os::LogLevel::kNotice : os::LogLevel::kDebug,
          "session %llu (%s, pid %d, uid %u) %s", static_cast<unsigned long long>(session->id),
          session->command.c_str(), static_cast<int>(session->pid), session->uid,
          died ? "died; repaired" : "ended");
  if (const auto ended = sessions_.take_ended(*session)) ended();
}

void Core::forget_later(const SessionRef& session, int64_t delay_ns) {
  if (delay_ns == 0) return forget_session(session);
  at(now_ns() + delay_ns, [this, session] {
    locks_.keep_alive(session->owner, false);
    locks_.reap_all();
    forget_session(session);
  });
}

// What was made with lifetime session.
void Core::end_objects_of(const Session& session) {
  std::vector<ObjectRef> own;
  {
    std::lock_guard lock(registry_);
    for (const auto& [id, object] : objects_) {
      const bool with_session =
          object->entry.options.lifetime == static_cast<uint8_t>(Lifetime::kSession);
      if (with_session && object->entry.creator_session == session.id) own.push_back(object);
    }
    for (const ObjectRef& object : own) erase_locked(object);
  }
  for (const ObjectRef& object : own) after_delete(object, local::EventType::kDeleted);
}

// Those whose last session went while something else held them, or before this broker came.
void Core::sweep_abandoned() {
  std::vector<ObjectRef> doomed;
  {
    std::lock_guard lock(registry_);
    for (const auto& [id, object] : objects_) {
      if (abandoned_locked(*object)) doomed.push_back(object);
    }
    for (const ObjectRef& object : doomed) erase_locked(object);
  }
  for (const ObjectRef& object : doomed) after_delete(object, local::EventType::kDeleted);
}

void Core::tick() {
  std::vector<SessionRef> gone;
  for (const uint64_t id : hung_up_) {
    const SessionRef session = sessions_.find(id);
    const bool over = session && (session->every_bell_fired() || session->closed_by_client());
    if (over) gone.push_back(session);
  }
  std::erase_if(hung_up_, [this](uint64_t id) { return sessions_.find(id) == nullptr; });
  for (const SessionRef& session : gone) {
    end_session(session, !session->closed_by_client());
  }
  std::vector<std::shared_ptr<objects::Queue>> queues;
  {
    std::lock_guard lock(registry_);
    for (const auto& [id, object] : objects_) {
      const bool used = object->attached > 0 || inherited_.load() > 0;
      if (object->queue && (used || object->queue->has_waiting())) queues.push_back(object->queue);
    }
  }
  for (const auto& queue : queues) queue->rescan();
  locks_.rescan();
  pipes_.rescan(*catalog_);
  pipes_.serve();
  families_.tick();
  const int64_t now = now_ns();
  if (now >= next_slow_tick_ns_) {
    next_slow_tick_ns_ = now + kSlowTickNs;
    slow_tick();
  }
  at(now_ns() + tick_ns_.load(), [this] { tick(); });
}

// A living thread is in the middle of an operation on that queue, or says so.
bool Core::at_work_on(uint64_t object_id) const {
  for (const SessionRef& session : sessions_.all()) {
    for (uint32_t i = 0; session->page && i < session->lines_used(); ++i) {
      const shm::JournalLine& line = *session->journal(i);
      if (line.op.load(std::memory_order_acquire) == 0) continue;
      if (line.object.load() == static_cast<uint32_t>(object_id)) return true;
    }
  }
  return false;
}

void Core::slow_tick() {
  const int64_t now = now_ns();
  for (const SessionRef& session : sessions_.all()) {
    if (session->remote() && session->lease_ends_ns.load() <= now) {
      end_session(session, true);
    }
  }
  sweep_abandoned();
  families_.slow_tick(*catalog_);
  if (now >= next_token_look_ns_) {
    next_token_look_ns_ = now + kTokenLookNs;
    tokens_.reserve(newest_token());
  }
  detect_soon();  // the net under a bell that was not rung
  std::vector<ObjectRef> objects;
  {
    std::lock_guard lock(registry_);
    for (const auto& [id, object] : objects_) objects.push_back(object);
  }
  for (const ObjectRef& object : objects) {
    if (object->queue && object->queue->quarantined()) {
      quarantine(object, "its memory failed a check while in use");
    }
    if (!object->queue || object->damaged()) continue;
    object->queue->trim();
    if (object->queue->unsettled() && !at_work_on(object->id)) object->queue->settle_totals();
  }
  memory_.measure();
}

}  // namespace heddle::broker
