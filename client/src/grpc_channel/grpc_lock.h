// One opened lock, semaphore, condition, event or barrier over gRPC: a unary call per operation.
// Every call that changes something carries a request id, so the repeat after a lost connection
// does it once.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "client/src/channel.h"
#include "client/src/grpc_channel/remote.h"

namespace heddle::detail {

using LockStub = v1::LockService::Stub;

class GrpcLock final : public LockChannel {
 public:
  GrpcLock(std::shared_ptr<Remote> remote, SyncKind kind, std::string name)
      : remote_(std::move(remote)), kind_(kind), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  SyncKind kind() const override { return kind_; }
  Status acquire(const LockAsk& ask, Grant* grant) override;
  Status acquire_many(std::span<const LockWant> wants, std::int64_t deadline_ns,
                      Grant* grants) override;
  Status release(LockMode mode, std::uint32_t n) override;
  Status release_any(bool same_process) override;
  Status convert(LockMode from, LockMode to, std::int64_t deadline_ns, Grant* grant) override;
  Status wait(LockChannel* lock, std::int64_t deadline_ns) override;
  Result<std::uint32_t> notify(std::uint32_t n, bool all) override;
  Status wait_event(std::int64_t deadline_ns) override;
  Status set_event(bool set) override;
  Status arrive(bool action, std::int64_t deadline_ns, std::uint32_t* index, bool* lead) override;
  Status finish_action() override;
  Status abort_barrier() override;
  Status reset_barrier() override;
  Status join_barrier(bool join) override;
  Result<LockGlance> glance() override;
  Result<LockInfo> info() override;
  Status force_release() override;
  Status repair() override;

 private:
  Status need(SyncKind kind, const char* what) const;
  // Fills in thread and request id.
  template <class Request>
  Status sign(Request* request, std::string_view id = {});
  Result<v1::LockInfo> inspect(bool brief);

  std::shared_ptr<Remote> remote_;
  const SyncKind kind_;
  const std::string name_;
};

// What the channel does without opening one.
Result<std::shared_ptr<LockChannel>> open_lock(std::shared_ptr<Remote> remote,
                                               std::string_view name, const LockSpec& spec);
Status delete_lock(Remote& remote, SyncKind kind, std::string_view name);
Result<std::vector<LockInfo>> list_locks(Remote& remote, SyncKind kind, std::string_view prefix);
Result<v1::LockInfo> inspect_lock(Remote& remote, SyncKind kind, std::string_view name, bool brief);
Status force_release(Remote& remote, SyncKind kind, std::string_view name, std::uint16_t session);
Result<std::string> lock_report(Remote& remote, LockReport which);

}  // namespace heddle::detail
