// The ring of slots: claim, publish, take, give back. Bodies, accounts and waiting live above it.
//
// Invariants (s = sequence of a segment, i = index; positions run in order over the chain of
// segments)
//   R1  A slot is claimed at (s, i) only after every position before it has been claimed or stepped
//       over; so a slot that was ever the tail at s carries lap >= s before the tail moves past it.
//   R2  Consumers move on from (s, i) only when it is consumed (lap > s) or pinned at lap s; so the
//       passed positions are a prefix, and what is passed stays passed.
//   R3  A segment goes LINKED -> PASSED only after its successor is LINKED and all its positions
//       are passed; only FREE, PASSED and UNBACKED segments are claimed for a later sequence.
//   R4  A pinned slot is never reused: the producer that reaches it one lap later carries the word
//       over to its own lap by CAS and steps over only if that CAS succeeded.
//   R5  head, tail and the bitmaps are hints. They are stored by whoever did the work, may lag by
//       any amount, and never lead: they come from positions that the storer itself saw claimed or
//       passed.
//
// Why a stale walker is harmless: by R1 and R2 every slot of a segment that was claimed again
// carries lap > s, or is pinned; the walker steps over all of them, finds at the end that `next`
// names another sequence, and starts again from the truth. It never meets a word that its CAS could
// match.
//
// Memory order: every transition is a seq_cst CAS (a locked instruction on x86; it is what orders
// the check of the wake words after it), every decision is taken on an acquire load. Hints are
// stored with release and loaded with acquire: who starts from a hint must see what its storer saw
// before it.
//
// Crash and freeze story, per operation, when the thread stops after step k
//   claim    before the CAS: nothing. After it: WRITING(me). A consumer that sees something claimed
//            behind it waits 2 us and turns it into TOMB: the late publish fails. The reaper frees
//            either.
//   publish  one CAS. After it the message is there; hints and wakes are redone by anybody.
//   take     one CAS. Before it nothing; after it LEASED(me) or consumed.
//   return   the bitmap bit is set before the CAS, so no RETURNED word is ever without its bit, but
//            for a taker that is frozen between its CAS and clearing the bit; it looks again after
//            clearing.
//   append   CLAIMED(me) segment -> its `next` -> CAS of the predecessor's `next` (the commit) ->
//            LINKED. Whoever follows the link completes the last step first. A dead claimer's
//            segment is freed by the reaper if no link names it. A frozen one pins one segment, and
//            others claim another.
//   bump     one CAS, repeatable.
//
// `Memory` supplies the words; the model checker instantiates the same code with 2 slots a segment.
#pragma once

#include <atomic>
#include <cstdint>

#include "proto/shm/slot_word.h"

namespace heddle::shm {

constexpr uint64_t ring_next_word(uint64_t sequence, uint32_t successor) {
  return (sequence << 21) | successor;
}

enum class Walk : uint8_t { kFound, kEmpty, kEnd, kNoMemory, kCorrupt };

struct Found {
  Walk walk;
  Place place;
  uint64_t word;  // as loaded; the expected value of the CAS that follows
};

template <class Memory>
class Ring {
 public:
  static constexpr uint32_t kSlots = Memory::kSlots;

  static constexpr uint32_t kSearchesMax = 1000;

  explicit Ring(Memory* memory) : m_(*memory) {}
  /// May use the segment that is kept for an END.
  Ring for_end() const {
    Ring ring(*this);
    ring.for_end_ = true;
    return ring;
  }

  static constexpr uint64_t sequence_of(Place p) { return p.position / kSlots; }
  static constexpr uint32_t index_of(Place p) { return static_cast<uint32_t>(p.position % kSlots); }
  /// Message ids start at 1 and grow with the position.
  static constexpr uint64_t message_id(Place p) { return p.position - kSlots + 1; }

  auto& slot(Place p) { return m_.slot(p.segment, index_of(p)); }

