// One connection of a pipe in shared memory, seen from one of its ends: what every client on the
// machine and the broker call.
//
// Pipe is a view over a mapped segment (pipe_map.h). It allocates nothing, throws nothing, logs
// nothing. All functions are thread-safe as long as every thread brings its own PipeActor. Blocking
// functions take a deadline (CLOCK_MONOTONIC ns; kTry, kForever) and sleep on futexes of the
// segment, at most one second at a time.
//
// Layout: pipe_layout.h. How it works:
//
//   Sending     The sender's word goes IDLE@p -> BUSY(me)@p when there is room for the whole frame,
//               then: header of the *next* frame := 0, body, header of this one (the commit), word
//               -> IDLE@p'. So a receiver looks at nothing but the ring, and a header that is not 0
//               is complete, whatever older bytes lie in the ring.
//   Receiving   Copy first, then one CAS of the receiver's word @p -> @p': a lost CAS makes the
//               copy worthless. Nobody is kept out by a receiver that was stopped.
//   Large       A message that does not fit half the ring goes in frames of a quarter, so that both
//               sides copy at once. The sender keeps its word BUSY meanwhile, the receiver its own.
//               A first frame in the middle of another message means that the rest of that one
//               will not come: it is dropped whole.
//   Attached    Descriptors do not go through memory: the message carries the number by which the
//               broker has them, and whoever takes it asks there. Nothing here depends on it.
//   Bytes       No frames: what was sent ends at the position in the sender's word.
//   Ends        Users of an end stand in cells. Whoever leaves says so, looks for others, and ends
//               the end when there are none; SHUT is set in the word of each direction, after
//               everything that was sent.
//
// Memory order: a header is stored with release after its body and loaded with acquire before it.
// Words change by seq_cst CAS, which is also what orders them before the look at the wake words.
//
// Crash and freeze story, if the caller stops after step k
//   send     before the header: nothing is visible, the word is BUSY(me). Dead: the reaper walks
//            over the frames that are there behind the word's position and sets it behind them.
//            Frozen: other senders of this end wait, info() names it; receivers go on. Behind the
//            header a receiver may be ahead of the word, which is BUSY then: it waits there, also
//            when somebody else shuts the stream meanwhile.
//   receive  before the CAS nothing happened. In a large message the word is BUSY(me): dead, the
//            rest is skipped by the next receiver; frozen, others of this end wait.
//   shutting SHUT in one word, then OTHER in the word across. Dead or frozen in between: the reaper
//            or the broker's rescan says it there as well.
//   entering by the broker: the number of the request, the cell, then OPEN. Dead in between: asked
//            again it finds its cell and goes on; nobody asks: the reaper takes the cell back.
//   leaving  CLOSES stands in the cell before the others are looked at, so of two that leave at
//            once the later one sees both. Dead in between: the reaper does the same again.
//   wakes    a dead waker's are repeated by the reaper, a frozen one's by the next receiver and by
//            the broker's rescan.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proto/shm/death_info.h"
#include "proto/shm/outcome.h"
#include "proto/shm/pipe_layout.h"

