// Sending: room first, then the word, then frames or bytes. Crash story in pipe.h.
#include <algorithm>
#include <cstring>
#include <utility>

#include "proto/shm/pipe_wait.h"

namespace heddle::shm {
namespace {

constexpr uint64_t kAheadBytes = 256;

/// How long the rest of a large message may take whose first frame was only tried.
constexpr int64_t kRestNs = 1'000'000'000;

/// Body of each frame of a large message.
constexpr uint64_t piece_bytes(const PipeOptions& options) {
  return options.capacity / 4 - kFrameHeaderBytes;
}

}  // namespace

uint64_t Pipe::reserve_bytes_max() const {
  if (!message_mode()) return options_.capacity;
  return std::min(options_.capacity - 2 * kFrameHeaderBytes, options_.max_msg_bytes);
}

/// `wants` bytes, or at least `needs`. The head seen last does not prove that there is no more
/// room.
Outcome Pipe::try_claim_room(PipeActor& a, Room room, TurnWord* turn, WakeWord** wait_at) {
  PipeDirection& d = out();
  uint64_t raw = d.send.load(std::memory_order_acquire);
  for (;;) {
    const TurnWord w = TurnWord::decode(raw);
    const bool mine = a.holds_send && w.has(kTurnBusy) && w.owner == a.owner;
    if (w.has(kTurnShut)) return Outcome::kClosed;
    if (w.has(kTurnOther)) return Outcome::kBrokenPipe;
    if (w.has(kTurnBusy) && !mine) {
      *wait_at = &d.send_turn;
      return Outcome::kFull;
    }
    uint64_t used = distance(a.head_seen, w.position);
    if (used + room.wants > options_.capacity) {
      a.head_seen = TurnWord::decode(d.receive.load(std::memory_order_acquire)).position;
      used = distance(a.head_seen, w.position);
      // A word that moved on meanwhile would make it look full: only an unchanged one is believed.
      if (used > options_.capacity) {
        const uint64_t again = d.send.load(std::memory_order_acquire);
        if (again == raw) return Outcome::kCorrupt;
        raw = again;
        continue;
      }
    }
    if (used + room.needs > options_.capacity) {
      *wait_at = &d.room;
      return Outcome::kFull;
    }
    *turn = w;
    if (mine) return Outcome::kOk;
    const TurnWord claim{w.position, a.owner, static_cast<uint8_t>(w.flags | kTurnBusy)};
    if (d.send.compare_exchange_strong(raw, claim.encode())) return Outcome::kOk;
  }
}

Outcome Pipe::claim_room(PipeActor& a, Room room, int64_t deadline_ns, TurnWord* turn) {
  a.room_needed = room.needs;
  return until(a, out().send_blocked_ms, deadline_ns, Outcome::kFull,
               [&](WakeWord** wait_at) { return try_claim_room(a, room, turn, wait_at); });
}

/// The header is the commit. What lies behind the frame says "nothing" before that.
[[gnu::always_inline]] inline void Pipe::put_frame(uint64_t position, const PipePart& part,
                                                   uint8_t flags, uint64_t total) {
  const bool with_total = (flags & (kFrameFirst | kFrameLast)) == kFrameFirst;
  if (flags & kFrameFirst) flags |= part.flags;
  const uint64_t length = part.length + (with_total ? kFrameTotalBytes : 0);
  frame(side_, advanced(position, frame_bytes(length))).store(0, std::memory_order_relaxed);
  std::byte* body = at(side_, position) + kFrameHeaderBytes;
  if (with_total) {
    std::memcpy(body, &total, sizeof total);
    body += sizeof total;
  }
  if (part.length != 0) std::memcpy(body, part.data, part.length);
  const FrameHeader header{static_cast<uint32_t>(length), part.kind,
                           static_cast<uint8_t>(flags | kFrameThere)};
  frame(side_, position).store(header.encode(), std::memory_order_release);
}

/// Says how far it got, and lets go unless it is to be kept.
[[gnu::noinline]] void Pipe::sent_up_to(PipeActor& a, uint64_t position, bool keep) {
  uint64_t raw = out().send.load(std::memory_order_relaxed);
  for (;;) {
    const TurnWord w = TurnWord::decode(raw);
    if (!w.has(kTurnBusy) || w.owner != a.owner) return;  // only damage takes it away
    const uint8_t flags = w.flags & static_cast<uint8_t>(keep ? ~0 : ~kTurnBusy);
    if (out().send.compare_exchange_strong(raw, TurnWord{position, a.owner, flags}.encode()))
      return;
  }
}

[[gnu::always_inline]] inline void Pipe::wake_receivers(PipeActor& a, bool let_go) {
  PipeDirection& d = out();
  wake(a, d.ready);
  if (!let_go) return;
  wake(a, d.send_turn);
  // The one woken for the room may be stopped: whoever is awake wakes the next.
  if (d.room.word.load(std::memory_order_relaxed) & kWakeSleepers) wake_one(d.room);
}

// Straight through, because what lies between its two CAS cannot hide behind them.
bool Pipe::send_now(PipeActor& a, const PipePart& part) {
  if (!goes_now(part)) return false;
  PipeDirection& d = out();
  uint64_t raw = d.send.load(std::memory_order_acquire);
  const TurnWord w = TurnWord::decode(raw);
  const uint64_t bytes = frame_bytes(part.length);
  // Any flag is trouble: BUSY, also by this very actor, SHUT or OTHER.
  if (w.flags != 0 ||
      distance(a.head_seen, w.position) + bytes + kFrameHeaderBytes > options_.capacity)
    return false;
  uint64_t claimed = TurnWord{w.position, a.owner, kTurnBusy}.encode();
  if (!d.send.compare_exchange_strong(raw, claimed)) return false;
  put_frame(w.position, part, kFrameFirst | kFrameLast, 0);
  const uint64_t position = advanced(w.position, bytes);
  // In a stream the lines ahead are in the receiver's cache; each wait for one would stand before a
  // locked instruction.
  prefetch_for_write(at(side_, position) + kAheadBytes);
  prefetch_for_write(at(side_, position) + kAheadBytes + 64);
  // A flag may have come meanwhile.
  if (!d.send.compare_exchange_strong(claimed, TurnWord{position, a.owner, 0}.encode()))
    sent_up_to(a, position, false);
  ++a.burst;
  wake_receivers(a, true);
  return true;
}

Outcome Pipe::send(PipeActor& a, const PipePart& part, int64_t deadline_ns, uint64_t* sent) {
  if (send_now(a, part)) [[likely]] {
    *sent = part.length;
    return Outcome::kOk;
  }
  *sent = 0;
  if (!can_send()) return Outcome::kClosed;
  if (!message_mode()) return send_bytes(a, part, deadline_ns, sent);
  const uint64_t ticket_bytes = part.flags & kFrameAttached ? kFrameTicketBytes : 0;
  if (part.length - ticket_bytes > options_.max_msg_bytes) return Outcome::kTooLarge;
  const Outcome outcome = goes_whole(part.length) ? send_whole(a, part, deadline_ns)
                                                  : send_frames(a, part, deadline_ns);
  if (outcome == Outcome::kOk) *sent = part.length;
  return outcome;
}

Outcome Pipe::send_whole(PipeActor& a, const PipePart& part, int64_t deadline_ns) {
  const uint64_t bytes = frame_bytes(part.length);
  TurnWord turn;
  const Outcome outcome = claim_room(a, Room(bytes + kFrameHeaderBytes), deadline_ns, &turn);
  if (outcome != Outcome::kOk) return outcome;
  put_frame(turn.position, part, kFrameFirst | kFrameLast, 0);
  sent_up_to(a, advanced(turn.position, bytes), a.holds_send);
  wake_receivers(a, !a.holds_send);
  return Outcome::kOk;
}

/// The next frame of a large message; after the last one *out is as new.
Outcome Pipe::send_frame(PipeActor& a, const PipePart& part, Outbox* out, int64_t deadline_ns) {
  const bool first = out->sent == 0;
  const uint64_t total_bytes = first ? kFrameTotalBytes : 0;
  const uint64_t n = std::min(piece_bytes(options_) - total_bytes, part.length - out->sent);
  const uint64_t bytes = frame_bytes(n + total_bytes);
  TurnWord turn;
  const Outcome outcome = claim_room(a, Room(bytes + kFrameHeaderBytes), deadline_ns, &turn);
  if (outcome != Outcome::kOk) return outcome;
  if (first) out->held = std::exchange(a.holds_send, true);
  const bool last = out->sent + n == part.length;
  const PipePart now{static_cast<const std::byte*>(part.data) + out->sent, n, part.kind,
                     part.flags};
  put_frame(turn.position, now,
            static_cast<uint8_t>((first ? kFrameFirst : 0) | (last ? kFrameLast : 0)), part.length);
  out->sent += n;
  sent_up_to(a, advanced(turn.position, bytes), !last || out->held);
  wake_receivers(a, last && !out->held);
  if (!last) return Outcome::kOk;
  a.holds_send = out->held;
  *out = {};
  return Outcome::kOk;
}

Outcome Pipe::send_frames(PipeActor& a, const PipePart& part, int64_t deadline_ns) {
  Outbox out;
  Outcome outcome = send_frame(a, part, &out, deadline_ns);
  if (outcome != Outcome::kOk) return outcome;
  const int64_t rest_ns = deadline_ns == kTry ? monotonic_ns() + kRestNs : deadline_ns;
  // Begun, it is not given up because somebody wants to look around once in a while.
  const int64_t patience_ns = std::exchange(a.patience_ns, kForever);
  while (outcome == Outcome::kOk && out.sent != 0) outcome = send_frame(a, part, &out, rest_ns);
  a.patience_ns = patience_ns;
  if (outcome != Outcome::kOk) give_up(a, &out);
  return outcome;
}

Outcome Pipe::send_part(PipeActor& a, const PipePart& part, Outbox* out) {
  if (!can_send()) return Outcome::kClosed;
  Outcome outcome = Outcome::kOk;
  if (!message_mode()) {
    const PipePart rest{static_cast<const std::byte*>(part.data) + out->sent,
                        part.length - out->sent, part.kind};
    uint64_t sent = 0;
    outcome = send_bytes(a, rest, kTry, &sent);
    out->sent += sent;
    if (outcome == Outcome::kOk && out->sent < part.length) outcome = Outcome::kFull;
    if (outcome == Outcome::kOk) *out = {};
    return outcome;
  }
  if (part.length > options_.max_msg_bytes) return Outcome::kTooLarge;
  if (goes_whole(part.length)) return send_whole(a, part, kTry);
  do {
    outcome = send_frame(a, part, out, kTry);
  } while (outcome == Outcome::kOk && out->sent != 0);
  if (outcome != Outcome::kOk && outcome != Outcome::kFull) give_up(a, out);
  return outcome;
}

/// Without its last frame it is dropped by the receiver.
void Pipe::give_up(PipeActor& a, Outbox* out) {
  const bool begun = out->sent != 0 && message_mode();
  const bool held = std::exchange(*out, {}).held;
  if (!begun) return;
  a.holds_send = held;
  if (!held) sent_up_to(a, TurnWord::decode(this->out().send.load()).position, false);
  wake_receivers(a, !held);
}

Outcome Pipe::send_bytes(PipeActor& a, const PipePart& part, int64_t deadline_ns, uint64_t* sent) {
  const bool held = a.holds_send;
  const uint64_t piece = options_.capacity / 4;
  Outcome outcome = Outcome::kOk;
  while (*sent < part.length) {
    const uint64_t left = part.length - *sent;
    TurnWord turn;
    const uint64_t wants = std::min(left, piece);
    outcome = claim_room(a, Room(deadline_ns == kTry ? 1 : wants, wants), deadline_ns, &turn);
    if (outcome != Outcome::kOk) break;
    a.holds_send = true;
    const uint64_t free = options_.capacity - distance(a.head_seen, turn.position);
    const uint64_t n = std::min(wants, free);
    std::memcpy(at(side_, turn.position), static_cast<const std::byte*>(part.data) + *sent, n);
    *sent += n;
    const bool last = *sent == part.length;
    sent_up_to(a, advanced(turn.position, n), !last || held);
    wake_receivers(a, last && !held);
  }
  if (outcome != Outcome::kOk && *sent > 0 && !held) {
    sent_up_to(a, TurnWord::decode(out().send.load()).position, false);
    wake_receivers(a, true);
  }
  a.holds_send = held;
  return outcome == Outcome::kFull && *sent > 0 ? Outcome::kOk : outcome;
}

Outcome Pipe::send_many(PipeActor& a, const PipePart* parts, size_t n, int64_t deadline_ns,
                        size_t* done) {
  *done = 0;
  const bool held = a.holds_send;
  Outcome outcome = Outcome::kOk;
  uint64_t position = 0, told = 0;  // frames between them are there, but not in the word
  const auto tell = [&](bool keep) {
    sent_up_to(a, position, keep);
    wake_receivers(a, !keep);
    told = position;
  };
  bool open = false;  // a run of frames is being written
  for (; *done < n; ++*done) {
    const PipePart& part = parts[*done];
    const uint64_t bytes = frame_bytes(part.length);
    const bool in_run = can_send() && message_mode() && goes_whole(part.length) &&
                        part.length <= options_.max_msg_bytes;
    const uint64_t used = open ? distance(a.head_seen, position) : 0;
    const bool fits = open && in_run && distance(told, position) + bytes <= options_.capacity / 2 &&
                      used + bytes + kFrameHeaderBytes <= options_.capacity;
    if (open && !fits) {
      tell(held);
      a.holds_send = held;
      open = false;
    }
    if (!in_run) {
      uint64_t sent = 0;
      outcome = send(a, part, deadline_ns, &sent);
      if (outcome != Outcome::kOk) break;
      continue;
    }
    if (!open) {
      TurnWord turn;
      outcome = claim_room(a, Room(bytes + kFrameHeaderBytes), deadline_ns, &turn);
      if (outcome != Outcome::kOk) break;
      open = a.holds_send = true;
      position = told = turn.position;
    }
    put_frame(position, part, kFrameFirst | kFrameLast, 0);
    position = advanced(position, bytes);
  }
  if (open) tell(held);
  a.holds_send = held;
  return outcome;
}

Outcome Pipe::hold(PipeActor& a, int64_t deadline_ns) {
  if (!can_send()) return Outcome::kClosed;
  TurnWord turn;
  const Outcome outcome = claim_room(a, Room(0), deadline_ns, &turn);
  if (outcome == Outcome::kOk) a.holds_send = true;
  return outcome;
}

void Pipe::let_go(PipeActor& a) {
  if (!a.holds_send) return;
  a.holds_send = false;
  sent_up_to(a, TurnWord::decode(out().send.load()).position, false);
  wake_receivers(a, true);
}

Outcome Pipe::reserve(PipeActor& a, uint64_t bytes, int64_t deadline_ns, PipeSpan* span) {
  if (!can_send()) return Outcome::kClosed;
  if (bytes > reserve_bytes_max()) return Outcome::kTooLarge;
  TurnWord turn;
  const Room room = message_mode() ? Room(frame_bytes(bytes) + kFrameHeaderBytes) : Room(1, bytes);
  const Outcome outcome = claim_room(a, room, deadline_ns, &turn);
  if (outcome != Outcome::kOk) return outcome;
  std::byte* data = at(side_, turn.position);
  if (message_mode()) {
    *span = {data + kFrameHeaderBytes, bytes, 0};
  } else {
    const uint64_t free = options_.capacity - distance(a.head_seen, turn.position);
    *span = {data, std::min(bytes, free), 0};
  }
  return Outcome::kOk;
}

void Pipe::commit(PipeActor& a, const PipeSpan& span, uint64_t length) {
  length = std::min(length, span.length);
  uint64_t position = TurnWord::decode(out().send.load()).position;
  if (message_mode()) {
    const uint64_t bytes = frame_bytes(length);
    frame(side_, advanced(position, bytes)).store(0, std::memory_order_relaxed);
    const FrameHeader header{static_cast<uint32_t>(length), span.kind,
                             kFrameThere | kFrameFirst | kFrameLast};
    frame(side_, position).store(header.encode(), std::memory_order_release);
    position = advanced(position, bytes);
  } else {
    position = advanced(position, length);
  }
  sent_up_to(a, position, a.holds_send);
  wake_receivers(a, !a.holds_send);
}

void Pipe::abandon(PipeActor& a) {
  if (a.holds_send) return;  // it was held before
  sent_up_to(a, TurnWord::decode(out().send.load()).position, false);
  wake_receivers(a, true);
}

}  // namespace heddle::shm
