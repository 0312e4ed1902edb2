// Taking: returned messages first (they are older), then the head.
#include <bit>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/flatten.h"
#include "proto/shm/queue_visit.h"
#include "proto/shm/wake.h"

namespace heddle::shm {

Outcome Queue::take(Actor& a, TakeMode mode, Taken* out, int64_t deadline_ns) {
  if (mode == TakeMode::kAuto ? take_now<TakeMode::kAuto>(a, out)
                              : take_now<TakeMode::kLease>(a, out)) [[likely]]
    return Outcome::kOk;
  return wait_on(a, header().ready, deadline_ns, [&](bool* done) {
    const Outcome outcome = try_take(a, mode, out);
    *done = outcome != Outcome::kEmpty;
    return outcome;
  });
}

Outcome Queue::try_take(Actor& a, TakeMode mode, Taken* out) {
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    expect_slot(memory_.head_hint(), false);
    bool lost = false;
    Outcome outcome;
    if (memory_.returned_summary().load(std::memory_order_acquire) != 0) {
      outcome = try_take_returned(a, mode, out, &lost);
      if (lost) continue;
      if (outcome != Outcome::kEmpty) return outcome;
    }
    Place p;
    uint64_t raw;
    const Walk walk = ring().find_head(&p, &raw);
    if (walk != Walk::kFound) [[unlikely]] {
      if (walk == Walk::kEnd) return end_of_stream(a, raw);
      return walk == Walk::kEmpty ? Outcome::kEmpty : Outcome::kCorrupt;
    }
    outcome = take_found(a, mode, p, raw, out, &lost);
    if (lost) continue;
    if (outcome == Outcome::kOk) {
      if (a.burst >= kBurst) prefetch_ahead(p);
      ring().store_head_hint(p);
      wake_next(a);
      wake(a, header().room, kDirtyRoom);
    }
    return outcome;
  }
  return Outcome::kCorrupt;
}

void Queue::wake_if_more(Actor& a) {
  if (memory_.returned_summary().load() != 0 || ring().find_head().walk != Walk::kEmpty)
    wake(a, header().ready, kDirtyReady);
}

/// Auto, and there is room for the body: copy, then one CAS; a lost CAS makes the copy worthless.
/// Everything else is leased.
HEDDLE_FLATTEN Outcome Queue::take_found(Actor& a, TakeMode mode, Place p, uint64_t raw, Taken* out,
                                         bool* lost) {
  Slot& slot = ring().slot(p);
  const uint32_t length = slot.length.load(std::memory_order_relaxed);
  const bool in_chunk = slot.flags.load(std::memory_order_relaxed) & kSlotChunk;
  Row& row = memory_.row(a.row);
  JournalLine& j = *a.journal;
  const bool consume = mode == TakeMode::kAuto && (!in_chunk || length <= out->large_room_bytes);
  const bool frees_chunk = consume && in_chunk;
  const uint32_t chunk = frees_chunk ? slot.chunk.load(std::memory_order_relaxed) : kChunkNone;
  const uint64_t id = frees_chunk ? slot.id.load(std::memory_order_relaxed) : 0;
  if (!consume && !leases_allow(a)) return Outcome::kTooManyLeases;
  const uint64_t before = (consume ? row.bytes_out : row.leases).load(std::memory_order_relaxed);
  const uint64_t takes = row.takes.load(std::memory_order_relaxed);
  journal_delivery(a, p, id, takes);
  j.phase.store(a.owner, std::memory_order_relaxed);
  j.length.store(length, std::memory_order_relaxed);
  j.chunk.store(chunk, std::memory_order_relaxed);
  j.row_bytes.store(before, std::memory_order_relaxed);
  j.op.store(static_cast<uint32_t>(consume ? JournalOp::kTakeAuto : JournalOp::kLease),
             std::memory_order_release);
  if (in_chunk) expect_body(slot, length);
  if (consume) describe(p, raw, out);
  if (frees_chunk) copy_from_chunk(chunk, length, out);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (consume) {
    *lost = !ring().consume(p, raw, a.owner);
    if (!*lost) {
      row.bytes_out.store(before + length, std::memory_order_release);
      row.takes.store(takes + 1, std::memory_order_release);
      if (frees_chunk) pool_.release(chunk, chunk_queued(id));
    }
  } else {
    *lost = !ring().lease(p, &raw, a.owner);
    if (!*lost) {
      row.leases.store(before + 1, std::memory_order_release);
      slot.leased_ms.store(coarse_ms(), std::memory_order_relaxed);
      describe(p, raw, out);  // now nobody else can change it
      out->leased = true;
      out->ticket.owner = a.owner;
    } else {
      ++a.leases_allowed;
    }
    if (a.leases_allowed == 0) give_back_reserved(a);
  }
  j.op.store(static_cast<uint32_t>(JournalOp::kIdle), std::memory_order_release);
  if (consume && !*lost) after_removal(a);
  return Outcome::kOk;
}