  /// The first claimable slot, linking a new segment when the last one is used up.
  Found find_tail(uint16_t owner) {
    Found at;
    at.walk = find_tail(owner, &at.place, &at.word);
    return at;
  }
  /// The same in parts. A Found that lies in memory is filled in small stores and copied in large
  /// loads, for which the processor waits: a quarter of the time of a put.
  [[gnu::always_inline]] Walk find_tail(uint16_t owner, Place* place, uint64_t* word) {
    const Place p = hint(m_.tail_hint());
    const uint64_t raw = slot(p).word.load(std::memory_order_acquire);
    const SlotWord w = SlotWord::decode(raw);
    if (w.state == SlotState::kFree && w.lap <= sequence_of(p)) [[likely]] {
      *place = p;
      *word = raw;
      return Walk::kFound;
    }
    return in_parts(find_tail_from(p, owner), place, word);
  }

  /// The same, when the hint lags or stands at the end of a segment.
  [[gnu::noinline]] Found find_tail_from(Place p, uint16_t owner) {
    uint32_t pinned = 0;
    for (uint32_t steps = 0; steps < m_.steps_max(); ++steps) {
      const uint64_t raw = slot(p).word.load(std::memory_order_acquire);
      const SlotWord w = SlotWord::decode(raw);
      const uint64_t seq = sequence_of(p);
      if (w.state == SlotState::kFree && w.lap <= seq) return {Walk::kFound, p, raw};
      if (w.state == SlotState::kEnd && w.lap == seq) return {Walk::kEnd, p, raw};
      if (w.lap < seq && !bump(p, raw)) continue;
      pinned += is_pinned(w.state);
      if (index_of(p) + 1 < kSlots) {
        ++p.position;
        continue;
      }
      if (pinned > kSlots / 4 * 3) m_.mark_crowded(p.segment, seq);
      pinned = 0;
      const Walk step = next_or_append(&p, owner);
      if (step == Walk::kEmpty) {
        if (!search(&p, true)) return {Walk::kCorrupt, p, 0};
      } else if (step != Walk::kFound) {
        return {step, p, 0};
      }
    }
    return {Walk::kCorrupt, p, 0};
  }

  /// The oldest message that was never taken. kEmpty also when only an unfinished claim stands
  /// there.
  Found find_head() {
    Found at;
    at.walk = find_head(&at.place, &at.word);
    return at;
  }
  [[gnu::always_inline]] Walk find_head(Place* place, uint64_t* word) {
    const Place p = hint(m_.head_hint());
    const uint64_t raw = slot(p).word.load(std::memory_order_acquire);
    const SlotWord w = SlotWord::decode(raw);
    if (w.state == SlotState::kReady && w.lap == sequence_of(p)) [[likely]] {
      *place = p;
      *word = raw;
      return Walk::kFound;
    }
    return in_parts(find_head_from(p), place, word);
  }
  [[gnu::noinline]] Found find_head_from(Place p) {
    for (uint32_t steps = 0; steps < m_.steps_max(); ++steps) {
      uint64_t raw = slot(p).word.load(std::memory_order_acquire);
      const SlotWord w = SlotWord::decode(raw);
      const uint64_t seq = sequence_of(p);
      if (w.lap < seq) return {is_old(w.state) ? Walk::kEmpty : Walk::kCorrupt, p, raw};
      if (w.lap == seq) {
        if (w.state == SlotState::kReady) return {Walk::kFound, p, raw};
        if (w.state == SlotState::kEnd) return {Walk::kEnd, p, raw};
        if (w.state == SlotState::kWriting) {
          if (!claimed_behind(p)) return {Walk::kEmpty, p, raw};
          if (m_.wait_for_publish(slot(p).word, raw)) continue;
          entomb(p, raw);
          continue;
        }
        if (!is_pinned(w.state)) return {Walk::kEmpty, p, raw};
      }
      if (index_of(p) + 1 < kSlots) {
        ++p.position;
        continue;
      }
      const Walk step = next_passing(&p);
      if (step == Walk::kEmpty) return {Walk::kEmpty, p, raw};
      if (step == Walk::kEnd && !search(&p, false)) return {Walk::kCorrupt, p, 0};
    }
    return {Walk::kCorrupt, p, 0};
  }

  bool claim(Place p, uint64_t raw, uint16_t owner) {
    return cas(slot(p).word, raw, slot_word(sequence_of(p), SlotState::kWriting, owner));
  }

