#include "client/src/shm_channel/attachment.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

namespace heddle::detail {

thread_local constinit Hands t_hands[kHandsCached] __attribute__((tls_model("initial-exec")));

namespace {

std::uint64_t next_key() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// A claimed line of a session page: the bell is held from here to the end of the thread.
struct Line {
  std::shared_ptr<SessionPage> page;
  std::uint32_t index = 0;
  std::unique_ptr<LineTenant> tenant = {};

  void release() {
    if (!page->mapping.here()) return;
    const bool kept = tenant && !page->closed.load() && tenant->keeps();
    shm::ThreadLine& line = page->line(index);
    ::pthread_mutex_unlock(&line.bell);
    line.claimed.store(kept ? shm::kLineKept : 0, std::memory_order_release);
  }
};

struct Entry {
  std::uint64_t key = 0;
  std::weak_ptr<MappedObject> object;
  void* actor = nullptr;  // Null: only read.
};

// Everything one thread holds.
struct ThreadState {
  const std::uint64_t generation = process_generation();
  std::vector<Line> lines;
  std::vector<Entry> entries;

  ~ThreadState() {
    // In a child these are the parent's; nothing of it is mapped here.
    if (generation != process_generation()) return;
    for (Entry& entry : entries) leave(entry);
    for (Line& line : lines) line.release();
  }

  static void leave(const Entry& entry) {
    const auto object = entry.object.lock();
    if (object && entry.actor != nullptr) object->leave(entry.actor);
  }

