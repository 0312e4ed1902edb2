#include "daemon/objects/pipe.h"

#include <algorithm>
#include <new>
#include <utility>

#include "proto/local/pipe_status.h"
#include "proto/shm/futex.h"

namespace heddle::objects {
namespace {

using shm::Outcome;
using shm::PipeSide;

// How long the rest of a large message may take whose first part was only tried.
constexpr int64_t kRestNs = 1'000'000'000;
// A local process that feeds a remote one must not keep the broker thread.
constexpr int kServeRoundsMax = 16;

}  // namespace

const char* end_state_name(shm::EndState state) {
  static constexpr const char* kNames[] = {"vacant", "open", "closed", "died"};
  return kNames[static_cast<size_t>(state) & 3];
}

int64_t blocked_for_ms(uint32_t since_ms) {
  // The lowest bit of a stamp is always set.
  return std::max(static_cast<int32_t>(shm::coarse_ms() - since_ms), 0);
}

// Guarded by Pipe::mutex_.
struct Pipe::Use {
  PipeSide side = PipeSide::kA;
  shm::PipeActor actor;  // rings no doorbell: whoever acts here looks at everybody else's calls
  bool over = false;     // end_use() was called

  PipeSentDone on_sent;  // a send or a hold is under way
  std::vector<Body> bodies;
  size_t next = 0;
  shm::Outbox outbox;
  bool holds = false;  // it is a hold
  int64_t send_deadline_ns = 0;
  PipeSent sent;

  PipeGotDone on_got;
  PipeWant want;
  int64_t receive_deadline_ns = 0;
  PipeGot got;
  std::vector<uint64_t> tickets;  // of descriptors that came with it
  // A large message of which only a part has come; stays over the end of a call.
  shm::Inbox inbox;
  std::unique_ptr<std::byte[]> large;
};

Pipe::Pipe(Host& host, std::string name, uint64_t object_id, const shm::Pipe (&ends)[2],
           std::shared_ptr<void> mapping)
    : host_(host),
      name_(std::move(name)),
      object_id_(object_id),
      mapping_(std::move(mapping)),
      ends_{ends[0], ends[1]} {}

Pipe::UseRef Pipe::use(PipeSide side, uint16_t owner) {
  auto use = std::make_shared<Use>();
  use->side = side;
  use->actor.owner = owner;
  std::lock_guard lock(mutex_);
  std::erase_if(uses_, [](const auto& one) { return one.expired(); });
  uses_.push_back(use);
  return use;
}

void Pipe::send(const UseRef& use, std::vector<Body> bodies, int64_t deadline_ns,
                PipeSentDone done) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    use->on_sent = std::move(done);
    use->bodies = std::move(bodies);
    use->next = 0;
    use->holds = false;
    use->send_deadline_ns = deadline_ns;
    use->sent = {};
    begin(*use, &finished);
  }
  run(finished);
}

void Pipe::hold(const UseRef& use, int64_t deadline_ns, PipeSentDone done) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    use->on_sent = std::move(done);
    use->bodies.clear();
    use->holds = true;
    use->send_deadline_ns = deadline_ns;
    use->sent = {};
    begin(*use, &finished);
  }
  run(finished);
}

void Pipe::receive(const UseRef& use, const PipeWant& want, int64_t deadline_ns, PipeGotDone done) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    use->on_got = std::move(done);
    use->want = want;
    use->receive_deadline_ns = deadline_ns;
    use->got = {};
    begin(*use, &finished);
  }
  run(finished);
}

// Whoever comes too late is told so: nobody would look after the call.
void Pipe::begin(Use& use, Finished* finished) {
  if (!use.over) return serve(finished);
  cancel(use, finished);
}

void Pipe::cancel(Use& use, Finished* finished) {
  const Status off(Reason::kInterrupted, "it was called off");
  if (use.on_sent) finish_send(use, off, finished);
  if (use.on_got) finish_receive(use, off, finished);
}

void Pipe::let_go(const UseRef& use) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    end(use->side).let_go(use->actor);
    serve(&finished);
  }
  run(finished);
}

void Pipe::cancel_send(const UseRef& use) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    if (use->on_sent)
      finish_send(*use, Status(Reason::kInterrupted, "it was called off"), &finished);
    serve(&finished);
  }
  run(finished);
}

void Pipe::cancel_receive(const UseRef& use) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    if (use->on_got)
      finish_receive(*use, Status(Reason::kInterrupted, "it was called off"), &finished);
    serve(&finished);
  }
  run(finished);
}

void Pipe::shutdown_write(const UseRef& use) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    end(use->side).shutdown_write(use->actor);
    serve(&finished);
  }
  run(finished);
}

