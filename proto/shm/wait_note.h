// What a thread waits for, told in its journal line while it sleeps: for `who`, and for the
// deadlock detector, which may end the wait.
//
//   waiting_on     63       62..59  58..32   31..0
//                 +--------+-------+--------+-----------------------+
//                 | cancel | what  | ticket | low half of object id |
//                 +--------+-------+--------+-----------------------+
//   waiting_room   63       62..0                       of a wait at a pipe only
//                 +--------+-------------------------+
//                 | turn   | bytes of room it needs  |
//                 +--------+-------------------------+
//   The ticket numbers the thread's waits and is never 0, so 0 = does not wait. TURN: the word of
//   its end is BUSY with this very actor, which waits for the ring, not for its turn.
//
// At a lock whoever waits says so. At a pipe a thread does when it holds a lock and has waited for
// kTellNs. One that holds nothing tells nothing: many sleep there all day, both sides of a pipe
// too, until something else happens in the world. Nor does one in the middle of a large message
// that it sends, which would be lost if it were cut off.
//
// The thread publishes, tests the object once more, and only then sleeps: so of two waits that
// close a cycle the later one is seen by whoever looks after it was told. A wait of more than
// kTellNs tells the broker once, by `waits_told` in the session page and the doorbell. The broker
// ends a wait by CAS of the cancel bit against the very word, then wakes the object's sleepers.
//
// Crash story: the line of a dead thread is cleared by the reaper after everything that names it.
#pragma once

#include <algorithm>

#include "proto/shm/futex.h"
#include "proto/shm/journal.h"
#include "proto/shm/lock.h"
#include "proto/shm/pipe_layout.h"
#include "proto/shm/wake.h"

namespace heddle::shm {

enum class WaitFor : uint8_t {
  kExclusive = 0,
  kShared = 1,
  kUpdate = 2,
  kPermits = 3,
  kCondition = 4,
  kEvent = 5,
  kBarrier = 6,
  kJoin = 7,
  // At an end of a pipe: what a PipeActor waits for, see pipe_wait_for().
  kReceiveAtA = 8,
  kReceiveAtB = 9,
  kSendAtA = 10,
  kSendAtB = 11,
};

constexpr WaitFor pipe_wait_for(bool sends, PipeSide side) {
  return static_cast<WaitFor>(8 + (sends ? 2 : 0) + static_cast<int>(side));
}
constexpr bool is_at_pipe(WaitFor what) {
  return what >= WaitFor::kReceiveAtA && what <= WaitFor::kSendAtB;
}
constexpr bool sends_to_pipe(WaitFor what) { return what >= WaitFor::kSendAtA; }
constexpr PipeSide side_waited_at(WaitFor what) {
  return static_cast<PipeSide>(static_cast<int>(what) & 1);
}

inline constexpr uint64_t kWaitCancelled = uint64_t{1} << 63;
inline constexpr uint64_t kWaitHasTurn = uint64_t{1} << 63;  // of waiting_room
inline constexpr uint32_t kWaitTicketMask = 0x07ffffff;
inline constexpr int64_t kTellNs = 2'000'000;
inline constexpr int64_t kLookNs = 1'000'000'000;
// Of the wakes on a lock word: those for whoever wants the word, and for readers.
inline constexpr uint32_t kWakeWriters = 1, kWakeReaders = 2;

struct WaitWord {
  bool cancelled;
  WaitFor what;
  uint32_t ticket;
  uint32_t object;

  static constexpr WaitWord decode(uint64_t w) {
    return {(w & kWaitCancelled) != 0, static_cast<WaitFor>(w >> 59 & 15),
            static_cast<uint32_t>(w >> 32 & kWaitTicketMask), static_cast<uint32_t>(w)};
  }
  constexpr uint64_t encode() const {
    return (cancelled ? kWaitCancelled : 0) | (static_cast<uint64_t>(what) << 59) |
           (uint64_t{ticket & kWaitTicketMask} << 32) | object;
  }
};

/// One wait: publishes on demand, takes itself back at its end.
class WaitNote {
 public:
  WaitNote(LockActor& a, WaitFor what, uint32_t object) : a_(a), what_(what), object_(object) {}
  ~WaitNote() {
    if (word_ != 0) a_.journal->waiting_on.store(0, std::memory_order_release);
  }
  WaitNote(const WaitNote&) = delete;
  WaitNote& operator=(const WaitNote&) = delete;

  bool published() const { return word_ != 0; }
  /// The object must be tested again after this. `waited_ns`: so long it has waited untold.
  void publish(int64_t waited_ns = 0) {
    since_ns_ = monotonic_ns() - waited_ns;
    if (++a_.waits % kWaitTicketMask == 0) ++a_.waits;
    word_ = WaitWord{false, what_, a_.waits % kWaitTicketMask, object_}.encode();
    a_.journal->waiting_since_ms.store(coarse_ms() - static_cast<uint32_t>(waited_ns / 1'000'000),
                                       std::memory_order_relaxed);
    a_.journal->waiting_on.store(word_, std::memory_order_seq_cst);
  }
  bool cancelled() const {
    return word_ != 0 && a_.journal->waiting_on.load(std::memory_order_acquire) != word_;
  }
  int64_t since_ns() const { return since_ns_; }
  /// After a sleep that ended with `result`: whether the caller wants no more of it.
  bool interrupted(int result) {
    if (result == EINTR) return a_.interruptible;
    if (result != ETIMEDOUT || a_.look == nullptr) return false;
    const int64_t now_ns = monotonic_ns();
    if (now_ns - std::max(looked_ns_, since_ns_) < kLookNs) return false;
    looked_ns_ = now_ns;
    return !a_.look(a_.look_context);
  }
  /// When to wake up at the latest: the deadline, the moment to tell the broker, the last net.
  int64_t wake_at(int64_t now_ns, int64_t deadline_ns) const {
    const bool tells = !told_ && a_.waits_told != nullptr;
    return std::min(deadline_ns, now_ns + (tells ? kTellNs : a_.sleep_ns_max));
  }
  /// Tells the broker once if the wait has become a long one.
  void tell(int64_t now_ns) {
    if (told_ || now_ns - since_ns_ < kTellNs) return;
    told_ = true;
    if (a_.waits_told == nullptr || a_.doorbell_fd < 0) return;
    if (a_.waits_told->exchange(1) == 0) ring_doorbell(a_.doorbell_fd);
  }

 private:
  LockActor& a_;
  const WaitFor what_;
  const uint32_t object_;
  uint64_t word_ = 0;
  int64_t since_ns_ = 0;
  int64_t looked_ns_ = 0;
  bool told_ = false;
};

/// The half of a 64-bit word that waiters sleep on.
inline std::atomic<uint32_t>* low_half(std::atomic<uint64_t>& word) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  return reinterpret_cast<std::atomic<uint32_t>*>(&word);
}

}  // namespace heddle::shm
