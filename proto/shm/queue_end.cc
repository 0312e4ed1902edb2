// The end of a stream, and the registrations of producers that may bring it about.
//
// END is a slot: placed by CAS at the tail, so every put either stands before it or meets it. A
// registration is a row in state PRODUCER; there is no count. The dead one's row turns to
// PRODUCER_DIED before END is considered, so the cause is decided by rows that stay until the end
// stands.
#include "proto/shm/wake.h"

namespace heddle::shm {

Outcome Queue::place_end(Actor& a, EndCause cause) {
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const Found at = ring().for_end().find_tail(a.owner);
    if (at.walk == Walk::kEnd) return Outcome::kOk;
    if (at.walk == Walk::kNoMemory) return Outcome::kMemoryExhausted;
    if (at.walk != Walk::kFound) return Outcome::kCorrupt;
    if (!ring().claim_end(at, a.owner, static_cast<uint8_t>(cause))) continue;
    wake_everyone(a);
    return Outcome::kOk;
  }
  return Outcome::kCorrupt;
}

Outcome Queue::shutdown(Actor& a, bool immediate) {
  const Outcome outcome = place_end(a, EndCause::kClean);
  if (outcome != Outcome::kOk || !immediate) {
    if (outcome == Outcome::kOk) wake_everyone(a);
    return outcome;
  }
  uint64_t purged;
  return purge(a, kReadyMask | kReturnedMask, &purged);
}

Outcome Queue::reopen(Actor& a) {
  for (uint32_t i = 0; i < kRowsMax; ++i) {
    uint64_t word = memory_.row(i).word.load(std::memory_order_acquire);
    if (row_state(word) == RowState::kProducerDied)
      memory_.row(i).word.compare_exchange_strong(word, 0);
  }
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const Place p = ring().tail_place();
    const uint64_t raw = ring().slot(p).word.load(std::memory_order_acquire);
    const SlotWord w = SlotWord::decode(raw);
    if (w.state != SlotState::kEnd || w.lap != QRing::sequence_of(p)) return Outcome::kOk;
    if (!ring().remove_end(p, raw, a.owner)) continue;
    wake_everyone(a);
    return Outcome::kOk;
  }
  return Outcome::kCorrupt;
}

uint32_t Queue::free_row(uint64_t claim) {
  for (uint32_t i = 0; i < kRowsMax; ++i) {
    auto& word = memory_.row(i).word;
    if (word.load(std::memory_order_relaxed) != 0) continue;
    auto& used = header().rows_used;
    uint32_t seen = used.load(std::memory_order_relaxed);
    while (seen < i + 1 && !used.compare_exchange_weak(seen, i + 1)) {
    }
    if (!memory_.back_row(i)) return kRowNone;
    uint64_t empty = 0;
    if (word.compare_exchange_strong(empty, claim)) return i;
  }
  return kRowNone;
}

Outcome Queue::enter(Actor& a) {
  a.row = free_row(row_word(RowState::kThread, a.owner, a.thread));
  a.head_seen = 0;
  a.bytes_allowed = 0;
  a.leases_allowed = 0;
  return a.row == kRowNone ? Outcome::kTooManyThreads : Outcome::kOk;
}

void Queue::leave(Actor& a) {
  if (a.row == kRowNone) return;
  give_back_reserved(a);
  uint64_t mine = row_word(RowState::kThread, a.owner, a.thread);
  memory_.row(a.row).word.compare_exchange_strong(mine, 0);
  a.row = kRowNone;
}

Outcome Queue::register_producer(Actor& a, uint32_t* cell, uint64_t key) {
  *cell = free_row(producer_word(a.owner, key));
  return *cell == kRowNone ? Outcome::kTooManyThreads : Outcome::kOk;
}

bool Queue::next_producer(uint32_t* cell, uint16_t* owner, uint64_t* key) const {
  const uint32_t used = header().rows_used.load(std::memory_order_acquire);
  for (; *cell < used && *cell < kRowsMax; ++*cell) {
    const uint64_t word = memory_.row(*cell).word.load(std::memory_order_acquire);
    if (row_state(word) != RowState::kProducer) continue;
    *owner = row_owner(word);
    *key = producer_key(word);
    return true;
  }
  return false;
}

void Queue::unregister_producer(Actor& a, uint32_t cell) {
  if (cell >= kRowsMax) return;
  JournalLine& j = *a.journal;
  j.object.store(static_cast<uint32_t>(object_id()), std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kEnd), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  uint64_t word = memory_.row(cell).word.load(std::memory_order_acquire);
  if (row_state(word) == RowState::kProducer && row_owner(word) == a.owner &&
      memory_.row(cell).word.compare_exchange_strong(word, 0))
    after_producer_left(a, true);
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
}

/// The end is due when the last registration is gone: by policy if one of them died, else if eos
/// asks for it.
void Queue::after_producer_left(Actor& a, bool one_left_cleanly) {
  bool died = false;
  const uint32_t used = header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i) {
    const RowState state = row_state(memory_.row(i).word.load(std::memory_order_acquire));
    if (state == RowState::kProducer) return;
    died |= state == RowState::kProducerDied;
  }
  const OnProducerDeath policy = header().created.on_producer_death;
  if (died && policy != OnProducerDeath::kWait) {
    place_end(a, policy == OnProducerDeath::kError ? EndCause::kProducerDied : EndCause::kClean);
  } else if (one_left_cleanly && header().created.eos == Eos::kLastProducer) {
    place_end(a, EndCause::kClean);
  }
}

}  // namespace heddle::shm
