// After a death: decide the journaled operations, repair every word that names the dead, wake
// everybody.
//
// Order: journal lines first (they tell published from withdrawn), then slots and segments, then
// chunks, then rows. Every step is one CAS from a word that names the dead to a final state, so a
// second reaper finds less to do and nothing to undo. The reaper's own accounting goes through its
// own journal line like any client's.
#include "proto/shm/queue_visit.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr bool holds_message(SlotState s) {
  return s == SlotState::kReady || s == SlotState::kLeased || s == SlotState::kReturned ||
         s == SlotState::kBuried || s == SlotState::kRevoked || s == SlotState::kPending ||
         s == SlotState::kBatch || s == SlotState::kLeasedTxn;
}

}  // namespace

void Queue::reap(Actor& reaper, uint16_t dead, JournalLine* lines, size_t line_count,
                 const DeathInfo& info, JournalLine* const* origins) {
  constexpr size_t kAsidesMax = 64;
  uint64_t asides[kAsidesMax];
  size_t aside_count = 0;
  for (size_t i = 0; i < line_count; ++i) {
    const uint64_t aside = lines[i].aside.load(std::memory_order_acquire);
    if (aside != 0 && aside_count < kAsidesMax) asides[aside_count++] = aside;
    if (lines[i].object.load(std::memory_order_relaxed) == static_cast<uint32_t>(object_id()))
      reap_line(reaper, dead, lines[i], origins != nullptr ? *origins[i] : lines[i]);
  }
  reap_words(reaper, dead, asides, aside_count);
  pool_.reap(dead);
  reap_rows(reaper, dead, info);
  rebuild_returned(0, memory_.segments());
  rescan(reaper);
  wake_everyone(reaper);
}

void Queue::reap_line(Actor& reaper, uint16_t dead, JournalLine& line, JournalLine& origin) {
  const auto op = static_cast<JournalOp>(line.op.load(std::memory_order_acquire));
  const Place p = Place::decode(line.place.load(std::memory_order_relaxed));
  if (op == JournalOp::kIdle) return;
  if (op == JournalOp::kEnd) {
    after_producer_left(reaper, true);
  } else if (p.segment < memory_.segments()) {
    if (op == JournalOp::kPut) reap_put(reaper, dead, line, origin);
    if (op == JournalOp::kTakeAuto || op == JournalOp::kLease || op == JournalOp::kAck ||
        op == JournalOp::kReturn)
      reap_delivery(dead, op, line);
  }
  line.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  origin.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
}

uint64_t Queue::decide_put(JournalLine& line) const {
  const uint64_t published = line.published.load(std::memory_order_acquire);
  if (published != 0) return published == kPutNothing ? 0 : published;
  if (line.object.load(std::memory_order_relaxed) != static_cast<uint32_t>(object_id())) return 0;
  if (line.phase.load(std::memory_order_relaxed) != 1) return 0;
  const uint64_t id = line.id.load(std::memory_order_relaxed);
  const auto op = static_cast<JournalOp>(line.op.load(std::memory_order_acquire));
  if (op == JournalOp::kIdle) return id;  // it ended, and with a message put
  const Place p = Place::decode(line.place.load(std::memory_order_relaxed));
  if (op != JournalOp::kPut || p.position == 0 || p.segment >= memory_.segments()) return 0;
  const auto holder = static_cast<uint16_t>(line.holder.load(std::memory_order_relaxed));
  const SlotWord w = SlotWord::decode(ring().slot(p).word.load(std::memory_order_acquire));
  if (!claim_stands(p, w, holder)) return id;
  line.phase.store(0, std::memory_order_release);
  return 0;
}

/// Still in the hands of the producer that claimed it at `p`: not published.
bool Queue::claim_stands(Place p, SlotWord w, uint16_t holder) {
  return w.owner == holder && (w.state == SlotState::kTomb ||
                               (w.state == SlotState::kWriting && w.lap == QRing::sequence_of(p)));
}

/// Claimed and no longer in the dead's hands: put. Everything else: withdrawn.
void Queue::reap_put(Actor&, uint16_t dead, JournalLine& line, JournalLine& origin) {
  const Place p = Place::decode(line.place.load(std::memory_order_relaxed));
  const uint32_t chunk = line.chunk.load(std::memory_order_relaxed);
  const uint64_t id = line.id.load(std::memory_order_relaxed);
  // The broker puts in the name of remote sessions: the claim does not always name the dead.
  const uint16_t holder = static_cast<uint16_t>(line.holder.load(std::memory_order_relaxed));
  bool published = false;
  if (p.position != 0) {
    const SlotWord w = SlotWord::decode(ring().slot(p).word.load(std::memory_order_acquire));
    const bool still_mine = claim_stands(p, w, holder);
    published = line.phase.load(std::memory_order_relaxed) == 1 && !still_mine;
    if (still_mine) {
      // The decision before the deed: the next reaper would take the freed slot for a published
      // one.
      line.phase.store(0, std::memory_order_release);
      origin.phase.store(0, std::memory_order_release);
      ring().withdraw(p, holder);
    }
  }
  const uint32_t r = line.row.load(std::memory_order_relaxed);
  if (r < kRowsMax && row_owner(memory_.row(r).word.load()) == dead) {
    const uint64_t length = published ? line.length.load(std::memory_order_relaxed) : 0;
    memory_.row(r).bytes_in.store(line.row_bytes.load(std::memory_order_relaxed) + length);
    memory_.row(r).puts.store(line.row_count.load(std::memory_order_relaxed) + (published ? 1 : 0));
  }
  // An unpublished chunk is OWNED(dead), which the pool frees, or already QUEUED under the id it
  // would have had.
  if (!published && chunk != kChunkNone && p.position != 0) free_orphan_chunk(chunk, id, p);
}

