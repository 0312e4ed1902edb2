// Putting: body first, then one claim and one publish. Crash story in queue.h.
#include <cstring>

#include "proto/shm/flatten.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

void journal_begin(JournalLine& j, JournalOp op, uint64_t object_id, uint32_t row) {
  j.phase.store(0, std::memory_order_relaxed);
  j.object.store(static_cast<uint32_t>(object_id), std::memory_order_relaxed);
  j.row.store(row, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(op), std::memory_order_release);
}

void journal_end(JournalLine& j) {
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
}

}  // namespace

Outcome Queue::put(Actor& a, const MessageIn& m, int64_t deadline_ns, uint64_t* id) {
  if (put_now(a, m, id)) [[likely]] {
    ++a.burst;
    wake(a, header().ready, kDirtyReady);
    return Outcome::kOk;
  }
  uint32_t chunk = kChunkNone;
  Outcome outcome = with_chunk(a, m, &chunk);
  if (outcome == Outcome::kOk) outcome = put_body(a, m, chunk, deadline_ns, id);
  if (outcome != Outcome::kOk && chunk != kChunkNone) pool_.release(chunk, chunk_owned(a.owner));
  if (outcome == Outcome::kOk) wake(a, header().ready, kDirtyReady);
  return outcome;
}

Outcome Queue::put_many(Actor& a, const MessageIn* m, size_t n, int64_t deadline_ns, size_t* done,
                        uint64_t* ids) {
  Outcome outcome = Outcome::kOk;
  size_t i = 0;
  for (; i < n && outcome == Outcome::kOk; ++i) {
    uint32_t chunk = kChunkNone;
    uint64_t id = 0;
    if (put_now(a, m[i], &id)) [[likely]] {
      if (ids != nullptr) ids[i] = id;
      continue;
    }
    outcome = with_chunk(a, m[i], &chunk);
    if (outcome == Outcome::kOk) outcome = put_body(a, m[i], chunk, kTry, &id);
    if (outcome == Outcome::kFull && deadline_ns != kTry &&
        header().created.overflow == Overflow::kBlock) {
      // Nobody may sleep on messages that were not announced yet.
      if (i > 0) wake(a, header().ready, kDirtyReady);
      outcome = put_body(a, m[i], chunk, deadline_ns, &id);
    }
    if (outcome != Outcome::kOk && chunk != kChunkNone) pool_.release(chunk, chunk_owned(a.owner));
    if (outcome == Outcome::kOk && ids != nullptr) ids[i] = id;
  }
  *done = outcome == Outcome::kOk ? n : i - 1;
  if (*done > 0) wake(a, header().ready, kDirtyReady);
  return outcome;
}

Outcome Queue::loan(Actor& a, uint64_t bytes, Loan* out) {
  if (bytes > header().created.max_msg_bytes ||
      bytes > header().max_bytes.load(std::memory_order_relaxed))
    return Outcome::kTooLarge;
  const uint32_t chunk = pool_.take(a.owner, bytes, &a.cursors);
  if (chunk == kChunkNone) return Outcome::kMemoryExhausted;
  const ChunkPool::Span span = pool_.locate(chunk);
  if (span.capacity < bytes) return Outcome::kCorrupt;
  *out = {span.data, span.capacity, chunk};
  return Outcome::kOk;
}

Outcome Queue::commit(Actor& a, Loan& loan, uint64_t length, uint8_t kind, int64_t deadline_ns,
                      uint64_t* id) {
  if (length > loan.capacity || length > header().created.max_msg_bytes) return Outcome::kTooLarge;
  const MessageIn m{loan.data, length, kind};
  const Outcome outcome = put_body(a, m, loan.chunk, deadline_ns, id);
  if (outcome != Outcome::kOk) return outcome;  // the loan stays with the caller
  loan = {};
  wake(a, header().ready, kDirtyReady);
  return outcome;
}

void Queue::discard(Actor& a, Loan& loan) {
  if (loan.chunk != kChunkNone) pool_.release(loan.chunk, chunk_owned(a.owner));
  loan = {};
}

