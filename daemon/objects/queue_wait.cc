// Waiting callers: who stands in line, who is served, who gives up.
#include <algorithm>

#include "daemon/objects/queue.h"
#include "daemon/objects/waiter.h"
#include "proto/shm/lock_word.h"

namespace heddle::objects {
namespace {

constexpr const char* kWaiterEnded = "the session that waited has ended";

}  // namespace

Wait Queue::get_async(const Caller& caller, const GetParams& params, int64_t deadline_ns,
                      GetDone done) {
  auto wait = std::make_shared<Waiter>();
  wait->caller = caller;
  wait->deadline_ns = deadline_ns;
  wait->get = params;
  wait->get.count_max = std::max(1u, params.count_max);
  wait->on_get = std::move(done);
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    if (params.ack == AckMode::kOnNext && caller.owner == kNoOwner) {
      finish(wait,
             Status(Reason::kInvalidArgument,
                    "ack mode on_next needs a session; open one, or "
                    "use manual"),
             &finished);
    } else {
      if (params.ack == AckMode::kOnNext) ack_previous(caller);
      enlist(wait, getters_, &finished);
    }
  }
  run(finished);
  return wait;
}

Wait Queue::put_async(const Caller& caller, std::vector<Body> bodies, int64_t deadline_ns,
                      PutDone done, PutRecord record, Fence fence) {
  auto wait = std::make_shared<Waiter>();
  wait->caller = caller;
  wait->deadline_ns = deadline_ns;
  wait->bodies = std::move(bodies);
  wait->record = record.number;
  wait->fence = std::move(fence);
  wait->put.ids = std::move(record.ids);
  wait->next_body = wait->put.ids.size();
  wait->put.ids.reserve(wait->bodies.size());
  wait->on_put = std::move(done);
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    enlist(wait, putters_, &finished);
  }
  run(finished);
  return wait;
}

Wait Queue::join_async(const Caller& caller, int64_t deadline_ns, JoinDone done,
                       const JoinParams& params) {
  auto wait = std::make_shared<Waiter>();
  wait->caller = caller;
  wait->deadline_ns = deadline_ns;
  wait->on_join = std::move(done);
  wait->join = params;
  wait->joining_ns = host_.now_ns();
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    wait->serial = ++join_serial_;
    enlist(wait, joiners_, &finished);
  }
  run(finished);
  return wait;
}

void Queue::tell_join(const Waiter& wait, bool begins) {
  if (wait.caller.owner == kNoOwner || wait.join.thread >= shm::kThreadsMax) return;
  const uint32_t holder = shm::holder_of(wait.caller.owner, wait.join.thread);
  begins ? host_.wait_began(holder, object_id_) : host_.wait_ended(holder, object_id_);
}

std::vector<Queue::RemoteJoin> Queue::remote_joins() {
  std::vector<RemoteJoin> out;
  std::lock_guard lock(mutex_);
  for (const Wait& wait : joiners_) {
    if (wait->caller.owner == kNoOwner || wait->join.thread >= shm::kThreadsMax) continue;
    out.push_back({shm::holder_of(wait->caller.owner, wait->join.thread), wait->joining_ns,
                   wait->join.priority, wait->serial});
  }
  return out;
}

bool Queue::joins(uint64_t serial) {
  std::lock_guard lock(mutex_);
  return std::any_of(joiners_.begin(), joiners_.end(),
                     [&](const Wait& wait) { return wait->serial == serial; });
}

bool Queue::refuse_join(uint64_t serial, const std::string& why) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    const auto at = std::find_if(joiners_.begin(), joiners_.end(),
                                 [&](const Wait& wait) { return wait->serial == serial; });
    if (at == joiners_.end()) return false;
    finish(Wait(*at), Status(Reason::kDeadlockDetected, why).with_object("queue " + name_),
           &finished);
  }
  run(finished);
  return true;
}

void Queue::drop_waits_of(uint16_t owner) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    for (auto* list : {&getters_, &joiners_}) {
      for (auto it = list->begin(); it != list->end();) {
        const Wait wait = *it++;
        if (wait->caller.owner != owner || !needs_session(*wait)) continue;
        finish(wait, Status(Reason::kSessionLost, kWaiterEnded), &finished);
      }
    }
    if (!finished.empty()) settle(&finished);  // whoever stood behind may be served now
  }
  run(finished);
}

void Queue::cancel(const Wait& wait) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    if (!wait || wait->finished) return;
    finish(wait, Status(Reason::kInterrupted, "the caller gave up"), &finished);
    settle(&finished);  // whoever stood behind it may be served now
  }
  run(finished);
}

void Queue::poll() {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    settle(&finished);
  }
  run(finished);
}

