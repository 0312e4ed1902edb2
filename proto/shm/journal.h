// The journal line: what a thread is about to do to one shared object, so that its last operation
// can be decided after its death. One line per thread, in a page that only the session and the
// broker map.
//
// Written by its thread alone, by plain (relaxed) stores; read by the reaper after the death is
// proved, so every store that the thread made is visible. `op` is written last when an operation
// begins and is cleared last when it ends: op == kIdle means that nothing else in the line counts.
// x86 keeps the stores in order before the CAS that follows; a compiler fence keeps the compiler
// from moving them. On weaker machines the CAS itself is a release.
//
// The reaper treats the line as a pointer to words that it then checks, never as a fact.
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle::shm {

enum class JournalOp : uint32_t {
  kIdle = 0,
  kPut = 1,       // place, length, chunk; phase 1 = claimed, so that published and withdrawn differ
  kTakeAuto = 2,  // place, id, chunk, length: about to take a ready message out in one step
  kLease = 3,     // place; phase = owner of the lease: about to lease
  // place, id, chunk, length; phase = holder: about to free the slot, then the chunk
  kAck = 4,
  kReturn = 5,    // place, id; phase = holder: about to give the message back
  kEnd = 6,       // a producer leaves, the end may have to be placed
};

inline constexpr uint64_t kPutNothing = UINT64_MAX;

struct alignas(128) JournalLine {
  std::atomic<uint32_t> op;
  std::atomic<uint32_t> phase;
  std::atomic<uint32_t> object;     // low half of the object's id
  std::atomic<uint32_t> row;        // accounting row of the thread in that object
  std::atomic<uint64_t> place;      // Place::encode()
  std::atomic<uint64_t> id;         // message id
  std::atomic<uint64_t> length;     // bytes of the body
  std::atomic<uint64_t> row_bytes;  // the row's byte counter before the operation
  std::atomic<uint64_t> row_count;  // the row's event counter before the operation
  std::atomic<uint32_t> chunk;      // chunk taking part, or kChunkNone
  std::atomic<uint32_t> holder;     // kPut: owner in whose name the slot is claimed
  std::atomic<uint64_t> aside;       // Place of a message leased only to be dropped; 0 = none
  std::atomic<uint64_t> waiting_on;  // what the thread waits for: wait_note.h
  std::atomic<uint64_t> row_third;   // a third counter of the row before the operation
  // Broker: the request (its number in the catalog) that the next put answers; 0 = none. Stays
  // until the put's outcome is recorded there.
  std::atomic<uint64_t> request;
  // Of a put that drops the oldest: the id it published, or kPutNothing, before the line serves
  // another operation; 0 = look at op, phase and id.
  std::atomic<uint64_t> published;
  std::atomic<uint32_t> waiting_since_ms;  // coarse_ms() when waiting_on was published
  std::atomic<int32_t> waiting_priority;   // of the waiter, for the choice of a victim
  std::atomic<uint64_t> waiting_room;      // of a wait at a pipe, before waiting_on: wait_note.h
};

static_assert(sizeof(JournalLine) == 128 && alignof(JournalLine) == 128);
static_assert(std::atomic<uint64_t>::is_always_lock_free &&
              std::atomic<uint32_t>::is_always_lock_free);

}  // namespace heddle::shm
