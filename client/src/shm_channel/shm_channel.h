// The shared-memory plane: one session with the local broker, queues mapped into this process.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/src/channel.h"
#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_mutex.h"
#include "client/src/shm_channel/session.h"
#include "client/src/shm_channel/shm_lock_place.h"
#include "proto/local/attach.h"

namespace heddle::detail {

struct PipeAttachment;

class ShmChannel final : public Channel, public std::enable_shared_from_this<ShmChannel> {
 public:
  explicit ShmChannel(Session::Where where) : where_(std::move(where)) {}

  // The first session; fails as Session::open does.
  Status open();

  ConnectionInfo describe() const override;
  Result<std::shared_ptr<QueueChannel>> open_queue(std::string_view name,
                                                   const QueueOptions& options,
                                                   bool create) override;
  Result<std::string> share_queue(std::string_view name) override;
  Status delete_queue(std::string_view name) override;
  Result<std::vector<QueueInfo>> list(std::string_view prefix) override;
  Status ping() override;
  Result<BrokerStatus> status() override;
  Result<std::vector<SessionInfo>> sessions() override;
  Status create_pipe(std::string_view name, const PipeOptions& options) override;
  Result<std::shared_ptr<PipeChannel>> open_pipe_end(std::string_view name, PipeSide side,
                                                     const PipeOptions& options) override;
  Result<std::shared_ptr<PipeChannel>> connect_pipe(std::string_view name,
                                                    const PipeOptions& options,
                                                    std::int64_t deadline_ns) override;
  Result<std::shared_ptr<PipeHallChannel>> listen_pipe(std::string_view name,
                                                       const PipeOptions& options) override;
  Status delete_pipe(std::string_view name) override;
  Result<std::vector<PipeInfo>> pipes(std::string_view prefix) override;
  Result<PipeInfo> pipe_info(std::string_view name) override;
  Result<std::shared_ptr<DictChannel>> open_dict(std::string_view name, const DictOptions& options,
                                                 bool create) override;
  Status delete_dict(std::string_view name) override;
  Result<std::vector<DictInfo>> dicts(std::string_view prefix) override;
  Result<DictInfo> dict_info(std::string_view name) override;
  Result<std::shared_ptr<ListChannel>> open_list(std::string_view name, const ListOptions& options,
                                                 bool create) override;
  Status delete_list(std::string_view name) override;
  Result<std::vector<ListInfo>> lists(std::string_view prefix) override;
  Result<ListInfo> list_info(std::string_view name) override;
  Result<std::shared_ptr<BlockChannel>> open_block(std::string_view name,
                                                   const BlockOptions& options,
                                                   bool create) override;
  Status delete_block(std::string_view name) override;
  Result<std::vector<BlockInfo>> blocks(std::string_view prefix) override;
  Result<BlockInfo> block_info(std::string_view name) override;
  Result<std::shared_ptr<LockChannel>> open_lock(std::string_view name,
                                                 const LockSpec& spec) override;
  Status delete_lock(SyncKind kind, std::string_view name) override;
  Result<std::vector<LockInfo>> locks(SyncKind kind, std::string_view prefix) override;
  Result<LockInfo> lock_info(SyncKind kind, std::string_view name) override;
  Status force_release(SyncKind kind, std::string_view name, std::uint16_t session) override;
  Result<std::string> lock_report(LockReport which) override;

  // Asks the broker for the queue's memory and maps it, in this process's session.
  Result<std::shared_ptr<Attachment>> attach(std::string_view name, const QueueOptions& options,
                                             bool create);
  // The same for a dict, list or block; with r alone it is mapped for reading (shm_member.h).
  template <class T>
  Result<std::shared_ptr<MemberAttachment<T>>> attach_member(local::Open open,
                                                             std::string_view group,
                                                             std::string_view name);
  Result<QueueInfo> describe_queue(std::string_view name);
  // The same for what lies in a lock segment.
  Result<std::unique_ptr<LockPlace>> attach_lock(std::string_view name, const LockSpec& spec);
  // One end of a connection, mapped; the same as before if this process has it already.
  Result<std::shared_ptr<PipeAttachment>> attach_pipe(std::string_view name,
                                                      const PipeOptions& options,
                                                      local::PipeRole role, PipeSide side,
                                                      std::uint64_t connection);
  // Who uses the other end of a connection whose end `side` this process uses.
  Result<std::vector<PipeUser>> pipe_peer(std::uint64_t connection, PipeSide side);
  // An administrative call about one of them: "force_release", "repair".
  Status lock_do(SyncKind kind, std::string_view name, const char* what);
  // What the broker says about the circle of waits it broke at this process; empty if nobody can
  // tell soon.
  std::string own_deadlock();
  // An administrative call: JSON text in and out.
  Result<std::string> call(local::CallMethod method, const std::string& arguments,
                           std::int64_t timeout_ms = -1);
  // Whether the queue that was opened as `object_id` is gone. False if nobody can tell soon.
  bool deleted(std::string_view name, std::uint64_t object_id);

 private:
  struct OpenedObject {
    std::shared_ptr<Session> session;
    local::Opened opened;
    local::Fd fd;
  };
  // Fills in group and name, and asks the broker.
  Result<OpenedObject> open_object(local::Open& open, std::string_view group,
                                   std::string_view name);
  Status remove(local::ObjectKind kind, std::string_view name);
  Result<OpenedObject> ask_pipe(std::string_view name, const PipeOptions& options,
                                local::PipeRole role, PipeSide side, std::uint64_t connection);
  // This process's session; opens one after a fork or a lost session.
  Result<std::shared_ptr<Session>> session();
  // Where this session's locks are mapped.
  Result<std::shared_ptr<LockHome>> lock_home();

  const Session::Where where_;
  std::string broker_version_;
  mutable ProcessMutex mutex_;
  std::shared_ptr<Session> session_;     // Guarded by mutex_.
  std::shared_ptr<LockHome> lock_home_;  // Guarded by mutex_.
  // By connection and side. Guarded by mutex_.
  std::map<std::pair<std::uint64_t, std::uint8_t>, std::weak_ptr<PipeAttachment>> pipe_ends_;
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_CHANNEL_H_
