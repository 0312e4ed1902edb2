#include "client/src/shm_channel/shm_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "client/src/shm_channel/shm_channel.h"
#include "proto/shm/wait_note.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

constexpr std::size_t kMessagesReserved = 64;
// A body up to here is copied before anything is taken: two who copy the same one lose little.
constexpr std::size_t kCopiedBytesMax = 16 * 1024;

static_assert(sizeof(shm::Ticket) == sizeof(Lease));
static_assert(shm::kInlineBytes <= MessageAccess::kInlineBytes);
static_assert(shm::kTry == kTry && shm::kForever == kNever);

shm::Ticket ticket_of(const Lease& lease) { return std::bit_cast<shm::Ticket>(lease.words); }
Lease lease_of(const shm::Ticket& ticket) {
  return Lease{std::bit_cast<std::array<std::uint64_t, 3>>(ticket)};
}

// Where a body may be copied to before it is taken.
void make_room(Message& message, shm::Taken* taken) {
  taken->room = MessageAccess::inline_room(message);
  const std::span<std::byte> own = MessageAccess::own_room(message);
  taken->large_room = own.data();
  taken->large_room_bytes = std::min(own.size(), kCopiedBytesMax);
}

// The body is in `message` already, or under a lease.
void show(const shm::Taken& taken, Message* message) {
  MessageAccess::describe(*message, taken.id, static_cast<BodyKind>(taken.kind), taken.count + 1u);
  MessageAccess::view_bytes(*message, taken.data, taken.length);
}

// What a LoanRoom's state holds.
struct LoanState {
  std::uint64_t key;
  shm::Loan loan;
};
static_assert(sizeof(LoanState) <= sizeof(LoanRoom::state));

LoanState loan_state(const LoanRoom& room) {
  LoanState state{};
  std::memcpy(&state, room.state.data(), sizeof state);
  return state;
}

void keep(LoanRoom& room, const LoanState& state) {
  std::memcpy(room.state.data(), &state, sizeof state);
}

// Better than a lease that does not end when the caller believes it does.
[[gnu::cold, gnu::noinline]] Status no_timed_lease(const std::string& queue) {
  return Status(Reason::kUnsupported,
                "over shared memory a lease ends with this process, not after a time; ask for "
                "none, or connect over gRPC (Plane::kGrpc, --plane grpc)")
      .with_object("queue " + queue);
}

// For a broker that is away, when memory is needed by a call that has no timeout.

// Producer cells carry the attachment they belong to.
constexpr std::uint64_t kCellBits = 24;

}  // namespace

ShmQueue::ShmQueue(std::shared_ptr<ShmChannel> channel, std::shared_ptr<Attachment> attachment)
    : channel_(std::move(channel)),
      key_(attachment->key),
      attachment_(std::move(attachment)),
      name_(attachment_->name) {}

ShmQueue::~ShmQueue() {
  if (attachment_->generation != process_generation() || attachment_->session->ended()) return;
  const local::Close close{.object_id = attachment_->object_id};
  attachment_->session->post(local::AttachType::kClose, local::bytes_of(close));
}

Hands* ShmQueue::hands_slow(Status* status) {
  std::lock_guard lock(mutex_);
  if (attachment_->generation == process_generation()) {
    // A lost session is said once; the call after that attaches anew.
    if (!attachment_->session->ended() || !std::exchange(loss_told_, true)) {
      *status = look(*attachment_);
      if (!status->ok()) return nullptr;
    }
  }
  if (attachment_->session->ended()) {
    auto fresh = channel_->attach(name_, {}, false);
    if (!fresh) {
      *status = fresh.status();
      return nullptr;
    }
    // In a child nobody else can be using the old one.
    auto old = std::exchange(attachment_, std::move(*fresh));
    if (old->generation == process_generation()) retired_.push_back(std::move(old));
    loss_told_ = false;
  }
  key_.store(attachment_->key);
  Hands* hands = nullptr;
  *status = make_hands(*attachment_, &hands);
  return hands;
}

