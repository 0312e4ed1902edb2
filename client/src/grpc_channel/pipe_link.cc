#include "client/src/grpc_channel/pipe_link.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

constexpr std::uint32_t kWindowMax = 64;  // messages asked for ahead
constexpr std::size_t kWindowBytes = 1024 * 1024;
constexpr std::int64_t kCloseNs = 5'000'000;  // who takes so soon again is not left waiting

Status status_from_detail(const v1::OutcomeDetail& why) {
  if (why.reason().empty()) return {};
  // Beyond all outcomes: it goes by its name.
  return status_from(static_cast<v1::Outcome>(v1::Outcome_MAX + 1), why);
}

// Said before any lock is taken: in the child it may be held for ever.
Status forked() {
  return {Reason::kUnsupported,
          "gRPC does not survive fork: connect in the child, or use shared memory"};
}

}  // namespace

Result<std::shared_ptr<PipeLink>> PipeLink::open(std::shared_ptr<Remote> remote,
                                                 const PipeRequest& first) {
  std::int64_t give_up_ns = 0;
  for (;;) {
    const auto link = std::make_shared<PipeLink>(remote);
    std::string token;
    Status status = remote->prepare(kNever, 0, &link->context_, &token);
    if (!status.ok()) return status;
    link->start(first);
    grpc::Status failure;
    status = link->wait_opened(&failure);
    if (status.ok()) return link;
    link->close();
    if (failure.ok()) return status;
    status = remote->after_failure(failure, kTry, token, &give_up_ns);
    if (!status.ok()) return status;
  }
}

void PipeLink::start(const PipeRequest& first) {
  remote_->pipes->async()->Attach(&context_, this);
  AddHold();  // writes begin outside of reactions
  StartRead(&response_);
  StartCall();
  std::lock_guard lock(mutex_);
  write(first);
}

// The broker keeps the time; this one only waits for its word.
Status PipeLink::wait_opened(grpc::Status* failure) {
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return is_open_ || done_; });
  if (is_open_) return {};
  if (!final_.ok()) {
    *failure = final_;
    return status_from(final_);
  }
  return why_not_.ok() ? Status(Reason::kBrokerAway, "the broker ended the stream") : why_not_;
}

void PipeLink::OnReadDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    if (ok) {
      took(response_);
    } else {
      reads_over_ = true;
    }
    changed_.notify_all();
  }
  ok ? StartRead(&response_) : RemoveHold();
}

void PipeLink::took(PipeResponse& response) {
  const Status why = status_from_detail(response.why());
  if (response.has_opened()) {
    opened_ = response.opened();
    is_open_ = true;
  } else if (response.has_sent()) {
    answers_[++answered_] = {response.sent(), why};
  } else if (response.has_peer()) {
    peers_.push_back(std::move(*response.mutable_peer()));
  } else if (response.withdrawn()) {
    ++withdrawn_;
    expected_ = 0;
  } else if (response.ended()) {
    ended_ = why;
  } else if (response.has_received()) {
    const auto count = static_cast<std::uint32_t>(response.received().lengths_size());
    for (const std::uint32_t length : response.received().lengths()) {
      largest_ = std::max<std::size_t>({largest_ / 2, length, 1});
    }
    expected_ -= std::min(expected_, count);
    here_ += count;
    if (count != 0) batches_.push_back({std::move(*response.mutable_received()), 0, 0});
  } else if (!why.ok()) {
    why_not_ = why;
  }
  show_ready();
}

void PipeLink::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  unwritten_.pop_front();
  if (ok) write_next();
}

// The last word of gRPC; close() waits for it. Not here may the last reference go: with it could go
// the channel, which would wait for this very thread.
void PipeLink::OnDone(const grpc::Status& status) {
  std::lock_guard lock(mutex_);
  done_ = true;
  final_ = status;
  show_ready();
  changed_.notify_all();
}

void PipeLink::write(PipeRequest request) {
  unwritten_.push_back(std::move(request));
  write_next();
}

void PipeLink::write_next() {
  if (writing_ || reads_over_ || unwritten_.empty()) return;
  writing_ = true;
  if (unwritten_.front().close()) {
    StartWriteLast(&unwritten_.front(), grpc::WriteOptions());
  } else {
    StartWrite(&unwritten_.front());
  }
}