/// Checks the size, and copies a large body into a chunk of its own before anything is claimed.
Outcome Queue::with_chunk(Actor& a, const MessageIn& m, uint32_t* chunk) {
  if (m.length > header().created.max_msg_bytes ||
      m.length > header().max_bytes.load(std::memory_order_relaxed))
    return Outcome::kTooLarge;
  if (m.length <= kInlineBytes) return Outcome::kOk;
  *chunk = pool_.take(a.owner, m.length, &a.cursors);
  if (*chunk == kChunkNone) return Outcome::kMemoryExhausted;
  const ChunkPool::Span span = pool_.locate(*chunk);
  if (span.capacity < m.length) return Outcome::kCorrupt;
  std::memcpy(span.data, m.data, m.length);
  return Outcome::kOk;
}

Outcome Queue::put_body(Actor& a, const MessageIn& m, uint32_t chunk, int64_t deadline_ns,
                        uint64_t* id) {
  if (deadline_ns == kTry || header().created.overflow != Overflow::kBlock)
    return try_put(a, m, chunk, id);
  return wait_on(a, header().room, deadline_ns, [&](bool* done) {
    const Outcome outcome = try_put(a, m, chunk, id);
    *done = outcome != Outcome::kFull;
    if (!*done) give_back_reserved(a);
    return outcome;
  });
}

Outcome Queue::try_put(Actor& a, const MessageIn& m, uint32_t chunk, uint64_t* id) {
  const Outcome outcome = claim_publish(a, m, chunk, id);
  if (outcome == Outcome::kFull && header().created.overflow == Overflow::kDropOldest)
    return put_dropping(a, m, chunk, id);
  return outcome;
}

/// drop_oldest: the oldest is leased, which makes room, the new one is published, then the oldest
/// is freed. A death in between leaves the oldest where it was. Leased and returned messages are
/// never dropped.
Outcome Queue::put_dropping(Actor& a, const MessageIn& m, uint32_t chunk, uint64_t* id) {
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const Found oldest = ring().find_head();
    if (oldest.walk == Walk::kCorrupt) return Outcome::kCorrupt;
    if (oldest.walk != Walk::kFound) return Outcome::kFull;
    uint64_t raw = oldest.word;
    const uint64_t dropped_id = ring().slot(oldest.place).id.load(std::memory_order_relaxed);
    a.journal->aside.store(oldest.place.encode(), std::memory_order_relaxed);
    a.journal->phase.store(0, std::memory_order_release);
    a.journal->published.store(0, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (!lease_announced(a, oldest.place, &raw, true)) continue;
    ring().store_head_hint(oldest.place);
    const Outcome outcome = claim_publish(a, m, chunk, id);
    a.journal->published.store(outcome == Outcome::kOk ? *id : kPutNothing,
                               std::memory_order_release);
    if (outcome == Outcome::kOk || outcome == Outcome::kFull) {
      finish(a, oldest.place, raw, dropped_id, true);
    } else {
      give_back(a, oldest.place, raw, dropped_id, false);
    }
    a.journal->aside.store(0, std::memory_order_relaxed);
    if (outcome != Outcome::kFull) return outcome;
  }
  return Outcome::kCorrupt;
}