Hands* ShmQueue::hands_here(Status* status) {
  if (Hands* hands = cached_hands(key_.load(std::memory_order_relaxed))) [[likely]]
    return hands;
  std::lock_guard lock(mutex_);
  if (attachment_->session->ended()) return nullptr;
  Hands* hands = nullptr;
  *status = make_hands(*attachment_, &hands);
  return hands;
}

Hands* ShmQueue::hands_of_owner(std::uint16_t owner, Status* status) {
  Hands* hands = hands_here(status);
  if (hands != nullptr && hands->actor->owner == owner) [[likely]]
    return hands;
  if (status->ok()) {
    *status = Status(Reason::kSessionLost,
                     "this delivery belongs to another session: of another process, from before "
                     "a fork, or one that the broker has ended")
                  .with_object("queue " + name_);
  }
  return nullptr;
}

Hands* ShmQueue::hands_of_key(std::uint64_t key, Status* status) {
  Hands* hands = hands_here(status);
  if (hands != nullptr && hands->key == key) [[likely]]
    return hands;
  if (status->ok()) {
    *status = Status(Reason::kSessionLost,
                     "this belongs to another session: from before a fork, or one that the "
                     "broker has ended")
                  .with_object("queue " + name_);
  }
  return nullptr;
}

Status ShmQueue::look(Attachment& attachment) {
  Status status = attachment.session->look();
  if (!status.ok()) {
    key_.store(0);  // The next operation attaches anew.
    return std::move(status).with_object("queue " + name_);
  }
  return status;
}

template <class Attempt>
Outcome ShmQueue::wait(Hands& hands, std::int64_t deadline_ns, Status* status, Attempt attempt) {
  Asking asking;
  for (;;) {
    const Outcome outcome = attempt(deadline_ns);
    if (outcome == Outcome::kOk) [[likely]]
      return outcome;
    if (outcome == Outcome::kMemoryExhausted && more_memory(hands, deadline_ns, &asking, status))
      continue;
    if (outcome != Outcome::kTimedOut) return outcome;
    if (deadline_ns != kNever && monotonic_ns() >= deadline_ns) return outcome;
    *status = look(*hands.at);
    if (!status->ok()) return outcome;
  }
}

// What needs no waiting and no words is kept apart: a status that may have to be destroyed, and a
// wait that may have to be repeated, cost a fifth of a put.
Result<std::uint64_t> ShmQueue::put(const Body& body, std::int64_t deadline_ns) {
  const shm::MessageIn in{body.data, body.length, static_cast<std::uint8_t>(body.kind)};
  std::uint64_t id = 0;
  Hands* hands = hands_now();
  if (hands != nullptr && hands->at->queue.put(*hands->actor, in, kTry, &id) == Outcome::kOk)
      [[likely]]
    return id;
  return put_waiting(in, deadline_ns);
}

Result<std::uint64_t> ShmQueue::put_waiting(const shm::MessageIn& in, std::int64_t deadline_ns) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  std::uint64_t id = 0;
  const Outcome outcome = wait(*hands, deadline_ns, &status, [&](std::int64_t until) {
    return hands->at->queue.put(*hands->actor, in, until, &id);
  });
  if (outcome == Outcome::kOk) [[likely]]
    return id;
  if (!status.ok()) return status;
  return explain(outcome, *hands->at, in.length);
}

Status ShmQueue::put_many(std::span<const Body> bodies, std::int64_t deadline_ns, std::size_t* done,
                          std::uint64_t* ids) {
  *done = 0;
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  constexpr std::size_t kStep = 64;
  shm::MessageIn in[kStep];
  while (*done < bodies.size()) {
    const auto step = bodies.subspan(*done, std::min(kStep, bodies.size() - *done));
    for (std::size_t i = 0; i < step.size(); ++i) {
      in[i] = {step[i].data, step[i].length, static_cast<std::uint8_t>(step[i].kind)};
    }
    std::size_t put = 0;
    const Outcome outcome = wait(*hands, deadline_ns, &status, [&](std::int64_t until) {
      std::size_t now = 0;
      const Outcome one =
          hands->at->queue.put_many(*hands->actor, in + put, step.size() - put, until, &now,
                                    ids != nullptr ? ids + *done + put : nullptr);
      put += now;
      return one;
    });
    *done += put;
    if (!status.ok()) return status;
    if (outcome != Outcome::kOk) {
      return explain(outcome, *hands->at, put < step.size() ? step[put].length : 0);
    }
  }
  return status;
}

