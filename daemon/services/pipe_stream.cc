#include "daemon/services/pipe_stream.h"

#include <algorithm>
#include <chrono>

#include "daemon/services/batch_wire.h"
#include "daemon/services/grpc_status.h"
#include "daemon/services/pipe_wire.h"

namespace heddle::services {
namespace {

using local::PipeRole;

constexpr uint64_t kPendingBytes = 4 << 20;  // beside the request that is being carried out
constexpr uint32_t kUnwrittenMax = 2;
constexpr uint32_t kCreditsMax = 1u << 20;
constexpr uint32_t kBatchMax = 4'096;
constexpr uint64_t kBatchBytes = 256 * 1024;  // one message may pass it

bool does_something(const v1::PipeServiceAttachRequest& request) {
  return request.hold() || request.let_go() || request.shutdown_write() || request.close() ||
         request.has_packed() || request.messages_size() != 0;
}

}  // namespace

void PipeStream::start() {
  self_ = shared_from_this();
  const Status status = identify(env_, context_, &caller_, &admission_);
  if (!status.ok()) return end(status, How::kCloses);
  reading_ = true;
  StartRead(&received_);
}

// --- opening ---

Status PipeStream::prepare(const Request& request) {
  if (!request.has_open()) {
    return {Reason::kInvalidArgument, "the first request must say what to open"};
  }
  const auto& open = request.open();
  how_ = open.how();
  if (how_ < Request::HOW_END_A || how_ > Request::HOW_LISTEN) {
    return {Reason::kInvalidArgument,
            "open.how must say which end: END_A, END_B, CONNECT, ACCEPT "
            "or LISTEN"};
  }
  if (Status status = pipe_options_from(open.options(), &ask_.options); !status.ok()) return status;
  ask_.name = open.name();
  ask_.group = open.options().group();
  ask_.create = !open.existing();
  open_until_ns_ =
      deadline_ns(context_, open.has_timeout_ms() ? std::optional(open.timeout_ms()) : std::nullopt,
                  shm::kForever);
  return enter_pipe(env_, caller_, ask_.name, true, &use_);
}

// CONNECT and ACCEPT: the pipe first, made if need be, then what they wait for.
Status PipeStream::meet() {
  const bool accepts = how_ == Request::HOW_ACCEPT;
  ask_.options.role = static_cast<uint8_t>(PipeRole::kName);
  if (Status status = open_pipe(env_, ask_, &use_); !status.ok()) return status;
  const uint64_t hall = use_.ref.object_id;
  env_.broker.close_pipe(use_.user.session_id, hall);
  ask_.name = use_.ref.name;
  ask_.options = {};
  ask_.options.role = static_cast<uint8_t>(accepts ? PipeRole::kAccept : PipeRole::kConnect);
  ask_.create = false;
  const Status status = open_pipe(env_, ask_, &use_);
  if (accepts && status.ok())
    env_.broker.close_pipe(use_.user.session_id, hall);  // listens no more
  return status;
}

void PipeStream::try_open() {
  {
    std::lock_guard lock(mutex_);
    if (ending_ || open_) return;
  }
  if (how_ == Request::HOW_END_A || how_ == Request::HOW_END_B || how_ == Request::HOW_LISTEN) {
    const bool listens = how_ == Request::HOW_LISTEN;
    ask_.options.role = static_cast<uint8_t>(listens ? PipeRole::kListen : PipeRole::kEnd);
    ask_.options.side = how_ == Request::HOW_END_B;
    const Status status = open_pipe(env_, ask_, &use_);
    return status.ok() ? opened() : end(status, How::kCloses);
  }
  for (;;) {
    const Status status = meet();
    if (status.ok()) return opened();
    if (!status.is(Reason::kEmpty)) return end(status, How::kCloses);
    if (now_ns() >= open_until_ns_) break;
    if (watching_) return;  // for what is told next, or the alarm
    watching_ = true;
    env_.broker.watch_pipe(ask_.name, how_ == Request::HOW_ACCEPT, weak_from_this(), [this] {
      env_.worker.post([self = shared_from_this()] {
        self->watching_ = false;
        self->try_open();
      });
    });
    if (open_until_ns_ != shm::kForever && !alarm_) {
      alarm_ = std::make_unique<grpc::Alarm>();
      alarm_->Set(
          std::chrono::system_clock::now() + std::chrono::nanoseconds(open_until_ns_ - now_ns()),
          [self = shared_from_this()](bool due) {
            if (due) self->env_.worker.post([self] { self->try_open(); });
          });
    }
  }
  const bool tried = open_until_ns_ == shm::kTry;
  Status why(tried ? Reason::kEmpty : Reason::kTimedOut,
             how_ == Request::HOW_ACCEPT ? "nobody connected" : "nobody listens");
  Response response;
  detail_to(std::move(why).with_object("pipe " + ask_.name), response.mutable_why());
  write(response);
  end({}, How::kCloses);
}

void PipeStream::opened() {
  Response response;
  auto* out = response.mutable_opened();
  out->set_name(use_.ref.name);
  pipe_options_to(use_.ref.options, out->mutable_options());
  pipe_ = use_.ref.pipe;
  end_ = use_.end;
  if (end_) {
    out->set_side(static_cast<v1::PipeSide>(use_.ref.options.side + 1));
    out->set_connection(use_.ref.object_id);
  }
  if (alarm_) alarm_->Cancel();
  {
    std::lock_guard lock(mutex_);
    open_ = true;
    if (ending_) return;  // what gives it back is behind this on the worker
  }
  write(response);
  pump();
  next_request();
}

// --- requests ---

void PipeStream::OnReadDone(bool ok) {
  const auto keep = shared_from_this();
  if (!ok) {
    {
      std::lock_guard lock(mutex_);
      half_closed_ = true;
    }
    if (how_ == Request::HOW_UNSPECIFIED) return end({}, How::kCloses);
    return next_request();
  }
  const auto request = std::make_shared<Request>();
  Status status = parse(received_, request.get());
  received_.Clear();
  const bool first = how_ == Request::HOW_UNSPECIFIED;
  if (status.ok() && first) status = prepare(*request);
  if (status.ok() && !first && request->has_open()) {
    status = {Reason::kInvalidArgument, "a stream has one end; open another stream"};
  }
  if (status.ok()) status = obey(request);
  if (!status.ok()) return end(status, How::kCloses);
  if (first) env_.worker.post([keep] { keep->try_open(); });
  {
    std::lock_guard lock(mutex_);
    reading_ = false;  // others may start the next read from here on, when this one has its place
  }
  read_next();
}

Status PipeStream::obey(const RequestRef& request) {
  const bool acts = does_something(*request);
  if (how_ == Request::HOW_LISTEN && (acts || request->credits() != 0) && !request->close()) {
    return {Reason::kInvalidArgument, "a listening stream has no end to send or receive at"};
  }
  {
    std::lock_guard lock(mutex_);
    if (request->credits() > kCreditsMax - credits_) {
      return Status(Reason::kInvalidArgument, "more credits than a stream may have")
          .with_limit(kCreditsMax, uint64_t{credits_} + request->credits());
    }
    credits_ += request->credits();
    if (acts) {
      requests_.push_back(request);
      requests_bytes_ += request->ByteSizeLong();
    }
  }
  pump();
  if (request->withdraw()) withdraw();
  if (request->ask_peer()) answer_peer();
  next_request();
  return {};
}

void PipeStream::withdraw() {
  bool receiving;
  {
    std::lock_guard lock(mutex_);
    credits_ = 0;
    ++withdrawals_;
    receiving = receiving_;
    if (!receiving) withdrawn_if_due_locked();
  }
  if (receiving) pipe_->cancel_receive(end_);
}

void PipeStream::answer_peer() {
  Response response;
  response.mutable_peer();
  bool open;
  {
    std::lock_guard lock(mutex_);
    open = open_;
  }
  if (open && end_) {
    const auto side = static_cast<shm::PipeSide>(use_.ref.options.side);
    const auto peer = env_.broker.pipe_peer(use_.user, use_.ref.object_id, side);
    if (peer.ok()) pipe_end_to(env_.broker, *peer, response.mutable_peer());
  }
  write(response);
}

// The next one, if none is under way; after the last one maybe the end.
void PipeStream::next_request() {
  RequestRef request;
  How how = How::kCloses;
  {
    std::lock_guard lock(mutex_);
    if (!open_ || ending_ || sending_) return;
    if (!requests_.empty()) {
      request = requests_.front();
      sending_ = true;
    } else if (!closes_) {
      const bool receives = end_ && credits_ != 0 && !receive_ended_;
      if (!half_closed_ || (receives && !context_.IsCancelled())) return;
      how = How::kWillShow;
    }
  }
  request ? carry_out(request, Step::kHold) : end({}, how);
}

void PipeStream::carry_out(const RequestRef& request, Step step) {
  const int64_t until = deadline_ns(context_, timeout_of(*request), shm::kForever);
  const auto keep = shared_from_this();
  if (step == Step::kHold && request->continues() && !failed_.ok()) {
    return sent(request, Step::kRest, {failed_});
  }
  if (step == Step::kHold && request->hold()) {
    return pipe_->hold(end_, until, [keep, request](objects::PipeSent sent) {
      keep->sent(request, Step::kSend, std::move(sent));
    });
  }
  const bool sends = request->has_packed() || request->messages_size() != 0;
  if (step != Step::kRest && sends) {
    std::vector<objects::Body> bodies;
    storage_.clear();
    Status status = pipe_bodies_from(*request, &storage_, &bodies);
    if (!status.ok()) return end(status, How::kCloses);
    return pipe_->send(end_, std::move(bodies), until, [keep, request](objects::PipeSent sent) {
      keep->sent(request, Step::kRest, std::move(sent));
    });
  }
  sent(request, Step::kRest, {});
}

void PipeStream::sent(const RequestRef& request, Step step, objects::PipeSent sent) {
  {
    std::lock_guard lock(mutex_);
    if (ending_) return;
  }
  if (sent.status.ok() && step == Step::kSend) return carry_out(request, Step::kSend);
  failed_ = sent.status;
  rest_of(request);
  answer_sent(sent);
  {
    std::lock_guard lock(mutex_);
    closes_ |= request->close();
    requests_bytes_ -= requests_.front()->ByteSizeLong();
    requests_.pop_front();
    sending_ = false;
  }
  next_request();
  read_next();
}

void PipeStream::rest_of(const RequestRef& request) {
  if (!end_) return;
  if (request->let_go()) pipe_->let_go(end_);
  if (request->shutdown_write()) pipe_->shutdown_write(end_);
}

void PipeStream::answer_sent(const objects::PipeSent& sent) {
  Response response;
  response.mutable_sent()->set_messages(sent.messages);
  response.mutable_sent()->set_bytes(sent.bytes);
  if (!sent.status.ok()) detail_to(sent.status, response.mutable_why());
  write(response);
}

// --- receiving ---

void PipeStream::pump() {
  objects::PipeWant want;
  {
    std::lock_guard lock(mutex_);
    const bool may = open_ && end_ && !ending_ && !receiving_ && !receive_ended_;
    if (!may || credits_ == 0 || unwritten_bodies_ >= kUnwrittenMax) return;
    receiving_ = true;
    want.count_max = std::min(credits_, kBatchMax);
    const bool stream = pipe_->options().mode == shm::PipeMode::kBytes;
    want.bytes_max = stream ? std::min(want.count_max * kPieceBytes, kBatchBytes) : kBatchBytes;
  }
  pipe_->receive(end_, want, shm::kForever,
                 [keep = shared_from_this()](objects::PipeGot got) { keep->got(std::move(got)); });
}

void PipeStream::got(objects::PipeGot got) {
  Response ended;
  const bool over = !got.status.ok() && !got.status.is(Reason::kInterrupted);
  if (over) {
    ended.set_ended(true);
    detail_to(got.status, ended.mutable_why());
  }
  const auto count = static_cast<uint32_t>(got.parts.size());
  grpc::ByteBuffer bodies;
  if (count != 0) bodies = write_received(std::move(got));
  {
    std::lock_guard lock(mutex_);
    receiving_ = false;
    receive_ended_ |= over;
    credits_ -= std::min(credits_, count);
    if (count != 0) {
      unwritten_.push_back({std::move(bodies), true});
      ++unwritten_bodies_;
    }
    if (over) unwritten_.push_back({serialise(ended), false});
    withdrawn_if_due_locked();
    write_next_locked();
  }
  pump();
  next_request();
}

void PipeStream::withdrawn_if_due_locked() {
  if (receiving_) return;
  for (; withdrawals_ > 0; --withdrawals_) {
    Response response;
    response.set_withdrawn(true);
    unwritten_.push_back({serialise(response), false});
  }
  write_next_locked();
}

// --- the stream ---

void PipeStream::read_next() {
  {
    std::lock_guard lock(mutex_);
    if (ending_ || reading_ || half_closed_) return;
    const uint64_t under_way = sending_ ? requests_.front()->ByteSizeLong() : 0;
    if (requests_bytes_ - under_way > kPendingBytes) return;
    reading_ = true;
  }
  StartRead(&received_);
}

void PipeStream::write(const Response& response) {
  const auto keep = shared_from_this();
  std::lock_guard lock(mutex_);
  unwritten_.push_back({serialise(response), false});
  write_next_locked();
}

void PipeStream::OnWriteDone(bool ok) {
  const auto keep = shared_from_this();
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    unwritten_bodies_ -= unwritten_.front().bodies;
    unwritten_.pop_front();
    if (!ok) unwritten_.clear();  // nobody reads them
    write_next_locked();
  }
  ok ? pump() : end({}, How::kDies);
}