// False: time is up.
bool PipeLink::wait(Lock& lock, std::int64_t deadline_ns) {
  if (deadline_ns == kNever) return changed_.wait(lock), true;
  const std::int64_t left = deadline_ns - monotonic_ns();
  if (left <= 0) return false;
  changed_.wait_for(lock, std::chrono::nanoseconds(left));
  return true;
}

// Why the stream is no more.
Status PipeLink::over() const {
  if (!done_ && !reads_over_) return {};
  if (done_ && !final_.ok() && !broker_is_away(final_)) return status_from(final_);
  return Status(Reason::kBrokerAway,
                "the broker went away, and this end of the pipe with it; open it anew")
      .with_object("pipe " + opened_.name());
}

Status PipeLink::act(PipeRequest request, PipeResponse::Sent* sent) {
  std::uint64_t ticket = 0;
  Status status = begin(std::move(request), &ticket);
  return status.ok() ? answer(ticket, sent) : status;
}

Status PipeLink::begin(PipeRequest request, std::uint64_t* ticket) {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  if (Status status = over(); !status.ok()) return status;
  *ticket = ++begun_;
  write(std::move(request));
  return {};
}

Status PipeLink::answer(std::uint64_t ticket, PipeResponse::Sent* sent) {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  while (answered_ < ticket) {
    if (Status status = over(); !status.ok()) return status;
    changed_.wait(lock);
  }
  const auto found = answers_.find(ticket);
  if (found == answers_.end()) return Status(Reason::kInternal, "an answer was asked for twice");
  const Answer answer = std::move(found->second);
  answers_.erase(found);
  if (sent != nullptr) *sent = answer.sent;
  return answer.status;
}

Status PipeLink::turn(const void* who, std::int64_t deadline_ns, bool holds) {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  while (holder_ != nullptr && holder_ != who) {
    if (Status status = over(); !status.ok()) return status;
    if (wait(lock, deadline_ns)) continue;
    return Status(deadline_ns == kTry ? Reason::kFull : Reason::kTimedOut,
                  "another handle of this process holds it")
        .with_object("pipe " + opened_.name());
  }
  if (holds) holder_ = who;
  return {};
}

bool PipeLink::let_go(const void* who) {
  if (remote_->forked()) return false;
  std::lock_guard lock(mutex_);
  if (holder_ != who) return false;
  holder_ = nullptr;
  changed_.notify_all();
  return true;
}

Status PipeLink::room(std::size_t unanswered_max, std::int64_t deadline_ns) {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  while (begun_ - answered_ > unanswered_max) {
    if (Status status = over(); !status.ok()) return status;
    if (!wait(lock, deadline_ns)) return deadline_ns == kTry ? Reason::kFull : Reason::kTimedOut;
  }
  return {};
}

// --- receiving ---

void PipeLink::ask(std::uint32_t credits, bool withdraw) {
  PipeRequest request;
  request.set_credits(credits);
  request.set_withdraw(withdraw);
  expected_ += credits;
  if (withdraw) ++withdrawals_;
  write(std::move(request));
}

// Somebody who takes one after the other does not wait for each: more is asked for before the last
// one is taken.
void PipeLink::ask_ahead() {
  if (window_ == 1 || !ended_.ok()) return;
  const auto most =
      static_cast<std::uint32_t>(std::clamp<std::size_t>(kWindowBytes / largest_, 1, window_));
  const std::size_t there = expected_ + here_;
  if (there <= most / 2) ask(most - static_cast<std::uint32_t>(there), false);
}

// All that was asked for and is not here; OK if something came after all.
Status PipeLink::take_back(Lock& lock, std::int64_t deadline_ns) {
  ask(expected_ == 0 ? 1 : 0, true);
  const std::uint64_t mine = withdrawals_;
  while (withdrawn_ < mine && over().ok()) changed_.wait(lock);
  window_ = 1;
  if (has_message()) return {};
  if (!ended_.ok()) return ended_;
  if (Status status = over(); !status.ok()) return status;
  return Status(deadline_ns == kTry ? Reason::kEmpty : Reason::kTimedOut)
      .with_object("pipe " + opened_.name());
}