namespace heddle::shm {

struct LockActor;

/// One thread's hands on one end.
struct PipeActor {
  uint16_t owner = 0;              // the session's number, never 0
  int doorbell_fd = -1;            // write end of the broker's pipe; -1 in the broker itself
  bool interruptible = false;      // return kInterrupted on EINTR instead of waiting on
  int64_t patience_ns = kForever;  // no call waits longer; it ends with kTimedOut
  // Asked before it sleeps: the calling thread's hands on locks if it holds any, else null. Its
  // wait is told then (wait_note.h), and ends with kInterrupted when the broker calls it off.
  LockActor* (*holding)(void* context) = nullptr;
  void* holding_context = nullptr;
  // Private.
  bool holds_send = false;     // the sender's word stays BUSY between calls
  bool holds_receive = false;  // likewise: in the middle of a large message, or viewing
  uint64_t head_seen = 0;      // the receiver was here
  uint64_t room_needed = 0;    // by the last claim
  uint32_t spins_failed = 0;
  uint32_t burst = 0;
};

struct PipePart {
  const void* data;
  uint64_t length;  // bytes
  uint8_t kind;     // MessageKind
  // kFrameAttached: `data` begins with the ticket, kFrameTicketBytes that are no part of the body.
  // Not for send_many().
  uint8_t flags = 0;
};

/// Where a message goes. After kTimedOut in the middle of a large one `filled` is not 0: the next
/// receive() must bring the same Inbox, or drop_partial() comes first.
struct Inbox {
  std::byte* to = nullptr;
  uint64_t capacity = 0;
  uint64_t length = 0;  // of the message; after kTooLarge: the room it needs
  uint64_t filled = 0;
  uint8_t kind = 0;
  uint64_t ticket = 0;  // of its descriptors; 0: none
};

/// A large message on its way: how much of it is in the ring.
struct Outbox {
  uint64_t sent = 0;
  bool held = false;  // the end was held before
};

/// Memory of the ring, to be written before commit() or read before consume().
struct PipeSpan {
  std::byte* data = nullptr;
  uint64_t length = 0;
  uint8_t kind = 0;
  uint64_t ticket = 0;  // view(): as in Inbox
};

/// What stands in the way of a caller who says that it waits.
struct PipeObstacle {
  bool waits = false;    // nothing that it may not have seen yet would let it go on
  uint16_t turn_of = 0;  // it waits until this session is through; 0: for the other end
  uint64_t seen = 0;     // of the words that this was read from
};

struct PipeEndInfo {
  EndState state;
  uint16_t users[kEndUsersMax];
  uint32_t user_count;
  uint64_t bytes_sent, bytes_queued;  // sent by this end; not yet received by the other
  uint32_t send_blocked_ms, receive_blocked_ms;
  uint16_t sending, receiving;  // who is in the middle of something; 0 = nobody
  uint32_t died_pid, died_status;
  bool shut;  // it will send no more
};

/// Null if the options are usable, else which one is not.
const char* pipe_options_invalid(const PipeOptions& options);
/// Broker: lays out a connection in a fresh zeroed memfd.
void pipe_format(void* base, const PipeOptions& options, uint64_t object_id);

class Pipe {
 public:
  Pipe() = default;
  /// `base`: as map_pipe() made it for `options`. kCorrupt if the segment says otherwise.
  static Outcome attach(void* base, const PipeOptions& options, PipeSide side, Pipe* out);

  PipeSide side() const { return side_; }
  const PipeOptions& options() const { return options_; }
  uint64_t object_id() const { return header().segment.object_id; }
  bool can_send() const { return options_.duplex || side_ == PipeSide::kA; }
  bool can_receive() const { return options_.duplex || side_ == PipeSide::kB; }
  /// The largest body that reserve() can give.
  uint64_t reserve_bytes_max() const;

  /// send() for what is no trouble: a message of one frame, with room that is known of, while
  /// nobody else sends. False: nothing was done; send() says why, and waits.
  bool send_now(PipeActor& a, const PipePart& part);
  /// Message mode: all of it or nothing; a try of one that needs several frames may take a second.
  /// Bytes: *sent tells how much, also when it times out; a try sends what there is room for.
  Outcome send(PipeActor& a, const PipePart& part, int64_t deadline_ns, uint64_t* sent);
  /// Message mode only. In order until one fails; *done tells how many are in. One wake at the end.
  Outcome send_many(PipeActor& a, const PipePart* parts, size_t n, int64_t deadline_ns,
                    size_t* done);
  /// Never waits. kFull with out->sent != 0: that much is in the ring, and the end stays taken
  /// until the same part and Outbox have come again to the end, or give_up(), after which the
  /// receiver drops what came of a message.
  Outcome send_part(PipeActor& a, const PipePart& part, Outbox* out);
  void give_up(PipeActor& a, Outbox* out);
  /// Nobody else sends at this end until let_go(). Calls of the same actor go on as usual.
  Outcome hold(PipeActor& a, int64_t deadline_ns);
  void let_go(PipeActor& a);
  /// Room in the ring for one message of up to `bytes`; in byte mode at least one byte, at most
  /// `bytes`. Others cannot send meanwhile. commit() or abandon() must follow.
  Outcome reserve(PipeActor& a, uint64_t bytes, int64_t deadline_ns, PipeSpan* out);
  void commit(PipeActor& a, const PipeSpan& span, uint64_t length);
  void abandon(PipeActor& a);

