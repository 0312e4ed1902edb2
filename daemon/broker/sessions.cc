#include "daemon/broker/sessions.h"

#include <linux/futex.h>
#include <string.h>

#include <algorithm>
#include <new>

namespace heddle::broker {
namespace {

// glibc keeps the futex word of a mutex first; the kernel sets this bit in it when the holder dies.
bool bell_fired(const shm::ThreadLine& line) {
  const auto* word = reinterpret_cast<const uint32_t*>(&line.bell);
  return (__atomic_load_n(word, __ATOMIC_ACQUIRE) & FUTEX_OWNER_DIED) != 0;
}

shm::ThreadLine* lines_of(const Segment& page) {
  return shm::thread_lines_of(static_cast<shm::SessionHeader*>(page.base()));
}

}  // namespace

uint32_t Session::lines() const {
  if (!page) return 0;
  // Computed from the size that the broker chose, not read from the page that a client can write.
  return static_cast<uint32_t>((page->bytes() - sizeof(shm::SessionHeader)) /
                               sizeof(shm::ThreadLine));
}

uint32_t Session::lines_used() const {
  if (!page) return 0;
  const auto* header = static_cast<const shm::SessionHeader*>(page->base());
  return std::min(header->lines_used.load(), lines());
}

bool Session::has_known_layout() const {
  return page &&
         static_cast<const shm::SessionHeader*>(page->base())->version == shm::kSessionVersion;
}

bool Session::take_waits_told() const {
  if (!page || kind != SessionKind::kLocal) return false;
  auto* header = static_cast<shm::SessionHeader*>(page->base());
  return header->waits_told.load(std::memory_order_relaxed) != 0 &&
         header->waits_told.exchange(0) != 0;
}

shm::JournalLine* Session::journal(uint32_t line) const { return &lines_of(*page)[line].journal; }

bool Session::every_bell_fired() const {
  uint32_t claimed = 0;
  for (uint32_t i = 0; i < lines_used(); ++i) {
    const shm::ThreadLine& line = lines_of(*page)[i];
    if (line.claimed.load(std::memory_order_acquire) != shm::kLineClaimed) continue;
    if (!bell_fired(line)) return false;
    ++claimed;
  }
  return claimed > 0;
}

uint32_t Session::threads() const {
  uint32_t count = 0;
  for (uint32_t i = 0; i < lines_used(); ++i) {
    count += lines_of(*page)[i].claimed.load(std::memory_order_acquire) != shm::kLineFree;
  }
  return count;
}

bool Session::closed_by_client() const {
  return page && static_cast<shm::SessionHeader*>(page->base())->closed.load() != 0;
}

void format_session_page(void* base, uint32_t lines, const Session& session) {
  auto* header = new (base) shm::SessionHeader{};
  header->version = shm::kSessionVersion;
  header->thread_lines = lines;
  header->session_id = session.id;
  header->generation = session.generation;
  header->owner = session.owner;
  std::atomic_ref<uint64_t>(header->magic).store(shm::kSessionMagic, std::memory_order_release);
}

Result<uint16_t> SessionTable::take_owner() {
  std::lock_guard lock(mutex_);
  while (fresh_ < 65'536 && taken_[fresh_]) ++fresh_;
  uint32_t owner = 0;
  if (fresh_ < 65'536 && resting_.size() < kRestingMin) {
    owner = fresh_++;
  } else if (!resting_.empty()) {
    owner = resting_.front();
    resting_.pop_front();
  } else {
    return Status(Reason::kQuota, "every session number is in use; end some sessions")
        .with_limit(65'535, 65'535);
  }
  taken_[owner] = true;
  return static_cast<uint16_t>(owner);
}

void SessionTable::take_owner(uint16_t owner) {
  std::lock_guard lock(mutex_);
  taken_[owner] = true;
  const auto at = std::find(resting_.begin(), resting_.end(), owner);
  if (at != resting_.end()) resting_.erase(at);
}

void SessionTable::give_back(uint16_t owner) {
  std::lock_guard lock(mutex_);
  taken_[owner] = false;
  resting_.push_back(owner);
}

void SessionTable::insert(const SessionRef& session) {
  std::lock_guard lock(mutex_);
  sessions_[session->id] = session;
  by_owner_[session->owner] = session;
  if (session->of_client()) ++per_uid_[session->uid];
}

void SessionTable::remove(const Session& session) {
  std::lock_guard lock(mutex_);
  const auto at = sessions_.find(session.id);
  if (at == sessions_.end()) return;
  const SessionRef keep = at->second;
  sessions_.erase(at);
  by_owner_.erase(keep->owner);
  if (keep->of_client() && --per_uid_[keep->uid] == 0) per_uid_.erase(keep->uid);
}

SessionRef SessionTable::find(uint64_t id) const {
  std::lock_guard lock(mutex_);
  const auto at = sessions_.find(id);
  return at == sessions_.end() ? nullptr : at->second;
}

SessionRef SessionTable::by_owner(uint16_t owner) const {
  std::lock_guard lock(mutex_);
  const auto at = by_owner_.find(owner);
  return at == by_owner_.end() ? nullptr : at->second;
}

SessionRef SessionTable::by_token(const ResumeToken& token) const {
  std::lock_guard lock(mutex_);
  for (const auto& [id, session] : sessions_) {
    if (session->remote() && session->token == token) return session;
  }
  return nullptr;
}

std::vector<SessionRef> SessionTable::all() const {
  std::vector<SessionRef> out;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, session] : sessions_) out.push_back(session);
  }
  std::sort(out.begin(), out.end(),
            [](const SessionRef& a, const SessionRef& b) { return a->id < b->id; });
  return out;
}

size_t SessionTable::count(SessionKind kind) const {
  std::lock_guard lock(mutex_);
  return static_cast<size_t>(std::count_if(sessions_.begin(), sessions_.end(),
                                           [&](const auto& s) { return s.second->kind == kind; }));
}

size_t SessionTable::count_of(uid_t uid) const {
  std::lock_guard lock(mutex_);
  const auto at = per_uid_.find(uid);
  return at == per_uid_.end() ? 0 : at->second;
}

void SessionTable::set_ended(Session& session, std::function<void()> ended) {
  std::lock_guard lock(mutex_);
  session.ended = std::move(ended);
}

std::function<void()> SessionTable::take_ended(Session& session) {
  std::lock_guard lock(mutex_);
  return std::exchange(session.ended, nullptr);
}

}  // namespace heddle::broker