Status PipeLink::peek(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind) {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  while (viewed_ || !has_message()) {
    if (!viewed_ && !ended_.ok()) return ended_;
    if (Status status = over(); !status.ok()) return status;
    if (!viewed_ && deadline_ns != kTry && expected_ == 0) ask(window_, false);
    if (wait(lock, deadline_ns)) continue;
    if (viewed_) return deadline_ns == kTry ? Reason::kEmpty : Reason::kTimedOut;
    if (Status status = take_back(lock, deadline_ns); !status.ok()) return status;
  }
  const Batch& front = batches_.front();
  const std::string& bodies = front.bodies.bodies();
  const std::size_t length =
      stream_mode() ? bodies.size() - front.at : front.bodies.lengths(front.next);
  *bytes = {reinterpret_cast<const std::byte*>(bodies.data()) + front.at, length};
  const auto& kinds = front.bodies.kinds();
  const int wire_kind = kinds.empty() ? 0 : kinds[kinds.size() == 1 ? 0 : front.next];
  *kind = static_cast<BodyKind>(wire_kind < 1 ? 0 : (wire_kind - 1) & 3);
  viewed_ = true;
  return {};
}

void PipeLink::keep() {
  std::lock_guard lock(mutex_);
  viewed_ = false;
  changed_.notify_all();
}

void PipeLink::take(std::size_t length) {
  std::lock_guard lock(mutex_);
  viewed_ = false;
  Batch& front = batches_.front();
  const int count = front.bodies.lengths_size();
  const bool stream = stream_mode();
  front.at += stream ? length : front.bodies.lengths(front.next);
  if (!stream) {
    ++front.next;
    --here_;
  }
  if (stream ? front.at >= front.bodies.bodies().size() : front.next == count) {
    if (stream) here_ -= static_cast<std::size_t>(count);
    batches_.pop_front();
  }
  const std::int64_t now = monotonic_ns();
  if (now - taken_ns_ < kCloseNs) window_ = std::min(2 * window_, kWindowMax);
  taken_ns_ = now;
  ask_ahead();
  show_ready();
  changed_.notify_all();
}

Result<v1::PipeEnd> PipeLink::peer() {
  if (remote_->forked()) return forked();
  Lock lock(mutex_);
  PipeRequest request;
  request.set_ask_peer(true);
  write(std::move(request));
  while (peers_.empty()) {
    if (Status status = over(); !status.ok()) return status;
    changed_.wait(lock);
  }
  v1::PipeEnd end = std::move(peers_.front());
  peers_.pop_front();
  return end;
}

Result<int> PipeLink::ready_fd() {
  if (remote_->forked()) return forked();
  std::lock_guard lock(mutex_);
  if (ready_fd_ < 0) ready_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ready_fd_ < 0) return Status::from_errno(errno, "making an eventfd");
  show_ready();
  return ready_fd_;
}

// Readable or not, as things are; while it is not, something is asked for.
void PipeLink::show_ready() {
  if (ready_fd_ < 0) return;
  const bool ready = has_message() || !ended_.ok() || done_ || reads_over_;
  if (!ready && expected_ == 0) ask(window_, false);
  std::uint64_t word = 1;
  if (ready) {
    (void)!::write(ready_fd_, &word, sizeof word);
  } else {
    (void)!::read(ready_fd_, &word, sizeof word);
  }
}

void PipeLink::close() {
  if (remote_->forked()) {
    // gRPC's threads are the parent's: nothing may be ended here, only forgotten.
    new std::shared_ptr<PipeLink>(shared_from_this());
    return;
  }
  Lock lock(mutex_);
  if (ready_fd_ >= 0) ::close(std::exchange(ready_fd_, -1));
  PipeRequest request;
  request.set_close(true);
  write(std::move(request));
  if (changed_.wait_for(lock, remote_->options.timeout, [this] { return done_; })) return;
  context_.TryCancel();
  changed_.wait(lock, [this] { return done_; });
}

}  // namespace heddle::detail
