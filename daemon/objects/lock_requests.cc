#include "daemon/objects/lock_requests.h"

#include <algorithm>
#include <utility>

namespace heddle::objects {
namespace {

constexpr size_t kAnswersPerPlace = 8;
constexpr size_t kPlacesPerSession = 1'024;
constexpr char kGrants[] = {'a', 'c'};  // acquire, convert

uint64_t place_key(uint64_t object_id, uint16_t thread) { return object_id << 10 | thread; }

}  // namespace

// Under mutex_, but for `job`, which does not change.
struct LockRequests::Request {
  uint64_t session_id = 0;
  uint64_t place = 0;
  char op = 0;
  std::string id;
  Job job;
  bool done = false;
  LockReply reply;
  std::vector<CallRef> callers;
  std::function<void()> cancel;  // once begin() has returned
  bool abandoned = false;        // everybody left before that
};

struct LockRequests::Call {
  RequestRef request;
  LockDone done;
};

/// A call that waits and its request hold each other.
LockRequests::~LockRequests() {
  for (auto& [id, session] : sessions_) {
    for (const Place& place : session.places) {
      for (const RequestRef& request : place.requests) request->callers.clear();
    }
  }
}

Status LockRequests::check(const Caller& caller, std::string_view id) {
  if (id.size() > kLockRequestIdBytesMax) {
    return Status(Reason::kInvalidArgument, "request_id is too long")
        .with_limit(kLockRequestIdBytesMax, id.size());
  }
  if (!id.empty() && caller.session_id == 0) {
    return Status(Reason::kInvalidArgument,
                  "request_id is known within a session; open one (SessionService/Open)");
  }
  return Status();
}

LockRequests::Place& LockRequests::place_of(uint64_t session_id, uint64_t key) {
  Session& session = sessions_[session_id];
  const auto at = session.by_key.find(key);
  if (at != session.by_key.end()) {
    session.places.splice(session.places.begin(), session.places, at->second);
    return session.places.front();
  }
  session.places.push_front({key, {}});
  session.by_key[key] = session.places.begin();
  if (session.places.size() > kPlacesPerSession) {
    // What still waits holds its own request; only joining it is no longer possible.
    session.by_key.erase(session.places.back().key);
    session.places.pop_back();
  }
  return session.places.front();
}

void LockRequests::forget_request(const RequestRef& request) {
  const auto session = sessions_.find(request->session_id);
  if (session == sessions_.end()) return;
  const auto at = session->second.by_key.find(request->place);
  if (at == session->second.by_key.end()) return;
  std::erase(at->second->requests, request);
  if (!at->second->requests.empty()) return;
  session->second.places.erase(at->second);
  session->second.by_key.erase(at);
}

LockRequests::CallRef LockRequests::start(const Caller& caller, const Key& key, Job job,
                                          LockDone done) {
  auto call = std::make_shared<Call>();
  const RequestRef fresh = std::make_shared<Request>();
  LockReply again;
  {
    std::lock_guard lock(mutex_);
    const uint64_t place = place_key(key.object_id, key.thread);
    std::vector<RequestRef>& known = place_of(caller.session_id, place).requests;
    const auto at = std::find_if(known.begin(), known.end(), [&](const RequestRef& one) {
      return one->op == key.op && one->id == key.id;
    });
    if (at != known.end() && !(*at)->done) {
      call->request = *at;
      call->done = std::move(done);
      (*at)->callers.push_back(call);
      return call;
    }
    if (at != known.end() && (!job.stands || job.stands((*at)->reply))) {
      again = (*at)->reply;
    } else {
      if (at != known.end()) known.erase(at);
      const auto oldest =
          std::find_if(known.begin(), known.end(), [](const RequestRef& one) { return one->done; });
      if (known.size() >= kAnswersPerPlace && oldest != known.end()) known.erase(oldest);
      fresh->session_id = caller.session_id;
      fresh->place = place;
      fresh->op = key.op;
      fresh->id = key.id;
      fresh->job = std::move(job);
      call->request = fresh;
      call->done = std::move(done);
      fresh->callers.push_back(call);
      known.push_back(fresh);
    }
  }
  if (!call->request) {
    done(std::move(again));
    return call;
  }
  // Not in its place: the end may come, and clear it, while it still runs.
  const auto begin = std::move(fresh->job.begin);
  auto cancel = begin([this, fresh](LockReply reply) { ended(fresh, std::move(reply)); });
  {
    std::lock_guard lock(mutex_);
    if (!fresh->abandoned) {
      if (!fresh->done) fresh->cancel = std::move(cancel);
      return call;
    }
  }
  if (cancel) cancel();
  return call;
}

void LockRequests::ended(const RequestRef& request, LockReply reply) {
  std::vector<CallRef> callers;
  {
    std::lock_guard lock(mutex_);
    request->done = true;
    request->cancel = nullptr;
    callers.swap(request->callers);
    const bool keep = reply.status.ok() || request->job.keep_failures;
    if (keep && !callers.empty()) {
      request->reply = reply;
    } else {
      forget_request(request);
    }
  }
  if (callers.empty() && reply.status.ok() && request->job.undo) request->job.undo(reply);
  for (const CallRef& call : callers) {
    if (const LockDone done = std::exchange(call->done, nullptr)) done(reply);
  }
}

LockReply LockRequests::once(const Caller& caller, const Key& key,
                             const std::function<LockReply()>& run) {
  if (key.id.empty()) return run();
  // Shared: if another call with this id is at work just now, its answer comes when this has gone.
  const auto answer = std::make_shared<LockReply>();
  answer->status = Status(Reason::kBrokerAway, "the same request is being carried out; repeat it");
  Job job;
  job.begin = [&run](const LockDone& done) {
    done(run());
    return std::function<void()>();
  };
  (void)start(caller, key, std::move(job),
              [answer](LockReply reply) { *answer = std::move(reply); });
  return *answer;
}

bool LockRequests::cancel(const CallRef& call) {
  std::function<void()> cancel;
  {
    std::lock_guard lock(mutex_);
    const RequestRef request = call->request;
    if (!request || request->done || std::erase(request->callers, call) == 0) return false;
    if (!request->callers.empty()) return true;
    request->abandoned = true;
    forget_request(request);
    cancel = std::move(request->cancel);
  }
  if (cancel) cancel();
  return true;
}

void LockRequests::released(const Caller& caller, uint64_t object_id, uint16_t thread) {
  std::lock_guard lock(mutex_);
  const auto session = sessions_.find(caller.session_id);
  if (session == sessions_.end()) return;
  const auto at = session->second.by_key.find(place_key(object_id, thread));
  if (at == session->second.by_key.end()) return;
  std::erase_if(at->second->requests, [](const RequestRef& one) {
    return one->done &&
           std::find(std::begin(kGrants), std::end(kGrants), one->op) != std::end(kGrants);
  });
}

void LockRequests::forget(uint64_t session_id) {
  std::lock_guard lock(mutex_);
  sessions_.erase(session_id);
}

}  // namespace heddle::objects
