// The end of a delivery: ack, nack, bury, revoke. The slot is the lease; nothing ever moves.
#include "proto/shm/queue_visit.h"
#include "proto/shm/wake.h"

namespace heddle::shm {

/// kOk: *raw is a lease of t by its owner. A revoked one is freed here, because its holder is done
/// with the body.
Outcome Queue::check_lease(Actor& a, const Ticket& t, Place* p, uint64_t* raw) {
  *p = Place::decode(t.place);
  if (p->segment >= memory_.segments()) return Outcome::kLeaseLost;
  Slot& slot = ring().slot(*p);
  *raw = slot.word.load(std::memory_order_acquire);
  const SlotWord w = SlotWord::decode(*raw);
  if (w.owner != t.owner || slot.id.load(std::memory_order_relaxed) != t.id)
    return Outcome::kLeaseLost;
  if (w.state == SlotState::kRevoked) release_revoked(a, *p, *raw, t.id);
  return w.state == SlotState::kLeased ? Outcome::kOk : Outcome::kLeaseLost;
}

Outcome Queue::ack(Actor& a, const Ticket& t) {
  if (ack_now(a, t)) [[likely]]
    return Outcome::kOk;
  Place p;
  uint64_t raw;
  const Outcome held = check_lease(a, t, &p, &raw);
  return held == Outcome::kOk ? finish(a, p, raw, t.id, false) : held;
}

Outcome Queue::nack(Actor& a, const Ticket& t, bool counted) {
  Place p;
  uint64_t raw;
  const Outcome held = check_lease(a, t, &p, &raw);
  if (held != Outcome::kOk) return held;
  return give_back(a, p, raw, t.id, counted) ? Outcome::kOk : Outcome::kLeaseLost;
}

Outcome Queue::bury(Actor& a, const Ticket& t) {
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    Place p;
    uint64_t raw;
    const Outcome held = check_lease(a, t, &p, &raw);
    if (held != Outcome::kOk) return held;
    // This delivery has failed as well.
    const unsigned count = SlotWord::decode(raw).count;
    const auto failed = static_cast<uint8_t>(count < kCountMax ? count + 1 : count);
    if (!ring().move(p, raw, SlotState::kBuried, 0, failed)) continue;
    after_removal(a);
    return Outcome::kOk;
  }
  return Outcome::kCorrupt;
}

/// LEASED -> free, then the chunk, then the accounts. The word may be carried to a later lap
/// meanwhile.
Outcome Queue::finish(Actor& a, Place p, uint64_t raw, uint64_t id, bool dropped) {
  Slot& slot = ring().slot(p);
  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const SlotWord leased = SlotWord::decode(raw);
  const uint64_t length = slot.length.load(std::memory_order_relaxed);
  const bool in_chunk = slot.flags.load(std::memory_order_relaxed) & kSlotChunk;
  const uint32_t chunk = in_chunk ? slot.chunk.load(std::memory_order_relaxed) : kChunkNone;
  auto& removed = dropped ? row.drops : row.takes;
  journal_delivery(a, p, id, row.ends.load(std::memory_order_relaxed));
  j.phase.store(leased.owner, std::memory_order_relaxed);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(chunk, std::memory_order_relaxed);
  j.row_bytes.store(row.bytes_out.load(std::memory_order_relaxed), std::memory_order_relaxed);
  j.row_third.store(row.takes.load(std::memory_order_relaxed), std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kAck), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bool mine = false;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    mine = ring().release(p, raw, a.owner);
    if (mine) break;
    raw = slot.word.load(std::memory_order_acquire);
    const SlotWord w = SlotWord::decode(raw);
    if (w.state != SlotState::kLeased || w.owner != leased.owner ||
        slot.id.load(std::memory_order_relaxed) != id)
      break;
  }
  if (mine) {
    if (in_chunk && chunk != kChunkNone) pool_.release(chunk, chunk_queued(id));
    count_up(row.bytes_out, length);
    count_up(removed, 1);
    count_up(row.ends, 1);
  }
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  if (!mine) {
    settle_revoked(a, p, raw, id, a.owner);
    return Outcome::kLeaseLost;
  }
  wake(a, header().room, kDirtyRoom);
  after_removal(a);
  return Outcome::kOk;
}

/// The holder of a revoked message is done: slot and chunk go. Its accounts were closed by the
/// purge.
void Queue::release_revoked(Actor& a, Place p, uint64_t raw, uint64_t id) {
  Slot& slot = ring().slot(p);
  const bool in_chunk = slot.flags.load(std::memory_order_relaxed) & kSlotChunk;
  const uint32_t chunk = in_chunk ? slot.chunk.load(std::memory_order_relaxed) : kChunkNone;
  const uint16_t holder = SlotWord::decode(raw).owner;
  // The chunk first: its word names this message, and a reaper that finds the slot does the same
  // again.
  if (chunk != kChunkNone && pool_.capacity(chunk) != 0) pool_.release(chunk, chunk_queued(id));
  for (uint32_t tries = 0; tries < kTriesMax && !ring().release(p, raw, a.owner); ++tries) {
    raw = slot.word.load(std::memory_order_acquire);
    const SlotWord w = SlotWord::decode(raw);
    if (w.state != SlotState::kRevoked || w.owner != holder ||
        slot.id.load(std::memory_order_relaxed) != id)
      return;
  }
}