  // Lets go of what has been closed meanwhile.
  void prune() {
    std::erase_if(entries, [](const Entry& entry) { return entry.object.expired(); });
    std::erase_if(lines, [](Line& line) {
      if (!line.page->closed.load()) return false;
      line.release();
      return true;
    });
  }
};

thread_local constinit ThreadState* t_state = nullptr;

struct StateGuard {
  ~StateGuard() {
    for (Hands& hands : t_hands) hands = Hands();
    delete std::exchange(t_state, nullptr);
  }
};

// A thread that works on after its thread-local destructors (static objects of the main thread)
// gets a new state that nobody deletes; the process is about to end.
ThreadState& thread_state() {
  thread_local StateGuard guard;
  (void)&guard;
  if (t_state != nullptr && t_state->generation != process_generation()) {
    delete std::exchange(t_state, nullptr);
  }
  if (t_state == nullptr) t_state = new ThreadState;
  return *t_state;
}

// The caller alone is claiming the line. Made anew each time: its last thread let go of it.
bool take_bell(shm::ThreadLine& line) {
  pthread_mutexattr_t attributes;
  if (::pthread_mutexattr_init(&attributes) != 0) return false;
  const bool robust = ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0 &&
                      ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0 &&
                      ::pthread_mutex_init(&line.bell, &attributes) == 0;
  ::pthread_mutexattr_destroy(&attributes);
  return robust && ::pthread_mutex_trylock(&line.bell) == 0;
}

Line* line_of(ThreadState& state, const std::shared_ptr<SessionPage>& page) {
  for (Line& line : state.lines) {
    if (line.page == page) return &line;
  }
  for (std::uint32_t i = 0; i < page->thread_lines; ++i) {
    shm::ThreadLine& line = page->line(i);
    std::uint32_t free = 0;
    if (!line.claimed.compare_exchange_strong(free, shm::kLineClaiming)) continue;
    if (!take_bell(line)) continue;
    line.claimed.store(shm::kLineClaimed, std::memory_order_release);
    page->note_used(i + 1);
    state.lines.push_back({.page = page, .index = i});
    return &state.lines.back();
  }
  return nullptr;
}

}  // namespace

bool claim_seat(const std::shared_ptr<SessionPage>& page, ThreadSeat* seat) {
  ThreadState& state = thread_state();
  state.prune();
  Line* line = line_of(state, page);
  if (line == nullptr) return false;
  *seat = {.index = line->index, .tenant = &line->tenant};
  return true;
}

LineTenant* tenant_here(const SessionPage& page) {
  if (t_state == nullptr || t_state->generation != process_generation()) return nullptr;
  for (const Line& line : t_state->lines) {
    if (line.page.get() == &page) return line.tenant.get();
  }
  return nullptr;
}

void leave_closed_sessions() {
  if (t_state != nullptr && t_state->generation == process_generation()) t_state->prune();
}

MappedObject::MappedObject() : key(next_key()), generation(process_generation()) {}

Attachment::~Attachment() {
  if (!mapping.here()) return;
  for (auto& actor : actors) queue.leave(*actor);
}

void Attachment::leave(void* actor) {
  std::lock_guard lock(mutex);
  queue.leave(*static_cast<shm::Actor*>(actor));
  std::erase_if(actors, [actor](const auto& one) { return one.get() == actor; });
}

template <class T>
MemberAttachment<T>::~MemberAttachment() {
  if (!mapping.here()) return;
  if constexpr (kHasRows) {
    for (auto& actor : actors) core.leave(*actor);
  }
}

template <class T>
void MemberAttachment<T>::leave(void* actor) {
  std::lock_guard lock(mutex);
  if constexpr (kHasRows) core.leave(*static_cast<Actor*>(actor));
  std::erase_if(actors, [actor](const auto& one) { return one.get() == actor; });
}

namespace {

Status no_line(const MappedObject& object, const char* noun) {
  const std::uint64_t lines = object.session->page()->thread_lines;
  return Status(Reason::kTooManyThreads, "every line of the session page belongs to a thread")
      .with_object(noun + (" " + object.name))
      .with_limit(lines, lines + 1);
}

Status no_row(const MappedObject& object, const char* noun, std::uint64_t rows) {
  return Status(Reason::kTooManyThreads, std::string("too many threads have the ") + noun + " open")
      .with_object(noun + (" " + object.name))
      .with_limit(rows, rows + 1);
}

// What this thread has on the object; `make` gives the actor, or a status.
template <class Object, class Actor, class Make>
Status remembered(Object& object, Actor** out, Make make) {
  ThreadState& state = thread_state();
  state.prune();
  const auto known = std::find_if(state.entries.begin(), state.entries.end(),
                                  [&](const Entry& entry) { return entry.key == object.key; });
  if (known != state.entries.end()) {
    *out = static_cast<Actor*>(known->actor);
    return {};
  }
  std::unique_ptr<Actor> actor;
  if (Status status = make(state, &actor); !status.ok()) return status;
  *out = actor.get();
  state.entries.push_back({object.key, object.weak_from_this(), actor.get()});
  if (!actor) return {};
  std::lock_guard lock(object.mutex);
  object.actors.push_back(std::move(actor));
  return {};
}

}  // namespace

Status make_hands(Attachment& attachment, Hands** out) {
  shm::Actor* known = nullptr;
  Status status = remembered<Attachment, shm::Actor>(
      attachment, &known, [&](ThreadState& state, std::unique_ptr<shm::Actor>* made) -> Status {
        const Line* line = line_of(state, attachment.session->page());
        if (line == nullptr) return no_line(attachment, "queue");
        auto actor = std::make_unique<shm::Actor>();
        actor->owner = attachment.session->owner();
        actor->thread = static_cast<std::uint16_t>(line->index);
        actor->journal = &line->page->line(line->index).journal;
        actor->doorbell_fd = attachment.session->doorbell();
        actor->patience_ns = kLookEveryNs;
        if (attachment.queue.enter(*actor) != shm::Outcome::kOk) {
          return no_row(attachment, "queue", shm::kRowsMax);
        }
        *made = std::move(actor);
        return {};
      });
  if (!status.ok()) return status;
  Hands& hands = t_hands[attachment.key % kHandsCached];
  hands.key = attachment.key;
  hands.generation = attachment.generation;
  hands.at = &attachment;
  hands.actor = known;
  hands.uses = 0;
  *out = &hands;
  return {};
}

template <class T>
Status make_hands(MemberAttachment<T>& attachment, Hands** out) {
  using Actor = typename MemberAttachment<T>::Actor;
  Actor* known = nullptr;
  Status status = remembered<MemberAttachment<T>, Actor>(
      attachment, &known, [&](ThreadState& state, std::unique_ptr<Actor>* made) -> Status {
        if (!attachment.writable()) return {};
        const Line* line = line_of(state, attachment.session->page());
        if (line == nullptr) return no_line(attachment, kNounOf<T>);
        auto actor = std::make_unique<Actor>();
        actor->owner = attachment.session->owner();
        actor->thread = static_cast<std::uint16_t>(line->index);
        actor->patience_ns = kLookEveryNs;
        if constexpr (MemberAttachment<T>::kHasRows) {
          if (attachment.core.enter(*actor) != shm::Outcome::kOk) {
            return no_row(attachment, kNounOf<T>, shm::kDictRowsMax);
          }
        }
        *made = std::move(actor);
        return {};
      });
  if (!status.ok()) return status;
  Hands& hands = t_hands[attachment.key % kHandsCached];
  hands.key = attachment.key;
  hands.generation = attachment.generation;
  hands.member<T>() = &attachment;
  hands.member_actor<T>() = known;
  hands.uses = 0;
  *out = &hands;
  return {};
}

template struct MemberAttachment<shm::Dict>;
template struct MemberAttachment<shm::List>;
template struct MemberAttachment<shm::Block>;
template Status make_hands(DictAttachment&, Hands**);
template Status make_hands(ListAttachment&, Hands**);
template Status make_hands(BlockAttachment&, Hands**);

}  // namespace heddle::detail
