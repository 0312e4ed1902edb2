// PipeService.Attach: one end in the hands of a stream.
//
// Opening and ending run on the worker, which may wait for the supervisor. Requests that send are
// carried out one after the other; credits, withdrawals and questions at once, so that a full ring
// does not keep anybody from receiving. While more waits to be sent than kPendingBytes nothing is
// read, and at most two responses with messages wait to be written, so nothing piles up here.
//
// A stream that ends with an error of its own closes its end in order.
//
// Lifetime: gRPC holds `self_` until OnDone; every callback of the pipe and every task on the
// worker hold another reference. mutex_ guards the state but is never held while the pipe or the
// broker is called.
#pragma once

#include <grpcpp/alarm.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "daemon/services/pipe_service.h"
#include "daemon/services/pipe_use.h"

namespace heddle::services {

class PipeStream final : public PipeService::BytesReactor,
                         public std::enable_shared_from_this<PipeStream> {
 public:
  using Request = v1::PipeServiceAttachRequest;
  using Response = v1::PipeServiceAttachResponse;

  PipeStream(Env& env, grpc::CallbackServerContext* context) : env_(env), context_(*context) {}
  void start();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  bool InternalInlineable() override { return true; }  // as in call.h

 private:
  using RequestRef = std::shared_ptr<Request>;
  enum class Step : uint8_t { kHold, kSend, kRest };
  // A broken connection looks like a half-close at first: without a word about it only the end of
  // the call tells them apart.
  enum class How : uint8_t { kCloses, kDies, kWillShow };

  // Opening; on the worker.
  Status prepare(const Request& request);
  void try_open();
  Status meet();
  void opened();
  // Requests.
  Status obey(const RequestRef& request);
  void withdraw();
  void answer_peer();
  void next_request();
  void carry_out(const RequestRef& request, Step step);
  void sent(const RequestRef& request, Step step, objects::PipeSent sent);
  void rest_of(const RequestRef& request);
  void answer_sent(const objects::PipeSent& sent);
  // Receiving.
  void pump();
  void got(objects::PipeGot got);
  void withdrawn_if_due_locked();
  // The end.
  void read_next();
  void write(const Response& response);
  void write_next_locked();
  void end(const Status& status, How how);
  void give_back(bool died);

  std::shared_ptr<PipeStream> self_;
  Env& env_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::unique_ptr<Admission> admission_;
  grpc::ByteBuffer received_;  // the reader's

  // Constant once it is open; null where it listens.
  std::shared_ptr<objects::Pipe> pipe_;
  objects::Pipe::UseRef end_;

  // The worker's; who the user is and what is open does not change once it is open.
  PipeAsk ask_;
  PipeUse use_;
  v1::PipeServiceAttachRequest::How how_ = Request::HOW_UNSPECIFIED;
  int64_t open_until_ns_ = 0;
  bool watching_ = false;
  std::unique_ptr<grpc::Alarm> alarm_;

  std::mutex mutex_;
  bool open_ = false;
  std::deque<RequestRef> requests_;  // to be carried out; the front one is while sending_
  uint64_t requests_bytes_ = 0;
  bool sending_ = false, reading_ = false, half_closed_ = false, closes_ = false;
  std::vector<std::string> storage_;  // of the bodies being sent
  Status failed_;                     // how the last request ended
  uint32_t credits_ = 0;
  bool receiving_ = false, receive_ended_ = false;
  uint32_t withdrawals_ = 0;
  uint32_t unwritten_bodies_ = 0;
  struct Unwritten {
    grpc::ByteBuffer response;
    bool bodies = false;
  };
  std::deque<Unwritten> unwritten_;  // the front one is being written while writing_
  bool writing_ = false, ending_ = false, ended_ = false, finished_ = false;
  How ending_how_ = How::kCloses;
  grpc::Status final_;
};

}  // namespace heddle::services
