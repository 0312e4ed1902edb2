#include "daemon/services/consume_stream.h"

#include <algorithm>

#include "daemon/services/queue_leases.h"

namespace heddle::services {
namespace {

constexpr uint32_t kBatchDefault = 256;
constexpr uint32_t kBatchDeliveriesMax = 4'096;
constexpr uint64_t kBatchBytes = kMiB;  // one message may pass it; receivers stop at 4 MiB
constexpr uint32_t kCreditsMax = 1u << 20;
constexpr size_t kTakesMax = 16;
constexpr size_t kBatchesUnwrittenMax = 2;
// A stream without a session holds its leases by its own life, so this only has to be long.
constexpr int64_t kStreamLeaseNs = int64_t{24} * 3600 * 1'000'000'000;

}  // namespace

void ConsumeStream::start() {
  self_ = shared_from_this();
  const Status status = identify(env_, context_, &caller_, &admission_);
  status.ok() ? StartRead(&received_) : end(status);
}

void ConsumeStream::OnReadDone(bool ok) {
  const auto keep = shared_from_this();
  Status status;
  if (ok) status = parse(received_, &request_);
  received_.Clear();
  if (ok && status.ok() && !queue_.queue) status = begin();
  if (ok && status.ok()) status = obey();
  if (!ok || !status.ok()) return end(status);
  pump();
  StartRead(&received_);
}

Status ConsumeStream::begin() {
  auto queue = env_.broker.find_queue(caller_, request_.name(), broker::Need::kWrite);
  if (!queue.ok()) return queue.status();
  manual_ = request_.ack_mode() == v1::ACK_MODE_MANUAL;
  body_as_ = request_.body_as();
  packed_ = request_.packed();
  if (packed_ && body_as_ > v1::BODY_AS_DATA) {
    return {Reason::kInvalidArgument,
            "packed messages come as they are stored: body_as must be AUTO or DATA"};
  }
  batch_max_ = request_.max_batch() == 0
                   ? kBatchDefault
                   : std::min<uint32_t>(request_.max_batch(), kBatchDeliveriesMax);
  if (manual_ && caller_.session_id == 0) lease_ns_ = kStreamLeaseNs;
  queue_ = std::move(*queue);
  return {};
}

// Leases first, so that what they free can be taken again.
Status ConsumeStream::obey() {
  Response lost;
  if (Status status = settle_leases(&lost); !status.ok()) return status;
  int64_t lease = 0;
  if (Status status = lease_ns(request_, &lease); !status.ok()) return status;
  const int64_t deadline = deadline_ns(context_, timeout_of(request_), shm::kForever);
  std::lock_guard lock(mutex_);
  if (lease != 0) lease_ns_ = lease;
  if (request_.credits() > kCreditsMax - credits_) {
    return Status(Reason::kInvalidArgument, "more credits than a stream may have")
        .with_limit(kCreditsMax, uint64_t{credits_} + request_.credits());
  }
  credits_ += request_.credits();
  if (request_.take() != 0) {
    if (takes_.size() >= kTakesMax) {
      return Status(Reason::kInvalidArgument, "more takes than a stream may have open")
          .with_limit(kTakesMax, takes_.size() + 1);
    }
    takes_.push_back({true, std::min(request_.take(), kBatchDeliveriesMax), deadline});
  }
  if (lost.lost_size() != 0) {
    if (unwritten_.size() > 2 * kTakesMax) {
      return {Reason::kInvalidArgument, "too many answers are waiting to be read"};
    }
    Batch answer;
    answer.response = serialise(lost);
    unwritten_.push_back(std::move(answer));
    write_next_locked();
  }
  return {};
}

Status ConsumeStream::settle_leases(Response* lost) {
  const auto each = [&](const auto& leases, auto&& settle) -> Status {
    for (const std::string& lease : leases) {
      shm::Ticket ticket;
      if (Status status = ticket_from(lease, &ticket); !status.ok()) return status;
      Status status = settle(ticket);
      if (status.is(Reason::kLeaseLost)) {
        lost->add_lost(lease);
        status = set_outcome(std::move(status), lost);
      }
      if (!status.ok()) return status;
      std::lock_guard lock(mutex_);
      held_.erase(ticket.id);
    }
    return {};
  };
  objects::Queue& queue = *queue_.queue;
  Status status = each(request_.ack_leases(), [&](auto& t) { return queue.ack(caller_, t); });
  if (!status.ok()) return status;
  status = each(request_.return_leases(), [&](auto& t) { return queue.nack(caller_, t, false); });
  if (!status.ok()) return status;
  return each(request_.nack_leases(), [&](auto& t) { return queue.nack(caller_, t, true); });
}

// Starts the next get unless one is under way or the client does not keep up.
void ConsumeStream::pump() {
  Want want;
  {
    std::lock_guard lock(mutex_);
    if (!next_want_locked(&want)) return;
    getting_ = true;
    ++gets_started_;
  }
  get(want);
}

bool ConsumeStream::next_want_locked(Want* want) {
  if (getting_ || ending_ || cancelled_ || !queue_.queue) return false;
  if (unwritten_.size() >= kBatchesUnwrittenMax) return false;
  if (!takes_.empty()) {
    *want = takes_.front();
    takes_.pop_front();
    return true;
  }
  if (credits_ == 0) return false;
  *want = {false, std::min(credits_, batch_max_), shm::kForever};
  return true;
}

void ConsumeStream::get(const Want& want) {
  objects::GetParams params;
  params.ack = manual_ ? objects::AckMode::kManual : objects::AckMode::kAuto;
  params.count_max = want.count;
  params.bytes_max = kBatchBytes;
  params.gather = true;
  uint64_t number;
  {
    std::lock_guard lock(mutex_);
    params.lease_ns = lease_ns_;
    number = gets_started_;
  }
  auto wait = queue_.queue->get_async(caller_, params, want.deadline_ns,
                                      [keep = shared_from_this(), want](objects::GetResult result) {
                                        keep->got(want, std::move(result));
                                      });
  bool cancel;
  {
    std::lock_guard lock(mutex_);
    cancel = cancelled_ || ending_;
    // The callback may have run and started the next get already.
    if (getting_ && gets_started_ == number) wait_ = wait;
  }
  if (cancel && wait) queue_.queue->cancel(wait);
}

void ConsumeStream::got(const Want& want, objects::GetResult result) {
  const auto keep = shared_from_this();
  Batch batch;
  const bool ended =
      result.status.is(Reason::kEndOfStream) || result.status.is(Reason::kProducerDied);
  const Status status = write_to(result, &batch.response);
  batch.messages = std::move(result.messages);
  bool cancelled;
  {
    std::lock_guard lock(mutex_);
    getting_ = false;
    wait_.reset();
    cancelled = cancelled_ || ending_;
    if (status.ok() && !cancelled) {
      if (!want.take) credits_ -= static_cast<uint32_t>(batch.messages.size());
      if (manual_ && caller_.session_id == 0) {
        for (const auto& message : batch.messages) held_[message.id] = message.ticket;
      }
      unwritten_.push_back(std::move(batch));
      write_next_locked();
    }
  }
  if (cancelled || !status.ok()) give_back(batch.messages);
  if (cancelled || !status.ok() || (ended && !want.take)) return end(status);
  pump();
}

Status ConsumeStream::write_to(objects::GetResult& result, grpc::ByteBuffer* out) {
  Response rest;
  if (Status status = set_outcome(std::move(result.status), &rest); !status.ok()) return status;
  if (packed_) {
    if (result.messages.empty()) {
      *out = serialise(rest);
    } else {
      *out = write_packed(result.messages, std::move(result.bodies), manual_, rest);
    }
    return {};
  }
  ConsumeWriter writer(result.messages.size(), result.bodies.size());
  const char* at = result.bodies.data();
  for (const auto& message : result.messages) {
    Status status = writer.add(message, {at, message.body_bytes}, body_as_, manual_);
    if (!status.ok()) return status;
    at += message.body_bytes;
  }
  *out = writer.finish(rest);
  return {};
}

void ConsumeStream::give_back(const std::vector<objects::Delivery>& messages) {
  for (const auto& message : messages) {
    if (!manual_) {
      queue_.queue->undelivered(message);
    } else {
      // Fails only when the lease has ended meanwhile, and then it is in its place already.
      (void)queue_.queue->nack(caller_, message.ticket, false);
    }
  }
}

void ConsumeStream::OnWriteDone(bool ok) {
  const auto keep = shared_from_this();
  std::vector<objects::Delivery> written;
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    written = std::move(unwritten_.front().messages);
    unwritten_.pop_front();
    if (ok) write_next_locked();
  }
  if (!ok) {
    give_back(written);
    return end({});
  }
  if (!manual_) queue_.queue->delivered(written);
  pump();
}