void Queue::rescan() {
  if (quarantined() || (!has_waiting() && !ring_.has_sleepers())) return;
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    ring_.rescan(actor(host_.own_owner()));
    settle(&finished);
  }
  run(finished);
}

void Queue::run(Finished& finished) {
  for (const Wait& wait : finished) wait->run();
}

// A new caller joins the line and everybody is served in order. Only when it then still stands
// there is the doorbell armed, and served again: what came in between rang no bell.
void Queue::enlist(const Wait& wait, std::list<Wait>& list, Finished* finished) {
  Status why;
  if (dead_to(&why)) return finish(wait, std::move(why), finished);
  wait->list = &list;
  wait->at = list.insert(list.end(), wait);
  if (waiting_.fetch_add(1) == 0) host_.set_waiting(object_id_, true);
  if (&list == &joiners_) tell_join(*wait, true);
  // Looked at only now: from here on the end of the session finds it here.
  if (needs_session(*wait) && host_.session_ended(wait->caller.session_id)) {
    return finish(wait, Status(Reason::kSessionLost, kWaiterEnded), finished);
  }
  serve(finished);
  if (wait->finished) return;
  if (wait->deadline_ns <= host_.now_ns()) {
    end_due(list, host_.now_ns(), finished);
    return;
  }
  arm();
  serve(finished);
  if (!wait->finished) schedule(wait->deadline_ns);
}

// A lease would be nobody's, and a wait for others somebody else's.
bool Queue::needs_session(const Waiter& wait) const {
  if (wait.caller.owner == kNoOwner) return false;
  return wait.on_join || (wait.on_get && wait.get.ack != AckMode::kAuto);
}

// Only for what is waited for: every removal of a message asks whether the queue is idle while
// somebody wants to know that, and then looks at all of it.
void Queue::arm() {
  const auto bit = [](const std::list<Wait>& line, shm::DirtyBits dirty) {
    return line.empty() ? 0u : static_cast<unsigned>(dirty);
  };
  ring_.arm(bit(getters_, shm::kDirtyReady) | bit(putters_, shm::kDirtyRoom) |
            bit(joiners_, shm::kDirtyIdle));
}

void Queue::finish(const Wait& wait, Status status, Finished* finished) {
  wait->set_status(std::move(status));
  wait->finished = true;
  finished->push_back(wait);
  if (!wait->list) return;
  if (wait->list == &joiners_) tell_join(*wait, false);
  wait->list->erase(wait->at);
  wait->list = nullptr;
  if (waiting_.fetch_sub(1) != 1) return;
  ring_.arm(0);
  host_.set_waiting(object_id_, false);
}

void Queue::settle(Finished* finished) {
  const int64_t now = host_.now_ns();
  (void)ring_.take_dirty();
  expire_leases(now);
  Status why;
  if (dead_to(&why)) {
    for (auto* list : {&getters_, &putters_, &joiners_}) {
      while (!list->empty()) finish(Wait(list->front()), why, finished);
    }
    return;
  }
  serve(finished);
  for (auto* list : {&getters_, &putters_, &joiners_}) end_due(*list, now, finished);
  if (scheduled_ns_ > now) return;
  scheduled_ns_ = INT64_MAX;
  int64_t next = lease_ends_.empty() ? INT64_MAX : lease_ends_.begin()->first;
  for (auto* list : {&getters_, &putters_, &joiners_}) {
    for (const Wait& wait : *list) next = std::min(next, wait->deadline_ns);
  }
  schedule(next);
}

void Queue::schedule(int64_t when_ns) {
  if (when_ns >= scheduled_ns_) return;
  scheduled_ns_ = when_ns;
  host_.at(when_ns, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->poll();
  });
}

// A get makes room for a put, and a put gives a get something to take.
void Queue::serve(Finished* finished) {
  bool progress = true;
  while (progress) {
    progress = serve_getters(finished);
    progress |= serve_putters(finished);
    progress &= !getters_.empty() || !putters_.empty();
  }
  serve_joiners(finished);
}

bool Queue::serve_getters(Finished* finished) {
  bool progress = false;
  for (auto it = getters_.begin(); it != getters_.end();) {
    const Wait wait = *it++;
    auto& messages = wait->got.messages;
    uint64_t bytes = 0;
    shm::Outcome outcome = shm::Outcome::kOk;
    while (outcome == shm::Outcome::kOk && messages.size() < wait->get.count_max &&
           bytes <= wait->get.bytes_max) {
      outcome = take_one(*wait);
      if (outcome == shm::Outcome::kOk) bytes += messages.back().body_bytes;
    }
    if (!messages.empty()) {
      progress = true;
      finish(wait, Status(), finished);
    } else if (outcome == shm::Outcome::kEmpty) {
      return progress;  // for those behind as well
    } else if (outcome != shm::Outcome::kEndOfStream || !others_hold(wait->caller)) {
      finish(wait, status_of(outcome), finished);
    }
  }
  return progress;
}