  /// receive() for what is no trouble: a message of one frame that is there and fits. False:
  /// nothing was taken; receive() says why, and waits.
  bool receive_now(PipeActor& a, Inbox* in);
  /// Message mode: a whole message; kTooLarge keeps it. Bytes: what is there, up to in->capacity.
  Outcome receive(PipeActor& a, Inbox* in, int64_t deadline_ns);
  /// The part of a large message that has come is given up, with the rest of it.
  void drop_partial(PipeActor& a, Inbox* in);
  /// The next message, or all bytes that are there, in place. kTooLarge: it comes in several
  /// frames; receive() it. Others cannot receive meanwhile. consume() or unview() must follow.
  Outcome view(PipeActor& a, int64_t deadline_ns, PipeSpan* out);
  void consume(PipeActor& a, const PipeSpan& span, uint64_t length);
  void unview(PipeActor& a);
  /// kOk as soon as receive() would not wait.
  Outcome poll(PipeActor& a, int64_t deadline_ns);
  /// poll() by a thread of its own, with an actor of its own that has the receiver's `owner`, for a
  /// receiver that waits elsewhere. `in_message`: that one is in the middle of a large message.
  /// kInterrupted once `stop` is set. The ends of the stream come as they are. A change of either
  /// is seen after nudge_watchers(). What is there stays, and other sleepers are woken for it.
  Outcome watch(PipeActor& a, const std::atomic<bool>& in_message, const std::atomic<bool>& stop,
                int64_t deadline_ns);
  void nudge_watchers();

  /// This end sends no more; the other receives what was sent, then the end of the stream.
  void shutdown_write(PipeActor& a);
  /// The session uses this end no more. When it was the last one the end is closed.
  void leave(PipeActor& a);

  DeathInfo peer_death() const;
  PipeEndInfo info(PipeSide side) const;
  bool ended(PipeSide side) const;

  // ---- broker only ----
  /// Makes `owner` a user of this end. kClosed: it has ended.
  Outcome enter(uint16_t owner);
  /// Before enter(): the number of the OPEN, so that the same one finds this end when it is asked
  /// again.
  void note_request(uint32_t number) { end(side_).request.store(number); }
  uint32_t request() const { return end(side_).request.load(); }
  bool used_by(uint16_t owner) const;
  /// Repairs every word that names `dead`; idempotent. Ends by waking everybody. `a_returns`: on a
  /// resumable pipe another user may take the place of one of end a.
  void reap(uint16_t dead, const DeathInfo& info, bool a_returns = true);
  /// The net under lost wakes.
  void rescan();
  /// The pipe is deleted: both ends close, whoever uses them.
  void end_all();
  /// Remote callers wait for this side to be able to send or receive.
  void arm(bool on);
  /// For people: a remote caller of this side waits, or does no more.
  void say_blocked(bool sends, bool on);
  /// For `owner`, who sends or receives at this end. `room`: as in JournalLine::waiting_room.
  PipeObstacle obstacle(bool sends, uint64_t room, uint16_t owner) const;
  /// Everybody who sleeps here looks again, whether a wait was called off also.
  void wake_waiters() { wake_everyone(-1); }
  bool take_dirty() { return header().dirty.exchange(0) != 0; }
  bool has_sleepers() const;
  /// Null, or what is wrong, while nobody is active.
  const char* audit() const;

 private:
  PipeHeader& header() const { return *reinterpret_cast<PipeHeader*>(base_); }
  PipeDirection& direction(PipeSide from) const {
    return header().directions[static_cast<int>(from)];
  }
  PipeDirection& out() const { return direction(side_); }
  PipeDirection& in() const { return direction(other_side(side_)); }
  std::byte* at(PipeSide from, uint64_t position) const {
    const uint64_t ring = static_cast<uint64_t>(from) * 2 * options_.capacity;
    return base_ + kPipeHeaderBytes + ring + (position & (options_.capacity - 1));
  }
  std::atomic<uint64_t>& frame(PipeSide from, uint64_t position) const {
    return *reinterpret_cast<std::atomic<uint64_t>*>(at(from, position));
  }
  PipeEndLines& end(PipeSide side) const { return header().ends[static_cast<int>(side)]; }
  bool message_mode() const { return options_.mode == PipeMode::kMessage; }