void ConsumeStream::OnCancel() {
  objects::Wait wait;
  {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    wait = wait_;
  }
  if (wait) queue_.queue->cancel(wait);
}

// Finishes once nothing is being written; a get under way is called off, and its messages go back.
void ConsumeStream::end(const Status& status) {
  const auto keep = shared_from_this();
  objects::Wait wait;
  {
    std::lock_guard lock(mutex_);
    if (!ending_) {
      ending_ = true;
      final_ = to_grpc(status);
    }
    wait = wait_;
    write_next_locked();
  }
  if (wait) queue_.queue->cancel(wait);
}

void ConsumeStream::write_next_locked() {
  if (writing_) return;
  if (!unwritten_.empty() && !cancelled_) {
    writing_ = true;
    StartWrite(&unwritten_.front().response);
  } else if (ending_ && !finished_) {
    finished_ = true;
    Finish(final_);
  }
}

// No read, write or Finish is under way any more; a get may be, and gives back for itself.
void ConsumeStream::OnDone() {
  const auto last = std::move(self_);
  std::deque<Batch> unwritten;
  std::unordered_map<uint64_t, shm::Ticket> held;
  {
    std::lock_guard lock(mutex_);
    unwritten.swap(unwritten_);
    held.swap(held_);
  }
  for (const Batch& batch : unwritten) give_back(batch.messages);
  for (const auto& [id, ticket] : held) (void)queue_.queue->nack(caller_, ticket, false);
}

QueueService::BytesReactor* QueueService::Consume(Context* context) {
  const auto stream = std::make_shared<ConsumeStream>(env_, context);
  stream->start();
  return stream.get();
}

}  // namespace heddle::services