// What is not in yet, as far as there is room.
shm::Outcome Queue::put_bodies(Waiter& wait) {
  constexpr size_t kTogether = 64;
  shm::MessageIn messages[kTogether];
  uint64_t ids[kTogether];
  shm::Actor& self = actor(host_.own_owner());
  shm::Outcome outcome = shm::Outcome::kOk;
  while (outcome == shm::Outcome::kOk && wait.next_body < wait.bodies.size()) {
    const size_t count = std::min(kTogether, wait.bodies.size() - wait.next_body);
    for (size_t i = 0; i < count; ++i) {
      const Body& body = wait.bodies[wait.next_body + i];
      messages[i] = {body.bytes.data(), body.bytes.size(), body.kind};
    }
    size_t done = 0;
    outcome = ring_.put_many(self, messages, count, shm::kTry, &done, ids);
    wait.put.ids.insert(wait.put.ids.end(), ids, ids + done);
    wait.next_body += done;
  }
  return outcome;
}

// One at a time, each in the record that a repeated request is answered from.
shm::Outcome Queue::put_recorded(Waiter& wait) {
  shm::Outcome outcome = shm::Outcome::kOk;
  while (outcome == shm::Outcome::kOk && wait.next_body < wait.bodies.size()) {
    const Body& body = wait.bodies[wait.next_body];
    uint64_t id = 0;
    host_.recorded_put_begins(wait.record);
    outcome = ring_.put(actor(host_.own_owner()), {body.bytes.data(), body.bytes.size(), body.kind},
                        shm::kTry, &id);
    host_.recorded_put_ended(wait.record, outcome == shm::Outcome::kOk ? id : 0);
    if (outcome != shm::Outcome::kOk) break;
    wait.put.ids.push_back(id);
    ++wait.next_body;
  }
  return outcome;
}

bool Queue::more_memory(uint32_t* asked, Status* why) {
  constexpr uint32_t kAskedMax = 64;  // without a message put; each time there is more of it
  if (++*asked > kAskedMax) return false;
  const shm::QueueGrant lacking = ring_.lacking(actor_);
  if (lacking == shm::QueueGrant{}) {
    *asked += kAskedMax / 3;
    return true;
  }
  *why = host_.grant_memory(object_id_, lacking, false);
  if (!why->ok()) *why = std::move(*why).with_object("queue " + name_);
  return why->ok();
}

bool Queue::serve_putters(Finished* finished) {
  bool progress = false;
  uint32_t asked = 0;
  while (!putters_.empty()) {
    const Wait wait = putters_.front();
    const size_t before = wait->next_body;
    if (Status fenced_off = wait->fence ? pass_fence(wait->fence) : Status(); !fenced_off.ok()) {
      finish(wait, std::move(fenced_off), finished);
      continue;
    }
    const shm::Outcome outcome = wait->record != 0 ? put_recorded(*wait) : put_bodies(*wait);
    progress |= wait->next_body != before;
    if (wait->next_body != before) asked = 0;
    Status refused;
    if (outcome == shm::Outcome::kMemoryExhausted && more_memory(&asked, &refused)) continue;
    asked = 0;
    const uint64_t body_bytes =
        wait->next_body < wait->bodies.size() ? wait->bodies[wait->next_body].bytes.size() : 0;
    const bool may_wait = ring_.limits().overflow == shm::Overflow::kBlock && wait->deadline_ns > 0;
    if (outcome == shm::Outcome::kFull && may_wait) return progress;
    finish(wait, refused.ok() ? status_of(outcome, body_bytes) : std::move(refused), finished);
  }
  return progress;
}

void Queue::serve_joiners(Finished* finished) {
  if (joiners_.empty() || ring_.counts().unfinished() != 0) return;
  while (!joiners_.empty()) finish(Wait(joiners_.front()), Status(), finished);
}

void Queue::end_due(std::list<Wait>& list, int64_t now_ns, Finished* finished) {
  for (auto it = list.begin(); it != list.end();) {
    const Wait wait = *it++;
    if (wait->deadline_ns > now_ns) continue;
    const bool waited = wait->deadline_ns > 0;
    if (wait->on_get) {
      finish(wait, status_of(waited ? shm::Outcome::kTimedOut : shm::Outcome::kEmpty), finished);
    } else if (wait->on_put) {
      const Body& body = wait->bodies[wait->next_body];
      finish(wait,
             status_of(waited ? shm::Outcome::kTimedOut : shm::Outcome::kFull, body.bytes.size()),
             finished);
    } else {
      wait->joined.unfinished = ring_.counts().unfinished();
      wait->joined.holders = holders_locked();
      finish(wait, status_of(shm::Outcome::kTimedOut), finished);
    }
  }
}

}  // namespace heddle::objects
