// What a broker that died between a grant and its reply leaves to the next one.
//
// A mutex has at most one grant to its owner, so its word says it all. Of a rlock the broker writes
// down each request of a remote owner, in its line, in an order that lets every death in between
// be decided:
//   the first entry     granted; then request, then request_at = token | 0. Before the last store
//                       request_at names another token: then the grant is that first entry.
//   another, a release  request = 0, request_at = token | entries, request; then done. It was done
//                       if the entries differ from those.
// Only the owner writes here, and it asks for one thing at a time.
//
// Permits and shared holds have many owners at once, and each may have several. So the host notes a
// change before it is made, with what the owner had then, and settles it before anybody is told;
// all under mutex_, so of each lock at most one is open when the broker dies. That one is decided
// by counting (of a counting semaphore, whose permits nobody owns, by Lock::remote_turn). Settled
// ones are known to the next broker by their request.
#include "daemon/objects/lock.h"

namespace heddle::objects {

using shm::LockOutcome;

uint64_t request_number(const Caller& caller, char op, std::string_view id) {
  uint64_t sum = 14695981039346656037ull;
  const auto add = [&sum](const char* bytes, size_t n) {
    for (size_t i = 0; i < n; ++i) sum = (sum ^ static_cast<uint8_t>(bytes[i])) * 1099511628211ull;
  };
  add(reinterpret_cast<const char*>(&caller.session_id), sizeof caller.session_id);
  add(&op, 1);
  add(id.data(), id.size());
  return sum == 0 ? 1 : sum;
}

uint32_t Lock::entries_of(uint32_t holder) const {
  const uint64_t word = view_.line().word.load();
  return shm::holder_in(word) == holder ? 1 + view_.entries(word) : 0;
}

LockOutcome Lock::enter(const LockAsk& ask, shm::LockActor& a, shm::Grant* grant) {
  shm::LockLine& line = view_.line();
  const uint32_t before = entries_of(a.holder());
  if (before != 0) {
    line.request.store(0);
    line.request_at.store(uint64_t{shm::token_low(line.word.load())} << 32 | before);
    line.request.store(ask.request);
  }
  const LockOutcome outcome = view_.acquire(a, shm::kLockTry, grant);
  if (before == 0 && outcome == LockOutcome::kOk) {
    line.request.store(ask.request);
    line.request_at.store(uint64_t{shm::token_low(line.word.load())} << 32);
  }
  return outcome;
}

LockOutcome Lock::leave(uint64_t request, shm::LockActor& a) {
  shm::LockLine& line = view_.line();
  std::lock_guard lock(mutex_);
  const uint32_t entries = entries_of(a.holder());
  const uint64_t at = line.request_at.load();
  const bool same = request != 0 && line.request.load() == request;
  const bool of_this_grant = at >> 32 == shm::token_low(line.word.load());
  if (same && of_this_grant && entries < static_cast<uint32_t>(at)) return LockOutcome::kOk;
  if (entries != 0) {
    line.request.store(0);
    line.request_at.store(uint64_t{shm::token_low(line.word.load())} << 32 | entries);
    line.request.store(request);
  }
  return view_.release(a);
}

/// With the caller as its owner.
bool Lock::entry_was_made(uint64_t request) {
  shm::LockLine& line = view_.line();
  const uint64_t word = line.word.load();
  const uint64_t at = line.request_at.load();
  if (at >> 32 == shm::token_low(word)) {
    return line.request.load() == request && 1 + view_.entries(word) > static_cast<uint32_t>(at);
  }
  line.request.store(request);
  line.request_at.store(uint64_t{shm::token_low(word)} << 32);
  return true;
}

bool Lock::is_counted(shm::LockMode mode) const {
  const shm::LockKind kind = view_.kind();
  return kind == shm::LockKind::kSemaphore || kind == shm::LockKind::kCounting ||
         (kind == shm::LockKind::kRw && mode != shm::LockMode::kExclusive);
}

/// Permits are the session's, holds the thread's.
uint32_t Lock::count_of(uint32_t holder, shm::LockMode mode) const {
  if (view_.kind() == shm::LockKind::kCounting) return view_.remote_turn();
  const bool permits = view_.kind() == shm::LockKind::kSemaphore;
  uint32_t count = 0;
  for (const shm::LockStanding& one : standing()) {
    if (one.waits || shm::owner_in(one.holder) != shm::owner_in(holder)) continue;
    count += permits || (one.holder == holder && one.mode == mode);
  }
  return count;
}

template <class Run>
LockOutcome Lock::noted(HoldChange change, Run run) {
  change.object_id = object_id_;
  const uint64_t number = host_.begin_change(change);
  const LockOutcome outcome = run();
  host_.settle_change(number, outcome == LockOutcome::kOk);
  return outcome;
}

/// With mutex_ held, as all that changes what remote callers hold of this.
LockOutcome Lock::take_some(const LockAsk& ask, shm::LockActor& a, shm::Grant* grant) {
  const bool permits = view_.kind() != shm::LockKind::kRw;
  const bool fits = view_.kind() != shm::LockKind::kSemaphore || ask.n <= view_.line().limit.load();
  // Those who wait try again with every release: what cannot be is not noted.
  if (permits && fits && !view_.gone() && view_.permits_free() < ask.n)
    return LockOutcome::kTimedOut;
  const HoldChange change{.request = ask.request,
                          .holder = a.holder(),
                          .n = permits ? ask.n : 1,
                          .before = count_of(a.holder(), ask.mode),
                          .mode = static_cast<uint8_t>(ask.mode)};
  return noted(change, [&] {
    return permits ? view_.acquire_permits(a, ask.n, shm::kLockTry, grant)
                   : view_.acquire_rw(a, ask.mode, shm::kLockTry, grant);
  });
}

LockOutcome Lock::give_some(uint64_t request, shm::LockMode mode, uint32_t n, shm::LockActor& a) {
  std::lock_guard lock(mutex_);
  if (request != 0 && host_.changed_before(object_id_, request)) return LockOutcome::kOk;
  const bool permits = view_.kind() != shm::LockKind::kRw;
  const HoldChange change{.request = request,
                          .holder = a.holder(),
                          .n = permits ? n : 1,
                          .before = count_of(a.holder(), mode),
                          .release = true,
                          .mode = static_cast<uint8_t>(mode)};
  return noted(change,
               [&] { return permits ? view_.release_permits(a, n) : view_.release_rw(a, mode); });
}

bool Lock::decide(const HoldChange& change) {
  std::lock_guard lock(mutex_);
  if (view_.gone()) return false;
  const auto mode = static_cast<shm::LockMode>(change.mode);
  const uint32_t now = count_of(change.holder, mode);
  if (view_.kind() == shm::LockKind::kCounting) return now != change.before;
  // More was asked back than there was: that is answered the same way again.
  if (change.release && change.before < change.n) return false;
  const uint32_t all = change.release ? change.before - change.n : change.before + change.n;
  if (now == change.before || now == all || view_.kind() != shm::LockKind::kSemaphore) {
    return now == all;
  }
  Caller holder;
  holder.owner = shm::owner_in(change.holder);
  shm::LockActor a = actor(holder, shm::thread_in(change.holder));
  const uint32_t end = change.release ? all : change.before;
  if (now > end) (void)view_.release_permits(a, now - end);
  return change.release;
}

/// With mutex_ held.
bool Lock::take_inherited(const Caller& caller, const LockAsk& ask, shm::Grant* grant) {
  if (is_counted(ask.mode)) {
    if (!host_.changed_before(object_id_, ask.request)) return false;
    grant->token = view_.token();
    return holds(caller, ask, grant->token);
  }
  const uint64_t word = view_.line().word.load();
  const bool same = inherited_word_ != 0 && !view_.gone() &&
                    shm::token_low(word) == shm::token_low(inherited_word_) &&
                    shm::holder_in(word) == shm::holder_of(caller.owner, ask.thread) &&
                    shm::holder_in(word) == shm::holder_in(inherited_word_);
  if (!same) return false;
  if (view_.kind() == shm::LockKind::kRlock) {
    if (!entry_was_made(ask.request)) return false;
  } else {
    inherited_word_ = 0;
  }
  grant->token = view_.token();
  return true;
}

}  // namespace heddle::objects
