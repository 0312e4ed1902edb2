// DictService.Watch: the changes of a dict as they are read from its history. One reply is under
// way at a time, and the next changes are read when it has been written: a slow caller costs
// nothing, and is cut when the history has gone on without it.
#include <atomic>
#include <memory>
#include <mutex>

#include "daemon/services/dict_lookup.h"
#include "daemon/services/dict_service.h"
#include "daemon/services/dict_wire.h"

namespace heddle::services {
namespace {

using Response = v1::DictServiceWatchResponse;

constexpr size_t kWatchRows = 256;
constexpr uint64_t kWatchBytes = 1 << 20;

class WatchStream final : public grpc::ServerWriteReactor<Response>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  static WatchStream* begin(Env& env, grpc::CallbackServerContext* context,
                            const v1::DictServiceWatchRequest& request) {
    const std::shared_ptr<WatchStream> stream(new WatchStream(request));
    stream->self_ = stream;
    stream->start(env, *context, request);
    return stream.get();
  }

  // A callback of the dict may still have it for a moment.
  void OnDone() override {
    if (dict_) dict_->unwatch(watching_.load());
    self_.reset();
  }
  void OnCancel() override { finish(Reason::kInterrupted); }
  void OnWriteDone(bool ok) override { ok ? step() : finish(Reason::kInterrupted); }

 private:
  explicit WatchStream(const v1::DictServiceWatchRequest& request)
      : prefix_(request.prefix_data().empty() ? request.prefix() : request.prefix_data()),
        want_previous_(request.want_previous()),
        snapshot_(request.initial_snapshot()) {}

  void start(Env& env, grpc::CallbackServerContext& context,
             const v1::DictServiceWatchRequest& request) {
    Status status = identify(env, context, &caller_, &admission_);
    if (status.ok()) {
      const auto ref = env.broker.find_member(caller_, broker::ObjectKind::kDict, request.name(),
                                              broker::Need::kRead);
      if (ref.ok()) dict_ = std::static_pointer_cast<objects::Dict>(ref->member);
      status = ref.status();
    }
    if (!status.ok()) return finish(status);
    const uint64_t now = dict_->revision(), from = request.start_revision();
    next_.revision = snapshot_ || from == 0 ? now + 1 : from;
    place_.revision = now;
    // The caller hears at once that it is being served.
    StartSendInitialMetadata();
    step();
  }

  // One reply, or a wait: by one thread at a time, for each of the two ends in the next call.
  void step() {
    for (;;) {
      response_.Clear();
      const Status status = snapshot_ ? read_snapshot() : read_changes();
      if (!status.ok()) return finish(status);
      if (response_.events_size() != 0 || response_.snapshot_done()) {
        response_.set_next_revision(next_.revision);
        std::lock_guard lock(mutex_);
        if (!finished_) StartWrite(&response_);
        return;
      }
      if (!snapshot_ && !there_already()) return;
    }
  }

  // False: step() is called when the next change is there, or there is nothing more to do.
  bool there_already() {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return false;
    }
    const uint64_t number = dict_->watch(next_.revision, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->step();
    });
    if (number != 0) watching_.store(number);
    return number == 0;
  }

  Status read_changes() {
    std::vector<local::DictEvent> events;
    Status status =
        dict_->changes(prefix_, want_previous_, kWatchRows, kWatchBytes, &next_, &events);
    for (auto& event : events) dict_event_to(event, response_.add_events());
    // What was read before the history ran out is given first.
    return events.empty() ? status : Status();
  }

  Status read_snapshot() {
    std::vector<local::DictItem> rows;
    Status status = dict_->scan({prefix_, {}, {}, false}, kWatchRows, kWatchBytes, &place_, &rows);
    for (auto& row : rows) {
      auto* event = response_.add_events();
      event->set_kind(v1::DictEvent::KIND_SNAPSHOT);
      event->set_revision(row.entry.mod_revision);
      dict_entry_to(row, true, event->mutable_entry());
    }
    if (place_.cursor.done) {
      snapshot_ = false;
      response_.set_snapshot_done(true);
    }
    return status;
  }

  void finish(const Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    Finish(to_grpc(status));
  }

  Caller caller_;
  std::unique_ptr<Admission> admission_;
  std::shared_ptr<objects::Dict> dict_;
  const std::string prefix_;
  const bool want_previous_;
  bool snapshot_;
  local::DictPlace place_;
  local::DictNext next_;
  Response response_;
  std::atomic<uint64_t> watching_{0};
  std::mutex mutex_;
  bool finished_ = false;
  std::shared_ptr<WatchStream> self_;  // until gRPC is done with it
};

}  // namespace

grpc::ServerWriteReactor<Response>* DictService::Watch(Context* context,
                                                       const v1::DictServiceWatchRequest* request) {
  return WatchStream::begin(env_, context, *request);
}

}  // namespace heddle::services