/// After a lease of `holder` was lost in the middle of its end: if a purge took it, nobody else
/// will free it.
void Queue::settle_revoked(Actor& a, Place p, uint64_t raw, uint64_t id, uint16_t holder) {
  const SlotWord w = SlotWord::decode(raw);
  if (w.state == SlotState::kRevoked && w.owner == holder &&
      ring().slot(p).id.load(std::memory_order_relaxed) == id)
    release_revoked(a, p, raw, id);
}

/// LEASED -> RETURNED in place, or BURIED when its deliveries are used up. False if the lease was
/// lost.
bool Queue::give_back(Actor& a, Place p, uint64_t raw, uint64_t id, bool counted) {
  Slot& slot = ring().slot(p);
  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const uint16_t holder = SlotWord::decode(raw).owner;
  const uint64_t ends = row.ends.load(std::memory_order_relaxed);
  journal_delivery(a, p, id, ends);
  j.phase.store(holder, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kReturn), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bool mine = false, buried = false;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const SlotWord w = SlotWord::decode(raw);
    if (w.state != SlotState::kLeased || w.owner != holder ||
        slot.id.load(std::memory_order_relaxed) != id)
      break;
    const unsigned failed = w.count + (counted && w.count < kCountMax ? 1u : 0u);
    const uint32_t max = header().max_deliveries.load(std::memory_order_relaxed);
    buried = max != 0 && failed >= max;
    if (!buried) ring().note_returned(p);
    mine = ring().move(p, raw, buried ? SlotState::kBuried : SlotState::kReturned, 0,
                       static_cast<uint8_t>(failed));
    if (mine) break;
    raw = slot.word.load(std::memory_order_acquire);
  }
  if (mine && !buried) row.ends.store(ends + 1, std::memory_order_release);
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  if (mine) {
    wake(a, header().ready, kDirtyReady);
    after_removal(a);
  } else {
    settle_revoked(a, p, raw, id, holder);
  }
  return mine;
}

/// Something left the queue or came to rest: joiners, and consumers that wait before an END, may go
/// on.
void Queue::tell_removal(Actor& a) {
  constexpr uint32_t kSomebody = kWakeSleepers | kWakeArmed;
  if ((header().idle.word.load(std::memory_order_relaxed) & kSomebody) && unfinished() == 0)
    wake_all(a, header().idle, kDirtyIdle);
  if ((header().ready.word.load(std::memory_order_relaxed) & kSomebody) &&
      ring().find_head().walk == Walk::kEnd)
    wake_all(a, header().ready, kDirtyReady);
}