void Pipe::end_use(const UseRef& use, bool closes) {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    cancel(*use, &finished);
    use->over = true;
    shm::Pipe& here = end(use->side);
    here.let_go(use->actor);
    here.drop_partial(use->actor, &use->inbox);
    use->large.reset();
    if (closes) here.leave(use->actor);
    std::erase_if(uses_, [&](const auto& one) { return one.lock() == use; });
    serve(&finished);
  }
  run(finished);
}

void Pipe::poll() {
  Finished finished;
  {
    std::lock_guard lock(mutex_);
    if (scheduled_ns_ <= host_.now_ns()) scheduled_ns_ = INT64_MAX;
    serve(&finished);
  }
  run(finished);
}

void Pipe::run(Finished& finished) {
  for (auto& one : finished) one();
}

// What one caller does may let another go on, and what happened before an end was armed rang
// nobody: so until nothing moves.
void Pipe::serve(Finished* finished) {
  int rounds = 0;
  for (bool moved = true; moved; ++rounds) {
    if (rounds == kServeRoundsMax) {
      schedule(host_.now_ns());
      break;
    }
    moved = false;
    (void)ends_[0].take_dirty();
    for (size_t i = 0; i < uses_.size(); ++i) {
      if (const UseRef use = uses_[i].lock()) moved |= serve_use(*use, finished);
    }
    const bool was[] = {armed_[0], armed_[1]};
    arm();
    moved |= (armed_[0] && !was[0]) || (armed_[1] && !was[1]);
  }
  for (const auto& weak : uses_) {
    if (const UseRef use = weak.lock()) settle(*use, finished);
  }
  arm();
}

// True if anything moved.
bool Pipe::serve_use(Use& use, Finished* finished) {
  bool moved = false;
  if (use.on_sent) {
    const size_t before = use.next;
    const uint64_t part_before = use.outbox.sent;
    const Outcome outcome = use.holds ? end(use.side).hold(use.actor, shm::kTry) : send_some(use);
    moved = use.next != before || use.outbox.sent != part_before;
    if (outcome != Outcome::kFull) {
      const uint64_t bytes = use.next < use.bodies.size() ? use.bodies[use.next].bytes.size() : 0;
      finish_send(use, local::pipe_status(outcome, end(use.side), name_, bytes, true), finished);
    }
  }
  if (use.on_got) {
    const uint64_t filled = use.inbox.filled;
    const Outcome outcome = receive_some(use);
    const bool waits = outcome == Outcome::kEmpty;
    moved |= outcome == Outcome::kOk || use.inbox.filled != filled;
    if (!waits) {
      finish_receive(use, local::pipe_status(outcome, end(use.side), name_, 0, false), finished);
    }
  }
  return moved;
}

Outcome Pipe::send_some(Use& use) {
  for (; use.next < use.bodies.size(); ++use.next) {
    const Body& body = use.bodies[use.next];
    const shm::PipePart part{body.bytes.data(), body.bytes.size(), body.kind};
    const Outcome outcome = end(use.side).send_part(use.actor, part, &use.outbox);
    if (outcome != Outcome::kOk) return outcome;
    ++use.sent.messages;
    use.sent.bytes += body.bytes.size();
  }
  return Outcome::kOk;
}

// Small ones in place; what has come already is handed over before anything is waited for.
Outcome Pipe::receive_some(Use& use) {
  shm::Pipe& here = end(use.side);
  PipeGot& got = use.got;
  const bool stream = here.options().mode == shm::PipeMode::kBytes;
  if (use.inbox.filled != 0) return receive_large(use);
  while (got.parts.size() < use.want.count_max && got.bodies.size() < use.want.bytes_max) {
    shm::PipeSpan span;
    const Outcome outcome = here.view(use.actor, shm::kTry, &span);
    if (outcome != Outcome::kOk) {
      if (!got.parts.empty()) break;
      return outcome == Outcome::kTooLarge ? receive_large(use) : outcome;
    }
    const uint64_t room = use.want.bytes_max - got.bodies.size();
    if (!stream && !got.parts.empty() && span.length > room) {
      here.unview(use.actor);
      break;
    }
    if (got.bodies.empty()) {
      const uint64_t queued = here.info(shm::other_side(use.side)).bytes_queued;
      got.bodies.reserve(std::min(use.want.bytes_max, std::max(queued, span.length)));
    }
    const uint64_t n = stream ? std::min(span.length, room) : span.length;
    got.bodies.append(reinterpret_cast<const char*>(span.data), n);
    got.parts.push_back({span.kind, n});
    if (span.ticket != 0) use.tickets.push_back(span.ticket);
    here.consume(use.actor, span, n);
  }
  return Outcome::kOk;
}