void Queue::reap_delivery(uint16_t dead, JournalOp op, JournalLine& line) {
  const Place p = Place::decode(line.place.load(std::memory_order_relaxed));
  const uint64_t id = line.id.load(std::memory_order_relaxed);
  const SlotWord w = SlotWord::decode(ring().slot(p).word.load(std::memory_order_acquire));
  const uint32_t r = line.row.load(std::memory_order_relaxed);
  if (r >= kRowsMax || row_owner(memory_.row(r).word.load()) != dead) return;
  Row& row = memory_.row(r);
  const uint64_t bytes = line.row_bytes.load(std::memory_order_relaxed);
  const uint64_t count = line.row_count.load(std::memory_order_relaxed);
  const uint64_t length = line.length.load(std::memory_order_relaxed);
  // The broker leases and gives back in the name of remote sessions: the holder is not always the
  // dead.
  const uint16_t holder = static_cast<uint16_t>(line.phase.load(std::memory_order_relaxed));
  if (op == JournalOp::kTakeAuto) {
    if (w.state == SlotState::kFree && w.owner == holder && w.lap > QRing::sequence_of(p)) {
      row.bytes_out.store(bytes + length);
      row.takes.store(count + 1);
    }
    // Also when others have used the slot since, and nothing tells who took the message: no slot
    // holds its id, so nobody else will ever ask for the chunk.
    free_orphan_chunk(line.chunk.load(std::memory_order_relaxed), id, p);
    return;
  }
  if (op == JournalOp::kLease) {
    if (w.state == SlotState::kLeased && w.owner == holder) row.leases.store(bytes + 1);
    return;
  }
  const bool same = ring().slot(p).id.load(std::memory_order_relaxed) == id;
  if (same && w.owner == holder &&
      (w.state == SlotState::kLeased || w.state == SlotState::kRevoked))
    return;  // not done; the words tell the rest
  if (op == JournalOp::kReturn) {
    if (!(same && w.state == SlotState::kBuried)) row.ends.store(count + 1);
    return;
  }
  row.bytes_out.store(bytes + length);
  row.ends.store(count + 1);
  row.takes.store(line.row_third.load(std::memory_order_relaxed) + 1);
  free_orphan_chunk(line.chunk.load(std::memory_order_relaxed), id, p);
}

/// Frees a chunk that says QUEUED(id) although no slot holds message id any more.
void Queue::free_orphan_chunk(uint32_t chunk, uint64_t id, Place at) {
  if (chunk == kChunkNone || pool_.capacity(chunk) == 0) return;
  Slot& slot = ring().slot(at);
  const SlotWord w = SlotWord::decode(slot.word.load(std::memory_order_acquire));
  if (holds_message(w.state) && slot.id.load(std::memory_order_relaxed) == id) return;
  pool_.release(chunk, chunk_queued(id));
}

void Queue::reap_words(Actor& reaper, uint16_t dead, const uint64_t* asides, size_t aside_count) {
  each_slot([&](Place p, uint64_t raw) {
    if (SlotWord::decode(raw).owner != dead) return;
    bool counted = true;
    for (size_t i = 0; i < aside_count; ++i) {
      const Place aside = Place::decode(asides[i]);
      counted &= !(aside.segment == p.segment && QRing::index_of(aside) == QRing::index_of(p));
    }
    reap_slot(reaper, dead, p, counted);
  });
  for (uint32_t i = 0; i < memory_.segments(); ++i) {
    const uint64_t raw = memory_.segment_word(i).load(std::memory_order_acquire);
    const SegmentWord w = SegmentWord::decode(raw);
    if (w.state == SegmentState::kUnbacked) break;
    if (w.state == SegmentState::kClaimed && w.owner == dead)
      ring().resolve_claimed_segment(i, raw);
  }
}

void Queue::reap_slot(Actor& reaper, uint16_t dead, Place p, bool counted) {
  Slot& slot = ring().slot(p);
  const uint64_t raw = slot.word.load(std::memory_order_acquire);
  const SlotWord w = SlotWord::decode(raw);
  if (w.owner != dead) return;
  const uint64_t id = slot.id.load(std::memory_order_relaxed);
  switch (w.state) {
    case SlotState::kWriting:
    case SlotState::kTomb: {
      const uint32_t chunk = slot.chunk.load(std::memory_order_relaxed);
      const bool filled = (slot.flags.load(std::memory_order_relaxed) & kSlotChunk) != 0;
      ring().withdraw(p, dead);
      if (filled) free_orphan_chunk(chunk, id, p);
      break;
    }
    case SlotState::kLeased:
      give_back(reaper, p, raw, id, counted);
      break;
    case SlotState::kRevoked:
      release_revoked(reaper, p, raw, id);
      break;
    default:
      break;  // END keeps the name of who placed it
  }
}