  /// The end of the stream: no claim can follow it unseen.
  bool claim_end(const Found& at, uint16_t owner, uint8_t cause) {
    return cas(slot(at.place).word, at.word,
               slot_word(sequence_of(at.place), SlotState::kEnd, owner, cause));
  }
  /// END -> a position that everybody steps over.
  bool remove_end(Place p, uint64_t raw, uint16_t owner) {
    note_skip(p.segment, sequence_of(p));
    return cas(slot(p).word, raw, slot_word(sequence_of(p) + 1, SlotState::kFree, owner));
  }

  /// False: the claim was taken away; the slot is a tomb that withdraw() must free.
  bool publish(Place p, uint16_t owner, SlotState state = SlotState::kReady) {
    const uint64_t seq = sequence_of(p);
    return cas(slot(p).word, slot_word(seq, SlotState::kWriting, owner),
               slot_word(seq, state, owner));
  }

  /// Gives up an own claim, entombed or not. The tomb may have been carried to a later lap.
  void withdraw(Place p, uint16_t owner) {
    for (uint32_t tries = 0; tries < m_.steps_max(); ++tries) {
      const uint64_t raw = slot(p).word.load(std::memory_order_acquire);
      const SlotWord w = SlotWord::decode(raw);
      if (w.owner != owner || (w.state != SlotState::kTomb && w.state != SlotState::kWriting))
        return;
      note_skip(p.segment, w.lap);
      if (cas(slot(p).word, raw, slot_word(w.lap + 1, SlotState::kFree, owner))) return;
    }
  }

  /// READY -> consumed, in one step. The caller has copied the body out before.
  bool consume(Place p, uint64_t raw, uint16_t owner) {
    const SlotWord w = SlotWord::decode(raw);
    return cas(slot(p).word, raw, slot_word(w.lap + 1, SlotState::kFree, owner));
  }

  /// READY or RETURNED -> LEASED(owner); the count goes along.
  bool lease(Place p, uint64_t* raw, uint16_t owner) {
    const SlotWord w = SlotWord::decode(*raw);
    const uint64_t leased = slot_word(w.lap, SlotState::kLeased, owner, w.count);
    if (!cas(slot(p).word, *raw, leased)) return false;
    *raw = leased;
    return true;
  }

  /// Any pinned word -> free for the lap after its own. False if the word was carried on meanwhile.
  bool release(Place p, uint64_t raw, uint16_t owner) {
    return cas(slot(p).word, raw,
               slot_word(SlotWord::decode(raw).lap + 1, SlotState::kFree, owner));
  }

  bool move(Place p, uint64_t raw, SlotState state, uint16_t owner, uint8_t count) {
    return cas(slot(p).word, raw, slot_word(SlotWord::decode(raw).lap, state, owner, count));
  }

  /// Before a position between head and tail stops holding a message: skipped_between() then looks
  /// here.
  void note_skip(uint32_t segment, uint64_t seq) {
    raise(m_.segment_skips(segment), seq);
    raise(m_.skips_at(), seq);
  }

  void store_tail_hint(Place used) { store_hint(m_.tail_hint(), used); }
  void store_head_hint(Place used) { store_hint(m_.head_hint(), used); }

  void note_returned(Place p) {
    m_.returned(p.segment, index_of(p) / 64).fetch_or(uint64_t{1} << (index_of(p) % 64));
    m_.returned_summary().fetch_or(uint64_t{1} << (p.segment % 64));
  }
  void forget_returned(Place p) {
    m_.returned(p.segment, index_of(p) / 64).fetch_and(~(uint64_t{1} << (index_of(p) % 64)));
  }

