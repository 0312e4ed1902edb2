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

bool Lock::take_inherited(const Caller& caller, const LockAsk& ask, shm::Grant* grant) {
  std::lock_guard lock(mutex_);
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