Outcome Pipe::receive_large(Use& use) {
  shm::Pipe& here = end(use.side);
  for (;;) {
    const Outcome outcome = here.receive(use.actor, &use.inbox, shm::kTry);
    if (outcome == Outcome::kTooLarge) {  // now its length is known
      use.large.reset(new (std::nothrow) std::byte[use.inbox.length]);
      if (!use.large) return Outcome::kMemoryExhausted;
      use.inbox.to = use.large.get();
      use.inbox.capacity = use.inbox.length;
      continue;
    }
    if (outcome == Outcome::kOk) {
      use.got.parts.push_back({use.inbox.kind, use.inbox.length});
      use.got.large = std::move(use.large);
      if (use.inbox.ticket != 0) use.tickets.push_back(use.inbox.ticket);
    }
    if (use.inbox.filled == 0) {
      use.inbox = {};
      use.large.reset();
    }
    return outcome;
  }
}

// Of what still waits: whose time is up.
void Pipe::settle(Use& use, Finished* finished) {
  const int64_t now = host_.now_ns();
  shm::Pipe& here = end(use.side);
  if (use.on_sent) {
    const bool begun = use.outbox.sent != 0;
    const bool stream = here.options().mode == shm::PipeMode::kBytes;
    if (use.send_deadline_ns == shm::kTry && begun && !stream) use.send_deadline_ns = now + kRestNs;
    if (use.send_deadline_ns == shm::kTry) {
      const Outcome outcome = begun ? Outcome::kOk : Outcome::kFull;
      finish_send(use, local::pipe_status(outcome, here, name_, 0, true), finished);
    } else if (use.send_deadline_ns <= now) {
      finish_send(use, local::pipe_status(Outcome::kTimedOut, here, name_, 0, true), finished);
    } else if (use.send_deadline_ns != shm::kForever) {
      schedule(use.send_deadline_ns);
    }
  }
  if (use.on_got) {
    if (use.receive_deadline_ns <= now) {
      const bool tried = use.receive_deadline_ns == shm::kTry;
      const Outcome outcome = tried ? Outcome::kEmpty : Outcome::kTimedOut;
      finish_receive(use, local::pipe_status(outcome, here, name_, 0, false), finished);
    } else if (use.receive_deadline_ns != shm::kForever) {
      schedule(use.receive_deadline_ns);
    }
  }
}

void Pipe::finish_send(Use& use, Status status, Finished* finished) {
  if (end(use.side).options().mode == shm::PipeMode::kBytes) use.sent.bytes += use.outbox.sent;
  end(use.side).give_up(use.actor, &use.outbox);
  use.sent.status = std::move(status);
  use.bodies.clear();
  finished->push_back([done = std::exchange(use.on_sent, nullptr),
                       sent = std::exchange(use.sent, {})]() mutable { done(std::move(sent)); });
}

void Pipe::finish_receive(Use& use, Status status, Finished* finished) {
  use.got.status = std::move(status);
  auto got = std::make_shared<PipeGot>(std::exchange(use.got, {}));
  for (const uint64_t ticket : std::exchange(use.tickets, {})) {
    finished->push_back(
        [this, side = use.side, ticket] { host_.drop_descriptors(object_id_, side, ticket); });
  }
  finished->push_back([done = std::exchange(use.on_got, nullptr), got] { done(std::move(*got)); });
}

// The doorbell of an end is on while somebody waits there.
void Pipe::arm() {
  bool sends[2] = {}, receives[2] = {};
  for (const auto& weak : uses_) {
    const UseRef use = weak.lock();
    if (!use) continue;
    sends[static_cast<int>(use->side)] |= use->on_sent != nullptr;
    receives[static_cast<int>(use->side)] |= use->on_got != nullptr;
  }
  const bool before = armed_[0] || armed_[1];
  for (const PipeSide side : {PipeSide::kA, PipeSide::kB}) {
    const int i = static_cast<int>(side);
    const bool waits = sends[i] || receives[i];
    if (waits != armed_[i]) {
      armed_[i] = waits;
      end(side).arm(waits);
      if (!waits) {
        end(side).say_blocked(true, false);
        end(side).say_blocked(false, false);
      }
    }
    if (waits) {
      if (end(side).can_send()) end(side).say_blocked(true, sends[i]);
      if (end(side).can_receive()) end(side).say_blocked(false, receives[i]);
    }
  }
  const bool after = armed_[0] || armed_[1];
  if (before != after) host_.set_pipe_waiting(object_id_, after);
}

void Pipe::schedule(int64_t when_ns) {
  if (when_ns >= scheduled_ns_) return;
  scheduled_ns_ = when_ns;
  host_.at(when_ns, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->poll();
  });
}

}  // namespace heddle::objects
