// The session of one gRPC connection.
#pragma once

#include <grpcpp/grpcpp.h>
#include <heddle/options.h>
#include <heddle/status.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "heddle/v1/session_service.grpc.pb.h"

namespace heddle::detail {

// Opens a session and keeps it: renews at a third of the lease, resumes it on a new stream when the
// connection breaks, opens another one when it was lost (what it held is then gone, and those who
// hold something are told LEASE_LOST). Two threads: one writes, one reads what the broker tells.
class RemoteSession {
 public:
  using Tell = std::function<void(const SessionEvent& event)>;
  // `tell` is called on its threads, one call at a time; may be empty.
  RemoteSession(std::shared_ptr<grpc::Channel> channel, std::string name, Tell tell);
  // Ends the session: what it holds goes back.
  ~RemoteSession();

  // The token of the open session, waiting for one up to `timeout`; empty and *why without one.
  std::string token(std::chrono::nanoseconds timeout, Status* why);
  // `token` was refused: wait for the thread to resume or replace it.
  void refused(const std::string& token);
  // Its number, for people; 0 before the first answer.
  std::uint64_t id() const { return id_.load(std::memory_order_relaxed); }
  SessionState state() const { return state_.load(std::memory_order_relaxed); }
  // In the child of a fork: the thread is not there.
  void abandon() { thread_.detach(); }

 private:
  using Event = v1::SessionServiceOpenResponse;
  using Stream = grpc::ClientReaderWriter<v1::SessionServiceOpenRequest, Event>;
  void run();
  void serve_stream(Stream& stream);
  void keep_renewed(Stream& stream);
  void told(const Event& event);
  void ended(const grpc::Status& status);
  // Sets the state and tells it if it is news.
  void become(SessionState state);
  void tell(const SessionEvent& event);
  bool sleep(std::chrono::milliseconds length);  // false: stopping

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SessionService::Stub> stub_;
  const std::string name_;
  const Tell tell_;
  std::atomic<std::uint64_t> id_{0};
  std::atomic<SessionState> state_{SessionState::kHeld};
  std::mutex telling_;  // before mutex_; held while `tell_` runs

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string token_;      // the session's, kept for resuming
  bool open_ = false;      // token_ may be used
  bool awaiting_ = false;  // an answer
  bool stream_over_ = false, loss_told_ = false;
  std::chrono::milliseconds lease_{};
  bool stopping_ = false, stopped_ = false, check_now_ = false;
  Status why_;  // of the last failure
  std::unique_ptr<grpc::ClientContext> context_;
  std::thread thread_;
};

}  // namespace heddle::detail
