// One queue, dict, list or block mapped by one session of one process, and the hands that this
// process's threads have on it. A thread's way in is one compare of a thread-local entry; the slow
// way claims a line in the session page (journal and bell) and a row in the object.
//
// Lines are given back when the thread ends, rows when the thread ends or the queue is closed.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_ATTACHMENT_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_ATTACHMENT_H_

#include <heddle/options.h>
#include <heddle/status.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "client/src/shm_channel/mapping.h"
#include "client/src/shm_channel/process_generation.h"
#include "client/src/shm_channel/session.h"
#include "proto/local/attach.h"
#include "proto/local/fd.h"
#include "proto/shm/block.h"
#include "proto/shm/dict.h"
#include "proto/shm/list.h"
#include "proto/shm/queue.h"

namespace heddle::detail {

// What every kind of mapped object has.
struct MappedObject : std::enable_shared_from_this<MappedObject> {
  MappedObject();
  virtual ~MappedObject() = default;
  // A thread that has ended, or lets go: its hands, as they were remembered.
  virtual void leave(void* actor) = 0;

  const std::uint64_t key;         // Unique in this process and its children; never 0.
  const std::uint64_t generation;  // Of the process.
  std::shared_ptr<Session> session;
  Mapping mapping;
  local::Fd fd;  // Kept to reserve memory of the segment.
  std::uint64_t object_id = 0;
  std::uint8_t rights = 0;
  std::string name;  // Full.
};

struct Attachment : MappedObject {
  ~Attachment() override;
  void leave(void* actor) override;

  shm::Queue queue;
  QueueOptions options;

  // Of other threads too: whoever closes the queue lets go for all.
  std::mutex mutex;
  std::vector<std::unique_ptr<shm::Actor>> actors;
};

// Of kinds that are one segment each. Of a dict and a list a thread has a row.
template <class T>
struct MemberAttachment : MappedObject {
  using Core = T;
  using Actor = std::conditional_t<std::is_same_v<T, shm::Block>, shm::BlockActor, shm::DictActor>;
  static constexpr bool kHasRows = !std::is_same_v<T, shm::Block>;

  ~MemberAttachment() override;
  void leave(void* actor) override;
  bool writable() const { return (rights & local::kRightWrite) != 0; }

  Core core;
  std::mutex mutex;
  std::vector<std::unique_ptr<Actor>> actors;
};
using DictAttachment = MemberAttachment<shm::Dict>;
using ListAttachment = MemberAttachment<shm::List>;
using BlockAttachment = MemberAttachment<shm::Block>;

template <class T>
inline constexpr const char* kNounOf = std::is_same_v<T, shm::Dict>   ? "dict"
                                       : std::is_same_v<T, shm::List> ? "list"
                                                                      : "block";

// A waiting thread looks at the connection this often.
inline constexpr std::int64_t kLookEveryNs = 1'000'000'000;

// A thread's hands on one of them; the key tells which it is.
struct Hands {
  std::uint64_t key = 0;
  std::uint64_t generation = 0;
  union {
    Attachment* at = nullptr;
    DictAttachment* dict;
    ListAttachment* list;
    BlockAttachment* block;
  };
  union {
    shm::Actor* actor = nullptr;
    shm::DictActor* dict_actor;  // Of a list as well. Null: it may only be read.
    shm::BlockActor* block_actor;
  };
  std::uint32_t uses = 0;

  template <class T>
  [[gnu::always_inline]] MemberAttachment<T>*& member() {
    if constexpr (std::is_same_v<T, shm::Dict>) {
      return dict;
    } else if constexpr (std::is_same_v<T, shm::List>) {
      return list;
    } else {
      return block;
    }
  }
  template <class T>
  [[gnu::always_inline]] typename MemberAttachment<T>::Actor*& member_actor() {
    if constexpr (std::is_same_v<T, shm::Block>) {
      return block_actor;
    } else {
      return dict_actor;
    }
  }
};

inline constexpr std::size_t kHandsCached = 8;
// At a fixed offset from the thread pointer: no call to find it, also in a shared library. The 320
// bytes fit into what the loader keeps free for libraries that come later.
extern thread_local constinit Hands t_hands[kHandsCached]
    __attribute__((tls_model("initial-exec")));

// The hands of the calling thread on attachment `key`, or null: take the slow way.
[[gnu::always_inline]] inline Hands* cached_hands(std::uint64_t key) {
  Hands& hands = t_hands[key % kHandsCached];
  if (hands.key == key && hands.generation == process_generation()) [[likely]]
    return &hands;
  return nullptr;
}

// The slow way. TOO_MANY_THREADS when the session page or the queue has no more room.
Status make_hands(Attachment& attachment, Hands** out);
template <class T>
Status make_hands(MemberAttachment<T>& attachment, Hands** out);

// Asks the broker for more of the object's memory, see Grow in proto/local/attach.h: OK when it has
// so much now. Blocks until there is an answer, at most until `until_ns`; a broker that is away has
// that long to come back. SESSION_LOST: attach anew. `label` names the object in what is refused.
Status ask_memory(MappedObject& object, const std::string& label, const shm::QueueGrant& at_least,
                  std::int64_t until_ns);
// For callers who named no time: enough for a broker to come back.
inline constexpr std::int64_t kGrantWaitNs = 5'000'000'000;

// What else a thread keeps in its line of a session page; destroyed with the thread's hold on it.
struct LineTenant {
  virtual ~LineTenant() = default;
  // Asked when the thread ends: true if something still names this thread, so that no other thread
  // may have its number.
  virtual bool keeps() = 0;
};
struct ThreadSeat {
  std::uint32_t index = 0;
  std::unique_ptr<LineTenant>* tenant = nullptr;  // Valid until the thread claims another seat.
};
// The calling thread's line of `page`; false when all are taken.
bool claim_seat(const std::shared_ptr<SessionPage>& page, ThreadSeat* seat);

// What the calling thread keeps in its line of `page`, or null: nothing, or it has no line there.
LineTenant* tenant_here(const SessionPage& page);

// Gives back the calling thread's lines of sessions that have been closed.
void leave_closed_sessions();

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_ATTACHMENT_H_
