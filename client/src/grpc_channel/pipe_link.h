// One end of a pipe over gRPC: the stream, what has come, and what waits for an answer.
//
// What was sent is in the ring when its answer is there, so sending says the same as it does on
// shared memory. Receiving asks for as many messages as come in one go at the time (one at first),
// and takes back what it has asked for before it says that nothing was there: a message is never
// left with somebody who is not looking.
//
// Threads: all methods may be called by any thread; those that wait sleep on one condition, which
// the reactions of gRPC signal.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>

#include "client/src/grpc_channel/remote.h"
#include "heddle/v1/pipe_service.grpc.pb.h"

namespace heddle::detail {

using PipeRequest = v1::PipeServiceAttachRequest;
using PipeResponse = v1::PipeServiceAttachResponse;

class PipeLink final : public grpc::ClientBidiReactor<PipeRequest, PipeResponse>,
                       public std::enable_shared_from_this<PipeLink> {
 public:
  // Opens the end; tried again while the broker is away, for up to options.timeout.
  static Result<std::shared_ptr<PipeLink>> open(std::shared_ptr<Remote> remote,
                                                const PipeRequest& first);
  explicit PipeLink(std::shared_ptr<Remote> remote) : remote_(std::move(remote)) {}

  const PipeResponse::Opened& opened() const { return opened_; }
  bool stream_mode() const { return opened_.options().mode() == v1::PipeOptions::MODE_BYTES; }

  // One request that is answered by `sent`; waits for that. `sent` may be null.
  Status act(PipeRequest request, PipeResponse::Sent* sent);
  // The same without waiting, as part of a run: *ticket is for answer().
  Status begin(PipeRequest request, std::uint64_t* ticket);
  Status answer(std::uint64_t ticket, PipeResponse::Sent* sent);
  // Several handles share a link: whoever holds the end keeps the others from sending. Waits for
  // the turn of `who`; with `holds` the others wait until let_go().
  Status turn(const void* who, std::int64_t deadline_ns, bool holds = false);
  bool let_go(const void* who);  // true if it was held
  // Whether so few are unanswered; waits until then.
  Status room(std::size_t unanswered_max, std::int64_t deadline_ns);

  // The next message (of a stream: bytes), in place until keep() or take(). Others wait until then.
  Status peek(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind);
  void keep();
  void take(std::size_t length);  // of a stream: so much
  Result<v1::PipeEnd> peer();
  // An eventfd that is readable while peek() would not wait. Closed with the link.
  Result<int> ready_fd();

  // Ends the use of the end, in order. Waits until the broker has said so, at most options.timeout.
  void close();

 private:
  struct Batch {  // of what has come
    v1::PackedBodies bodies;
    int next = 0;
    std::size_t at = 0;
  };
  struct Answer {
    PipeResponse::Sent sent;
    Status status;
  };
  using Lock = std::unique_lock<std::mutex>;

  void start(const PipeRequest& first);
  Status wait_opened(grpc::Status* failure);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  // With mutex_ held.
  void took(PipeResponse& response);
  void write(PipeRequest request);
  void write_next();
  bool wait(Lock& lock, std::int64_t deadline_ns);
  Status over() const;
  bool has_message() const { return !batches_.empty(); }
  void ask(std::uint32_t credits, bool withdraw);
  void ask_ahead();
  Status take_back(Lock& lock, std::int64_t deadline_ns);
  void show_ready();

  const std::shared_ptr<Remote> remote_;
  grpc::ClientContext context_;
  PipeResponse response_;        // the reader's
  PipeResponse::Opened opened_;  // constant once it is open

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<PipeRequest> unwritten_;  // the front one is being written while writing_
  bool writing_ = false, reads_over_ = false, done_ = false, is_open_ = false, closing_ = false;
  grpc::Status final_;
  Status why_not_;  // it did not open
  std::uint64_t begun_ = 0, answered_ = 0;
  std::unordered_map<std::uint64_t, Answer> answers_;
  std::deque<v1::PipeEnd> peers_;
  const void* holder_ = nullptr;

  std::deque<Batch> batches_;
  std::size_t here_ = 0;  // messages in them
  bool viewed_ = false;
  Status ended_;                // nothing more will come
  std::uint32_t expected_ = 0;  // asked for, not here yet
  std::uint32_t window_ = 1;
  std::size_t largest_ = 1;  // message of late
  std::uint64_t withdrawals_ = 0, withdrawn_ = 0;
  std::int64_t taken_ns_ = 0;
  int ready_fd_ = -1;
};

}  // namespace heddle::detail