  /// Positions by truth. They move nothing but links that are already decided.
  Place tail_place() {
    Place p = hint(m_.tail_hint());
    for (uint32_t steps = 0; steps < m_.steps_max(); ++steps) {
      const SlotWord w = SlotWord::decode(slot(p).word.load(std::memory_order_acquire));
      const uint64_t seq = sequence_of(p);
      if (w.lap < seq ||
          (w.lap == seq && (w.state == SlotState::kFree || w.state == SlotState::kEnd)))
        return p;
      if (index_of(p) + 1 < kSlots) {
        ++p.position;
        continue;
      }
      const Walk step = follow(&p);
      if (step == Walk::kEmpty) return {p.position + 1, p.segment};
      if (step == Walk::kEnd && !search(&p, true)) return p;
    }
    return p;
  }
  Place head_place() {
    const uint64_t hinted = m_.head_hint().load(std::memory_order_acquire);
    Place p = hint(m_.head_hint());
    for (uint32_t steps = 0; steps < m_.steps_max(); ++steps) {
      const SlotWord w = SlotWord::decode(slot(p).word.load(std::memory_order_acquire));
      const uint64_t seq = sequence_of(p);
      if (w.lap < seq || (w.lap == seq && !is_pinned(w.state))) {
        // The segment that the hint names was left behind here and may be claimed again before the
        // next take: then everybody would have to search.
        if (p.segment != Place::decode(hinted).segment) cas(m_.head_hint(), hinted, p.encode());
        return p;
      }
      if (index_of(p) + 1 < kSlots) {
        ++p.position;
        continue;
      }
      const Walk step = next_passing(&p);
      if (step == Walk::kEmpty) return {p.position + 1, p.segment};
      if (step == Walk::kEnd && !search(&p, false)) return p;
    }
    return p;
  }

  /// Positions in [head, tail) that hold no message: stepped over or withdrawn. Exact for what lies
  /// in head's and tail's segments; for those between, as many as there were when each was
  /// completed. What a reaper withdrew there later is missing, which only makes the window look
  /// fuller.
  uint64_t skipped_between(Place head, Place tail) {
    if (m_.skips_at().load(std::memory_order_acquire) < sequence_of(head)) return 0;
    // tail_place() may name the end of a segment that has no successor yet.
    Place last = tail;
    uint32_t end = index_of(tail);
    const uint64_t tail_word = m_.segment_word(tail.segment).load(std::memory_order_acquire);
    if (end == 0 && SegmentWord::decode(tail_word).sequence != sequence_of(tail)) {
      end = kSlots;
      last.position -= kSlots;
    }
    if (sequence_of(head) >= sequence_of(last)) return skips_in(head, end);
    last.position -= index_of(last);
    Place next = head;
    next.position = (sequence_of(head) + 1) * kSlots - 1;
    if (follow(&next) != Walk::kFound) return 0;
    const uint64_t from = m_.skips_before(next.segment).load(std::memory_order_acquire);
    const uint64_t to = m_.skips_before(last.segment).load(std::memory_order_acquire);
    return skips_in(head, kSlots) + (to > from ? to - from : 0) + skips_in(last, end);
  }

  /// In the segment of `from`, from there up to index `end`.
  uint64_t skips_in(Place from, uint32_t end) {
    const uint64_t seq = sequence_of(from);
    if (m_.segment_skips(from.segment).load(std::memory_order_acquire) != seq) return 0;
    uint64_t skipped = 0;
    for (Place p = from; p.position < seq * kSlots + end; ++p.position) {
      const SlotWord w = SlotWord::decode(slot(p).word.load(std::memory_order_acquire));
      skipped += w.lap > seq || (w.lap == seq && is_pinned(w.state));
    }
    return skipped;
  }

  /// Step over the link at the end of p's segment, completing it. kEmpty: no successor yet; kEnd: p
  /// is stale.
  Walk follow(Place* p) {
    const uint64_t seq = sequence_of(*p);
    const uint64_t next = m_.next(p->segment).load(std::memory_order_acquire);
    if (next >> 21 != seq) return Walk::kEnd;
    const uint32_t successor = static_cast<uint32_t>(next & ((1u << 21) - 1));
    if (successor == kSegmentNone) return Walk::kEmpty;
    if (successor >= m_.segments()) return Walk::kCorrupt;
    complete_link(successor, seq + 1);
    *p = {(seq + 1) * kSlots, successor};
    return Walk::kFound;
  }

  /// Reaper: a segment CLAIMED by a dead owner is LINKED if a link names it, FREE otherwise.
  void resolve_claimed_segment(uint32_t index, uint64_t raw) {
    const SegmentWord w = SegmentWord::decode(raw);
    for (uint32_t i = 0; i < m_.segments(); ++i) {
      const SegmentWord other =
          SegmentWord::decode(m_.segment_word(i).load(std::memory_order_acquire));
      if (other.state == SegmentState::kUnbacked) break;
      if (m_.next(i).load(std::memory_order_acquire) == ring_next_word(w.sequence - 1, index)) {
        complete_link(index, w.sequence);
        return;
      }
    }
    cas(m_.segment_word(index), raw, SegmentWord{w.sequence, 0, SegmentState::kFree}.encode());
  }