void Queue::reap_rows(Actor& reaper, uint16_t dead, const DeathInfo& info) {
  const bool waits = header().created.on_producer_death == OnProducerDeath::kWait;
  bool producer_died = false;
  const uint32_t used = header().rows_used.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < used && i < kRowsMax; ++i) {
    Row& row = memory_.row(i);
    uint64_t word = row.word.load(std::memory_order_acquire);
    producer_died |= row_state(word) == RowState::kProducerDied;
    if (row_owner(word) != dead || row_state(word) == RowState::kEmpty) continue;
    if (row_state(word) == RowState::kProducer && !waits) {
      header().died_pid.store(info.pid);
      header().died_status.store(info.status);
      row.word.compare_exchange_strong(word, row_word(RowState::kProducerDied, 0, 0));
      producer_died = true;
      continue;
    }
    if (row_state(word) == RowState::kProducerDied) continue;
    row.bytes_reserved.store(0);
    row.leases_reserved.store(0);
    row.word.compare_exchange_strong(word, 0);
  }
  if (producer_died) after_producer_left(reaper, false);
}

/// Sets the returned bit of every RETURNED slot in segments [from, to). Returns where to go on, 0
/// at the end.
uint32_t Queue::rebuild_returned(uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; ++i) {
    if (i >= memory_.segments()) return 0;
    const uint64_t word = memory_.segment_word(i).load(std::memory_order_acquire);
    if (SegmentWord::decode(word).state == SegmentState::kUnbacked) return 0;
    for (uint32_t index = 0; index < kSlotsPerSegment; ++index) {
      const SlotWord w = SlotWord::decode(memory_.slot(i, index).word.load());
      if (w.state != SlotState::kReturned) continue;
      const uint64_t bit = uint64_t{1} << (index % 64);
      if ((memory_.returned(i, index / 64).load() & bit) == 0)
        ring().note_returned({w.lap * kSlotsPerSegment + index, i});
    }
  }
  return to;
}

void Queue::rescan(Actor& reaper) {
  QRing r = ring();
  // Hints: from the truth, whatever they said.
  Place p;
  if (r.search(&p, true)) memory_.tail_hint().store(p.encode(), std::memory_order_relaxed);
  if (r.search(&p, false)) memory_.head_hint().store(p.encode(), std::memory_order_relaxed);
  // Bits: some segments at a time from the words, the summary from all bits.
  const uint32_t from = reaper.rescanned_to;
  reaper.rescanned_to = rebuild_returned(from, from + 64);
  bool returned = false;
  for (uint32_t i = 0; i < memory_.segments(); ++i) {
    const SegmentWord w = SegmentWord::decode(memory_.segment_word(i).load());
    if (w.state == SegmentState::kUnbacked) break;
    if ((memory_.returned(i, 0).load() | memory_.returned(i, 1).load()) == 0) continue;
    memory_.returned_summary().fetch_or(uint64_t{1} << (i % 64));
    returned = true;
  }
  const Walk head = r.find_head().walk;
  if (returned || head == Walk::kFound) wake(reaper, header().ready, kDirtyReady);
  if (head == Walk::kEnd) wake_all(reaper, header().ready, kDirtyReady);
  if (header().room.word.load() & (kWakeSleepers | kWakeArmed)) {
    const Found tail = r.find_tail(reaper.owner);
    if (tail.walk == Walk::kEnd || (tail.walk == Walk::kFound && room_at(reaper, tail.place)))
      wake(reaper, header().room, kDirtyRoom);
  }
  if ((header().idle.word.load() & (kWakeSleepers | kWakeArmed)) && unfinished() == 0)
    wake_all(reaper, header().idle, kDirtyIdle);
}

bool Queue::settle(Actor& reaper) {
  const Sums before = sums(false);
  if (before.bytes_in == before.bytes_out && before.begun == before.ended) return true;
  bool empty = true;
  each_slot([&](Place, uint64_t raw) { empty &= SlotWord::decode(raw).state == SlotState::kEnd; });
  const Sums after = sums(false);
  if (!empty || before.bytes_in != after.bytes_in || before.bytes_out != after.bytes_out ||
      before.begun != after.begun || before.ended != after.ended)
    return false;
  Row& row = memory_.row(reaper.row);
  const auto level = [](std::atomic<uint64_t>& in, std::atomic<uint64_t>& out, uint64_t i,
                        uint64_t o) { i > o ? count_up(out, i - o) : count_up(in, o - i); };
  level(row.bytes_in, row.bytes_out, after.bytes_in, after.bytes_out);
  level(row.leases, row.ends, after.begun, after.ended);
  return true;
}

}  // namespace heddle::shm
