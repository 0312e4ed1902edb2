// One connection of a pipe for remote callers: waiting by callback over the rings that local
// processes use without asking.
//
// A use is one remote caller's hands on one end. At most one send and one receive of it are under
// way; the service sees to that. What a use has taken out of the ring for its caller is gone from
// the ring: a caller that vanishes takes it along, as a process does that dies after receiving.
// Descriptors that came with a message are dropped: no wire carries them.
//
// Threads: every method may be called from any thread; none blocks for longer than a short lock. A
// callback runs exactly once, inside the call that started it or later on another thread, never
// with a lock held; it must not block, and may call any method here.
//
// Deadlines as in objects/queue.h. Outcomes come as Status values: FULL, TIMED_OUT, CLOSED,
// END_OF_STREAM, and as failures PEER_DIED, BROKEN_PIPE, TOO_LARGE, CORRUPT.
#pragma once

#include <heddle/status.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/objects/host.h"
#include "daemon/objects/queue.h"
#include "proto/shm/pipe.h"

namespace heddle::objects {

struct PipeSent {
  Status status;          // ok when all were sent
  uint64_t messages = 0;  // that are in the ring whole
  uint64_t bytes = 0;     // of a stream: how many
};

struct PipeWant {
  uint32_t count_max = 1;           // messages; what is there, at least one
  uint64_t bytes_max = UINT64_MAX;  // stops after the message that passes it; a stream: before
};

// Bodies lie end to end in `bodies`, or it is one that is larger than half the ring, in `large`.
struct PipeGot {
  Status status;  // ok when there is at least one
  struct Part {
    uint8_t kind = 0;
    uint64_t length = 0;
  };
  std::vector<Part> parts;
  std::string bodies;
  std::unique_ptr<std::byte[]> large;
};

// "vacant", "open", "closed", "died".
const char* end_state_name(shm::EndState state);
// Milliseconds since a stamp of PipeEndInfo that is not 0.
int64_t blocked_for_ms(uint32_t since_ms);

using PipeSentDone = std::function<void(PipeSent)>;
using PipeGotDone = std::function<void(PipeGot)>;

class Pipe : public std::enable_shared_from_this<Pipe> {
 public:
  struct Use;
  using UseRef = std::shared_ptr<Use>;

  // `mapping` keeps the memory behind `ends` mapped.
  Pipe(Host& host, std::string name, uint64_t object_id, const shm::Pipe (&ends)[2],
       std::shared_ptr<void> mapping);

  // `owner` is a user of that end already.
  UseRef use(shm::PipeSide side, uint16_t owner);
  // The bodies stay valid until `done`. Some may be in when it fails. Of a large message that was
  // begun the rest has a second, or until the deadline.
  void send(const UseRef& use, std::vector<Body> bodies, int64_t deadline_ns, PipeSentDone done);
  void receive(const UseRef& use, const PipeWant& want, int64_t deadline_ns, PipeGotDone done);
  // Nobody else sends at this end until let_go(); `done` says when, with no message.
  void hold(const UseRef& use, int64_t deadline_ns, PipeSentDone done);
  void let_go(const UseRef& use);
  // Calls under way end with CANCELLED (INTERRUPTED). The part of a large message that has come
  // stays for the next receive.
  void cancel_send(const UseRef& use);
  void cancel_receive(const UseRef& use);
  void shutdown_write(const UseRef& use);
  // What it had begun is given up and its calls are cancelled, also those that come later. With
  // `closes` the session leaves this end; the last one to leave closes it.
  void end_use(const UseRef& use, bool closes);

  // Tries again what waits: after the doorbell, a timer, a death, a deletion.
  void poll();

  // As shm::Pipe::obstacle().
  shm::PipeObstacle obstacle(shm::PipeSide side, bool sends, uint64_t room, uint16_t owner) const {
    return ends_[static_cast<int>(side)].obstacle(sends, room, owner);
  }
  // Local waiters look whether their waits were called off.
  void wake_waiters() { ends_[0].wake_waiters(); }

  const shm::PipeOptions& options() const { return ends_[0].options(); }
  shm::PipeEndInfo info(shm::PipeSide side) const { return ends_[0].info(side); }
  const std::string& name() const { return name_; }
  uint64_t object_id() const { return object_id_; }

 private:
  using Finished = std::vector<std::function<void()>>;

  shm::Pipe& end(shm::PipeSide side) { return ends_[static_cast<int>(side)]; }
  // With mutex_ held.
  void begin(Use& use, Finished* finished);
  void cancel(Use& use, Finished* finished);
  void serve(Finished* finished);
  bool serve_use(Use& use, Finished* finished);
  shm::Outcome send_some(Use& use);
  shm::Outcome receive_some(Use& use);
  shm::Outcome receive_large(Use& use);
  void settle(Use& use, Finished* finished);
  void finish_send(Use& use, Status status, Finished* finished);
  void finish_receive(Use& use, Status status, Finished* finished);
  void arm();
  void schedule(int64_t when_ns);
  static void run(Finished& finished);

  Host& host_;
  const std::string name_;
  const uint64_t object_id_;
  std::shared_ptr<void> mapping_;
  shm::Pipe ends_[2];

  std::mutex mutex_;
  std::vector<std::weak_ptr<Use>> uses_;
  bool armed_[2] = {};
  int64_t scheduled_ns_ = INT64_MAX;
};

}  // namespace heddle::objects