  /// Rebuilds a place from the segment words: the newest linked segment, or the oldest that is not
  /// passed.
  ///
  /// One scan is not a snapshot: it may miss a segment that was CLAIMED when the scan went by, and
  /// see a later one. So the oldest is accepted only up to the newest of a scan before it: whoever
  /// linked that one had completed every link before it (follow() does), so the second scan meets
  /// all of those LINKED, or PASSED because consumers are beyond. A scan may also see none, when
  /// the one linked segment moved on behind it; then it is repeated. False only for a damaged
  /// segment.
  bool search(Place* p, bool newest) {
    for (uint32_t attempt = 0; attempt < kSearchesMax; ++attempt) {
      Place bound;
      if (!scan(&bound, true)) continue;
      if (newest) {
        *p = bound;
        return true;
      }
      if (scan(p, false) && p->position <= bound.position) return true;
    }
    return false;
  }

 private:
  template <class Word>
  static bool cas(Word& word, uint64_t expected, uint64_t desired) {
    return word.compare_exchange_strong(expected, desired, std::memory_order_seq_cst);
  }

  [[gnu::always_inline]] static Walk in_parts(Found at, Place* place, uint64_t* word) {
    *place = at.place;
    *word = at.word;
    return at.walk;
  }

  /// Marks only grow: a thawed thread must not take a later one back.
  template <class Word>
  static void raise(Word& word, uint64_t to) {
    uint64_t seen = word.load(std::memory_order_acquire);
    while (seen < to && !word.compare_exchange_strong(seen, to, std::memory_order_seq_cst)) {
    }
  }

  /// States that an older lap may have left in a slot that consumers have passed.
  static constexpr bool is_old(SlotState s) { return s == SlotState::kFree || is_pinned(s); }

  template <class Word>
  Place hint(Word& word) {
    Place p = Place::decode(word.load(std::memory_order_acquire));
    if (p.segment >= m_.segments() || p.position < kSlots) [[unlikely]]
      p = searched();
    return p;
  }

  /// Only damage makes a hint that is out of range.
  [[gnu::noinline]] Place searched() {
    Place p;
    return search(&p, false) ? p : Place{kSlots, 0};
  }

  /// The hint names the place after `used`, or `used` itself at the end of a segment, so that the
  /// pair {position, segment} always belongs together.
  template <class Word>
  void store_hint(Word& word, Place used) {
    if (index_of(used) + 1 < kSlots) ++used.position;
    word.store(used.encode(), std::memory_order_release);
  }

  bool bump(Place p, uint64_t raw) {
    const SlotWord w = SlotWord::decode(raw);
    // impossible but for damage: the step limit ends the walk
    if (!is_pinned(w.state)) return false;
    note_skip(p.segment, sequence_of(p));
    return cas(slot(p).word, raw, slot_word(sequence_of(p), w.state, w.owner, w.count));
  }

  void entomb(Place p, uint64_t raw) {
    const SlotWord w = SlotWord::decode(raw);
    note_skip(p.segment, w.lap);
    cas(slot(p).word, raw, slot_word(w.lap, SlotState::kTomb, w.owner, w.count));
  }

  bool claimed_behind(Place p) {
    if (index_of(p) + 1 < kSlots) {
      ++p.position;
    } else if (follow(&p) != Walk::kFound) {
      return false;
    }
    const SlotWord w = SlotWord::decode(slot(p).word.load(std::memory_order_acquire));
    if (w.lap < sequence_of(p)) return false;
    return !(w.lap == sequence_of(p) && w.state == SlotState::kFree);
  }

  void complete_link(uint32_t index, uint64_t seq) {
    const uint64_t raw = m_.segment_word(index).load(std::memory_order_acquire);
    const SegmentWord w = SegmentWord::decode(raw);
    if (w.state == SegmentState::kClaimed && w.sequence == seq)
      cas(m_.segment_word(index), raw, SegmentWord{seq, 0, SegmentState::kLinked}.encode());
  }