Status ShmQueue::loan(std::size_t bytes, LoanRoom* room) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  LoanState state{.key = hands->key, .loan = {}};
  const Outcome outcome = wait(*hands, monotonic_ns() + kGrantWaitNs, &status, [&](std::int64_t) {
    return hands->at->queue.loan(*hands->actor, bytes, &state.loan);
  });
  if (!status.ok()) return status;
  if (outcome != Outcome::kOk) return explain(outcome, *hands->at, bytes);
  room->data = state.loan.data;
  room->capacity = state.loan.capacity;
  keep(*room, state);
  return status;
}

Result<std::uint64_t> ShmQueue::commit(LoanRoom& room, std::size_t length, BodyKind kind,
                                       std::int64_t deadline_ns) {
  LoanState state = loan_state(room);
  Status status;
  Hands* hands = hands_of_key(state.key, &status);
  if (hands == nullptr) return status;
  std::uint64_t id = 0;
  const Outcome outcome = wait(*hands, deadline_ns, &status, [&](std::int64_t until) {
    return hands->at->queue.commit(*hands->actor, state.loan, length,
                                   static_cast<std::uint8_t>(kind), until, &id);
  });
  keep(room, state);
  if (outcome == Outcome::kOk) return id;
  if (!status.ok()) return status;
  return explain(outcome, *hands->at, length);
}

void ShmQueue::discard(LoanRoom& room) noexcept {
  LoanState state = loan_state(room);
  Status status;
  Hands* hands = hands_of_key(state.key, &status);
  if (hands != nullptr) hands->at->queue.discard(*hands->actor, state.loan);
}

Status ShmQueue::take(const TakeOptions& options, Message* out) {
  Hands* hands = options.lease_ms > 0 ? nullptr : hands_now();
  if (hands == nullptr) [[unlikely]]
    return take_waiting(options, out);
  const auto mode = options.leased ? shm::TakeMode::kLease : shm::TakeMode::kAuto;
  shm::Taken taken;
  make_room(*out, &taken);
  if (hands->at->queue.take(*hands->actor, mode, &taken, kTry) != Outcome::kOk) [[unlikely]]
    return take_waiting(options, out);
  if (taken.data == taken.room) [[likely]] {
    show(taken, out);
    if (options.leased) MessageAccess::lease(*out, lease_of(taken.ticket), *this);
    return {};
  }
  return deliver(*hands, options, taken, out);
}

Status ShmQueue::take_waiting(const TakeOptions& options, Message* out) {
  Status status;
  if (options.lease_ms > 0 && options.leased) [[unlikely]]
    return no_timed_lease(name());
  Hands* hands = this->hands(&status);
  if (hands == nullptr) [[unlikely]]
    return status;
  const auto mode = options.leased ? shm::TakeMode::kLease : shm::TakeMode::kAuto;
  shm::Taken taken;
  make_room(*out, &taken);
  const Outcome outcome = wait(*hands, options.deadline_ns, &status, [&](std::int64_t until) {
    return hands->at->queue.take(*hands->actor, mode, &taken, until);
  });
  if (outcome == Outcome::kOk) [[likely]]
    return deliver(*hands, options, taken, out);
  if (!status.ok()) return status;
  return explain(outcome, *hands->at);
}

