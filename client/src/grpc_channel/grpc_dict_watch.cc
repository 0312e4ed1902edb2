// A watch over gRPC: one stream, of which one reply is read at a time and the next one asked for
// when its events have been given. When the stream breaks off, because the broker was restarted or
// the connection was lost, another one begins behind the last event that was given.
#include <condition_variable>
#include <deque>
#include <mutex>

#include "client/src/grpc_channel/grpc_dict.h"

namespace heddle::detail {
namespace {

using WatchResponse = v1::DictServiceWatchResponse;

class DictStream final : public grpc::ClientReadReactor<WatchResponse> {
 public:
  DictStream(Remote& remote, const v1::DictServiceWatchRequest& request, const std::string& token) {
    if (!token.empty()) context_.AddMetadata("heddle-session", token);
    request_ = request;
    remote.dicts->async()->Watch(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    std::lock_guard lock(mutex_);
    if (ok) {
      there_ = true;
    } else {
      read_over_ = true;
    }
    changed_.notify_all();
  }
  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(mutex_);
    status_ = status;
    done_ = true;
    changed_.notify_all();
  }

  enum class Got { kReply, kEnd, kTimedOut };
  Got take(std::int64_t deadline_ns, WatchResponse* out, grpc::Status* status) {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return there_ || done_; };
    if (deadline_ns == kNever) {
      changed_.wait(lock, ready);
    } else {
      const std::int64_t left = deadline_ns == kTry ? 0 : deadline_ns - monotonic_ns();
      if (!changed_.wait_for(lock, std::chrono::nanoseconds(left), ready)) return Got::kTimedOut;
    }
    if (there_) {
      out->Swap(&response_);
      there_ = false;
      lock.unlock();
      StartRead(&response_);
      return Got::kReply;
    }
    *status = status_;
    return Got::kEnd;
  }
  void end() {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

 private:
  grpc::ClientContext context_;
  v1::DictServiceWatchRequest request_;
  WatchResponse response_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool there_ = false, read_over_ = false, done_ = false;
  grpc::Status status_;
};

class GrpcDictWatch final : public DictWatchChannel {
 public:
  GrpcDictWatch(std::shared_ptr<Remote> remote, const std::string& name,
                const DictWatchOptions& options)
      : remote_(std::move(remote)), name_(name) {
    request_.set_name(name);
    request_.set_start_revision(options.start_revision);
    request_.set_prefix_data(options.prefix);
    request_.set_want_previous(options.want_previous);
    request_.set_initial_snapshot(options.initial_snapshot);
    given_ = options.start_revision;
  }
  ~GrpcDictWatch() override {
    if (!stream_) return;
    if (remote_->forked()) {
      (void)stream_.release();
    } else {
      stream_->end();
    }
  }

  // The stream begins with the watch, so that nothing that happens after is missed: where it is to
  // begin "now", that is where the dict is now.
  Status begin() {
    if (request_.start_revision() == 0 && !request_.initial_snapshot()) {
      auto info = dict_info(*remote_, name_);
      if (!info.ok()) return info.status();
      request_.set_start_revision(info->revision + 1);
      given_ = info->revision + 1;
    }
    return open_stream();
  }

  Status next(std::int64_t deadline_ns, DictEvent* out) override {
    std::int64_t give_up_ns = 0;
    for (;;) {
      if (!ready_.empty()) {
        *out = std::move(ready_.front());
        ready_.pop_front();
        if (!ready_.empty() && ready_.front().kind <= DictEventKind::kClear) {
          given_ = ready_.front().revision;
        } else if (ready_.empty()) {
          given_ = next_revision_;
        }
        return {};
      }
      if (remote_->forked()) {
        return {Reason::kUnsupported, "gRPC does not survive fork: connect in the child"};
      }
      if (!stream_) {
        if (Status status = open_stream(); !status.ok()) return status;
      }
      WatchResponse response;
      grpc::Status ended;
      const auto got = stream_->take(deadline_ns, &response, &ended);
      if (got == DictStream::Got::kTimedOut) {
        return deadline_ns == kTry ? Reason::kEmpty : Reason::kTimedOut;
      }
      if (got == DictStream::Got::kReply) {
        give_up_ns = 0;
        keep(response);
        continue;
      }
      stream_.reset();
      if (Status status = go_on(ended, deadline_ns, &give_up_ns); !status.ok()) return status;
    }
  }

  std::uint64_t next_revision() const override { return given_; }

 private:
  Status open_stream() {
    std::string token;
    if (Status status = remote_->enter_session(&token); !status.ok()) return status;
    token_ = token;
    stream_ = std::make_unique<DictStream>(*remote_, request_, token);
    return {};
  }

  void keep(const WatchResponse& response) {
    for (const auto& wire : response.events()) {
      DictEvent& event = ready_.emplace_back();
      event.kind = static_cast<DictEventKind>(wire.kind());
      event.revision = wire.revision();
      event.entry = dict_entry_from(wire.entry());
      if (wire.has_previous()) {
        event.previous = dict_entry_from(wire.previous());
        event.previous->key = event.entry.key;
      }
    }
    next_revision_ = response.next_revision();
    if (response.snapshot_done()) {
      DictEvent& event = ready_.emplace_back();
      event.kind = DictEventKind::kSnapshotDone;
      event.revision = next_revision_ - 1;
      request_.set_initial_snapshot(false);
    }
    // Where another stream would have to begin; a snapshot that breaks off begins anew.
    if (!request_.initial_snapshot()) request_.set_start_revision(next_revision_);
  }

  // OK: another stream is worth a try. It begins behind what has come.
  Status go_on(const grpc::Status& ended, std::int64_t deadline_ns, std::int64_t* give_up_ns) {
    if (ended.ok()) {
      return Status(Reason::kInternal, "the watch was ended").with_object("dict " + name_);
    }
    Status status = remote_->after_failure(ended, deadline_ns, token_, give_up_ns);
    if (status.is(Reason::kNotFound)) {
      return Status(Reason::kClosed, "the dict was deleted").with_object("dict " + name_);
    }
    return status;
  }

  const std::shared_ptr<Remote> remote_;
  const std::string name_;
  v1::DictServiceWatchRequest request_;
  std::unique_ptr<DictStream> stream_;
  std::string token_;
  std::deque<DictEvent> ready_;
  std::uint64_t given_ = 0, next_revision_ = 0;
};

}  // namespace

Result<std::shared_ptr<DictWatchChannel>> watch_grpc_dict(std::shared_ptr<Remote> remote,
                                                          const std::string& name,
                                                          const DictWatchOptions& options) {
  auto watch = std::make_shared<GrpcDictWatch>(std::move(remote), name, options);
  if (Status status = watch->begin(); !status.ok()) return status;
  return std::shared_ptr<DictWatchChannel>(std::move(watch));
}

}  // namespace heddle::detail