/// The body will be read and its chunk freed: the lines are asked for while the lease is taken.
void Queue::expect_body(const Slot& slot, uint64_t length) const {
  constexpr uint64_t kLine = 64, kAheadMax = 1024;
  const uint32_t chunk = slot.chunk.load(std::memory_order_relaxed);
  pool_.expect_write(chunk);
  const ChunkPool::Span span = pool_.locate(chunk);
  if (span.capacity < length) return;
  const uint64_t ahead = length < kAheadMax ? length : kAheadMax;
  for (uint64_t at = 0; at < ahead; at += kLine) __builtin_prefetch(span.data + at);
}

void Queue::copy_inline(Place p, uint64_t length, void* to) const {
  const Slot& slot = ring().slot(p);
  auto* at = static_cast<std::byte*>(to);
  const uint64_t words = length / 8, rest = length % 8;
  for (uint64_t i = 0; i < words; ++i) {
    const uint64_t word = slot.body[i].load(std::memory_order_relaxed);
    std::memcpy(at + i * 8, &word, 8);
  }
  if (rest != 0) {
    const uint64_t word = slot.body[words].load(std::memory_order_relaxed);
    std::memcpy(at + words * 8, &word, rest);
  }
}

/// As long as nothing proves what the slot said, so is this: never more than the chunk has, or the
/// room.
void Queue::copy_from_chunk(uint32_t chunk, uint64_t length, Taken* out) const {
  const ChunkPool::Span span = pool_.locate(chunk);
  if (length > span.capacity) length = span.capacity;
  copy_unproved(out->large_room, span.data, length);
  out->length = length;
  out->data = out->large_room;
}

/// Copies out what the slot says. Before a CAS that proves it, all of it may be nonsense, so it is
/// bounded.
void Queue::describe(Place p, uint64_t raw, Taken* out) const {
  const Slot& slot = ring().slot(p);
  out->id = slot.id.load(std::memory_order_relaxed);
  out->length = slot.length.load(std::memory_order_relaxed);
  out->kind = slot.kind.load(std::memory_order_relaxed);
  out->count = SlotWord::decode(raw).count;
  out->leased = false;
  out->ticket = {out->id, p.encode(), kChunkNone, 0, 0};
  if (slot.flags.load(std::memory_order_relaxed) & kSlotChunk) {
    const uint32_t chunk = slot.chunk.load(std::memory_order_relaxed);
    const ChunkPool::Span span = pool_.locate(chunk);
    if (out->length > span.capacity) out->length = span.capacity;
    out->ticket.chunk = chunk;
    out->data = span.capacity == 0 ? out->room : span.data;
    return;
  }
  if (out->length > kInlineBytes) out->length = kInlineBytes;
  copy_inline(p, out->length, out->room);
  out->data = out->room;
}

/// Clears the bit of a message that was just taken or is gone. Whoever holds the slot by now may be
/// on the way to return it and have set the bit already, so the bit is set again unless the word
/// still is `mine`.
void Queue::forget_returned(Place p, uint64_t mine) const {
  QRing r = ring();
  r.forget_returned(p);
  const uint64_t now = r.slot(p).word.load(std::memory_order_seq_cst);
  const SlotState state = SlotWord::decode(now).state;
  if (now != mine && (state == SlotState::kReturned || state == SlotState::kLeased))
    r.note_returned(p);
}