  /// Bytes of the ring that a sender can do with, and those it would like to have.
  struct Room {
    explicit Room(uint64_t needs) : needs(needs), wants(needs) {}
    Room(uint64_t needs, uint64_t wants) : needs(needs), wants(wants) {}
    uint64_t needs, wants;
  };
  // pipe_send.cc
  Outcome claim_room(PipeActor& a, Room room, int64_t deadline_ns, TurnWord* turn);
  Outcome try_claim_room(PipeActor& a, Room room, TurnWord* turn, WakeWord** wait_at);
  bool goes_now(const PipePart& part) const {
    return message_mode() && can_send() && part.flags == 0 && goes_whole(part.length) &&
           part.length <= options_.max_msg_bytes;
  }
  void put_frame(uint64_t position, const PipePart& part, uint8_t flags, uint64_t total);
  void sent_up_to(PipeActor& a, uint64_t position, bool keep);
  Outcome send_frame(PipeActor& a, const PipePart& part, Outbox* out, int64_t deadline_ns);
  Outcome send_frames(PipeActor& a, const PipePart& part, int64_t deadline_ns);
  Outcome send_bytes(PipeActor& a, const PipePart& part, int64_t deadline_ns, uint64_t* sent);
  Outcome send_whole(PipeActor& a, const PipePart& part, int64_t deadline_ns);
  bool goes_whole(uint64_t length) const {
    return frame_bytes(length) + kFrameHeaderBytes <= options_.capacity / 2;
  }
  void wake_receivers(PipeActor& a, bool let_go);
  // pipe_receive.cc
  Outcome look(PipeActor& a, uint64_t* raw, uint64_t* length, FrameHeader* f, WakeWord** wait_at);
  struct FirstFrame {
    bool fits = false;  // else what must stand in the frame does not
    std::byte* body = nullptr;
    uint64_t bytes = 0;   // of the body that are in this frame
    uint64_t total = 0;   // of the whole body, if there are more frames
    uint64_t ticket = 0;  // 0: none
  };
  FirstFrame take_first(PipeSide from, uint64_t position, FrameHeader f) const;
  Outcome begin_message(PipeActor& a, Inbox* in, uint64_t raw, FrameHeader f, bool* again);
  Outcome try_receive(PipeActor& a, Inbox* in, WakeWord** wait_at);
  Outcome receive_frames(PipeActor& a, Inbox* in, WakeWord** wait_at);
  Outcome try_view(PipeActor& a, PipeSpan* out, WakeWord** wait_at);
  bool received_up_to(PipeActor& a, uint64_t raw, uint64_t bytes, bool keep);
  bool more_behind(TurnWord w) const;
  void pass_ready_on(TurnWord next);
  // pipe_wait.h
  template <class Attempt>
  Outcome until(PipeActor& a, std::atomic<uint32_t>& blocked_ms, int64_t deadline_ns,
                Outcome not_now, Attempt attempt);
  template <class Attempt>
  static Outcome sleep_at(PipeActor& a, WakeWord* at, int64_t deadline_ns, Outcome not_now,
                          Attempt attempt);
  template <class Attempt>
  Outcome sleep_told(LockActor& holding, PipeActor& a, WakeWord* at, int64_t deadline_ns,
                     Outcome not_now, Attempt attempt);
  // pipe_end.cc
  void wake(PipeActor& a, WakeWord& line) {
    const uint32_t seen = line.word.load(std::memory_order_seq_cst);
    if (seen & (kWakeSleepers | kWakeArmed)) [[unlikely]]
      wake_somebody(a, line, seen);
  }
  void wake_somebody(PipeActor& a, WakeWord& line, uint32_t seen);
  void wake_everyone(int doorbell_fd);
  void end_side(PipeSide side, bool died, const DeathInfo& info);
  bool only_leavers(PipeSide side) const;
  void tell_other_words();
  void settle_sender(PipeSide from, uint16_t dead);
  void settle_receiver(PipeSide from, uint16_t dead);

  std::byte* base_ = nullptr;
  PipeOptions options_{};
  PipeSide side_ = PipeSide::kA;
};

}  // namespace heddle::shm
