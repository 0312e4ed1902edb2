// The ends of a pipe: who uses them, how they end, what a death leaves. Crash story in pipe.h.
#include <cstring>
#include <new>

#include "proto/shm/pipe.h"
#include "proto/shm/wake.h"

namespace heddle::shm {
namespace {

constexpr PipeSide kSides[] = {PipeSide::kA, PipeSide::kB};

bool power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

const char* pipe_options_invalid(const PipeOptions& o) {
  if (!power_of_two(o.capacity) || o.capacity < kPipeCapacityMin || o.capacity > kPipeCapacityMax)
    return "capacity";
  if (o.max_msg_bytes == 0 || o.max_msg_bytes > kPipeMessageBytesMax) return "max_msg_bytes";
  if (o.mode > PipeMode::kBytes) return "mode";
  if (o.duplex > 1) return "duplex";
  if (o.resumable > 1) return "resumable";
  return nullptr;
}

void pipe_format(void* base, const PipeOptions& options, uint64_t object_id) {
  auto& h = *new (base) PipeHeader{};
  h.segment = {
      kSegmentMagic, kPipeVersion, SegmentKind::kPipe, object_id, pipe_segment_bytes(options), {}};
  h.options = options;
}

Outcome Pipe::attach(void* base, const PipeOptions& options, PipeSide side, Pipe* out) {
  const auto& h = *static_cast<const PipeHeader*>(base);
  SegmentHeader segment;
  PipeOptions said;
  std::memcpy(&segment, &h.segment, sizeof segment);
  std::memcpy(&said, &h.options, sizeof said);
  if (segment.magic != kSegmentMagic || segment.version != kPipeVersion ||
      segment.kind != SegmentKind::kPipe || pipe_options_invalid(options) != nullptr ||
      !(said == options) || segment.bytes != pipe_segment_bytes(options))
    return Outcome::kCorrupt;
  out->base_ = static_cast<std::byte*>(base);
  out->options_ = options;
  out->side_ = side;
  return Outcome::kOk;
}

void Pipe::wake_somebody(PipeActor& a, WakeWord& line, uint32_t seen) {
  if (seen & kWakeSleepers) wake_one(line);
  if ((seen & kWakeArmed) && header().dirty.exchange(1) == 0) ring_doorbell(a.doorbell_fd);
}

void Pipe::wake_everyone(int doorbell_fd) {
  bool armed = false;
  for (PipeDirection& d : header().directions) {
    for (WakeWord* line : {&d.ready, &d.room, &d.send_turn, &d.receive_turn}) {
      wake_all_on(*line);
      armed |= (line->word.load() & kWakeArmed) != 0;
    }
  }
  if (armed && header().dirty.exchange(1) == 0) ring_doorbell(doorbell_fd);
}

void Pipe::shutdown_write(PipeActor& a) {
  if (!can_send()) return;
  out().send.fetch_or(kTurnShut);
  out().receive.fetch_or(kTurnOther);
  wake_everyone(a.doorbell_fd);
}

/// A stream that was shut before its sender died has ended cleanly.
void Pipe::end_side(PipeSide side, bool died, const DeathInfo& info) {
  if (died) {
    end(side).died_pid.store(info.pid);
    end(side).died_status.store(info.status);
  }
  PipeDirection& sends = direction(side);
  const uint64_t how = died ? kTurnShut | kTurnDied : kTurnShut;
  uint64_t raw = sends.send.load();
  while (!TurnWord::decode(raw).has(kTurnShut) &&
         !sends.send.compare_exchange_strong(raw, raw | how)) {
  }
  sends.receive.fetch_or(kTurnOther);
  PipeDirection& receives = direction(other_side(side));
  receives.receive.fetch_or(kTurnShut);
  receives.send.fetch_or(kTurnOther);
  // The first to end it says how.
  uint32_t state = end(side).state.load();
  while (!ended(side) &&
         !end(side).state.compare_exchange_strong(
             state, static_cast<uint32_t>(died ? EndState::kDied : EndState::kClosed))) {
  }
}

bool Pipe::only_leavers(PipeSide side) const {
  for (const auto& user : end(side).users) {
    if (user_state(user.load()) == UserState::kUses) return false;
  }
  return true;
}

void Pipe::leave(PipeActor& a) {
  settle_sender(side_, a.owner);
  settle_receiver(other_side(side_), a.owner);
  a.holds_send = a.holds_receive = false;
  for (auto& user : end(side_).users) {
    uint32_t mine = user_word(a.owner, UserState::kUses);
    if (user.load() != mine) continue;
    const uint32_t closes = user_word(a.owner, UserState::kCloses);
    user.compare_exchange_strong(mine, closes);
    if (only_leavers(side_)) end_side(side_, false, {});
    mine = closes;
    user.compare_exchange_strong(mine, 0);
  }
  wake_everyone(a.doorbell_fd);
}

Outcome Pipe::enter(uint16_t owner) {
  PipeEndLines& here = end(side_);
  const uint32_t uses = user_word(owner, UserState::kUses);
  std::atomic<uint32_t>* cell = nullptr;
  for (auto& user : here.users) {
    const uint32_t w = user.load();
    if (w == uses || (w == 0 && cell == nullptr)) cell = &user;
    if (w == uses) break;
  }
  if (ended(side_)) return Outcome::kClosed;
  if (cell == nullptr) return Outcome::kTooManyThreads;
  cell->store(uses);
  uint32_t vacant = static_cast<uint32_t>(EndState::kVacant);
  here.state.compare_exchange_strong(vacant, static_cast<uint32_t>(EndState::kOpen));
  if (!ended(side_)) return Outcome::kOk;
  cell->store(0);  // the last one left at this very moment
  return Outcome::kClosed;
}

bool Pipe::used_by(uint16_t owner) const {
  for (const auto& user : end(side_).users) {
    if (user.load() == user_word(owner, UserState::kUses)) return true;
  }
  return false;
}

bool Pipe::ended(PipeSide side) const {
  const auto state = static_cast<EndState>(end(side).state.load());
  return state == EndState::kClosed || state == EndState::kDied;
}

/// Frames that are there behind the word's position were sent: a death after a header, before the
/// word. The sender says how far it is before it writes a ring's length further, so all of them are
/// still as it wrote them.
void Pipe::settle_sender(PipeSide from, uint16_t dead) {
  uint64_t raw = direction(from).send.load();
  for (;;) {
    const TurnWord w = TurnWord::decode(raw);
    if (!w.has(kTurnBusy) || w.owner != dead) return;
    uint64_t walked = 0;
    while (message_mode()) {
      const uint64_t h = frame(from, advanced(w.position, walked)).load(std::memory_order_acquire);
      const FrameHeader f = FrameHeader::decode(h);
      const uint64_t bytes = frame_bytes(f.length);
      if (!f.has(kFrameThere) || walked + bytes + kFrameHeaderBytes > options_.capacity) break;
      walked += bytes;
    }
    const TurnWord settled{advanced(w.position, walked), dead,
                           static_cast<uint8_t>(w.flags & ~kTurnBusy)};
    if (direction(from).send.compare_exchange_strong(raw, settled.encode())) return;
  }
}

void Pipe::settle_receiver(PipeSide from, uint16_t dead) {
  uint64_t raw = direction(from).receive.load();
  for (;;) {
    const TurnWord w = TurnWord::decode(raw);
    if (!w.has(kTurnBusy) || w.owner != dead) return;
    const TurnWord settled{w.position, dead, static_cast<uint8_t>(w.flags & ~kTurnBusy)};
    if (direction(from).receive.compare_exchange_strong(raw, settled.encode())) return;
  }
}

void Pipe::end_all() {
  for (const PipeSide side : kSides) end_side(side, false, {});
  wake_everyone(-1);
}

/// Whoever shuts one word tells the other one next, and may have been killed or stopped in between.
void Pipe::tell_other_words() {
  for (PipeDirection& d : header().directions) {
    const TurnWord s = TurnWord::decode(d.send.load()), r = TurnWord::decode(d.receive.load());
    if (s.has(kTurnShut) && !r.has(kTurnOther)) d.receive.fetch_or(kTurnOther);
    if (r.has(kTurnShut) && !s.has(kTurnOther)) d.send.fetch_or(kTurnOther);
  }
}

void Pipe::reap(uint16_t dead, const DeathInfo& info, bool a_returns) {
  for (const PipeSide side : kSides) {
    settle_sender(side, dead);
    settle_receiver(side, dead);
  }
  tell_other_words();
  for (const PipeSide side : kSides) {
    const bool returns = options_.resumable && (a_returns || side == PipeSide::kB);
    for (auto& user : end(side).users) {
      uint32_t w = user.load();
      if (user_owner(w) != dead || user_state(w) == UserState::kNone) continue;
      if (user_state(w) == UserState::kUses &&
          user.compare_exchange_strong(w, user_word(dead, UserState::kDies)))
        w = user_word(dead, UserState::kDies);
      const bool died = user_state(w) == UserState::kDies;
      if (only_leavers(side) && !ended(side)) {
        if (died && returns) {
          end(side).died_pid.store(info.pid);
          end(side).died_status.store(info.status);
          // Unless somebody who leaves at this moment has closed it.
          auto open = static_cast<uint32_t>(EndState::kOpen);
          end(side).state.compare_exchange_strong(open, static_cast<uint32_t>(EndState::kVacant));
        } else {
          end_side(side, died, info);
        }
      }
      user.store(0);
    }
  }
  wake_everyone(-1);
}

void Pipe::rescan() {
  tell_other_words();
  for (PipeDirection& d : header().directions) {
    for (WakeWord* line : {&d.ready, &d.room, &d.send_turn, &d.receive_turn}) {
      if (line->word.load() & kWakeSleepers) wake_one(*line);
    }
  }
}

void Pipe::arm(bool on) {
  for (WakeWord* line : {&in().ready, &in().receive_turn, &out().room, &out().send_turn}) {
    if (on) {
      line->word.fetch_or(kWakeArmed);
    } else {
      line->word.fetch_and(~kWakeArmed);
    }
  }
}

void Pipe::say_blocked(bool sends, bool on) {
  std::atomic<uint32_t>& since = sends ? out().send_blocked_ms : in().receive_blocked_ms;
  const uint32_t was = since.load(std::memory_order_relaxed);
  if (on == (was != 0)) return;
  since.store(on ? coarse_ms() | 1 : 0, std::memory_order_relaxed);
}

bool Pipe::has_sleepers() const {
  uint32_t seen = 0;
  for (PipeDirection& d : header().directions) {
    for (WakeWord* line : {&d.ready, &d.room, &d.send_turn, &d.receive_turn})
      seen |= line->word.load();
  }
  return (seen & kWakeSleepers) != 0;
}

DeathInfo Pipe::peer_death() const {
  const PipeEndLines& peer = end(other_side(side_));
  return {peer.died_pid.load(), peer.died_status.load()};
}

PipeEndInfo Pipe::info(PipeSide side) const {
  PipeEndInfo info{};
  const PipeEndLines& here = end(side);
  info.state = static_cast<EndState>(here.state.load() & 3);
  for (const auto& user : here.users) {
    const uint32_t w = user.load();
    if (user_state(w) != UserState::kNone) info.users[info.user_count++] = user_owner(w);
  }
  const PipeDirection& sends = direction(side);
  const PipeDirection& receives = direction(other_side(side));
  // Both words as they were at one moment, unless the receiver is too fast for that.
  uint64_t received = sends.receive.load();
  TurnWord sender = TurnWord::decode(sends.send.load());
  for (int i = 0; i < 8 && sends.receive.load() != received; ++i) {
    received = sends.receive.load();
    sender = TurnWord::decode(sends.send.load());
  }
  const TurnWord receiver = TurnWord::decode(receives.receive.load());
  info.bytes_sent = sender.position;
  const uint64_t received_to = TurnWord::decode(received).position;
  info.bytes_queued = distance(received_to, sender.position);
  if (info.bytes_queued > options_.capacity) {
    // A frame may be received before its sender's word is beyond it.
    const bool ahead = distance(sender.position, received_to) <= options_.capacity;
    info.bytes_queued = ahead ? 0 : options_.capacity;
  }
  info.send_blocked_ms = sends.send_blocked_ms.load();
  info.receive_blocked_ms = receives.receive_blocked_ms.load();
  info.sending = sender.has(kTurnBusy) ? sender.owner : 0;
  info.receiving = receiver.has(kTurnBusy) ? receiver.owner : 0;
  info.died_pid = here.died_pid.load();
  info.died_status = here.died_status.load();
  info.shut = sender.has(kTurnShut);
  return info;
}

const char* Pipe::audit() const {
  for (const PipeSide side : kSides) {
    if (side == PipeSide::kB && !options_.duplex) break;
    const TurnWord s = TurnWord::decode(direction(side).send.load());
    const TurnWord r = TurnWord::decode(direction(side).receive.load());
    if (s.has(kTurnBusy) || r.has(kTurnBusy)) return "a word is still held";
    const uint64_t there = distance(r.position, s.position);
    if (there > options_.capacity) return "the receiver is ahead of the sender";
    if (!message_mode()) continue;
    uint64_t walked = 0;
    while (walked < there) {
      const FrameHeader f = FrameHeader::decode(frame(side, advanced(r.position, walked)).load());
      if (!f.has(kFrameThere)) return "a frame is missing";
      walked += frame_bytes(f.length);
    }
    if (walked != there) return "the frames do not end at the sender's position";
    if (there < options_.capacity && frame(side, s.position).load() != 0)
      return "something lies behind the last frame";
  }
  return nullptr;
}

}  // namespace heddle::shm
