// The shared-memory plane: one session with the local broker, queues mapped into this process.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/src/channel.h"
#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_mutex.h"
#include "client/src/shm_channel/session.h"
#include "proto/local/attach.h"

namespace heddle::detail {

class ShmChannel final : public Channel, public std::enable_shared_from_this<ShmChannel> {
 public:
  explicit ShmChannel(Session::Where where) : where_(std::move(where)) {}

  // The first session; fails as Session::open does.
  Status open();

  ConnectionInfo describe() const override;
  Result<std::shared_ptr<QueueChannel>> open_queue(std::string_view name,
                                                   const QueueOptions& options,
                                                   bool create) override;
  Status delete_queue(std::string_view name) override;
  Result<std::vector<QueueInfo>> list(std::string_view prefix) override;
  Status ping() override;
  Result<BrokerStatus> status() override;
  Result<std::vector<SessionInfo>> sessions() override;

  // Asks the broker for the queue's memory and maps it, in this process's session.
  Result<std::shared_ptr<Attachment>> attach(std::string_view name, const QueueOptions& options,
                                             bool create);
  Result<QueueInfo> describe_queue(std::string_view name);
  // An administrative call: JSON text in and out.
  Result<std::string> call(local::CallMethod method, const std::string& arguments,
                           std::int64_t timeout_ms = -1);
  // Whether the queue that was opened as `object_id` is gone. False if nobody can tell soon.
  bool deleted(std::string_view name, std::uint64_t object_id);

 private:
  // This process's session; opens one after a fork or a lost session.
  Result<std::shared_ptr<Session>> session();

  const Session::Where where_;
  std::string broker_version_;
  mutable ProcessMutex mutex_;
  std::shared_ptr<Session> session_;  // Guarded by mutex_.
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_