void PipeStream::OnCancel() { end({}, How::kDies); }

// Gives the end back on the worker and then finishes, once nothing is being written; or the other
// way round, if that is to show how it ended.
void PipeStream::end(const Status& status, How how) {
  const auto keep = shared_from_this();
  {
    std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    ending_how_ = how;
    final_ = to_grpc(status);
    if (how == How::kWillShow) {
      ended_ = true;
      return write_next_locked();
    }
  }
  env_.worker.post([keep, how] {
    keep->give_back(how == How::kDies);
    std::lock_guard lock(keep->mutex_);
    keep->ended_ = true;
    keep->write_next_locked();
  });
}

void PipeStream::give_back(bool died) {
  if (alarm_) alarm_->Cancel();
  end_pipe(env_, &use_, true, died);
}

void PipeStream::write_next_locked() {
  if (writing_) return;
  if (!unwritten_.empty() && !context_.IsCancelled()) {
    writing_ = true;
    StartWrite(&unwritten_.front().response);
  } else if (ended_ && !finished_) {
    finished_ = true;
    Finish(final_);
  }
}

void PipeStream::OnDone() {
  const auto last = std::move(self_);
  if (ending_how_ != How::kWillShow) return;
  const bool died = context_.IsCancelled();
  env_.worker.post([last, died] { last->give_back(died); });
}

PipeService::BytesReactor* PipeService::Attach(Context* context) {
  const auto stream = std::make_shared<PipeStream>(env_, context);
  stream->start();
  return stream.get();
}

}  // namespace heddle::services
