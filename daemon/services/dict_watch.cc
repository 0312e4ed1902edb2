// DictService.Watch: the changes of a dict as they are read from its history. A slow caller is cut
// when the history has gone on without it.
#include <memory>

#include "daemon/services/dict_lookup.h"
#include "daemon/services/dict_service.h"
#include "daemon/services/dict_wire.h"
#include "daemon/services/watch_stream.h"

namespace heddle::services {
namespace {

using Response = v1::DictServiceWatchResponse;

constexpr size_t kWatchRows = 256;
constexpr uint64_t kWatchBytes = 1 << 20;

class DictStream final : public WatchStream<Response> {
 public:
  explicit DictStream(const v1::DictServiceWatchRequest& request)
      : prefix_(request.prefix_data().empty() ? request.prefix() : request.prefix_data()),
        want_previous_(request.want_previous()),
        snapshot_(request.initial_snapshot()),
        start_revision_(request.start_revision()) {}

 protected:
  void started(objects::Followed& object) override {
    dict_ = &static_cast<objects::Dict&>(object);
    const uint64_t now = dict_->revision();
    next_.revision = snapshot_ || start_revision_ == 0 ? now + 1 : start_revision_;
    place_.revision = now;
  }

  Status fill(Response* response, bool* ready) override {
    const Status status = snapshot_ ? read_snapshot(response) : read_changes(response);
    *ready = status.ok() && (response->events_size() != 0 || response->snapshot_done());
    if (*ready) response->set_next_revision(next_.revision);
    return status;
  }
  uint64_t wanted() const override { return snapshot_ ? 0 : next_.revision; }

 private:
  Status read_changes(Response* response) {
    std::vector<local::DictEvent> events;
    Status status =
        dict_->changes(prefix_, want_previous_, kWatchRows, kWatchBytes, &next_, &events);
    for (auto& event : events) dict_event_to(event, response->add_events());
    // What was read before the history ran out is given first.
    return events.empty() ? status : Status();
  }

  Status read_snapshot(Response* response) {
    std::vector<local::DictItem> rows;
    Status status = dict_->scan({prefix_, {}, {}, false}, kWatchRows, kWatchBytes, &place_, &rows);
    for (auto& row : rows) {
      auto* event = response->add_events();
      event->set_kind(v1::DictEvent::KIND_SNAPSHOT);
      event->set_revision(row.entry.mod_revision);
      dict_entry_to(row, true, event->mutable_entry());
    }
    if (place_.cursor.done) {
      snapshot_ = false;
      response->set_snapshot_done(true);
    }
    return status;
  }

  objects::Dict* dict_ = nullptr;  // WatchStream keeps it
  const std::string prefix_;
  const bool want_previous_;
  bool snapshot_;
  const uint64_t start_revision_;
  local::DictPlace place_;
  local::DictNext next_;
};

}  // namespace

grpc::ServerWriteReactor<Response>* DictService::Watch(Context* context,
                                                       const v1::DictServiceWatchRequest* request) {
  return WatchStream<Response>::begin(std::make_shared<DictStream>(*request), env_, context,
                                      broker::ObjectKind::kDict, request->name());
}

}  // namespace heddle::services