HEDDLE_FLATTEN Outcome Queue::claim_publish(Actor& a, const MessageIn& m, uint32_t chunk,
                                            uint64_t* id) {
  expect_slot(memory_.tail_hint(), true);
  if (!bytes_allow(a, m.length)) return Outcome::kFull;
  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const uint64_t bytes = row.bytes_in.load(std::memory_order_relaxed);
  const uint64_t puts = row.puts.load(std::memory_order_relaxed);
  j.length.store(m.length, std::memory_order_relaxed);
  j.chunk.store(chunk, std::memory_order_relaxed);
  j.holder.store(a.owner, std::memory_order_relaxed);
  j.row_bytes.store(bytes, std::memory_order_relaxed);
  j.row_count.store(puts, std::memory_order_relaxed);
  j.place.store(0, std::memory_order_relaxed);
  journal_begin(j, JournalOp::kPut, object_id(), a.row);
  Outcome failure = Outcome::kOk;
  QRing r = ring();
  Place p;
  for (uint32_t tries = 0;; ++tries) {
    uint64_t raw;
    const Walk walk = tries < kTriesMax ? r.find_tail(a.owner, &p, &raw) : Walk::kCorrupt;
    if (walk == Walk::kNoMemory) {
      // No slot is left in the chain, and no segment for more of it. Where the queue is full
      // anyway, room is what is missing.
      const bool full = size() >= header().max_len.load(std::memory_order_relaxed);
      failure = full ? Outcome::kFull : Outcome::kMemoryExhausted;
      break;
    }
    if (walk != Walk::kFound) {
      failure = walk == Walk::kEnd ? Outcome::kClosed : Outcome::kCorrupt;
      break;
    }
    if (!room_at(a, p)) {
      failure = Outcome::kFull;
      break;
    }
    j.id.store(QRing::message_id(p), std::memory_order_relaxed);
    j.place.store(p.encode(), std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (!r.claim(p, raw, a.owner)) continue;
    j.phase.store(1, std::memory_order_release);
    fill(a, p, m, chunk);
    if (r.publish(p, a.owner)) break;
    j.phase.store(0, std::memory_order_release);
    if (chunk != kChunkNone) pool_.unqueue(chunk, a.owner);
    r.withdraw(p, a.owner);
  }
  if (failure == Outcome::kOk) {
    prefetch_ahead(p);
    r.store_tail_hint(p);
    row.bytes_in.store(bytes + m.length, std::memory_order_release);
    row.puts.store(puts + 1, std::memory_order_release);
    *id = QRing::message_id(p);
  } else {
    a.bytes_allowed += m.length;
  }
  if (a.bytes_allowed == 0 || failure != Outcome::kOk) give_back_reserved(a);
  journal_end(j);
  return failure;
}

/// The head seen last does not prove that there is room.
bool Queue::room_beyond(Actor& a, Place at, uint64_t max) {
  const bool none_returned = memory_.returned_summary().load(std::memory_order_acquire) == 0;
  QRing r = ring();
  const Place hinted = Place::decode(memory_.head_hint().load(std::memory_order_relaxed));
  if (hinted.position <= at.position) a.head_seen = hinted.position;
  if (at.position < a.head_seen + max && none_returned) return true;
  const Place head = r.head_place();
  a.head_seen = head.position;
  if (at.position <= head.position) return true;  // the claim decides
  const uint64_t distance = at.position - head.position + returned_count();
  return distance < max || distance - r.skipped_between(head, at) < max;
}

void Queue::fill(Actor& a, Place p, const MessageIn& m, uint32_t chunk) {
  Slot& slot = ring().slot(p);
  if (slot.flags.load(std::memory_order_relaxed) & kSlotChunk)
    a.cursors.offered = slot.chunk.load(std::memory_order_relaxed);
  const uint64_t id = QRing::message_id(p);
  slot.id.store(id, std::memory_order_relaxed);
  slot.length.store(static_cast<uint32_t>(m.length), std::memory_order_relaxed);
  slot.chunk.store(chunk, std::memory_order_relaxed);
  slot.kind.store(m.kind, std::memory_order_relaxed);
  slot.flags.store(chunk == kChunkNone ? 0 : kSlotChunk, std::memory_order_relaxed);
  slot.extension_bytes.store(0, std::memory_order_relaxed);
  if (chunk != kChunkNone) {
    pool_.queue(chunk, id);
    return;
  }
  // Word by word and atomic, because an entombed producer may still be in here while the slot is
  // read.
  const auto* from = static_cast<const std::byte*>(m.data);
  const uint64_t words = m.length / 8, rest = m.length % 8;
  for (uint64_t i = 0; i < words; ++i) {
    uint64_t word;
    std::memcpy(&word, from + i * 8, 8);
    slot.body[i].store(word, std::memory_order_relaxed);
  }
  if (rest != 0) {
    uint64_t word = 0;
    std::memcpy(&word, from + words * 8, rest);
    slot.body[words].store(word, std::memory_order_relaxed);
  }
}

}  // namespace heddle::shm