Status ShmQueue::deliver(Hands& hands, const TakeOptions& options, const shm::Taken& taken,
                         Message* out) {
  show(taken, out);
  const bool here = taken.data == taken.room || taken.data == taken.large_room;
  if (!here && !options.leased) {
    std::byte* copy = MessageAccess::own_bytes(*out, taken.length);
    if (copy == nullptr) {
      if (taken.leased) hands.at->queue.nack(*hands.actor, taken.ticket, false);
      return Status(Reason::kMemoryExhausted, "no memory for the body; it went back to its place")
          .with_object("queue " + name_);
    }
    std::memcpy(copy, taken.data, taken.length);
  }
  if (options.leased) {
    MessageAccess::lease(*out, lease_of(taken.ticket), *this);
  } else if (taken.leased) {
    // Purged between taking and settling: the copy is whole, but it is nobody's any more.
    const Outcome settled = hands.at->queue.ack(*hands.actor, taken.ticket);
    if (settled != Outcome::kOk) {
      MessageAccess::clear(*out);
      return explain(settled, *hands.at);
    }
  }
  return {};
}

Status ShmQueue::take_many(const TakeOptions& options, std::size_t max, std::uint64_t max_bytes,
                           std::vector<Message>* out) {
  Status status;
  if (options.lease_ms > 0 && options.leased) return no_timed_lease(name());
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const auto mode = options.leased ? shm::TakeMode::kLease : shm::TakeMode::kAuto;
  out->reserve(std::min(max, kMessagesReserved));
  shm::Taken taken;
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  for (; count < max && (max_bytes == 0 || bytes < max_bytes); ++count) {
    Message& message = count < out->size() ? (*out)[count] : out->emplace_back();
    make_room(message, &taken);
    Outcome outcome = hands->at->queue.take(*hands->actor, mode, &taken, kTry);
    if (outcome != Outcome::kOk && count == 0) {
      outcome = wait(*hands, options.deadline_ns, &status, [&](std::int64_t until) {
        return hands->at->queue.take(*hands->actor, mode, &taken, until);
      });
    }
    if (outcome == Outcome::kOk && !options.leased && taken.data == taken.room) [[likely]] {
      show(taken, &message);
      bytes += taken.length;
      continue;
    }
    if (outcome == Outcome::kOk) status = deliver(*hands, options, taken, &message);
    if (outcome != Outcome::kOk || !status.ok()) {
      // What was taken is the answer; the next call says what stopped this one.
      if (count != 0)
        status = Status();
      else if (status.ok())
        status = explain(outcome, *hands->at);
      break;
    }
    bytes += message.size();
  }
  out->erase(out->begin() + static_cast<std::ptrdiff_t>(count), out->end());
  return status;
}

Status ShmQueue::ack(const Lease& lease) {
  const shm::Ticket ticket = ticket_of(lease);
  Hands* now = hands_now();
  if (now != nullptr && now->actor->owner == ticket.owner &&
      now->at->queue.ack(*now->actor, ticket) == Outcome::kOk) [[likely]]
    return {};
  Status status;
  Hands* hands = hands_of_owner(ticket.owner, &status);
  if (hands == nullptr) return status;
  const Outcome outcome = hands->at->queue.ack(*hands->actor, ticket);
  return outcome == Outcome::kOk ? status : explain(outcome, *hands->at);
}

Status ShmQueue::nack(const Lease& lease, bool counted) {
  const shm::Ticket ticket = ticket_of(lease);
  Status status;
  Hands* hands = hands_of_owner(ticket.owner, &status);
  if (hands == nullptr) return status;
  const Outcome outcome = hands->at->queue.nack(*hands->actor, ticket, counted);
  return outcome == Outcome::kOk ? status : explain(outcome, *hands->at);
}

Status ShmQueue::bury(const Lease& lease) {
  const shm::Ticket ticket = ticket_of(lease);
  Status status;
  Hands* hands = hands_of_owner(ticket.owner, &status);
  if (hands == nullptr) return status;
  const Outcome outcome = hands->at->queue.bury(*hands->actor, ticket);
  return outcome == Outcome::kOk ? status : explain(outcome, *hands->at);
}

