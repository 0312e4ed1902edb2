// Receiving: copy first, then one CAS. Crash story in pipe.h.
#include <algorithm>
#include <cstring>

#include "proto/shm/copy_unproved.h"
#include "proto/shm/pipe_wait.h"

namespace heddle::shm {
namespace {

/// A header that counts only if the receiver's word has not moved on meanwhile; if it has, this may
/// be part of a body.
[[gnu::no_sanitize("thread")]] uint64_t unproved(const std::atomic<uint64_t>& header) {
  return header.load(std::memory_order_acquire);
}

}  // namespace

/// What comes next at the receiver's word, loaded into *raw. kOk: frame `f`, or in byte mode
/// `length` bytes.
Outcome Pipe::look(PipeActor& a, uint64_t* raw, uint64_t* length, FrameHeader* f,
                   WakeWord** wait_at) {
  PipeDirection& d = in();
  const PipeSide from = other_side(side_);
  for (;;) {
    *raw = d.receive.load(std::memory_order_acquire);
    const TurnWord w = TurnWord::decode(*raw);
    const auto moved_on = [&] { return d.receive.load(std::memory_order_acquire) != *raw; };
    if (w.has(kTurnShut)) return Outcome::kClosed;
    if (w.has(kTurnBusy) && !(a.holds_receive && w.owner == a.owner)) {
      *wait_at = &d.receive_turn;
      return Outcome::kEmpty;
    }
    *wait_at = &d.ready;
    if (message_mode()) {
      const auto& header = frame(from, w.position);
      const uint64_t h =
          a.holds_receive ? header.load(std::memory_order_acquire) : unproved(header);
      *f = FrameHeader::decode(h);
      *length = f->length;
      if (h != 0) {
        if (f->has(kFrameThere) && frame_bytes(*length) + kFrameHeaderBytes <= options_.capacity)
          return Outcome::kOk;
        if (moved_on()) continue;
        return Outcome::kCorrupt;
      }
      if (!w.has(kTurnOther)) return Outcome::kEmpty;
    }
    const uint64_t sender = d.send.load(std::memory_order_acquire);
    const TurnWord s = TurnWord::decode(sender);
    const uint64_t there = distance(w.position, s.position);
    if (there > options_.capacity) {
      if (moved_on()) continue;
      // A frame is received as soon as its header is there, before its sender says how far it is.
      if (s.has(kTurnBusy) && message_mode() &&
          distance(s.position, w.position) <= options_.capacity)
        return Outcome::kEmpty;
      if (d.send.load(std::memory_order_acquire) != sender) continue;
      return Outcome::kCorrupt;
    }
    if (!message_mode() && there > 0) {
      *length = there;
      return Outcome::kOk;
    }
    // One that shares the end may be in the middle of its last message.
    if (!s.has(kTurnShut) || s.has(kTurnBusy)) return Outcome::kEmpty;
    if (there > 0) {
      if (moved_on() || unproved(frame(from, w.position)) != 0) continue;
      return Outcome::kCorrupt;
    }
    return s.has(kTurnDied) ? Outcome::kPeerDied : Outcome::kEndOfStream;
  }
}

/// One CAS from `raw`; with the word held, flags that others set meanwhile are kept.
bool Pipe::received_up_to(PipeActor& a, uint64_t raw, uint64_t bytes, bool keep) {
  PipeDirection& d = in();
  uint64_t seen = raw;
  TurnWord next;
  for (;;) {
    const TurnWord w = TurnWord::decode(seen);
    const uint8_t flags = static_cast<uint8_t>((w.flags & ~kTurnBusy) | (keep ? kTurnBusy : 0));
    next = {advanced(w.position, bytes), a.owner, flags};
    if (d.receive.compare_exchange_strong(seen, next.encode())) break;
    if (!a.holds_receive) return false;
    const TurnWord now = TurnWord::decode(seen);
    if (!now.has(kTurnBusy) || now.owner != a.owner) return false;  // only damage takes it away
  }
  const bool had = a.holds_receive;
  a.holds_receive = keep;
  if (bytes != 0) wake(a, d.room);
  if (had && !keep) wake(a, d.receive_turn);
  if (!keep) pass_ready_on(next);
  return true;
}

/// The one woken for what comes next may be stopped: whoever is awake wakes the next.
[[gnu::always_inline]] inline void Pipe::pass_ready_on(TurnWord next) {
  WakeWord& ready = in().ready;
  if ((ready.word.load(std::memory_order_relaxed) & kWakeSleepers) && more_behind(next))
    wake_one(ready);
}

bool Pipe::more_behind(TurnWord w) const {
  if (message_mode()) return unproved(frame(other_side(side_), w.position)) != 0;
  return TurnWord::decode(in().send.load()).position != w.position;
}

// Straight through, as send_now().
bool Pipe::receive_now(PipeActor& a, Inbox* in) {
  if (!message_mode() || !can_receive() || in->filled != 0) return false;
  PipeDirection& d = this->in();
  const PipeSide from = other_side(side_);
  uint64_t raw = d.receive.load(std::memory_order_acquire);
  const TurnWord w = TurnWord::decode(raw);
  if (w.flags & (kTurnShut | kTurnBusy)) return false;
  const FrameHeader f = FrameHeader::decode(unproved(frame(from, w.position)));
  const uint64_t length = f.length, bytes = frame_bytes(length);
  if (f.flags != (kFrameThere | kFrameFirst | kFrameLast) || length > in->capacity ||
      bytes + kFrameHeaderBytes > options_.capacity)
    return false;
  copy_unproved(in->to, at(from, w.position) + kFrameHeaderBytes, length);
  const TurnWord next{advanced(w.position, bytes), a.owner, w.flags};
  if (!d.receive.compare_exchange_strong(raw, next.encode())) return false;
  in->length = length;
  in->kind = f.kind;
  in->ticket = 0;
  ++a.burst;
  wake(a, d.room);
  pass_ready_on(next);
  return true;
}

Outcome Pipe::receive(PipeActor& a, Inbox* in, int64_t deadline_ns) {
  if (receive_now(a, in)) [[likely]]
    return Outcome::kOk;
  if (!can_receive()) return Outcome::kClosed;
  return until(a, this->in().receive_blocked_ms, deadline_ns, Outcome::kEmpty,
               [&](WakeWord** wait_at) { return try_receive(a, in, wait_at); });
}

Outcome Pipe::try_receive(PipeActor& a, Inbox* in, WakeWord** wait_at) {
  const PipeSide from = other_side(side_);
  for (;;) {
    if (!a.holds_receive) in->filled = 0;  // given up by a view
    if (in->filled > 0) {
      const Outcome outcome = receive_frames(a, in, wait_at);
      if (outcome != Outcome::kOk || in->filled > 0) return outcome;
      if (!a.holds_receive) return outcome;
      // The rest did not come: another message begins.
      drop_partial(a, in);
      continue;
    }
    uint64_t raw, length;
    FrameHeader f;
    const Outcome outcome = look(a, &raw, &length, &f, wait_at);
    if (outcome != Outcome::kOk) return outcome;
    const uint64_t position = TurnWord::decode(raw).position;
    if (!message_mode()) {
      const uint64_t n = std::min(length, in->capacity);
      copy_unproved(in->to, at(from, position), n);
      if (!received_up_to(a, raw, n, false)) continue;
      in->length = n;
      return Outcome::kOk;
    }
    if (!f.has(kFrameFirst)) {  // the rest of what a dead receiver had begun
      received_up_to(a, raw, frame_bytes(length), a.holds_receive);
      continue;
    }
    if (!f.has(kFrameLast) || f.has(kFrameAttached)) [[unlikely]] {
      bool again = false;
      const Outcome began = begin_message(a, in, raw, f, &again);
      if (again || (began == Outcome::kOk && in->filled != 0)) continue;
      return began;
    }
    if (length > in->capacity) {
      if (this->in().receive.load() != raw) continue;
      in->length = length;
      return Outcome::kTooLarge;
    }
    copy_unproved(in->to, at(from, position) + kFrameHeaderBytes, length);
    if (!received_up_to(a, raw, frame_bytes(length), false)) continue;
    in->length = length;
    in->kind = f.kind;
    in->ticket = 0;
    return Outcome::kOk;
  }
}

/// The first frame of a message that has more in front of its body or behind it. kOk: all of it, or
/// with filled != 0 its beginning. *again: the receiver's word has moved on.
Outcome Pipe::begin_message(PipeActor& a, Inbox* in, uint64_t raw, FrameHeader f, bool* again) {
  const PipeSide from = other_side(side_);
  const uint64_t position = TurnWord::decode(raw).position;
  const FirstFrame first = take_first(from, position, f);
  *again = this->in().receive.load() != raw;
  if (*again) return Outcome::kEmpty;
  const bool whole = f.has(kFrameLast);
  const uint64_t bytes = whole ? first.bytes : first.total;
  const bool parted = first.bytes != 0 && bytes > first.bytes && bytes <= options_.max_msg_bytes;
  if (!first.fits || (!whole && !parted)) return Outcome::kCorrupt;
  in->length = bytes;
  in->kind = f.kind;
  if (bytes > in->capacity) return Outcome::kTooLarge;
  in->ticket = first.ticket;
  if (whole) {
    copy_unproved(in->to, first.body, bytes);
    *again = !received_up_to(a, raw, frame_bytes(f.length), false);
    return Outcome::kOk;
  }
  *again = !a.holds_receive && !received_up_to(a, raw, 0, true);
  if (*again) return Outcome::kOk;
  frame(from, position).load(std::memory_order_acquire);  // now it is proved
  std::memcpy(in->to, first.body, first.bytes);
  in->filled = first.bytes;
  return received_up_to(a, this->in().receive.load(), frame_bytes(f.length), true)
             ? Outcome::kOk
             : Outcome::kCorrupt;
}

/// The parts of a first frame. Unproved: they count only if the receiver's word has not moved on.
Pipe::FirstFrame Pipe::take_first(PipeSide from, uint64_t position, FrameHeader f) const {
  FirstFrame first;
  std::byte* body = at(from, position) + kFrameHeaderBytes;
  const uint64_t total_bytes = f.has(kFrameLast) ? 0 : kFrameTotalBytes;
  const uint64_t ticket_bytes = f.has(kFrameAttached) ? kFrameTicketBytes : 0;
  first.fits = f.length >= total_bytes + ticket_bytes;
  if (!first.fits) return first;
  if (total_bytes != 0) copy_unproved(&first.total, body, sizeof first.total);
  if (ticket_bytes != 0) copy_unproved(&first.ticket, body + total_bytes, sizeof first.ticket);
  first.total -= std::min(first.total, ticket_bytes);
  first.body = body + total_bytes + ticket_bytes;
  first.bytes = f.length - total_bytes - ticket_bytes;
  if (ticket_bytes != 0 && first.ticket == 0) first.fits = false;
  return first;
}

/// The next frames of a large message, as far as they are there. With the word held nobody else
/// moves it. kOk with filled == 0: complete, or (the word still held) cut off by another message.
Outcome Pipe::receive_frames(PipeActor& a, Inbox* in, WakeWord** wait_at) {
  for (;;) {
    uint64_t raw, length;
    FrameHeader f;
    const Outcome outcome = look(a, &raw, &length, &f, wait_at);
    if (outcome == Outcome::kEmpty) return outcome;
    if (outcome != Outcome::kOk) {
      drop_partial(a, in);
      return outcome;
    }
    if (f.has(kFrameFirst)) {
      in->filled = 0;
      return Outcome::kOk;
    }
    if (length > in->length - in->filled ||
        f.has(kFrameLast) != (in->filled + length == in->length)) {
      drop_partial(a, in);
      return Outcome::kCorrupt;
    }
    const std::byte* body =
        at(other_side(side_), TurnWord::decode(raw).position) + kFrameHeaderBytes;
    std::memcpy(in->to + in->filled, body, length);
    in->filled += length;
    const bool last = f.has(kFrameLast);
    if (!received_up_to(a, raw, frame_bytes(length), !last)) return Outcome::kCorrupt;
    if (!last) continue;
    in->filled = 0;
    return Outcome::kOk;
  }
}

void Pipe::drop_partial(PipeActor& a, Inbox* in) {
  in->filled = 0;
  unview(a);
}

Outcome Pipe::view(PipeActor& a, int64_t deadline_ns, PipeSpan* out) {
  if (!can_receive()) return Outcome::kClosed;
  return until(a, in().receive_blocked_ms, deadline_ns, Outcome::kEmpty,
               [&](WakeWord** wait_at) { return try_view(a, out, wait_at); });
}

Outcome Pipe::try_view(PipeActor& a, PipeSpan* out, WakeWord** wait_at) {
  for (;;) {
    uint64_t raw, length;
    FrameHeader f;
    const Outcome outcome = look(a, &raw, &length, &f, wait_at);
    if (outcome != Outcome::kOk) return outcome;
    std::byte* data = at(other_side(side_), TurnWord::decode(raw).position);
    if (message_mode()) {
      if (!f.has(kFrameFirst)) {
        received_up_to(a, raw, frame_bytes(length), a.holds_receive);
        continue;
      }
      if (!f.has(kFrameLast)) return Outcome::kTooLarge;
      data += kFrameHeaderBytes;
    }
    if (!a.holds_receive && !received_up_to(a, raw, 0, true)) continue;
    if (message_mode()) frame(other_side(side_), TurnWord::decode(raw).position).load();
    *out = {data, length, message_mode() ? f.kind : uint8_t{0}};
    if (!message_mode() || !f.has(kFrameAttached)) return Outcome::kOk;
    const FirstFrame first = take_first(other_side(side_), TurnWord::decode(raw).position, f);
    if (!first.fits) {
      unview(a);
      return Outcome::kCorrupt;
    }
    *out = {first.body, first.bytes, f.kind, first.ticket};
    return Outcome::kOk;
  }
}

void Pipe::consume(PipeActor& a, const PipeSpan& span, uint64_t length) {
  if (!a.holds_receive) return;
  const uint64_t ticket_bytes = span.ticket != 0 ? kFrameTicketBytes : 0;
  const uint64_t bytes =
      message_mode() ? frame_bytes(span.length + ticket_bytes) : std::min(length, span.length);
  received_up_to(a, in().receive.load(), bytes, false);
}

void Pipe::unview(PipeActor& a) {
  if (a.holds_receive) received_up_to(a, in().receive.load(), 0, false);
}

Outcome Pipe::poll(PipeActor& a, int64_t deadline_ns) {
  if (!can_receive()) return Outcome::kClosed;
  const Outcome outcome =
      until(a, in().receive_blocked_ms, deadline_ns, Outcome::kEmpty, [&](WakeWord** wait_at) {
        uint64_t raw, length;
        FrameHeader f;
        return look(a, &raw, &length, &f, wait_at);
      });
  const bool ended = outcome == Outcome::kEndOfStream || outcome == Outcome::kPeerDied;
  return ended ? Outcome::kOk : outcome;
}

}  // namespace heddle::shm
