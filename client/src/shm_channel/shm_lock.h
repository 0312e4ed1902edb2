// A lock, semaphore, condition, event or barrier over shared memory: every operation is one call of
// shm::Lock, the same that the broker makes for remote clients.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/src/lock_channel.h"
#include "client/src/shm_channel/process_mutex.h"
#include "client/src/shm_channel/shm_lock_place.h"

namespace heddle::detail {

class ShmChannel;

class ShmLock final : public LockChannel {
 public:
  ShmLock(std::shared_ptr<ShmChannel> channel, SyncKind kind, std::unique_ptr<LockPlace> place);
  ~ShmLock() override;

  const std::string& name() const override { return name_; }
  SyncKind kind() const override { return kind_; }

  Status acquire(const LockAsk& ask, Grant* grant) override;
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
  // The calling thread's hands and the lock's place; null hands and why. Attaches anew after a fork
  // or a lost session.
  struct Reach {
    LockHands* hands = nullptr;
    const LockPlace* place = nullptr;
    Status status;
    shm::Lock lock() const { return place->lock; }
    shm::LockActor& actor() const { return hands->actor; }
  };
  Reach reach();
  // Never attaches: what a parent or a lost session held is not held here.
  Reach reach_held();
  Status reach_slow(Reach* reach);
  // Fails for other kinds of object.
  Status need(SyncKind kind, const char* what) const;

  Status explain(shm::LockOutcome outcome, const Reach& reach, std::int64_t deadline_ns = 0,
                 std::uint32_t asked = 1);
  Status explain_wait(shm::LockOutcome outcome, const Reach& reach, std::int64_t deadline_ns);

  const std::shared_ptr<ShmChannel> channel_;
  const SyncKind kind_;
  const std::string name_;
  ProcessMutex mutex_;
  // All that there were: other threads may still use one that was replaced. The last is in force.
  std::vector<std::unique_ptr<LockPlace>> places_;  // Guarded by mutex_.
  bool loss_told_ = false;                          // Guarded by mutex_.
};

// "lock jobs", as messages name it.
std::string label_of(SyncKind kind, const std::string& name);

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_LOCK_H_