  /// As follow(), and the segment left behind becomes claimable.
  Walk next_passing(Place* p) {
    const uint32_t left = p->segment;
    const uint64_t seq = sequence_of(*p);
    const Walk step = follow(p);
    if (step != Walk::kFound) return step;
    const uint64_t linked = SegmentWord{seq, 0, SegmentState::kLinked}.encode();
    if (m_.segment_word(left).load(std::memory_order_acquire) == linked &&
        cas(m_.segment_word(left), linked, SegmentWord{seq, 0, SegmentState::kPassed}.encode()))
      m_.segment_became_free(left);
    return Walk::kFound;
  }

  /// kFound: *p is the first slot of the successor. kEmpty: p is stale.
  Walk next_or_append(Place* p, uint16_t owner) {
    const Walk step = follow(p);
    if (step == Walk::kFound || step == Walk::kCorrupt) return step;
    if (step == Walk::kEnd) return Walk::kEmpty;
    const uint64_t seq = sequence_of(*p);
    const uint32_t fresh = claim_segment(owner, seq + 1);
    if (fresh == kSegmentNone) {
      // Only a chain that still ends here is out of memory; otherwise somebody linked, or p is
      // stale.
      const Walk again = follow(p);
      return again == Walk::kEmpty ? Walk::kNoMemory : again == Walk::kEnd ? Walk::kEmpty : again;
    }
    m_.next(fresh).store(ring_next_word(seq + 1, kSegmentNone), std::memory_order_release);
    const Place start{seq * kSlots, p->segment};
    m_.skips_before(fresh).store(
        m_.skips_before(p->segment).load(std::memory_order_acquire) + skips_in(start, kSlots),
        std::memory_order_release);
    const uint64_t claimed = SegmentWord{seq + 1, owner, SegmentState::kClaimed}.encode();
    if (cas(m_.next(p->segment), ring_next_word(seq, kSegmentNone), ring_next_word(seq, fresh))) {
      complete_link(fresh, seq + 1);
      *p = {(seq + 1) * kSlots, fresh};
      return Walk::kFound;
    }
    cas(m_.segment_word(fresh), claimed, SegmentWord{seq + 1, 0, SegmentState::kFree}.encode());
    m_.segment_became_free(fresh);
    return follow(p) == Walk::kFound ? Walk::kFound : Walk::kEmpty;
  }

  uint32_t claim_segment(uint16_t owner, uint64_t seq) {
    const uint32_t n = m_.segments_granted(for_end_);
    for (int pass = 0; pass < 3; ++pass) {  // from the hint; from 0; crowded ones as well
      for (uint32_t i = pass == 0 ? m_.segment_hint() : 0; i < n; ++i) {
        const uint64_t raw = m_.segment_word(i).load(std::memory_order_acquire);
        const SegmentWord w = SegmentWord::decode(raw);
        if (w.state == SegmentState::kLinked || w.state == SegmentState::kClaimed) continue;
        // Sequences of a segment only grow: a thawed appender must not bring an old one back. FREE
        // at `seq` itself was claimed for it and never linked.
        if (w.sequence > seq || (w.sequence == seq && w.state == SegmentState::kPassed)) continue;
        if (pass < 2 && m_.crowded(i, w.sequence)) continue;
        if (w.state == SegmentState::kUnbacked && !m_.back_segment(i)) return kSegmentNone;
        if (cas(m_.segment_word(i), raw,
                SegmentWord{seq, owner, SegmentState::kClaimed}.encode())) {
          m_.segment_was_claimed(i);
          return i;
        }
      }
    }
    return kSegmentNone;
  }

  bool scan(Place* p, bool newest) {
    uint64_t best = 0;
    for (uint32_t i = 0; i < m_.segments(); ++i) {
      const SegmentWord w = SegmentWord::decode(m_.segment_word(i).load(std::memory_order_acquire));
      if (w.state == SegmentState::kUnbacked) break;
      if (w.state != SegmentState::kLinked) continue;
      if (best != 0 && (newest ? w.sequence < best : w.sequence > best)) continue;
      best = w.sequence;
      *p = {w.sequence * kSlots, i};
    }
    return best != 0;
  }

  Memory& m_;
  bool for_end_ = false;
};

}  // namespace heddle::shm