bool Queue::find_returned(Found* at) const {
  uint64_t summary = memory_.returned_summary().load(std::memory_order_acquire);
  uint64_t best = UINT64_MAX;
  for (; summary != 0; summary &= summary - 1) {
    const uint32_t bit = static_cast<uint32_t>(std::countr_zero(summary));
    bool any = false;
    for (uint32_t segment = bit; segment < memory_.segments(); segment += 64) {
      const uint64_t word = memory_.segment_word(segment).load(std::memory_order_acquire);
      if (SegmentWord::decode(word).state == SegmentState::kUnbacked) break;
      for (uint32_t half = 0; half < kSlotsPerSegment / 64; ++half) {
        uint64_t bits = memory_.returned(segment, half).load(std::memory_order_acquire);
        any |= bits != 0;
        for (; bits != 0; bits &= bits - 1) {
          const uint32_t index = half * 64 + static_cast<uint32_t>(std::countr_zero(bits));
          const Slot& slot = memory_.slot(segment, index);
          const uint64_t raw = slot.word.load(std::memory_order_acquire);
          const SlotWord w = SlotWord::decode(raw);
          const uint64_t id = slot.id.load(std::memory_order_relaxed);
          if (w.state != SlotState::kReturned) {
            // A lease may be on its way back; everything else has left its bit behind.
            if (w.state != SlotState::kLeased && w.state != SlotState::kBuried)
              forget_returned({w.lap * kSlotsPerSegment + index, segment}, 0);
            continue;
          }
          if (id >= best) continue;
          best = id;
          *at = {Walk::kFound, {w.lap * kSlotsPerSegment + index, segment}, raw};
        }
      }
    }
    if (!any) {
      // Clear, then look again: whoever sets a bit meanwhile sets the summary after it.
      memory_.returned_summary().fetch_and(~(uint64_t{1} << bit));
      for (uint32_t segment = bit; segment < memory_.segments(); segment += 64) {
        if ((memory_.returned(segment, 0).load() | memory_.returned(segment, 1).load()) == 0) {
          if (SegmentWord::decode(memory_.segment_word(segment).load()).state ==
              SegmentState::kUnbacked)
            break;
          continue;
        }
        memory_.returned_summary().fetch_or(uint64_t{1} << bit);
        break;
      }
    }
  }
  return best != UINT64_MAX;
}

Outcome Queue::try_take_returned(Actor& a, TakeMode mode, Taken* out, bool* lost) {
  Found at{};
  if (!find_returned(&at)) return Outcome::kEmpty;
  const Outcome outcome = take_found(a, mode, at.place, at.word, out, lost);
  if (outcome != Outcome::kOk || *lost) return outcome;
  // A leased word is this call's own until it is given back; a consumed one is nobody's.
  const SlotWord was = SlotWord::decode(at.word);
  const uint64_t mine =
      out->leased ? slot_word(was.lap, SlotState::kLeased, a.owner, was.count) : 0;
  forget_returned(at.place, mine);
  wake_next(a);
  wake(a, header().room, kDirtyRoom);
  return outcome;
}

/// Others may still give a message back; only then is the stream not over. Own leases do not count.
bool Queue::others_hold(uint16_t owner) const {
  bool held = false;
  each_slot([&](Place, uint64_t raw) {
    const SlotWord w = SlotWord::decode(raw);
    held |= w.state == SlotState::kReturned || (w.state == SlotState::kLeased && w.owner != owner);
  });
  return held;
}

Outcome Queue::end_of_stream(Actor& a, uint64_t raw) {
  if (others_hold(a.owner)) return Outcome::kEmpty;
  const auto cause = static_cast<EndCause>(SlotWord::decode(raw).count);
  return cause == EndCause::kClean ? Outcome::kEndOfStream : Outcome::kProducerDied;
}

}  // namespace heddle::shm