Status ShmQueue::extend(const Lease& lease, std::int64_t) {
  // A local lease has no deadline to move; what can be answered is whether it still holds.
  const shm::Ticket ticket = ticket_of(lease);
  Status status;
  Hands* hands = hands_of_owner(ticket.owner, &status);
  if (hands == nullptr) return status;
  shm::BrowseRow row;
  const bool held = hands->at->queue.browse(&row, 1, ticket.id - 1, shm::kLeasedMask) == 1 &&
                    row.ticket.id == ticket.id && row.owner == ticket.owner;
  return held ? status : explain(Outcome::kLeaseLost, *hands->at);
}

Status ShmQueue::join(std::int64_t deadline_ns) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  Outcome outcome = hands->at->queue.join(*hands->actor, kTry);
  if (outcome == Outcome::kTimedOut && deadline_ns != kTry) {
    outcome = join_told(*hands, deadline_ns, &status);
  }
  if (outcome == Outcome::kOk || !status.ok()) return status;
  return explain(outcome, *hands->at);
}

// Says what the thread waits for: whoever has to settle a message may wait for a lock of ours.
Outcome ShmQueue::join_told(Hands& hands, std::int64_t deadline_ns, Status* status) {
  shm::LockActor waiter;
  waiter.owner = hands.actor->owner;
  waiter.thread = hands.actor->thread;
  waiter.journal = hands.actor->journal;
  waiter.doorbell_fd = hands.actor->doorbell_fd;
  waiter.waits_told = &hands.at->session->page()->header().waits_told;
  waiter.waits = ++hands.uses;  // two joins in a row differ
  shm::WaitNote note(waiter, shm::WaitFor::kJoin, static_cast<std::uint32_t>(hands.at->object_id));
  note.publish();
  for (std::int64_t now = monotonic_ns();; now = monotonic_ns()) {
    note.tell(now);
    const Outcome outcome = hands.at->queue.join(*hands.actor, note.wake_at(now, deadline_ns));
    if (note.cancelled()) {
      std::string circle = channel_->own_deadlock();
      *status =
          Status(Reason::kDeadlockDetected,
                 circle.empty() ? "the join was part of a circle of waits" : std::move(circle))
              .with_object("queue " + name_);
      return outcome;
    }
    if (outcome != Outcome::kTimedOut) return outcome;
    if (deadline_ns != kNever && monotonic_ns() >= deadline_ns) return outcome;
    *status = look(*hands.at);
    if (!status->ok()) return outcome;
  }
}

Status ShmQueue::shutdown(bool immediate) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const Outcome outcome = wait(*hands, monotonic_ns() + kGrantWaitNs, &status, [&](std::int64_t) {
    return hands->at->queue.shutdown(*hands->actor, immediate);
  });
  if (!status.ok()) return status;
  if (outcome == Outcome::kOk || outcome == Outcome::kClosed) return status;
  return explain(outcome, *hands->at);
}

Status ShmQueue::reopen() {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const Outcome outcome = hands->at->queue.reopen(*hands->actor);
  return outcome == Outcome::kOk ? status : explain(outcome, *hands->at);
}

Status ShmQueue::open_producer(std::uint64_t* cell) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  std::uint32_t row = 0;
  const Outcome outcome = hands->at->queue.register_producer(*hands->actor, &row);
  if (outcome != Outcome::kOk) return explain(outcome, *hands->at);
  *cell = (hands->key << kCellBits) | row;
  return status;
}

Status ShmQueue::close_producer(std::uint64_t cell) {
  Status status;
  Hands* hands = hands_of_key(cell >> kCellBits, &status);
  if (hands == nullptr) return status;
  const auto row = static_cast<std::uint32_t>(cell & ((std::uint64_t{1} << kCellBits) - 1));
  shm::Queue& queue = hands->at->queue;
  // The last one may end the stream, and what was in reserve for that may be in use.
  if (queue.reserve_used() && queue.limits().eos == shm::Eos::kLastProducer) {
    status = ask_memory(*hands, {0, queue.granted().segments + 1}, monotonic_ns() + kGrantWaitNs);
    if (!status.ok()) return status;
  }
  queue.unregister_producer(*hands->actor, row);
  return status;
}

}  // namespace heddle::detail