/// Takes any resting message out of the queue. Leased by the caller for an instant, marked as set
/// aside.
bool Queue::drop(Actor& a, Place p, uint64_t raw) {
  const bool was_buried = SlotWord::decode(raw).state == SlotState::kBuried;
  a.journal->aside.store(p.encode(), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const uint64_t id = ring().slot(p).id.load(std::memory_order_relaxed);
  bool dropped = lease_announced(a, p, &raw, !was_buried);  // a buried message has kept its count
  if (dropped) {
    forget_returned(p, raw);
    dropped = finish(a, p, raw, id, true) == Outcome::kOk;
  }
  a.journal->aside.store(0, std::memory_order_relaxed);
  return dropped;
}

/// LEASED(x) -> REVOKED(x): gone from the queue, but the body stays until x is done with it.
bool Queue::revoke(Actor& a, Place p, uint64_t raw) {
  Slot& slot = ring().slot(p);
  const SlotWord w = SlotWord::decode(raw);
  const uint64_t length = slot.length.load(std::memory_order_relaxed);
  if (!ring().move(p, raw, SlotState::kRevoked, w.owner, w.count)) return false;
  Row& row = memory_.row(a.row);
  count_up(row.bytes_out, length);
  count_up(row.drops, 1);
  count_up(row.ends, 1);
  return true;
}

Outcome Queue::purge(Actor& a, unsigned states, uint64_t* purged) {
  *purged = 0;
  if (states & kReadyMask) {
    uint32_t tries = 0;
    for (Found at = ring().find_head(); at.walk == Walk::kFound && tries < kTriesMax;
         at = ring().find_head()) {
      if (!drop(a, at.place, at.word)) {
        ++tries;
        continue;
      }
      ring().store_head_hint(at.place);
      ++*purged;
    }
  }
  each_slot([&](Place p, uint64_t raw) {
    const unsigned wanted = (states & kReturnedMask ? 1u << unsigned(SlotState::kReturned) : 0) |
                            (states & kBuriedMask ? 1u << unsigned(SlotState::kBuried) : 0) |
                            (states & kLeasedMask ? 1u << unsigned(SlotState::kLeased) : 0);
    *purged += remove(a, p, raw, wanted);
  });
  wake_everyone(a);
  return Outcome::kOk;
}

/// READY -> free in one step, wherever it stands. No lease: in the middle of the queue a lease that
/// is given back would overtake what stands before it.
bool Queue::remove_ready(Actor& a, Place p, uint64_t raw) {
  Slot& slot = ring().slot(p);
  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const uint64_t length = slot.length.load(std::memory_order_relaxed);
  const uint64_t id = slot.id.load(std::memory_order_relaxed);
  const bool in_chunk = slot.flags.load(std::memory_order_relaxed) & kSlotChunk;
  const uint32_t chunk = in_chunk ? slot.chunk.load(std::memory_order_relaxed) : kChunkNone;
  journal_delivery(a, p, id, row.takes.load(std::memory_order_relaxed));
  j.phase.store(a.owner, std::memory_order_relaxed);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(chunk, std::memory_order_relaxed);
  j.row_bytes.store(row.bytes_out.load(std::memory_order_relaxed), std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(JournalOp::kTakeAuto), std::memory_order_release);
  ring().note_skip(p.segment, QRing::sequence_of(p));
  const bool mine = ring().consume(p, raw, a.owner);
  if (mine) {
    if (chunk != kChunkNone) pool_.release(chunk, chunk_queued(id));
    count_up(row.bytes_out, length);
    count_up(row.drops, 1);
  }
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  return mine;
}

/// Takes the message that stood at `raw` out, if it is in one of the wanted states. A producer may
/// carry the word to its own lap at the same moment; the message is the same as long as its id is.
bool Queue::remove(Actor& a, Place p, uint64_t raw, unsigned wanted_states) {
  Slot& slot = ring().slot(p);
  const uint64_t id = slot.id.load(std::memory_order_relaxed);
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const SlotState state = SlotWord::decode(raw).state;
    if ((wanted_states >> static_cast<unsigned>(state) & 1) == 0) return false;
    if (state == SlotState::kLeased && revoke(a, p, raw)) return true;
    if (state == SlotState::kReady && remove_ready(a, p, raw)) return true;
    if ((state == SlotState::kReturned || state == SlotState::kBuried) && drop(a, p, raw))
      return true;
    const uint64_t now = slot.word.load(std::memory_order_acquire);
    if (now == raw || slot.id.load(std::memory_order_relaxed) != id) return false;
    raw = now;
  }
  return false;
}

Outcome Queue::purge_one(Actor& a, uint64_t id) {
  Outcome outcome = Outcome::kEmpty;
  each_slot([&](Place p, uint64_t raw) {
    if (memory_.slot(p.segment, QRing::index_of(p)).id.load(std::memory_order_relaxed) != id)
      return;
    if (remove(a, p, raw, ~0u)) outcome = Outcome::kOk;
  });
  if (outcome == Outcome::kOk) wake_everyone(a);
  return outcome;
}

Outcome Queue::kick(Actor& a, uint32_t max, uint32_t* kicked) {
  *kicked = 0;
  for (uint32_t tries = 0; *kicked < max && tries < kTriesMax; ++tries) {
    Place oldest{};
    uint64_t oldest_raw = 0, best = UINT64_MAX;
    each_slot([&](Place p, uint64_t raw) {
      const uint64_t id =
          memory_.slot(p.segment, QRing::index_of(p)).id.load(std::memory_order_relaxed);
      if (SlotWord::decode(raw).state != SlotState::kBuried || id >= best) return;
      best = id;
      oldest = p;
      oldest_raw = raw;
    });
    if (best == UINT64_MAX) break;
    // Journaled like a nack: not done is what still is BURIED.
    Row& row = memory_.row(a.row);
    JournalLine& j = *a.journal;
    journal_delivery(a, oldest, best, row.ends.load(std::memory_order_relaxed));
    j.phase.store(0, std::memory_order_relaxed);
    j.op.store(static_cast<uint32_t>(JournalOp::kReturn), std::memory_order_release);
    ring().note_returned(oldest);
    const bool mine = ring().move(oldest, oldest_raw, SlotState::kReturned, 0, 0);
    if (mine) count_up(row.ends, 1);
    j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
    *kicked += mine;
    wake(a, header().ready, kDirtyReady);
  }
  return Outcome::kOk;
}

}  // namespace heddle::shm
